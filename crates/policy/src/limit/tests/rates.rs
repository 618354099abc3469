//! Rates: the bound of each algorithm, and that what is given back is given back exactly.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use proptest::prelude::*;
use weir_model::resource::rate_limit::{LimitAlgorithm, Queue, Rate, RateLimitSpec, WarmUp};
use weir_model::units::Span;

use super::*;

/// Whether no window of sorted moments holds more than `rate` allows: each i-th after an admission is at least so late.
pub(super) fn within(moments: &[u64], rate: &RateConfig) -> Result<(), String> {
    let interval = rate.per.as_nanos() as f64 / f64::from(rate.requests);
    for (first, from) in moments.iter().enumerate() {
        for (last, to) in moments.iter().enumerate().skip(first) {
            let count = (last - first + 1) as f64;
            let most = (to - from) as f64 / interval + f64::from(rate.burst);
            if count > most + 1e-6 {
                return Err(format!("{count} in {} ns, at most {most}", to - from));
            }
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Ask,
    GiveBackNewest,
    GiveBackOldest,
}

fn acts() -> impl Strategy<Value = Vec<(u64, Act)>> {
    let act =
        prop_oneof![6 => Just(Act::Ask), 2 => Just(Act::GiveBackNewest), 1 => Just(Act::GiveBackOldest)];
    let step = prop_oneof![2 => Just(0u64), 3 => 0..20_000_000u64, 1 => 0..400_000_000u64];
    prop::collection::vec((step, act), 1..200)
}

fn rates() -> impl Strategy<Value = RateConfig> {
    (1..200u32, 1..2000u64, 1..20u32).prop_map(|(requests, per_ms, burst)| rate(requests, per_ms, burst))
}

/// Runs acts; the moments of those that were admitted and not given back.
fn run(limiter: &Limiter, acts: &[(u64, Act)]) -> Vec<u64> {
    let mut now = Nanos::from_secs(5);
    let mut held: Vec<(Grant, u64)> = Vec::new();
    for (step, act) in acts {
        now.0 += step;
        match act {
            Act::Ask => held.extend(admitted(limiter, b"k", now).map(|(grant, turn)| (grant, turn.0))),
            Act::GiveBackNewest => {
                if let Some((grant, _)) = held.pop() {
                    limiter.refund(grant, now, &mut Vec::new());
                }
            }
            Act::GiveBackOldest => {
                if !held.is_empty() {
                    limiter.refund(held.remove(0).0, now, &mut Vec::new());
                }
            }
        }
    }
    let mut moments: Vec<u64> = held.into_iter().map(|(_, turn)| turn).collect();
    moments.sort_unstable();
    moments
}

proptest! {
    #[test]
    fn a_bucket_never_admits_more_than_rate_and_burst(rate in rates(), acts in acts()) {
        let one = limiter(Algorithm::TokenBucket(vec![rate]));
        within(&run(&one, &acts), &rate).map_err(TestCaseError::fail)?;
        // The same by the words of a key.
        let keyed = keyed(Algorithm::TokenBucket(vec![rate]), 10);
        within(&run(&keyed, &acts), &rate).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn several_rates_all_hold(first in rates(), second in rates(), acts in acts()) {
        let moments = run(&limiter(Algorithm::TokenBucket(vec![first, second])), &acts);
        within(&moments, &first).map_err(TestCaseError::fail)?;
        within(&moments, &second).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn what_is_warming_up_never_exceeds_the_full_rate(rate in rates(), acts in acts(), over in 1..20_000u64) {
        let warm_up = WarmUpConfig { over: Duration::from_millis(over), from: 0.25 };
        let moments = run(&limiter(Algorithm::WarmUp { rates: vec![rate], warm_up }), &acts);
        within(&moments, &rate).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn a_leaky_bucket_spaces_evenly(rate in rates(), acts in acts(), max in 0..30u32) {
        let queue = QueueConfig { max, ..QueueConfig::LEAKY };
        let moments = run(&limiter(Algorithm::LeakyBucket { rates: vec![rate], queue }), &acts);
        let interval = (rate.per.as_nanos() as u64).div_ceil(u64::from(rate.requests));
        for pair in moments.windows(2) {
            prop_assert!(pair[1] - pair[0] >= interval, "{} after {}", pair[1], pair[0]);
        }
    }

    #[test]
    fn no_aligned_window_holds_more_than_the_limit_and_no_other_twice_that(rate in rates(), acts in acts()) {
        let moments = run(&limiter(Algorithm::SlidingWindow(vec![rate])), &acts);
        let length = rate.per.as_nanos() as u64;
        for (at, from) in moments.iter().enumerate() {
            let aligned = moments.iter().filter(|moment| *moment / length == from / length).count();
            prop_assert!(aligned <= rate.requests as usize);
            let sliding = moments[at..].iter().filter(|moment| *moment - from < length).count();
            prop_assert!(sliding <= 2 * rate.requests as usize);
        }
    }

    /// Taken and given back at once, in whatever order, it is as if nothing had come.
    #[test]
    fn what_is_given_back_at_once_leaves_no_trace(
        rates in prop::collection::vec(rates(), 1..=RATES_MAX),
        warm in any::<u8>(),
        before in acts(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..20),
    ) {
        let algorithm = match warm % 3 {
            0 => Algorithm::TokenBucket(rates),
            1 => Algorithm::SlidingWindow(rates),
            _ => Algorithm::LeakyBucket { rates: vec![rates[0]], queue: QueueConfig::LEAKY },
        };
        let now = Nanos::from_secs(100_000);
        let (touched, untouched) = (limiter(algorithm.clone()), limiter(algorithm));
        for limiter in [&touched, &untouched] {
            run(limiter, &before);
            let _ = admitted(limiter, b"k", now);
        }
        let mut held: Vec<Grant> =
            order.iter().filter_map(|_| admitted(&touched, b"k", now)).map(|(grant, _)| grant).collect();
        for index in &order {
            if !held.is_empty() {
                touched.refund(held.swap_remove(index.index(held.len())), now, &mut Vec::new());
            }
        }
        let left = |limiter: &Limiter| {
            let mut turns: Vec<u64> =
                std::iter::from_fn(|| admitted(limiter, b"k", now)).take(300).map(|(_, turn)| turn.0).collect();
            turns.sort_unstable();
            turns
        };
        prop_assert_eq!(left(&touched), left(&untouched));
    }

    #[test]
    fn a_refusal_says_when_to_come_again(rates in prop::collection::vec(rates(), 1..3), kind in 0..4u8, acts in acts()) {
        let limiter = limiter(match kind {
            0 => Algorithm::TokenBucket(rates),
            1 => Algorithm::SlidingWindow(rates),
            2 => Algorithm::WarmUp { rates, warm_up: WarmUpConfig::default() },
            _ => Algorithm::LeakyBucket { rates, queue: QueueConfig::LEAKY },
        });
        run(&limiter, &acts);
        let mut now = Nanos::from_secs(5 + 200);
        for _ in 0..5_000 {
            match limiter.admit(&Request::default(), now, &mut Vec::new()) {
                Verdict::Refuse(refusal) => {
                    prop_assert!(refusal.retry_after > Duration::ZERO);
                    prop_assert!(refusal.quota.unwrap().remaining == 0 || kind > 0);
                    now = now + refusal.retry_after;
                    prop_assert!(passes(&limiter, b"", now), "not at {now:?}");
                    return Ok(());
                }
                _ => now.0 += 1000,
            }
        }
    }
}

/// With threads whose clocks are the same: the count that passes in all is exact.
#[test]
fn threads_together_get_no_more_than_one_would() {
    let rate = rate(1000, 1000, 50);
    let warm_up = WarmUpConfig { over: Duration::from_millis(100), from: 0.99 };
    for (limiter, least) in [
        (limiter(Algorithm::TokenBucket(vec![rate])), 2000),
        (limiter(Algorithm::TokenBucket(vec![rate, rate])), 2000),
        (keyed(Algorithm::TokenBucket(vec![rate]), 100), 2000),
        // What is estimated, or begins slowly, lets through a little less.
        (limiter(Algorithm::SlidingWindow(vec![rate])), 1900),
        (limiter(Algorithm::SlidingWindow(vec![rate, rate])), 1900),
        (limiter(Algorithm::WarmUp { rates: vec![rate], warm_up }), 1900),
        (limiter(Algorithm::WarmUp { rates: vec![rate, rate], warm_up }), 1900),
    ] {
        let (clock, passed) = (AtomicU64::new(1_000_000_000), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50_000 {
                        let now = Nanos(clock.fetch_add(10_000, Ordering::Relaxed));
                        passed.fetch_add(u64::from(passes(&limiter, b"k", now)), Ordering::Relaxed);
                    }
                });
            }
        });
        // 200,000 steps of 10 us are 2 s.
        let passed = passed.into_inner();
        assert!(passed <= 2000 + 50, "{passed}");
        assert!(passed >= least, "{passed}");
    }
}

/// At one moment, whatever threads take and give back: exactly what they kept is missing.
#[test]
fn giving_back_is_exact_with_threads() {
    let rate = rate(1000, 1000, 10_000);
    for limiter in
        [limiter(Algorithm::TokenBucket(vec![rate])), limiter(Algorithm::SlidingWindow(vec![rate]))]
    {
        let now = Nanos::from_secs(10);
        let kept = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..5_000 {
                        let Some((grant, _)) = admitted(&limiter, b"", now) else { continue };
                        if round % 50 == 0 {
                            kept.fetch_add(1, Ordering::Relaxed);
                        } else {
                            limiter.refund(grant, now, &mut Vec::new());
                        }
                    }
                });
            }
        });
        let most =
            if matches!(limiter.config().algorithm, Algorithm::TokenBucket(_)) { 10_000 } else { 1000 };
        let rest = std::iter::from_fn(|| admitted(&limiter, b"", now)).count() as u64;
        assert_eq!(kept.into_inner() + rest, most);
    }
}

