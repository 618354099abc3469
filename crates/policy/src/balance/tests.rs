//! What every balancer promises, whatever the weights.

mod hashing;
mod latency;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::testing::{plausible, seeded};

const POLICIES: [Policy; 8] = [
    Policy::RoundRobin,
    Policy::Random,
    Policy::LeastRequest,
    Policy::LeastConnections,
    Policy::PeakEwma,
    Policy::Prequal,
    Policy::RingHash,
    Policy::Maglev,
];

/// Those whose shares are those of the weights as long as nothing else is known. A ring's and a table's are nearly: they
/// have tests of their own.
const EXACT: [Policy; 6] = [
    Policy::RoundRobin,
    Policy::Random,
    Policy::LeastRequest,
    Policy::LeastConnections,
    Policy::PeakEwma,
    Policy::Prequal,
];

fn balancer(policy: Policy, weights: &[u32], rng: &mut StdRng) -> Balancer {
    Balancer::new(Config::of(policy), weights, &keys(weights.len()), rng)
}

/// Keys as those of ids would be.
fn keys(len: usize) -> Vec<u64> {
    (0..len as u64).map(|id| hash::bytes(&id.to_le_bytes())).collect()
}

fn query() -> Query {
    Query::at(Nanos::from_secs(100))
}

/// Endpoints as a test sets them.
#[derive(Clone, Debug, Default)]
struct Fake {
    in_flight: Vec<u32>,
    avoided: Vec<bool>,
}

impl Candidates for Fake {
    fn in_flight(&self, index: usize) -> u32 {
        self.in_flight.get(index).copied().unwrap_or(0)
    }

    fn in_flight_total(&self) -> u64 {
        self.in_flight.iter().map(|n| u64::from(*n)).sum()
    }

    fn avoided(&self, index: usize) -> bool {
        self.avoided.get(index).copied().unwrap_or(false)
    }
}

fn tried(indices: &[usize]) -> Tried {
    let mut tried = Tried::none();
    indices.iter().for_each(|index| tried.add(*index));
    tried
}

fn counts(
    balancer: &mut Balancer,
    fake: &Fake,
    tried: &Tried,
    rng: &mut StdRng,
    picks: u64,
    len: usize,
) -> Vec<u64> {
    let mut counts = vec![0; len];
    for _ in 0..picks {
        counts[balancer.pick(query(), fake, tried, rng, &mut ()).unwrap().index] += 1;
    }
    counts
}

#[test]
fn shares_converge_to_the_weights() {
    let (mut rng, _seed) = seeded();
    const PICKS: u64 = 100_000;
    for weights in
        [vec![1], vec![1; 7], vec![1, 2, 3, 4], vec![99, 1], vec![0, 5, 0, 1_000_000], vec![3, 0, 3]]
    {
        for policy in EXACT {
            let mut balancer = balancer(policy, &weights, &mut rng);
            let counts =
                counts(&mut balancer, &Fake::default(), &Tried::none(), &mut rng, PICKS, weights.len());
            let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
            for (index, weight) in weights.iter().enumerate() {
                let share = f64::from(*weight) / total;
                assert!(plausible(counts[index], PICKS, share), "{policy:?} {weights:?}: {counts:?}");
                assert!(*weight > 0 || counts[index] == 0, "{policy:?} {weights:?}: {counts:?}");
            }
        }
    }
}

#[test]
fn shares_hold_among_the_fresh_when_most_are_not() {
    let (mut rng, _seed) = seeded();
    const PICKS: u64 = 50_000;
    let mut weights = vec![10; 40];
    weights.extend([1, 2, 3]);
    let fake = Fake { avoided: (0..43).map(|index| index < 40).collect(), ..Fake::default() };
    for policy in [Policy::Random, Policy::LeastRequest, Policy::LeastConnections, Policy::PeakEwma] {
        let mut balancer = balancer(policy, &weights, &mut rng);
        let counts = counts(&mut balancer, &fake, &Tried::none(), &mut rng, PICKS, 43);
        assert_eq!(counts[..40].iter().sum::<u64>(), 0, "{policy:?}");
        for index in 40..43 {
            assert!(
                plausible(counts[index], PICKS, f64::from(weights[index]) / 6.0),
                "{policy:?}: {:?}",
                &counts[40..]
            );
        }
    }
}

#[test]
fn many_callers_with_the_same_list_do_not_all_begin_with_the_heaviest() {
    let (mut rng, _seed) = seeded();
    const CALLERS: u64 = 20_000;
    let weights = [1, 3];
    let firsts = (0..CALLERS)
        .filter(|_| {
            let mut balancer = balancer(Policy::RoundRobin, &weights, &mut rng);
            balancer.pick(query(), &Fake::default(), &Tried::none(), &mut rng, &mut ()).unwrap().index == 0
        })
        .count() as u64;
    // The light one's deadline is uniform in [0, 1), the heavy one's in [0, 1/3): it is first with probability 1/6.
    assert!(plausible(firsts, CALLERS, 1.0 / 6.0), "{firsts}");
}

