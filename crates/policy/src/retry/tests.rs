//! When a request is tried again, and how far that can go.

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::testing::seeded;

/// A GET whose only attempt failed, with everything in its favour but that it may have been sent.
const GET: Facts = Facts {
    attempts: 1,
    idempotent: true,
    unsent: false,
    replayable: true,
    response_begun: false,
    another_endpoint: true,
    deadline: None,
};
const POST: Facts = Facts { idempotent: false, ..GET };

fn plenty() -> Budget {
    Budget::new(BudgetConfig::default())
}

#[track_caller]
fn check(failure: Failure, facts: Facts, expected: Result<bool, GiveUp>) {
    let (mut rng, _seed) = seeded();
    let decision = decide(&RetryPolicy::default(), failure, &facts, &mut plenty(), Nanos(0), &mut rng);
    let found = match decision {
        Decision::Retry { delay } => Ok(delay.is_zero()),
        Decision::GiveUp(reason) => Err(reason),
    };
    assert_eq!(found, expected, "{failure:?} {facts:?}");
}

#[test]
fn what_is_tried_again() {
    let (at_once, later) = (Ok(true), Ok(false));
    // Nothing was sent: any method, at once elsewhere.
    check(Failure::Connect, POST, at_once);
    check(Failure::Connect, Facts { another_endpoint: false, ..POST }, later);
    check(Failure::Refused, POST, later);
    check(Failure::Reset, Facts { unsent: true, ..POST }, at_once);
    // Something may have been sent: idempotent methods only.
    check(Failure::Reset, GET, later);
    check(Failure::Reset, POST, Err(GiveUp::NotIdempotent));
    // The caller may have seen part of an answer.
    check(Failure::Reset, Facts { response_begun: true, ..GET }, Err(GiveUp::ResponseBegun));
    check(Failure::Connect, Facts { response_begun: true, ..GET }, Err(GiveUp::ResponseBegun));
    check(Failure::Connect, Facts { replayable: false, ..GET }, Err(GiveUp::Body));
    check(Failure::Connect, Facts { attempts: 2, ..GET }, Err(GiveUp::Attempts));
    check(Failure::Timeout, GET, Err(GiveUp::Failure));
    check(Failure::Malformed, GET, Err(GiveUp::Failure));
    check(Failure::Connect, Facts { deadline: Some(Nanos(0)), ..GET }, Err(GiveUp::Deadline));
    check(Failure::Connect, Facts { deadline: Some(Nanos(1)), ..GET }, at_once);
}

#[test]
fn idempotent_methods() {
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
        assert!(is_idempotent(method.as_bytes()), "{method}");
    }
    for method in ["POST", "PATCH", "CONNECT", "get", "", "PURGE"] {
        assert!(!is_idempotent(method.as_bytes()), "{method}");
    }
}

#[test]
fn delays_spread_from_zero_to_a_bound_that_doubles() {
    let (mut rng, _seed) = seeded();
    let policy = RetryPolicy { retries: 10, ..RetryPolicy::default() };
    for (attempts, bound_ms) in [(1, 25), (2, 50), (3, 100), (4, 200), (5, 250), (10, 250)] {
        let mut delays: Vec<f64> = (0..2000)
            .map(|_| {
                let facts = Facts { attempts, ..GET };
                match decide(&policy, Failure::Reset, &facts, &mut plenty(), Nanos(0), &mut rng) {
                    Decision::Retry { delay } => delay.as_secs_f64() * 1000.0,
                    Decision::GiveUp(reason) => panic!("{reason}"),
                }
            })
            .collect();
        delays.sort_by(f64::total_cmp);
        let bound = f64::from(bound_ms);
        assert!(delays[1999] <= bound && delays[1999] > bound * 0.95, "{attempts}: {}", delays[1999]);
        assert!(delays[0] < bound * 0.05);
        let mean = delays.iter().sum::<f64>() / 2000.0;
        // The mean of 2000 uniform draws has a standard deviation of 0.65 % of the bound.
        assert!((mean / bound - 0.5).abs() < 0.04, "{attempts}: mean {mean} of {bound}");
    }
    // Absurd settings do not overflow.
    let absurd = RetryPolicy {
        retries: u32::MAX,
        backoff_base: Duration::MAX,
        backoff_max: Duration::MAX,
        ..RetryPolicy::default()
    };
    let facts = Facts { attempts: u32::MAX - 1, deadline: Some(Nanos(5)), ..GET };
    decide(&absurd, Failure::Reset, &facts, &mut plenty(), Nanos(0), &mut rng);
}