/// How many of evenly spread requests pass, second by second.
fn per_second(limiter: &Limiter, from: Nanos, secs: u64, offered: u64) -> Vec<u64> {
    let second = |second: u64| {
        let at = |n: u64| Nanos(from.0 + second * 1_000_000_000 + n * 1_000_000_000 / offered);
        (0..offered).filter(|n| passes(limiter, b"", at(*n))).count() as u64
    };
    (0..secs).map(second).collect()
}

#[test]
fn a_rate_climbs_from_a_third_over_ten_seconds_and_cools_when_idle() {
    let warm_up = WarmUpConfig::default();
    let limiter = limiter(Algorithm::WarmUp { rates: vec![rate(900, 1000, 10)], warm_up });
    let check = |counts: &[u64]| {
        assert!((300..=340).contains(&counts[0]), "{counts:?}");
        assert!((590..=650).contains(&counts[5]), "{counts:?}");
        assert!((890..=900).contains(&counts[11]), "{counts:?}");
        assert!(counts.is_sorted(), "{counts:?}");
    };
    check(&per_second(&limiter, Nanos::from_secs(100), 12, 5000));
    // Half as long idle as it takes to warm up: half as warm.
    let counts = per_second(&limiter, Nanos::from_secs(117), 12, 5000);
    assert!((580..=650).contains(&counts[0]), "{counts:?}");
    check(&per_second(&limiter, Nanos::from_secs(200), 12, 5000));
}

