//! Limits whose rates, or whose scope, change: what was spent stays spent, whoever still asks by what was before.

use std::sync::Mutex;
use std::thread;

use proptest::prelude::*;

use super::rates::within;
use super::*;
use crate::quota::{Alone, PARTS};

const NOW: Nanos = Nanos::from_secs(50_000);

/// Algorithms of which the first rate allows three at once.
const KINDS: [&str; 4] = ["token_bucket", "leaky_bucket", "sliding_window", "warm_up"];

fn algorithm(kind: &str, rates: &[RateConfig]) -> Algorithm {
    let rates = rates.to_vec();
    match kind {
        "token_bucket" => Algorithm::TokenBucket(rates),
        "sliding_window" => Algorithm::SlidingWindow(rates),
        "warm_up" => {
            // It is warm at once.
            let warm_up = WarmUpConfig { over: Duration::from_millis(1), from: 1.0 };
            Algorithm::WarmUp { rates, warm_up }
        }
        _ => {
            let timeout = Duration::from_secs(1500);
            let queue = QueueConfig { max: u32::MAX, timeout, timeout_backlog: timeout };
            Algorithm::LeakyBucket { rates, queue }
        }
    }
}

/// Three in ten minutes: at once, or one after the other.
fn tight(kind: &str) -> RateConfig {
    if kind == "sliding_window" { rate(3, 600_000, 3) } else { rate(1, 600_000, 3) }
}

fn with(limiter: &Limiter, algorithm: Algorithm, now: Nanos) -> Limiter {
    let config = LimitConfig { algorithm, ..limiter.config().clone() };
    Limiter::carry_over(limiter, config, now, &mut Vec::new())
}

fn scoped(limiter: &Limiter, global: Option<Alone>, now: Nanos) -> Limiter {
    let config = LimitConfig { global, ..limiter.config().clone() };
    Limiter::carry_over(limiter, config, now, &mut Vec::new())
}

fn left(limiter: &Limiter, key: &[u8], now: Nanos) -> usize {
    std::iter::from_fn(|| admitted(limiter, key, now)).take(1000).count()
}

fn both(kind: &str, rates: &[RateConfig]) -> [Limiter; 2] {
    [limiter(algorithm(kind, rates)), keyed(algorithm(kind, rates), 100)]
}

/// Lists of rates that follow each other; the tight one is in all of them.
fn lists(tight: RateConfig) -> Vec<Vec<RateConfig>> {
    let (wide, wider) = (rate(1000, 1000, 1000), rate(10_000, 60_000, 10_000));
    vec![
        vec![tight],
        vec![tight, wide],
        vec![wide, tight],
        vec![wide, wider, tight],
        vec![tight, wider, wide],
        vec![wider, tight],
        vec![tight],
        vec![wide, tight, wider, rate(1_000_000, 1000, 1000)],
        vec![tight],
    ]
}

#[test]
fn what_is_used_up_stays_so_whatever_comes_beside_it() {
    for kind in KINDS {
        for spent in 0..=3 {
            for first in both(kind, &[tight(kind)]) {
                (0..spent).for_each(|_| assert!(passes(&first, b"k", NOW), "{kind}"));
                let mut limiters = vec![first];
                for rates in lists(tight(kind)) {
                    let new = with(&limiters[limiters.len() - 1], algorithm(kind, &rates), NOW);
                    limiters.push(new);
                }
                let newest = &limiters[limiters.len() - 1];
                if spent == 3 {
                    // Nor does anybody get more who asks by what was before.
                    limiters.iter().for_each(|limiter| assert!(!passes(limiter, b"k", NOW), "{kind}"));
                }
                assert_eq!(left(newest, b"k", NOW), 3 - spent, "{kind} {:?}", newest.config());
                if newest.config().is_keyed() {
                    assert_eq!(left(newest, b"other", NOW), 3, "{kind}");
                }
                let later = NOW + Duration::from_secs(1799);
                assert!(left(newest, b"k", later) <= 3, "{kind}");
            }
        }
    }
}

#[test]
fn each_step_alone_keeps_what_is_used_up() {
    for kind in KINDS {
        let (tight, wide) = (tight(kind), rate(1000, 1000, 1000));
        for (before, after) in [
            (vec![tight], vec![tight, wide]),
            (vec![tight], vec![wide, tight]),
            (vec![tight, wide], vec![wide, tight]),
            (vec![tight, wide], vec![tight]),
            (vec![wide, tight], vec![tight]),
        ] {
            for old in both(kind, &before) {
                assert_eq!(left(&old, b"k", NOW), 3, "{kind} {before:?}");
                let new = with(&old, algorithm(kind, &after), NOW);
                assert_eq!((left(&new, b"k", NOW), left(&old, b"k", NOW)), (0, 0), "{kind} {after:?}");
            }
        }
    }
}

