//! When breakers open, what they let through, and what they can never be brought to do.

mod properties;
mod statistics;

use rand::SeedableRng;
use rand::rngs::StdRng;
use weir_model::resource::traffic_policy::Breaker as Spec;

use super::*;

const OK: CallOutcome = CallOutcome::success(Duration::from_millis(1));
const FAILED: CallOutcome = CallOutcome::failure(Duration::from_millis(1));
const SLOW: CallOutcome = CallOutcome::success(Duration::from_secs(2));

/// A breaker, its time, and chance that is always the same.
struct World {
    breaker: Breaker,
    now: Nanos,
    rng: StdRng,
}

impl World {
    fn new(config: BreakerConfig) -> Self {
        Self { breaker: Breaker::new(config), now: Nanos::from_secs(100), rng: StdRng::seed_from_u64(7) }
    }

    fn sleep(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
    }

    fn admit(&mut self) -> Result<Permit, Refusal> {
        match self.breaker.admit(self.now, &mut self.rng) {
            Admission::Admit { permit, .. } => Ok(permit),
            Admission::Refuse(refusal) => Err(refusal),
        }
    }

    fn record(&mut self, permit: Permit, outcome: CallOutcome) -> Option<Transition> {
        self.breaker.record(permit, outcome, self.now)
    }

    /// One call that must be let through.
    #[track_caller]
    fn call(&mut self, outcome: CallOutcome) -> Option<Transition> {
        let permit = self.admit().expect("let through");
        self.record(permit, outcome)
    }

    /// Calls until it opens; how many that took.
    fn calls_until_open(&mut self, outcome: CallOutcome) -> (u32, Transition) {
        (1..100_000)
            .find_map(|n| {
                let permit = self.admit().ok()?;
                self.record(permit, outcome).map(|transition| (n, transition))
            })
            .expect("it opens")
    }

    fn phase(&mut self) -> Phase {
        self.breaker.state(self.now).phase
    }
}

fn consecutive(failures: u32) -> BreakerConfig {
    BreakerConfig { strategy: Strategy::Consecutive { failures }, ..BreakerConfig::default() }
}

fn window(config: WindowConfig) -> BreakerConfig {
    BreakerConfig { strategy: Strategy::Window(config), ..BreakerConfig::default() }
}

#[test]
fn the_window_opens_at_its_share_of_enough_calls() {
    let mut world = World::new(BreakerConfig::default());
    for _ in 0..10 {
        assert_eq!(world.call(OK), None);
    }
    for _ in 0..9 {
        assert_eq!(world.call(FAILED), None);
    }
    let opened = world.call(FAILED).unwrap();
    assert_eq!(opened.cause, Cause::FailureRatio { failures: 10, calls: 20, ratio_max: 0.5 });
    assert_eq!(opened.to_string(), "closed -> open: 10 of 20 calls failed (at most 0.5); open for 5s",);
    assert_eq!(world.admit(), Err(Refusal { retry_after: Duration::from_secs(5), why: Why::Open }));
    world.sleep(3_500);
    assert_eq!(world.admit(), Err(Refusal { retry_after: Duration::from_millis(1_500), why: Why::Open }));
    assert_eq!(
        world.breaker.state(world.now).to_string(),
        "open (window): 0 failed (opens at 0.5) of 0 calls (at least 20); probed in 1.5s; \
         opened 1 time, refused 2 calls",
    );
    world.sleep(1_500);
    let text = world.breaker.state(world.now).to_string();
    assert!(text.contains("(at least 20); the next call is a probe; opened 1 time"), "{text}");
}

#[test]
fn the_window_forgets() {
    let mut world = World::new(BreakerConfig::default());
    for _ in 0..19 {
        assert_eq!(world.call(FAILED), None);
    }
    world.sleep(10_000);
    for _ in 0..19 {
        assert_eq!(world.call(FAILED), None, "the first are forgotten");
    }
    assert!(world.call(FAILED).is_some());
}

