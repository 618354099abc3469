//! The rules of the pool, one by one and together.

use rand::rngs::StdRng;

use super::*;
use crate::balance::weighted::Weighted;
use crate::balance::{Balancer, Config, Policy, Query, Tried};
use crate::testing::{plausible, seeded};

const MS: Duration = Duration::from_millis(1);
const NOW: Nanos = Nanos::from_secs(5);

#[derive(Default)]
struct Fake {
    avoided: Vec<usize>,
}

impl Candidates for Fake {
    fn in_flight(&self, _: usize) -> u32 {
        0
    }

    fn in_flight_total(&self) -> u64 {
        0
    }

    fn avoided(&self, index: usize) -> bool {
        self.avoided.contains(&index)
    }
}

fn pool(endpoints: usize, answers: &[(usize, u32, u32)], rng: &mut StdRng) -> Prequal {
    let mut prequal = Prequal::new(endpoints);
    for &(index, in_flight, latency_ms) in answers {
        let answer = ProbeAnswer { in_flight, latency: MS * latency_ms };
        prequal.probed(index, Some(answer), 1.0, NOW, rng);
    }
    prequal
}

fn pick(prequal: &mut Prequal, endpoints: usize, fake: &Fake, now: Nanos, rng: &mut StdRng) -> Pick {
    let weighted = Weighted::new(&vec![1; endpoints]);
    let live = Live { weighted: &weighted, candidates: fake, tried: &Tried::none() };
    prequal.pick(&live, now, rng, &mut ()).unwrap()
}

#[test]
fn reuse_is_the_papers() {
    assert!((reuse(16, 100).unwrap() - 2.0 / (0.84 * 3.0 - 1.0)).abs() < 1e-12);
    assert_eq!(reuse(16, 1_000_000_000).unwrap().round(), 1.0);
    assert_eq!([reuse(16, 24), reuse(16, 20), reuse(2, 3)], [None; 3]);
    assert!(reuse(16, 25).unwrap() > 20.0);
}

#[test]
fn the_quickest_cold_one_or_else_the_least_hot() {
    let (mut rng, _seed) = seeded();
    // Of loads 1 1 1 1 1 1 9 the quantile is 1: endpoint 6 is hot, and its being the quickest does not count.
    let mut answers: Vec<(usize, u32, u32)> = (0..6).map(|index| (index, 1, 20 + index as u32)).collect();
    answers.extend([(7, 1, 15), (6, 9, 1)]);
    let mut prequal = pool(100, &answers, &mut rng);
    let picked = pick(&mut prequal, 100, &Fake::default(), NOW, &mut rng);
    assert_eq!((picked.index, picked.why), (7, Why::QuickestCold));

    let mut prequal = pool(100, &answers, &mut rng);
    prequal.recent = Recent::default();
    (0..RECENT_MAX).for_each(|_| prequal.recent.add(0.0));
    prequal.pool.iter_mut().for_each(|answer| answer.in_flight += answer.index as u32);
    let picked = pick(&mut prequal, 100, &Fake::default(), NOW, &mut rng);
    assert_eq!((picked.index, picked.why), (0, Why::LeastHot));
}

#[test]
fn a_pick_counts_itself_and_removes_in_turn_the_oldest_and_the_worst() {
    let (mut rng, _seed) = seeded();
    let mut prequal = pool(30, &[], &mut rng);
    for (index, latency_ms) in [(0, 9), (1, 2), (2, 50), (3, 8)] {
        let answer = ProbeAnswer { in_flight: 1, latency: MS * latency_ms };
        prequal.probed(index, Some(answer), 1.0, NOW + MS * index as u32, &mut rng);
    }
    let left = |prequal: &Prequal| {
        let mut left: Vec<usize> = prequal.pool.iter().map(|answer| answer.index).collect();
        left.sort_unstable();
        left
    };
    let now = NOW + 10 * MS;
    let picked = pick(&mut prequal, 30, &Fake::default(), now, &mut rng);
    assert_eq!((picked.index, left(&prequal)), (1, vec![1, 2, 3]), "0 was the oldest");
    assert_eq!(prequal.pool.iter().find(|answer| answer.index == 1).unwrap().in_flight, 2);
    // Endpoint 1 is now above the quantile of 1, so hot, and the worst.
    let picked = pick(&mut prequal, 30, &Fake::default(), now, &mut rng);
    assert_eq!((picked.index, left(&prequal)), (3, vec![2, 3]));
}

#[test]
fn an_answer_is_used_for_a_second_and_as_often_as_reuse_says() {
    let (mut rng, _seed) = seeded();
    let mut prequal = pool(1000, &[(0, 1, 1), (1, 1, 2)], &mut rng);
    assert_eq!(
        pick(&mut prequal, 1000, &Fake::default(), NOW + ANSWER_AGE_MAX, &mut rng).why,
        Why::QuickestCold
    );
    let mut prequal = pool(1000, &[(0, 1, 1), (1, 1, 2)], &mut rng);
    let late = NOW + ANSWER_AGE_MAX + MS;
    assert_ne!(pick(&mut prequal, 1000, &Fake::default(), late, &mut rng).why, Why::QuickestCold);
    assert!(prequal.pool.is_empty());

    // 2 / ((1 - 16/1000) 3 - 1) = 1.0246: once, or twice in one case of 41.
    const ANSWERS: u64 = 100_000;
    let mut twice = 0;
    let mut prequal = Prequal::new(1000);
    for _ in 0..ANSWERS {
        let answer = ProbeAnswer { in_flight: 1, latency: MS };
        prequal.probed(0, Some(answer), 1.0, NOW, &mut rng);
        twice += u64::from(prequal.pool[0].left == Some(2));
    }
    assert!(plausible(twice, ANSWERS, reuse(16, 1000).unwrap() - 1.0), "{twice}");
}