#[test]
fn a_tenth_of_the_rate_keeps_it_cold_and_is_never_refused() {
    let warm_up = WarmUpConfig::default();
    let limiter = limiter(Algorithm::WarmUp { rates: vec![rate(900, 1000, 1)], warm_up });
    assert_eq!(per_second(&limiter, Nanos::from_secs(10), 30, 90), vec![90; 30]);
    let counts = per_second(&limiter, Nanos::from_secs(40), 1, 5000);
    assert!((300..=340).contains(&counts[0]), "{counts:?}");
}

#[test]
fn a_sliding_window_admits_its_limit_of_what_comes_evenly() {
    let limiter = limiter(Algorithm::SlidingWindow(vec![rate(100, 1000, 1), rate(1000, 60_000, 1)]));
    let counts = per_second(&limiter, Nanos::from_secs(600), 60, 200);
    assert_eq!(counts.iter().sum::<u64>(), 1000, "{counts:?}");
    assert!(counts[..9].iter().all(|count| (95..=100).contains(count)), "{counts:?}");
}

#[test]
fn quotas_count_down_and_tell_when_they_are_whole_again() {
    let limiter = limiter(Algorithm::TokenBucket(vec![rate(100, 60_000, 10)]));
    let now = Nanos::from_secs(9);
    for left in (0..10).rev() {
        let Verdict::Admit(_grant, Some(quota)) = limiter.admit(&Request::default(), now, &mut Vec::new())
        else {
            panic!("{left} should be left")
        };
        assert_eq!((quota.limit, quota.window, quota.remaining), (100, Duration::from_secs(60), left));
        assert_eq!(quota.reset, Duration::from_millis(600) * (10 - left));
    }
    let Verdict::Refuse(refusal) = limiter.admit(&Request::default(), now, &mut Vec::new()) else { panic!() };
    assert_eq!((refusal.why, refusal.retry_after), (Why::Rate, Duration::from_millis(600)));
    assert_eq!((refusal.retry_after_secs(), refusal.quota.unwrap().reset_secs()), (1, 6));
    assert_eq!(
        limiter.state(now).to_string(),
        "token_bucket: 0 left of a burst of 10 (100 in 60s), all in 6s"
    );
}