#[test]
fn a_new_rate_counts_from_its_beginning_and_one_that_is_gone_holds_no_more() {
    for kind in ["token_bucket", "sliding_window", "warm_up"] {
        for old in both(kind, &[rate(100, 1000, 100)]) {
            (0..20).for_each(|_| assert!(passes(&old, b"k", NOW)));
            let new = with(&old, algorithm(kind, &[rate(5, 60_000, 5), rate(100, 1000, 100)]), NOW);
            assert_eq!(left(&new, b"k", NOW), 5, "{kind}");
            let new = with(&new, algorithm(kind, &[rate(100, 1000, 100)]), NOW);
            assert_eq!(left(&new, b"k", NOW), 75, "{kind}");
        }
    }
}

#[test]
fn a_warm_limit_stays_warm_when_a_rate_is_added() {
    let warm_up = WarmUpConfig { over: Duration::from_secs(1), from: 0.1 };
    let of = |rates: &[RateConfig]| Algorithm::WarmUp { rates: rates.to_vec(), warm_up };
    let (first, second) = (rate(100, 1000, 1), rate(90, 1000, 1));
    let old = limiter(of(&[first]));
    let passing = |limiter: &Limiter, second: u64| {
        let at = |n: u64| Nanos(NOW.0 + second * 1_000_000_000 + n * 1_000_000);
        (0..1000).filter(|n| passes(limiter, b"", at(*n))).count()
    };
    assert!(passing(&old, 0) < 70 && (0..5).all(|n| passing(&old, 1 + n) <= 101));
    let new = with(&old, of(&[second, first]), NOW + Duration::from_secs(6));
    assert!((80..=91).contains(&passing(&new, 6)));
}

#[test]
fn turns_that_were_given_keep_their_distance_from_later_ones() {
    let queue = QueueConfig { max: 100, ..QueueConfig::LEAKY };
    let of = |rates: &[RateConfig]| Algorithm::LeakyBucket { rates: rates.to_vec(), queue };
    for old in [limiter(of(&[rate(10, 1000, 1)])), keyed(of(&[rate(10, 1000, 1)]), 10)] {
        let turns =
            |limiter: &Limiter| admitted(limiter, b"k", NOW).map(|(_, turn)| turn.since(NOW).as_millis());
        assert_eq!([turns(&old), turns(&old), turns(&old)], [Some(0), Some(100), Some(200)]);
        let new = with(&old, of(&[rate(20, 1000, 1)]), NOW);
        assert_eq!([turns(&new), turns(&old)], [Some(250), Some(300)]);
        let newer = with(&new, of(&[rate(20, 1000, 1), rate(1000, 60_000, 1)]), NOW);
        assert_eq!([turns(&old), turns(&newer)], [Some(350), Some(410)]);
    }
}

#[test]
fn what_an_old_form_gave_is_not_taken_back_and_what_the_new_one_gave_is_by_whoever_has_it() {
    for kind in KINDS {
        for old in both(kind, &[tight(kind)]) {
            let (grant, _) = admitted(&old, b"k", NOW).unwrap();
            assert!(passes(&old, b"k", NOW));
            let new = with(&old, algorithm(kind, &[rate(1000, 1000, 1000), tight(kind)]), NOW);
            old.refund(grant, NOW, &mut Vec::new());
            // The old one asks the new one, and gives back to it.
            let (grant, _) = admitted(&old, b"k", NOW).unwrap();
            assert_eq!(left(&new, b"k", NOW), 0, "{kind}");
            old.refund(grant, NOW, &mut Vec::new());
            assert_eq!(left(&new, b"k", NOW), 1, "{kind}");
        }
    }
}

/// Places are as many as before, and what forgotten keys have left goes over too.
#[test]
fn a_table_goes_over_with_all_its_keys() {
    for kind in KINDS {
        let old = keyed(algorithm(kind, &[tight(kind)]), 60);
        let keys = || (0..300u64).map(u64::to_le_bytes);
        let mut used: Vec<[u8; 8]> = Vec::new();
        for key in keys() {
            used.extend((left(&old, &key, NOW) == 3).then_some(key));
        }
        assert!(used.len() >= 60 && old.state(NOW).keys_forgotten > 0, "{kind}");
        let config = LimitConfig {
            algorithm: algorithm(kind, &[rate(1000, 1000, 1000), tight(kind), rate(9000, 9000, 9000)]),
            keys_max: 7,
            ..old.config().clone()
        };
        let new = Limiter::carry_over(&old, config, NOW, &mut Vec::new());
        let (state, seen) = (new.state(NOW), old.state(NOW));
        assert_eq!((state.keys, seen.keys, state.keys_forgotten), (7, 7, seen.keys_forgotten), "{kind}");
        assert!(used.iter().all(|key| !passes(&new, key, NOW) && !passes(&old, key, NOW)), "{kind}");
        let wider = LimitConfig { keys_max: 60, ..new.config().clone() };
        let wider = Limiter::carry_over(&new, wider, NOW, &mut Vec::new());
        assert!(used.iter().all(|key| !passes(&wider, key, NOW)), "{kind}");
    }
}