#[test]
fn a_window_of_calls_forgets_by_calls() {
    let span = WindowSpan::Calls(10);
    let mut world = World::new(window(WindowConfig { span, calls_min: 10, ..WindowConfig::default() }));
    for _ in 0..4 {
        assert_eq!(world.call(FAILED), None);
    }
    for _ in 0..10 {
        assert_eq!(world.call(OK), None);
    }
    world.sleep(1_000_000);
    for _ in 0..4 {
        assert_eq!(world.call(FAILED), None);
    }
    let opened = world.call(FAILED).unwrap();
    assert_eq!(opened.cause, Cause::FailureRatio { failures: 5, calls: 10, ratio_max: 0.5 });
}

#[test]
fn slow_calls_open_it_and_slow_probes_keep_it_open() {
    let slow_call = Some(Duration::from_secs(1));
    let mut world =
        World::new(window(WindowConfig { slow_call, slow_ratio: 0.8, ..WindowConfig::default() }));
    let state = world.breaker.state(world.now).to_string();
    assert!(
        state.contains("0 failed (opens at 0.5) and 0 slow (at 0.8) of 0 calls (at least 20)"),
        "{state}"
    );
    for _ in 0..4 {
        assert_eq!(world.call(OK), None);
    }
    let (calls, opened) = world.calls_until_open(SLOW);
    assert_eq!((calls, opened.cause), (16, Cause::SlowRatio { slow: 16, calls: 20, ratio_max: 0.8 }));
    world.sleep(5_000);
    assert_eq!(world.call(SLOW), None);
    assert_eq!(world.call(SLOW), None);
    let reopened = world.call(SLOW).unwrap();
    assert_eq!(reopened.cause, Cause::ProbesSlow { slow: 3, successes: 3 });
    assert_eq!(reopened.open_for, Some(Duration::from_secs(10)));
    // Two of three are fewer than 80 %.
    world.sleep(10_000);
    assert_eq!(world.call(SLOW), None);
    assert_eq!(world.call(OK), None);
    assert_eq!(world.call(SLOW).unwrap().to, Phase::Closed);
}

#[test]
fn consecutive_failures_open_it_and_one_failed_probe_again() {
    let mut world = World::new(consecutive(3));
    world.call(FAILED);
    world.call(FAILED);
    world.call(OK);
    let (calls, opened) = world.calls_until_open(FAILED);
    assert_eq!((calls, opened.cause), (3, Cause::Consecutive { failures: 3 }));
    world.sleep(5_000);
    assert_eq!(world.call(OK), None);
    let reopened = world.call(FAILED).unwrap();
    assert_eq!(reopened.cause, Cause::ProbesFailed { failures: 1, successes: 1 });
    assert_eq!((reopened.from, reopened.to), (Phase::HalfOpen, Phase::Open));
}

#[test]
fn it_stays_open_twice_as_long_each_time_until_it_was_closed_for_long() {
    let mut world = World::new(consecutive(1));
    assert_eq!(world.call(FAILED).unwrap().open_for, Some(Duration::from_secs(5)));
    for (waited, next) in [(5, 10), (10, 20), (20, 40), (40, 60), (60, 60)] {
        world.sleep(waited * 1_000);
        assert_eq!(world.call(FAILED).unwrap().open_for, Some(Duration::from_secs(next)));
    }
    let close = |world: &mut World| {
        world.sleep(60_000);
        (0..3).for_each(|_| {
            world.call(OK);
        });
        assert_eq!(world.phase(), Phase::Closed);
    };
    close(&mut world);
    // The ramp of 10 s, and 60 s.
    world.sleep(69_999);
    assert_eq!(world.call(FAILED).unwrap().open_for, Some(Duration::from_secs(60)));
    close(&mut world);
    world.sleep(70_000);
    assert_eq!(world.call(FAILED).unwrap().open_for, Some(Duration::from_secs(5)));
}

#[test]
fn half_open_lets_as_many_through_as_can_close_it() {
    let mut world = World::new(consecutive(1));
    world.call(FAILED);
    world.sleep(5_000);
    let Admission::Admit { permit: first, transition } = world.breaker.admit(world.now, &mut world.rng)
    else {
        panic!("refused")
    };
    assert_eq!(transition.unwrap().to_string(), "open -> half_open: it was open for 5s");
    assert!(first.is_probe());
    let (second, third) = (world.admit().unwrap(), world.admit().unwrap());
    assert_eq!(world.admit().unwrap_err().why, Why::HalfOpen);
    // One that was cancelled gives its place to another; one that succeeded does not.
    assert_eq!(world.record(second, CallOutcome::CANCELLED), None);
    let fourth = world.admit().unwrap();
    assert_eq!(world.record(third, OK), None);
    assert_eq!(world.admit().unwrap_err().why, Why::HalfOpen);
    assert_eq!(world.record(first, OK), None);
    let closed = world.record(fourth, OK).unwrap();
    assert_eq!(closed.to_string(), "half_open -> closed: 3 probes succeeded, 0 failed");
}