#[test]
fn another_rate_keeps_what_was_spent_and_another_algorithm_does_not() {
    let now = Nanos::from_secs(50);
    let left = |limiter: &Limiter| std::iter::from_fn(|| admitted(limiter, b"k", now)).count();
    for (from, to) in [
        (Algorithm::TokenBucket(vec![rate(10, 1000, 10)]), Algorithm::TokenBucket(vec![rate(20, 500, 15)])),
        (
            Algorithm::TokenBucket(vec![rate(10, 1000, 10), rate(100, 1000, 50)]),
            Algorithm::TokenBucket(vec![rate(20, 500, 15), rate(100, 1000, 50)]),
        ),
        (
            Algorithm::SlidingWindow(vec![rate(10, 1000, 1)]),
            Algorithm::SlidingWindow(vec![rate(15, 3000, 1)]),
        ),
    ] {
        for old in [limiter(from.clone()), keyed(from, 10)] {
            (0..6).for_each(|_| assert!(passes(&old, b"k", now)));
            let changed = LimitConfig { algorithm: to.clone(), ..old.config().clone() };
            let new = Limiter::carry_over(&old, changed.clone(), now, &mut Vec::new());
            assert_eq!(left(&new), 15 - 6, "{:?}", new.config());
            assert_eq!(left(&Limiter::carry_over(&new, changed.clone(), now, &mut Vec::new())), 0);
            let other = Algorithm::LeakyBucket { rates: vec![rate(1, 1000, 1)], queue: QueueConfig::LEAKY };
            let other =
                Limiter::carry_over(&new, LimitConfig { algorithm: other, ..changed }, now, &mut Vec::new());
            assert_eq!(other.config().algorithm.name(), "leaky_bucket");
            assert!(passes(&other, b"k", now));
        }
    }
}