#[test]
fn the_budget_is_charged_for_granted_retries_only() {
    let mut rng = StdRng::seed_from_u64(0);
    let policy = RetryPolicy::default();
    let mut budget = Budget::new(BudgetConfig { per_mille: 200, reserve: 1, ..BudgetConfig::default() });
    let mut ask = |failure, budget: &mut Budget| decide(&policy, failure, &GET, budget, Nanos(0), &mut rng);
    assert_eq!(ask(Failure::Timeout, &mut budget), Decision::GiveUp(GiveUp::Failure));
    assert_eq!(budget.remaining(Nanos(0)), 1);
    assert_eq!(ask(Failure::Connect, &mut budget), Decision::Retry { delay: Duration::ZERO });
    assert_eq!(ask(Failure::Connect, &mut budget), Decision::GiveUp(GiveUp::Budget));
    for _ in 0..10 {
        budget.request(Nanos(0));
    }
    assert_eq!(budget.remaining(Nanos(0)), 2);
    // A window later the reserve is back and the requests are forgotten.
    assert_eq!(budget.remaining(Nanos::from_millis(9_999)), 2);
    assert_eq!(budget.remaining(Nanos::from_secs(10)), 1);
    assert_eq!(budget.remaining(Nanos(u64::MAX)), 1);
    // A clock that is a little behind does not lose anything.
    assert_eq!(budget.remaining(Nanos(0)), 1);
}

#[test]
fn nothing_is_left_after_a_pause_of_any_length() {
    for pause_ms in [10_000, 10_999, 11_000, 19_000, 3_600_000] {
        let mut budget = plenty();
        (0..100).for_each(|_| budget.request(Nanos(0)));
        assert!(budget.try_retry(Nanos(0)));
        assert_eq!(budget.remaining(Nanos(0)), 119);
        assert_eq!(budget.remaining(Nanos::from_millis(pause_ms)), 100, "{pause_ms} ms");
    }
}

#[test]
fn budgets_can_be_divided() {
    let whole = BudgetConfig::default();
    assert_eq!(whole.divided_by(4), BudgetConfig { reserve: 25, ..whole });
    assert_eq!(whole.divided_by(0), whole);
    assert_eq!(whole.divided_by(1000).reserve, 1);
}

/// When everything fails, load grows by the share and the reserve, not by the number of retries allowed.
#[test]
fn amplification_is_bounded_in_an_outage() {
    let mut rng = StdRng::seed_from_u64(0);
    let policy = RetryPolicy { retries: 10, ..RetryPolicy::default() };
    let mut budget = plenty();
    let (mut requests, mut retries) = (0u64, 0u64);
    // 1000 requests a second for a minute; each fails until it is given up.
    for millis in 0..60_000 {
        let now = Nanos::from_millis(millis);
        budget.request(now);
        requests += 1;
        let mut attempts = 1;
        while let Decision::Retry { .. } =
            decide(&policy, Failure::Connect, &Facts { attempts, ..GET }, &mut budget, now, &mut rng)
        {
            attempts += 1;
            retries += 1;
        }
    }
    let ratio = retries as f64 / requests as f64;
    // 20 %, plus 10 a second of 1000, plus the edge of the window.
    assert!((0.2..=0.24).contains(&ratio), "{ratio}");
}

