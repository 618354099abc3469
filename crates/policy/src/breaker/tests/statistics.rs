//! What the statistical strategies promise, on average.

use rand::RngExt;

use super::*;
use crate::testing::seeded;

fn cusum(config: CusumConfig) -> Meter {
    Meter::new(&Strategy::Statistical(config))
}

/// Calls until it trips, of which a share fails.
fn run_length(meter: &mut Meter, share: f64, rng: &mut StdRng) -> u64 {
    meter.clear();
    let mut calls = 0;
    loop {
        calls += 1;
        if rng.random::<f64>() >= share {
            meter.good(1);
        } else if meter.bad(true, false).is_some() {
            return calls;
        }
    }
}

fn mean_run_length(config: CusumConfig, share: f64, runs: u64) -> f64 {
    let (mut rng, _seed) = seeded();
    let mut meter = cusum(config);
    (0..runs).map(|_| run_length(&mut meter, share, &mut rng)).sum::<u64>() as f64 / runs as f64
}

/// The promise: at the normal share, calls between false trips are on average at least as many as declared.
#[test]
fn false_trips_are_as_rare_as_declared() {
    for (normal, failing, declared) in [(0.01, 0.1, 200), (0.05, 0.1, 200), (0.01, 0.5, 100), (0.2, 0.4, 200)]
    {
        let config =
            CusumConfig { normal_ratio: normal, failing_ratio: failing, calls_to_false_trip: declared };
        let mean = mean_run_length(config, normal, 200);
        // A run is distributed nearly exponentially, so the mean of 200 has a standard deviation of 7 % at most.
        assert!(mean >= declared as f64 * 0.9, "{normal} {failing}: {mean} of {declared}");
    }
}

#[test]
fn what_it_is_to_find_out_it_finds_out_at_once() {
    let mean = mean_run_length(CusumConfig::default(), 0.1, 2_000);
    // Threshold / drift = 13.8 / (0.1 * 2.303 - 0.9 * 0.0953) = 95.6, and the overshoot.
    assert!((90.0..140.0).contains(&mean), "{mean}");
    let broken = mean_run_length(CusumConfig::default(), 1.0, 1);
    assert!((broken - 6.0).abs() < f64::EPSILON, "13.8 / 2.303 = 6: {broken}");
}

/// The promise holds at the normal share only: twice that trips about every 96,000 calls.
#[test]
fn a_share_between_the_two_trips_now_and_then() {
    let mean = mean_run_length(CusumConfig::default(), 0.02, 30);
    assert!((40_000.0..200_000.0).contains(&mean), "{mean}");
}

/// Successes that are handed in together make no difference.
#[test]
fn successes_in_bulk_are_successes_one_by_one() {
    let (mut rng, _seed) = seeded();
    let (mut bulk, mut single) = (cusum(CusumConfig::default()), cusum(CusumConfig::default()));
    for _ in 0..2_000 {
        let successes = rng.random_range(0..40);
        bulk.good(successes);
        (0..successes).for_each(|_| single.good(1));
        assert_eq!(bulk.bad(true, false).is_some(), single.bad(true, false).is_some());
        let (Meter::Cusum(a), Meter::Cusum(b)) = (&bulk, &single) else { unreachable!() };
        assert!((a.sum - b.sum).abs() < 1e-6);
        if a.sum > 20.0 {
            bulk.clear();
            single.clear();
        }
    }
}

/// A service accepts so many calls a second; the callers want more. What reaches it settles at K times that.
#[test]
fn the_throttle_settles_at_a_multiple_of_what_is_accepted() {
    for (factor, wanted, accepted) in [(2.0, 1_000u64, 100), (1.5, 500, 50), (2.0, 150, 100)] {
        let config = ThrottleConfig { factor, window: Duration::from_secs(20), ..ThrottleConfig::default() };
        let mut world =
            World::new(BreakerConfig { strategy: Strategy::Throttle(config), ..BreakerConfig::default() });
        let mut reached = 0;
        let mut began = 0;
        for second in 0..120 {
            let mut room = accepted;
            for _ in 0..wanted {
                world.now = world.now + Duration::from_nanos(1_000_000_000 / wanted);
                let Ok(permit) = world.admit() else { continue };
                reached += u64::from(second >= 60);
                let outcome = if room > 0 { OK } else { FAILED };
                room = u64::saturating_sub(room, 1);
                let said = world.record(permit, outcome);
                began +=
                    u32::from(said.is_some_and(|said| matches!(said.cause, Cause::ThrottleBegan { .. })));
            }
        }
        let expected = (accepted as f64 * factor).min(wanted as f64) * 60.0;
        let ratio = reached as f64 / expected;
        assert!((0.93..1.07).contains(&ratio), "{factor} {wanted} {accepted}: {reached} of {expected}");
        assert_eq!(began, u32::from(wanted as f64 > accepted as f64 * factor), "said once");
    }
}

#[test]
fn the_throttle_is_quiet_again_when_all_is_well() {
    let config = ThrottleConfig { window: Duration::from_secs(10), ..ThrottleConfig::default() };
    let mut world =
        World::new(BreakerConfig { strategy: Strategy::Throttle(config), ..BreakerConfig::default() });
    (0..100).for_each(|_| {
        if let Ok(permit) = world.admit() {
            world.record(permit, FAILED);
        }
    });
    assert!(world.breaker.is_guarded());
    let refusal = (0..1_000).find_map(|_| world.admit().err()).expect("nearly all are refused");
    assert_eq!(refusal.why, Why::Throttle);
    world.sleep(10_000);
    let Admission::Admit { permit, transition } = world.breaker.admit(world.now, &mut world.rng) else {
        panic!()
    };
    assert!(matches!(transition.unwrap().cause, Cause::ThrottleEnded { .. }));
    world.record(permit, OK);
    assert!(!world.breaker.is_guarded());
}

#[test]
fn the_throttle_does_not_judge_by_a_few_calls() {
    let check = |calls_min: u32| {
        let config = ThrottleConfig { calls_min, ..ThrottleConfig::default() };
        let mut world =
            World::new(BreakerConfig { strategy: Strategy::Throttle(config), ..BreakerConfig::default() });
        for call in 1..calls_min {
            let permit = world.admit().expect("none is refused yet");
            assert_eq!(world.record(permit, FAILED), None, "call {call} of {calls_min}");
        }
        let permit = world.admit().expect("none is refused yet");
        let said = world.record(permit, FAILED).expect("that is enough");
        let Cause::ThrottleBegan { requests, accepts, refusing } = said.cause else { panic!("{said}") };
        let calls = f64::from(calls_min);
        assert_eq!((requests, accepts, refusing), (u64::from(calls_min), 0, calls / (calls + 1.0)));
    };
    [1, 2, 20, 50].into_iter().for_each(check);
}