/// While the rates change again and again, threads ask by whatever they have: together they get what there is, exactly.
#[test]
fn threads_get_no_more_while_rates_change() {
    const BURST: u32 = 3000;
    let spent = rate(BURST, 86_400_000, BURST);
    let (plenty, more) = (rate(1_000_000, 1000, 1_000_000), rate(9_000_000, 60_000, 9_000_000));
    let lists =
        [vec![plenty, spent], vec![spent], vec![spent, plenty], vec![more, plenty, spent], vec![more, spent]];
    for kind in ["token_bucket", "sliding_window", "warm_up"] {
        for first in both(kind, &[spent]) {
            let newest = Mutex::new(first);
            let ask = || {
                let mut passed = 0;
                for round in 0..BURST {
                    let limiter = newest.lock().unwrap().clone();
                    // Some hold on to what they have for a while.
                    passed += (0..1 + round % 3).filter(|_| passes(&limiter, b"k", NOW)).count();
                }
                passed
            };
            let passed: usize = thread::scope(|scope| {
                let threads: Vec<_> = (0..3).map(|_| scope.spawn(ask)).collect();
                for rates in lists.iter().cycle() {
                    let old = newest.lock().unwrap().clone();
                    let new = with(&old, algorithm(kind, rates), NOW);
                    *newest.lock().unwrap() = new;
                    if threads.iter().all(|thread| thread.is_finished()) {
                        break;
                    }
                }
                threads.into_iter().map(|thread| thread.join().unwrap()).sum()
            });
            assert_eq!(passed, BURST as usize, "{kind}");
        }
    }
}

#[test]
fn a_limit_that_becomes_shared_has_no_more_than_was_left() {
    for old in both("token_bucket", &[rate(1, 600_000, 3)]) {
        assert_eq!(left(&old, b"k", NOW), 3);
        let shared = scoped(&old, Some(Alone::Share), NOW);
        let holding =
            Holding::none(Alone::Share, 2).with_lease(PARTS / 2, NOW + Duration::from_secs(100_000));
        shared.hold(holding, NOW);
        assert_eq!((left(&shared, b"k", NOW), left(&old, b"k", NOW)), (0, 0));
        // At half of the rate, twice as long.
        assert!(!passes(&shared, b"k", NOW + Duration::from_secs(1190)));
        assert!(passes(&shared, b"k", NOW + Duration::from_secs(1210)));
        // And back: what is left of the share is left, and the rest comes back at the whole rate.
        let later = NOW + Duration::from_secs(1210);
        let alone = scoped(&shared, None, later);
        assert!(alone.holds(later).is_none() && shared.holds(later).is_none());
        assert_eq!((left(&alone, b"k", later), left(&shared, b"k", later)), (0, 0));
        assert!(passes(&alone, b"k", later + Duration::from_secs(600)));
    }
    for old in both("token_bucket", &[rate(1, 600_000, 3)]) {
        assert!(passes(&old, b"k", NOW));
        let shared = scoped(&old, Some(Alone::Share), NOW);
        // As one that has just begun, it has one at once.
        assert_eq!(left(&shared, b"k", NOW), 1);
    }
}

#[test]
fn rates_of_a_shared_limit_keep_their_places_on_its_line() {
    let (tight, wide) = (rate(1, 600_000, 3), rate(1000, 1000, 1000));
    for old in both("token_bucket", &[tight]) {
        let shared = scoped(&old, Some(Alone::Share), NOW);
        let later = NOW + Duration::from_secs(4000);
        assert_eq!(left(&shared, b"k", later), 3);
        let mut newest = shared.clone();
        for rates in lists(tight) {
            newest = with(&newest, algorithm("token_bucket", &rates), later);
            assert!(!passes(&newest, b"k", later) && !passes(&shared, b"k", later), "{rates:?}");
        }
        let holding = Holding::none(Alone::Share, 1);
        // Who still has the old one tells the new one.
        shared.hold(Holding { holders: 4, ..holding }, later);
        assert_eq!(newest.holds(later).map(|held| held.holders), Some(4));
        let other = with(&newest, algorithm("token_bucket", &[wide, tight]), later);
        assert_eq!(other.holds(later).map(|held| held.holders), Some(4));
    }
}