/// A policy for which some statuses are reasons.
fn with_statuses() -> RetryPolicy {
    RetryPolicy {
        statuses: StatusSet::of(&[502, 503]),
        grpc_statuses: GrpcStatusSet::of(&["UNAVAILABLE".to_owned()]),
        ..RetryPolicy::default()
    }
}

#[track_caller]
fn check_status(failure: Failure, facts: Facts, expected: Result<Option<Duration>, GiveUp>) {
    let (mut rng, _seed) = seeded();
    let decision = decide(&with_statuses(), failure, &facts, &mut plenty(), Nanos(0), &mut rng);
    match (decision, expected) {
        (Decision::Retry { delay }, Ok(Some(exact))) => assert_eq!(delay, exact),
        (Decision::Retry { delay }, Ok(None)) => assert!(delay <= Duration::from_millis(25)),
        (Decision::GiveUp(reason), Err(expected)) => assert_eq!(reason, expected),
        (decision, expected) => panic!("{failure:?} {facts:?}: {decision:?}, not {expected:?}"),
    }
}

#[test]
fn statuses_are_reasons_when_they_are_listed() {
    let http = |code| Failure::Status { code, pushback: None };
    let grpc = |code| Failure::GrpcStatus { code, pushback: None };
    check_status(http(503), GET, Ok(None));
    check_status(http(500), GET, Err(GiveUp::Failure));
    check_status(http(503), POST, Err(GiveUp::NotIdempotent));
    check_status(http(503), Facts { response_begun: true, ..GET }, Err(GiveUp::ResponseBegun));
    check_status(http(503), Facts { replayable: false, ..GET }, Err(GiveUp::Body));
    check_status(http(503), Facts { attempts: 2, ..GET }, Err(GiveUp::Attempts));
    // A gRPC call is always a POST.
    check_status(grpc(14), POST, Ok(None));
    check_status(grpc(13), POST, Err(GiveUp::Failure));
}

#[test]
fn servers_say_when() {
    let of = |pushback| Failure::Status { code: 503, pushback };
    let second = Duration::from_secs(1);
    check_status(of(Some(Pushback::After(second))), GET, Ok(Some(second)));
    check_status(of(Some(Pushback::After(Duration::ZERO))), GET, Ok(Some(Duration::ZERO)));
    check_status(of(Some(Pushback::Never)), GET, Err(GiveUp::Pushback));
    check_status(of(Some(Pushback::After(PUSHBACK_MAX))), GET, Ok(Some(PUSHBACK_MAX)));
    check_status(of(Some(Pushback::After(PUSHBACK_MAX + second))), GET, Err(GiveUp::Pushback));
    let hurry = Facts { deadline: Some(Nanos::from_secs(1)), ..GET };
    check_status(of(Some(Pushback::After(second))), hurry, Err(GiveUp::Deadline));
    check_status(of(Some(Pushback::After(second / 2))), hurry, Ok(Some(second / 2)));
    let grpc = Failure::GrpcStatus { code: 14, pushback: Some(Pushback::Never) };
    check_status(grpc, POST, Err(GiveUp::Pushback));
}

/// A retry is charged when it is granted, not when it is sent: those that wait leave no room for more.
#[test]
fn requests_that_wait_count() {
    let mut rng = StdRng::seed_from_u64(0);
    let mut budget = Budget::new(BudgetConfig { reserve: 5, ..BudgetConfig::default() });
    let failure = Failure::Status { code: 503, pushback: Some(Pushback::After(Duration::from_secs(5))) };
    let mut ask =
        |millis| decide(&with_statuses(), failure, &GET, &mut budget, Nanos::from_millis(millis), &mut rng);
    for n in 0..5 {
        assert_eq!(ask(n), Decision::Retry { delay: Duration::from_secs(5) });
    }
    // None of them has been sent yet.
    assert_eq!(ask(4_000), Decision::GiveUp(GiveUp::Budget));
}