#[test]
fn what_was_taken_at_another_rate_is_not_given_back() {
    let now = Nanos::from_secs(50);
    let old = limiter(Algorithm::TokenBucket(vec![rate(10, 1000, 2)]));
    let (grant, _) = admitted(&old, b"", now).unwrap();
    let config =
        LimitConfig { algorithm: Algorithm::TokenBucket(vec![rate(10, 1000, 3)]), ..old.config().clone() };
    let new = Limiter::carry_over(&old, config, now, &mut Vec::new());
    new.refund(grant, now, &mut Vec::new());
    assert_eq!(std::iter::from_fn(|| admitted(&new, b"", now)).count(), 2);
}

#[test]
fn specs_are_read_with_defaults() {
    let spec = RateLimitSpec {
        rates: vec![Rate { requests: 5, per: None, burst: None }],
        warm_up: Some(WarmUp { over: None, from: Some(0.5) }),
        queue: Some(Queue { max: None, timeout: Some(Span(Duration::from_secs(1))) }),
        ..RateLimitSpec::default()
    };
    let read = |algorithm| LimitConfig::from_spec(&RateLimitSpec { algorithm, ..spec.clone() });
    let five = vec![RateConfig::per_second(5)];
    let config = read(LimitAlgorithm::TokenBucket);
    assert_eq!(config.algorithm, Algorithm::TokenBucket(five.clone()));
    assert_eq!((config.keys_max, config.shadow, config.is_keyed()), (10_000, false, false));
    let warm_up = WarmUpConfig { over: Duration::from_secs(10), from: 0.5 };
    assert_eq!(read(LimitAlgorithm::WarmUp).algorithm, Algorithm::WarmUp { rates: five.clone(), warm_up });
    let second = Duration::from_secs(1);
    let queue = QueueConfig { max: 100, timeout: second, timeout_backlog: second };
    assert_eq!(read(LimitAlgorithm::LeakyBucket).algorithm, Algorithm::LeakyBucket { rates: five, queue });
    let queue = QueueConfig { max: 0, timeout: second, timeout_backlog: Duration::from_millis(50) };
    let gate = GateConfig { queue, levels: 1 };
    let adaptive = AdaptiveConfig { min: 1, max: 1000, initial: 20 };
    assert_eq!(read(LimitAlgorithm::Adaptive).algorithm, Algorithm::Adaptive { adaptive, gate });
}

#[test]
fn hostile_numbers_do_not_panic() {
    let spec = RateLimitSpec {
        rates: vec![Rate { requests: 0, per: Some(Span(Duration::ZERO)), burst: Some(0) }; 9],
        queue: Some(Queue { max: Some(u32::MAX), timeout: Some(Span(Duration::MAX)) }),
        warm_up: Some(WarmUp { over: Some(Span(Duration::ZERO)), from: Some(f64::NAN) }),
        concurrency_max: Some(0),
        concurrency_min: Some(u32::MAX),
        ..RateLimitSpec::default()
    };
    for algorithm in [
        LimitAlgorithm::TokenBucket,
        LimitAlgorithm::LeakyBucket,
        LimitAlgorithm::SlidingWindow,
        LimitAlgorithm::WarmUp,
        LimitAlgorithm::Concurrency,
        LimitAlgorithm::Adaptive,
    ] {
        let limiter = Limiter::new(LimitConfig::from_spec(&RateLimitSpec { algorithm, ..spec.clone() }), 1);
        for now in [Nanos(0), Nanos(u64::MAX), Nanos(1), Nanos(u64::MAX - 1)] {
            for _ in 0..3 {
                let mut wakes = Vec::new();
                if let Verdict::Admit(grant, _) | Verdict::Turn(grant, ..) =
                    limiter.admit(&Request::default(), now, &mut wakes)
                {
                    limiter.refund(grant, now, &mut wakes);
                }
                let _ = limiter.state(now).to_string();
            }
        }
    }
}