#[test]
fn two_choices_compare_two_distinct_ones_and_take_the_less_busy() {
    let (mut rng, _seed) = seeded();
    for count in [2usize, 3, 10] {
        let mut balancer = balancer(Policy::LeastRequest, &vec![1; count], &mut rng);
        let fake = Fake { in_flight: (0..10).collect(), ..Fake::default() };
        let mut pairs = std::collections::HashMap::<(usize, usize), u64>::new();
        const PICKS: u64 = 20_000;
        for _ in 0..PICKS {
            let mut notes = Vec::new();
            let pick = balancer.pick(query(), &fake, &Tried::none(), &mut rng, &mut notes).unwrap();
            let [Note::Compared { first, second, .. }, Note::Picked(noted)] = notes[..] else {
                panic!("{notes:?}")
            };
            assert_ne!(first, second);
            assert_eq!(noted, pick);
            assert_eq!(pick.index, first.min(second), "index is the number in flight here");
            *pairs.entry((first, second)).or_default() += 1;
        }
        // Every ordered pair is as likely as any other.
        let all = (count * (count - 1)) as f64;
        assert_eq!(pairs.len() as f64, all);
        assert!(pairs.values().all(|n| plausible(*n, PICKS, 1.0 / all)), "{pairs:?}");
    }
}

#[test]
fn least_request_honours_weights_under_load_too() {
    let (mut rng, _seed) = seeded();
    let mut balancer = balancer(Policy::LeastRequest, &[99, 1], &mut rng);
    let check = |balancer: &mut Balancer, rng: &mut StdRng, in_flight: [u32; 2], only: Option<usize>| {
        let fake = Fake { in_flight: in_flight.to_vec(), ..Fake::default() };
        let counts = counts(balancer, &fake, &Tried::none(), rng, 10_000, 2);
        match only {
            Some(index) => assert_eq!(counts[index], 10_000, "{in_flight:?}: {counts:?}"),
            None => assert!(plausible(counts[1], 10_000, 0.01), "{in_flight:?}: {counts:?}"),
        }
    };
    // As long as one more at the light one would make it the busier for its weight, its share is its weight's.
    check(&mut balancer, &mut rng, [0, 0], None);
    check(&mut balancer, &mut rng, [50, 0], None);
    check(&mut balancer, &mut rng, [98, 0], None);
    check(&mut balancer, &mut rng, [99, 0], Some(1));
    check(&mut balancer, &mut rng, [0, 1], Some(0));
    check(&mut balancer, &mut rng, [98, 1], Some(0));
    check(&mut balancer, &mut rng, [99, 1], None);
    check(&mut balancer, &mut rng, [u32::MAX, u32::MAX], Some(0));
}

/// A closed loop: requests arrive and leave; the number in flight settles in proportion to the weights.
#[test]
fn least_request_keeps_load_in_proportion_to_weights() {
    let (mut rng, _seed) = seeded();
    let weights = [1u32, 2, 4];
    let mut balancer = balancer(Policy::LeastRequest, &weights, &mut rng);
    let mut fake = Fake { in_flight: vec![0; 3], ..Fake::default() };
    let mut sums = [0u64; 3];
    for step in 0..60_000u32 {
        let index = balancer.pick(query(), &fake, &Tried::none(), &mut rng, &mut ()).unwrap().index;
        fake.in_flight[index] += 1;
        if fake.in_flight.iter().sum::<u32>() > 70 {
            // One of all requests in flight ends, by chance.
            let mut rest = rng.random_range(0..fake.in_flight.iter().sum());
            let ends =
                fake.in_flight.iter().position(|n| rest.checked_sub(*n).map(|r| rest = r).is_none()).unwrap();
            fake.in_flight[ends] -= 1;
        }
        if step > 1000 {
            (0..3).for_each(|index| sums[index] += u64::from(fake.in_flight[index]));
        }
    }
    let per_weight: Vec<f64> = (0..3).map(|index| sums[index] as f64 / f64::from(weights[index])).collect();
    let mean = per_weight.iter().sum::<f64>() / 3.0;
    assert!(per_weight.iter().all(|load| (load / mean - 1.0).abs() < 0.1), "{per_weight:?}");
}

/// Balls into bins (experiment 2 of the notes on algorithms): two choices flatten the fullest bin.
#[test]
fn two_choices_beat_one() {
    let (mut rng, _seed) = seeded();
    const BINS: usize = 100_000;
    let mut fullest = |policy| {
        let mut balancer = balancer(policy, &vec![1; BINS], &mut rng);
        let mut fake = Fake { in_flight: vec![0; BINS], ..Fake::default() };
        for _ in 0..BINS {
            let index = balancer.pick(query(), &fake, &Tried::none(), &mut rng, &mut ()).unwrap().index;
            fake.in_flight[index] += 1;
        }
        *fake.in_flight.iter().max().unwrap()
    };
    let (one, two) = (fullest(Policy::Random), fullest(Policy::LeastRequest));
    assert!((6..=11).contains(&one) && (3..=4).contains(&two), "{one}, {two}");
}