#[test]
fn a_document_fills_in_defaults() {
    assert_eq!(RetryPolicy::from_spec(&Spec::default()), RetryPolicy::default());
    let spec = Spec {
        attempts: 3,
        statuses: vec![503],
        grpc_statuses: vec!["UNAVAILABLE".to_owned(), "ABORTED".to_owned()],
        backoff: Some(weir_model::resource::traffic_policy::Backoff {
            base: Some("1s".parse().unwrap()),
            max: None,
        }),
        ..Spec::default()
    };
    let policy = RetryPolicy::from_spec(&spec);
    assert_eq!(
        (policy.retries, policy.backoff_base, policy.backoff_max),
        (3, Duration::from_secs(1), Duration::from_secs(1))
    );
    assert!(policy.may_retry_status(503) && !policy.may_retry_status(502));
    assert!(policy.grpc_statuses.contains(10) && policy.grpc_statuses.contains(14));

    type Budgets = weir_model::resource::traffic_policy::RetryBudget;
    assert_eq!(BudgetConfig::from_spec(&Budgets::default()), BudgetConfig::default());
    let spec = Budgets { ratio: Some(0.0001), reserve: Some(3), window: Some("20s".parse().unwrap()) };
    let expected = BudgetConfig { per_mille: 1, reserve: 60, window: Duration::from_secs(20) };
    assert_eq!(BudgetConfig::from_spec(&spec), expected);
}

#[test]
fn another_budget_remembers_what_was_used() {
    let config =
        |reserve, seconds| BudgetConfig { per_mille: 0, reserve, window: Duration::from_secs(seconds) };
    let mut budget = Budget::new(config(10, 10));
    let at = Nanos::from_secs(100);
    for _ in 0..10 {
        assert!(budget.try_retry(at));
    }
    budget.reconfigure(config(11, 10));
    assert!(budget.try_retry(at));
    assert!(!budget.try_retry(at), "a larger reserve allows what it has more, and no more");
    // Another window has it too, for its own length.
    budget.reconfigure(config(11, 2));
    assert!(!budget.try_retry(Nanos::from_millis(101_700)));
    assert_eq!(budget.remaining(Nanos::from_millis(102_100)), 11);
    budget.reconfigure(config(3, 100));
    assert_eq!(budget.remaining(Nanos::from_secs(103)), 3);
}

proptest! {
    /// The promise of [`Budget`], against a list of everything that happened.
    #[test]
    fn the_budget_never_grants_more_than_it_says(
        events in prop::collection::vec((0u64..3_000, 0u8..4), 1..400),
        per_mille in 0u32..2000,
        reserve in 0u32..20,
    ) {
        let window = Duration::from_secs(10);
        let mut budget = Budget::new(BudgetConfig { per_mille, reserve, window });
        let (mut now, mut requests, mut granted) = (0u64, Vec::new(), Vec::new());
        for (step, kind) in events {
            now += step;
            let at = Nanos::from_millis(now);
            if kind == 0 {
                budget.request(at);
                requests.push(now);
            } else if budget.try_retry(at) {
                granted.push(now);
                let recent = requests.iter().filter(|then| now - **then < 10_000).count() as u64;
                let retried = granted.iter().filter(|then| now - **then <= 9_000).count() as u64;
                prop_assert!(retried <= recent * u64::from(per_mille) / 1000 + u64::from(reserve));
            } else {
                // A refusal has its reason too: within the longest the window can be, the budget was used up.
                let recent = requests.iter().filter(|then| now - **then <= 9_000).count() as u64;
                let retried = granted.iter().filter(|then| now - **then < 10_000).count() as u64;
                prop_assert!(retried >= recent * u64::from(per_mille) / 1000 + u64::from(reserve));
            }
        }
    }
}