#[test]
fn with_fewer_than_two_usable_answers_two_are_drawn() {
    let (mut rng, _seed) = seeded();
    let answers = [(0, 1, 1), (1, 1, 2)];
    let mut prequal = pool(50, &answers[..1], &mut rng);
    assert!(matches!(pick(&mut prequal, 50, &Fake::default(), NOW, &mut rng).why, Why::NotBusier { .. }));
    let mut prequal = pool(50, &answers, &mut rng);
    let fake = Fake { avoided: vec![1] };
    let picked = pick(&mut prequal, 50, &fake, NOW, &mut rng);
    assert!(matches!(picked.why, Why::NotBusier { .. }) && picked.standing == Standing::Fresh);
}

#[test]
fn the_pool_is_smaller_than_the_number_of_endpoints_and_holds_each_once() {
    let (mut rng, _seed) = seeded();
    for endpoints in [0, 1, 2, 3, 10, 100] {
        let mut prequal = Prequal::new(endpoints);
        for round in 0..200 {
            if endpoints > 0 {
                let answer = ProbeAnswer { in_flight: round as u32, latency: MS };
                prequal.probed(round * 7 % endpoints, Some(answer), 1.0, NOW, &mut rng);
            }
        }
        assert_eq!(prequal.pool.len(), POOL_MAX.min(endpoints.saturating_sub(1)), "{endpoints}");
        let mut indices: Vec<usize> = prequal.pool.iter().map(|answer| answer.index).collect();
        indices.sort_unstable();
        assert!(indices.is_sorted_by(|a, b| a < b), "{indices:?}");
    }
}

#[test]
fn probes_go_by_weight_to_distinct_fresh_ones_and_are_bounded() {
    let (mut rng, _seed) = seeded();
    let mut balancer =
        Balancer::new(Config::of(Policy::Prequal), &[1, 0, 1, 1, 1, 1], &[0, 1, 2, 3, 4, 5], &mut rng);
    let fake = Fake { avoided: vec![2] };
    let mut asked = 0;
    loop {
        let probes = balancer.probes_due(NOW, &fake, &mut rng);
        let mut indices: Vec<usize> = probes.indices().collect();
        asked += indices.len();
        indices.sort_unstable();
        assert!(indices.is_sorted_by(|a, b| a < b) && !indices.contains(&1) && !indices.contains(&2));
        if probes.is_empty() {
            break;
        }
    }
    assert_eq!(asked, PROBES_PENDING_MAX as usize);
    balancer.probed(0, None, NOW, &mut rng);
    assert_eq!(balancer.probes_due(NOW, &fake, &mut rng).indices().count(), 1);
    assert!(balancer.probes_due(NOW + ANSWER_AGE_MAX, &fake, &mut rng).is_empty());
    let late = NOW + ANSWER_AGE_MAX + MS;
    assert!(!balancer.probes_due(late, &fake, &mut rng).is_empty(), "lost answers do not stop it for ever");
}

#[test]
fn answers_go_with_the_key() {
    let (mut rng, _seed) = seeded();
    let config = Config::of(Policy::Prequal);
    let mut balancer = Balancer::new(config, &[1; 4], &[10, 11, 12, 13], &mut rng);
    for index in 0..3 {
        let answer = ProbeAnswer { in_flight: 1, latency: MS * (index as u32 + 1) };
        balancer.probed(index, Some(answer), NOW, &mut rng);
    }
    let mut new = balancer.carry_over(config, &[1; 4], &[12, 99, 11, 98], None, &mut rng);
    let picked = new.pick(Query::at(NOW), &Fake::default(), &Tried::none(), &mut rng, &mut ()).unwrap();
    assert_eq!((picked.index, picked.why), (2, Why::QuickestCold), "key 11, as 10 is gone");
}

/// One of ten endpoints is ten times slower: it gets far less than its share.
#[test]
fn slow_endpoints_are_avoided() {
    let (mut rng, _seed) = seeded();
    let keys: Vec<u64> = (0..100).collect();
    let mut balancer = Balancer::new(Config::of(Policy::Prequal), &[1; 100], &keys, &mut rng);
    let fake = Fake::default();
    let mut to_slow = 0;
    for step in 0..10_000u32 {
        let now = NOW + MS * step;
        let picked = balancer.pick(Query::at(now), &fake, &Tried::none(), &mut rng, &mut ()).unwrap();
        to_slow += u32::from(picked.index < 10);
        for index in balancer.probes_due(now, &fake, &mut rng).indices() {
            let latency = if index < 10 { 100 * MS } else { 10 * MS };
            balancer.probed(index, Some(ProbeAnswer { in_flight: 2, latency }), now, &mut rng);
        }
    }
    assert!(to_slow < 100, "{to_slow} of 10000, its share would be 1000");
}