#[test]
fn a_probe_that_is_lost_gives_its_place_to_another() {
    let mut world = World::new(consecutive(1));
    world.call(FAILED);
    world.sleep(5_000);
    let late = world.admit().unwrap();
    drop((world.admit().unwrap(), world.admit().unwrap()));
    world.sleep(29_999);
    assert_eq!(world.admit(), Err(Refusal { retry_after: Duration::from_millis(1), why: Why::HalfOpen }));
    world.sleep(1);
    assert_eq!(world.record(late, OK), None, "its lease is over: it counts no more");
    for _ in 0..3 {
        assert_eq!(world.phase(), Phase::HalfOpen);
        world.call(OK);
    }
    assert_eq!(world.phase(), Phase::Closed);
    assert_eq!(world.breaker.state(world.now).probes_lost, 3);
}

#[test]
fn what_began_before_a_transition_counts_no_more() {
    let mut world = World::new(consecutive(1));
    let before: Vec<Permit> = (0..4).map(|_| world.admit().unwrap()).collect();
    world.call(FAILED);
    world.sleep(5_000);
    let mut before = before.into_iter();
    let mut late = |world: &mut World| {
        assert_eq!(world.breaker.record(before.next().unwrap(), FAILED, world.now), None);
    };
    late(&mut world);
    world.call(OK);
    late(&mut world);
    world.call(OK);
    world.call(OK);
    late(&mut world);
    assert_eq!(world.phase(), Phase::Closed);
}

#[test]
fn closed_again_it_lets_calls_through_by_and_by() {
    let mut world = World::new(consecutive(1));
    world.call(FAILED);
    world.sleep(5_000);
    (0..3).for_each(|_| {
        world.call(OK);
    });
    for (step, share) in [(0, 0.1), (500, 0.1), (2_000, 0.25), (2_500, 0.5), (4_000, 0.9)] {
        world.sleep(step);
        let admitted = (0..10_000).filter(|_| world.admit().is_ok()).count();
        assert!((admitted as f64 / 10_000.0 - share).abs() < 0.03, "{admitted} of 10000 at {share}");
        assert_eq!(
            world.breaker.state(world.now).ramp_share.map(|share| (share * 100.0).round()),
            Some(share * 100.0)
        );
    }
    world.sleep(1_000);
    assert_eq!(world.breaker.state(world.now).ramp_share, None);
    assert!((0..1_000).all(|_| world.admit().is_ok()));
}

#[test]
fn counters_outlive_a_change_of_configuration() {
    let mut world = World::new(BreakerConfig::default());
    for _ in 0..19 {
        world.call(FAILED);
    }
    let strict = WindowConfig { span: WindowSpan::Time(Duration::from_secs(60)), ..WindowConfig::default() };
    world.breaker.reconfigure(window(strict), world.now);
    world.sleep(30_000);
    assert_eq!(
        world.call(FAILED).unwrap().cause,
        Cause::FailureRatio { failures: 20, calls: 20, ratio_max: 0.5 }
    );
    // It stays open, for as long as the new one says.
    let shorter = BreakerConfig { open: Duration::from_secs(1), ..window(strict) };
    world.breaker.reconfigure(shorter, world.now);
    assert_eq!(world.phase(), Phase::Open);
    world.sleep(999);
    assert!(world.admit().is_err());
    world.sleep(1);
    world.call(OK);
    assert_eq!(world.phase(), Phase::HalfOpen);

    let mut world =
        World::new(window(WindowConfig { span: WindowSpan::Calls(100), ..WindowConfig::default() }));
    (0..10).for_each(|_| {
        world.call(FAILED);
    });
    let few = WindowConfig { span: WindowSpan::Calls(8), calls_min: 8, ..WindowConfig::default() };
    world.breaker.reconfigure(window(few), world.now);
    let Reading::Window { counts, .. } = world.breaker.state(world.now).reading else { panic!() };
    assert_eq!(counts, Counts { calls: 8, failures: 8, slow: 0 });

    let mut world = World::new(consecutive(5));
    (0..3).for_each(|_| {
        world.call(FAILED);
    });
    world.breaker.reconfigure(consecutive(4), world.now);
    assert!(world.call(FAILED).is_some());
}