#[test]
fn reasons_name_who_took_no_part() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut balancer = balancer(Policy::LeastRequest, &[1, 0, 1, 1], &mut rng);
    let fake = Fake { avoided: vec![false, true, true, false], ..Fake::default() };
    let mut notes = Vec::new();
    balancer.pick(query(), &fake, &tried(&[3]), &mut rng, &mut notes).unwrap();
    let shown: Vec<String> = notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "endpoint 1 has weight 0",
            "endpoint 2 failed lately and is a last choice",
            "endpoint 3 was tried by this request already",
            "picked endpoint 0: the only one left",
        ]
    );
}

#[test]
fn nothing_to_pick() {
    let (mut rng, _seed) = seeded();
    for policy in POLICIES {
        for weights in [vec![], vec![0], vec![0, 0]] {
            let mut balancer = balancer(policy, &weights, &mut rng);
            assert_eq!(balancer.policy(), policy);
            assert_eq!(balancer.pick(query(), &Fake::default(), &Tried::none(), &mut rng, &mut ()), None);
        }
    }
}

proptest! {
    /// Weight 0 never; the best standing that is left; two compared whenever there are two; reasons change nothing.
    #[test]
    fn picks_are_legal(
        endpoints in prop::collection::vec((prop_oneof![Just(0u32), 1u32..5, Just(1_000_000)], 0u32..50, any::<bool>()), 0..12),
        already in prop::collection::vec(0usize..12, 0..12),
        policy in prop::sample::select(POLICIES.to_vec()),
        seed: u64,
    ) {
        let weights: Vec<u32> = endpoints.iter().map(|e| e.0).collect();
        let fake = Fake {
            in_flight: endpoints.iter().map(|e| e.1).collect(),
            avoided: endpoints.iter().map(|e| e.2).collect(),
        };
        let already = tried(&already);
        let standing = |index: usize| match (already.has(index), fake.avoided(index)) {
            (false, false) => Standing::Fresh,
            (false, true) => Standing::Avoided,
            (true, false) => Standing::Tried,
            (true, true) => Standing::TriedAndAvoided,
        };
        let live: Vec<usize> = (0..weights.len()).filter(|index| weights[*index] > 0).collect();
        let best = live.iter().map(|index| standing(*index)).min();
        let equals = live.iter().filter(|index| Some(standing(**index)) == best).count();
        let mut silent = StdRng::seed_from_u64(seed);
        let mut telling = StdRng::seed_from_u64(seed);
        let mut balancer = balancer(policy, &weights, &mut silent);
        let mut twin = super::tests::balancer(policy, &weights, &mut telling);
        for _ in 0..30 {
            let pick = balancer.pick(query(), &fake, &already, &mut silent, &mut ());
            let mut notes = Vec::new();
            prop_assert_eq!(twin.pick(query(), &fake, &already, &mut telling, &mut notes), pick);
            let Some(pick) = pick else {
                prop_assert!(live.is_empty());
                break;
            };
            prop_assert!(weights[pick.index] > 0);
            prop_assert_eq!(Some(standing(pick.index)), best);
            prop_assert_eq!(Some(pick.standing), best);
            if policy == Policy::LeastRequest {
                let compared = notes.iter().any(|note| matches!(note, Note::Compared { first, second, .. } if first != second));
                prop_assert_eq!(compared, equals >= 2);
            }
        }
    }
}

/// Whoever is taken was no busier for its weight than anybody: all stay within one request of each other.
#[test]
fn the_least_connections_of_many_stay_level_and_nobody_stale_is_taken() {
    let (mut rng, _seed) = seeded();
    const ENDPOINTS: usize = 2_000;
    for weights in [vec![1; ENDPOINTS], (0..ENDPOINTS).map(|index| 1 + index as u32 % 2).collect::<Vec<_>>()]
    {
        let avoided: Vec<bool> = (0..ENDPOINTS).map(|index| index % 10 == 3).collect();
        let mut fake = Fake { in_flight: vec![0; ENDPOINTS], avoided };
        let mut balancer = balancer(Policy::LeastConnections, &weights, &mut rng);
        for _ in 0..20_000 {
            let pick = balancer.pick(query(), &fake, &Tried::none(), &mut rng, &mut ()).unwrap();
            assert!(!fake.avoided[pick.index] && pick.why == Why::LeastBusy);
            fake.in_flight[pick.index] += 1;
        }
        let loads = || {
            let fresh = (0..ENDPOINTS).filter(|index| !fake.avoided[*index]);
            fresh.map(|index| f64::from(fake.in_flight[index]) / f64::from(weights[index]))
        };
        let (least, most) = (loads().fold(f64::INFINITY, f64::min), loads().fold(0.0, f64::max));
        assert!(most - least <= 1.0, "{least} to {most}");
    }
}
