//! Tables of keys: their memory, and what a flood of keys does.

use std::collections::HashMap;

use super::super::scheme::Scheme;
use super::super::table::Table;
use super::*;
use crate::testing::seeded;
use rand::RngExt;

#[test]
fn a_key_costs_at_most_64_bytes_beside_itself() {
    let two = vec![rate(10, 1000, 10), rate(100, 60_000, 100)];
    for algorithm in [
        Algorithm::TokenBucket(vec![rate(10, 1000, 10)]),
        Algorithm::TokenBucket(two.clone()),
        Algorithm::SlidingWindow(two),
        Algorithm::LeakyBucket { rates: vec![rate(10, 1000, 10)], queue: QueueConfig::LEAKY },
        Algorithm::WarmUp { rates: vec![rate(10, 1000, 10)], warm_up: WarmUpConfig::default() },
    ] {
        for keys in [3_000usize, 10_000, 100_000] {
            let scheme = Scheme::new(&algorithm).unwrap();
            let table = Table::new(&scheme, keys);
            let mut now = Nanos::from_secs(1);
            let hasher = super::super::hash::Hasher::new(3);
            // Five times as many keys as have a place: the table is full, and has had to forget.
            for key in 0..5 * keys as u64 {
                now.0 += 1000;
                let hash = hasher.hash(&key.to_le_bytes());
                let _ = table.take(&scheme, (hash, &key.to_le_bytes()), None, now);
            }
            let (tracked, forgotten) = table.counts();
            assert_eq!(tracked, keys);
            assert!(forgotten > 0);
            let each = table.bytes() as f64 / keys as f64;
            assert!(each <= 64.0, "{} with {keys} keys: {each} bytes each", algorithm.name());
        }
    }
}

/// However many keys there are and whatever is forgotten: no key gets more than its rate and burst.
#[test]
fn no_key_gets_more_than_its_rate_by_a_flood() {
    let (mut rng, _seed) = seeded();
    let rate = rate(10, 1000, 5);
    for algorithm in [Algorithm::TokenBucket(vec![rate]), Algorithm::TokenBucket(vec![rate, rate])] {
        let limiter = keyed(algorithm, 16);
        let mut passed = HashMap::<u64, Vec<u64>>::new();
        let mut now = Nanos::from_secs(1);
        for _ in 0..200_000 {
            now.0 += rng.random_range(0..200_000);
            // Few that come often, and many that come seldom.
            let key = if rng.random_bool(0.3) { rng.random_range(0..8) } else { rng.random_range(0..300u64) };
            if passes(&limiter, &key.to_le_bytes(), now) {
                passed.entry(key).or_default().push(now.0);
            }
        }
        assert!(limiter.state(now).keys_forgotten > 100);
        for (key, moments) in passed {
            for (first, from) in moments.iter().enumerate() {
                for (last, to) in moments.iter().enumerate().skip(first) {
                    let most = (to - from) as f64 / 1e8 + 5.0;
                    assert!((last - first + 1) as f64 <= most + 1e-6, "key {key}");
                }
            }
        }
    }
}

#[test]
fn a_flood_of_keys_gets_no_more_than_some_keys_would() {
    let limiter = keyed(Algorithm::TokenBucket(vec![rate(1, 1000, 2)]), 1000);
    let mut passed = 0u64;
    let mut now = Nanos::from_secs(1);
    for key in 0..1_000_000u64 {
        now.0 += 10_000;
        passed += u64::from(passes(&limiter, &key.to_le_bytes(), now));
    }
    // In 10 s, so many keys as have places may have 2 + 10 requests each; a million keys may not have twice that.
    assert!(passed < 2 * 1000 * (2 + 10), "{passed}");
    assert_eq!(limiter.state(now).keys, 1000);
}

#[test]
fn keys_that_are_seen_often_keep_their_place_in_a_flood() {
    let limiter = keyed(Algorithm::TokenBucket(vec![rate(1000, 1000, 1000)]), 1024);
    let mut now = Nanos::from_secs(1);
    let hot: Vec<[u8; 8]> = (0..50u64).map(|key| (u64::MAX - key).to_le_bytes()).collect();
    for key in 0..200_000u64 {
        now.0 += 10_000;
        let _ = passes(&limiter, &key.to_le_bytes(), now);
        // Each of them once in 2 ms, half of its rate; a flood of 100,000 keys/s turns all places over in 10 ms.
        if key.is_multiple_of(4) {
            assert!(passes(&limiter, &hot[(key / 4 % 50) as usize], now), "after {key}");
        }
    }
    let state = limiter.state(now);
    assert_eq!((state.keys, state.top.len()), (1024, 10));
}

#[test]
fn fewer_places_keep_what_was_spent() {
    let now = Nanos::from_secs(3);
    let old = keyed(Algorithm::TokenBucket(vec![rate(1, 1000, 1)]), 60);
    for key in 0..60u64 {
        assert!(passes(&old, &key.to_le_bytes(), now));
    }
    let config = LimitConfig { keys_max: 7, ..old.config().clone() };
    let new = Limiter::carry_over(&old, config, now, &mut Vec::new());
    assert_eq!(new.state(now).keys, 7);
    for key in 0..60u64 {
        assert!(!passes(&new, &key.to_le_bytes(), now));
    }
}

#[test]
fn clones_decide_together_and_threads_do_not_lose_keys() {
    let limiter = keyed(Algorithm::TokenBucket(vec![rate(1, 1000, 3)]), 5000);
    let now = Nanos::from_secs(1);
    let passed: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let limiter = limiter.clone();
                scope.spawn(move || {
                    (0..3000u64).filter(|key| passes(&limiter, &key.to_le_bytes(), now)).count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(passed, 9000);
    assert_eq!(limiter.state(now).keys, 3000);
}

/// A slot that was given back makes its shard look for it until it begins, and no longer.
#[test]
fn slots_that_have_begun_are_not_looked_for() {
    let scheme = Scheme::new(&Algorithm::TokenBucket(vec![rate(10, 1000, 10)])).unwrap();
    let table = Table::new(&scheme, 16);
    let key = (1 << 8, b"a".as_slice());
    let mut now = Nanos::from_secs(1);
    let taken: Vec<_> = (0..3).map(|_| table.take(&scheme, key, None, now).unwrap().unwrap()).collect();
    let is_short = |table: &Table| table.decide::<1, _>(key.0, |_| ()).is_some();
    assert!(is_short(&table));
    table.give_back(&scheme, key.0, &taken[1].marks, now);
    assert!(!is_short(&table), "it is to be found");
    now = now + Duration::from_secs(10);
    table.take(&scheme, key, None, now).unwrap().unwrap();
    assert!(is_short(&table), "it has begun");
}