#[derive(Clone, Debug)]
enum Act {
    Ask(prop::sample::Index),
    GiveBack(prop::sample::Index, prop::sample::Index),
    Change(Vec<usize>, bool),
    Hold(u32),
}

fn acts() -> impl Strategy<Value = Vec<(u64, Act)>> {
    let lists = prop::sample::subsequence(vec![0usize, 1, 2, 3], 1..=4).prop_shuffle();
    let act = prop_oneof![
        12 => any::<prop::sample::Index>().prop_map(Act::Ask),
        2 => any::<(prop::sample::Index, prop::sample::Index)>().prop_map(|(which, by)| Act::GiveBack(which, by)),
        3 => (lists, prop::bool::weighted(0.3)).prop_map(|(list, global)| Act::Change(list, global)),
        1 => (0..=PARTS).prop_map(Act::Hold),
    ];
    let step = prop_oneof![3 => Just(0u64), 3 => 0..20_000_000u64, 1 => 0..400_000_000u64];
    prop::collection::vec((step, act), 1..200)
}

fn pool() -> impl Strategy<Value = Vec<RateConfig>> {
    let rate = (1..60u32, 1..2000u64, 1..12u32).prop_map(|(requests, per, burst)| rate(requests, per, burst));
    prop::collection::vec(rate, 4)
}

/// Whether moments keep to a rate.
fn keeps(kind: &str, moments: &[u64], rate: &RateConfig) -> Result<(), String> {
    match kind {
        "leaky_bucket" => within(moments, &RateConfig { burst: 1, ..*rate }),
        "sliding_window" => {
            let window = |moment: &u64| moment / rate.per.as_nanos() as u64;
            let most = moments.chunk_by(|one, other| window(one) == window(other)).map(<[u64]>::len).max();
            match most {
                Some(most) if most > rate.requests as usize => Err(format!("{most} in a window of {rate:?}")),
                _ => Ok(()),
            }
        }
        _ => within(moments, rate),
    }
}

proptest! {
    /// Whatever lists of rates follow each other, whether it is shared, whatever is given back, and whoever asks by whichever
    /// form: as long as a rate is in all of the lists, no more passes than it allows.
    #[test]
    fn a_rate_that_stays_holds_all_along(
        pool in pool(),
        kind in prop::sample::select(KINDS.to_vec()),
        has_key: bool,
        acts in acts(),
    ) {
        let [one, keyed] = both(kind, &pool[..1]);
        let mut limiters = vec![if has_key { keyed } else { one }];
        let mut lists = vec![vec![0usize]];
        let mut held: Vec<(Grant, Nanos, usize)> = Vec::new();
        let mut now = Nanos::from_secs(5);
        for (step, act) in acts {
            now.0 += step;
            match act {
                Act::Ask(by) => {
                    let asked = admitted(by.get(&limiters), b"k", now);
                    held.extend(asked.map(|(grant, turn)| (grant, turn, lists.len() - 1)));
                }
                Act::GiveBack(which, by) if !held.is_empty() => {
                    let (grant, ..) = held.swap_remove(which.index(held.len()));
                    by.get(&limiters).refund(grant, now, &mut Vec::new());
                }
                Act::GiveBack(..) => {}
                Act::Change(list, global) => {
                    let rates: Vec<RateConfig> = list.iter().map(|at| pool[*at]).collect();
                    let old = &limiters[limiters.len() - 1];
                    let global = (global && kind == "token_bucket").then_some(Alone::Share);
                    let config =
                        LimitConfig { algorithm: algorithm(kind, &rates), global, ..old.config().clone() };
                    let new = Limiter::carry_over(old, config, now, &mut Vec::new());
                    limiters.push(new);
                    lists.push(list);
                }
                Act::Hold(parts) => {
                    let holding = Holding::none(Alone::Share, 3).with_lease(parts, now + Duration::from_secs(1));
                    limiters[0].hold(holding, now);
                }
            }
        }
        for (at, rate) in pool.iter().enumerate() {
            let has = |list: &usize| lists[*list].contains(&at);
            let mut begin = 0;
            while begin < lists.len() {
                let end = (begin..lists.len()).find(|list| !has(list)).unwrap_or(lists.len());
                let mut moments: Vec<u64> = held
                    .iter()
                    .filter(|(.., list)| (begin..end).contains(list))
                    .map(|(_, turn, _)| turn.0)
                    .collect();
                moments.sort_unstable();
                keeps(kind, &moments, rate).map_err(TestCaseError::fail)?;
                begin = end + 1;
            }
        }
    }
}