#[test]
fn another_strategy_begins_anew() {
    let mut world = World::new(consecutive(1));
    world.call(FAILED);
    let late = World::new(consecutive(1)).admit().unwrap();
    world.sleep(5_000);
    assert_eq!(world.call(FAILED).unwrap().open_for, Some(Duration::from_secs(10)));
    let throttle =
        BreakerConfig { strategy: Strategy::Throttle(ThrottleConfig::default()), ..consecutive(1) };
    for config in [throttle, consecutive(1)] {
        world.breaker.reconfigure(config, world.now);
        let state = world.breaker.state(world.now);
        assert_eq!((state.phase, state.ramp_share, state.openings, state.trips), (Phase::Closed, None, 0, 2));
    }
    // What began before counts no more, and it opens as for the first time.
    assert_eq!(world.record(late, FAILED), None);
    assert_eq!(world.call(FAILED).unwrap().open_for, Some(Duration::from_secs(5)));
}

#[test]
fn a_document_fills_in_defaults_and_absurd_ones_do_no_harm() {
    assert_eq!(BreakerConfig::from_spec(&Spec::default()), BreakerConfig::default());
    let spec = |text: &str| BreakerConfig::from_spec(&serde(text));
    assert_eq!(spec("strategy: consecutive").strategy, Strategy::Consecutive { failures: 5 });
    assert_eq!(spec("strategy: statistical").strategy, Strategy::Statistical(CusumConfig::default()));
    assert_eq!(spec("strategy: throttle").strategy, Strategy::Throttle(ThrottleConfig::default()));
    let eager = ThrottleConfig { calls_min: 3, ..ThrottleConfig::default() };
    assert_eq!(spec("strategy: throttle, callsMin: 3").strategy, Strategy::Throttle(eager));
    assert_eq!(
        spec("windowCalls: 10").strategy,
        Strategy::Window(WindowConfig {
            span: WindowSpan::Calls(10),
            calls_min: 10,
            ..WindowConfig::default()
        }),
        "it need not have more calls than fit",
    );
    let absurd = spec("failureRatio: -1, probes: 0, open: 0s, openMax: 0s, callsMin: 0, window: 0s");
    let mut world = World::new(absurd);
    assert_eq!(world.call(OK), None);
    assert!(world.call(FAILED).is_some());
    let Strategy::Statistical(cusum) =
        spec("strategy: statistical, normalRatio: 1, failingRatio: 0.5, callsToFalseTrip: 0").strategy
    else {
        panic!()
    };
    assert!(cusum.normal_ratio < cusum.failing_ratio && cusum.failing_ratio < 1.0);
}

/// A document of one line.
fn serde(text: &str) -> Spec {
    let mut spec = Spec::default();
    let number = |value: &str| value.parse::<f64>().unwrap();
    let span = |value: &str| Some(value.parse().unwrap());
    for (name, value) in text.split(", ").map(|field| field.split_once(": ").unwrap()) {
        use weir_model::resource::traffic_policy::BreakerStrategy as Named;
        match name {
            "strategy" => {
                spec.strategy = match value {
                    "consecutive" => Named::Consecutive,
                    "statistical" => Named::Statistical,
                    _ => Named::Throttle,
                }
            }
            "windowCalls" => spec.window_calls = Some(number(value) as u32),
            "probes" => spec.probes = Some(number(value) as u32),
            "callsMin" => spec.calls_min = Some(number(value) as u32),
            "callsToFalseTrip" => spec.calls_to_false_trip = Some(number(value) as u64),
            "failureRatio" => spec.failure_ratio = Some(number(value)),
            "normalRatio" => spec.normal_ratio = Some(number(value)),
            "failingRatio" => spec.failing_ratio = Some(number(value)),
            "open" => spec.open = span(value),
            "openMax" => spec.open_max = span(value),
            "window" => spec.window = span(value),
            other => panic!("{other}"),
        }
    }
    spec
}
