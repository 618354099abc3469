//! When a second request goes out, and how many do.

use rand::RngExt;

use super::*;
use crate::retry::BudgetConfig;
use crate::testing::seeded;

const GET: Facts = Facts {
    attempts: 1,
    idempotent: true,
    unsent: false,
    replayable: true,
    response_begun: false,
    another_endpoint: true,
    deadline: None,
};
const MS: Duration = Duration::from_millis(1);

fn fixed(delay: Duration) -> Hedger {
    Hedger::new(HedgeConfig { after: HedgeAfter::Delay(delay), ..HedgeConfig::default() })
}

fn plenty() -> Budget {
    Budget::new(BudgetConfig::default())
}

#[test]
fn what_is_hedged() {
    let check = |facts: Facts, waited: Duration, expected: Hedging| {
        assert_eq!(fixed(10 * MS).decide(&facts, waited, &mut plenty(), Nanos(0)), expected, "{facts:?}");
    };
    check(GET, Duration::ZERO, Hedging::In(10 * MS));
    check(GET, 4 * MS, Hedging::In(6 * MS));
    check(GET, 10 * MS, Hedging::Now);
    check(GET, 20 * MS, Hedging::Now);
    check(Facts { attempts: 2, ..GET }, 20 * MS, Hedging::No(NoHedge::Attempts));
    check(Facts { response_begun: true, ..GET }, 20 * MS, Hedging::No(NoHedge::ResponseBegun));
    check(Facts { idempotent: false, ..GET }, 20 * MS, Hedging::No(NoHedge::NotIdempotent));
    check(Facts { replayable: false, ..GET }, 20 * MS, Hedging::No(NoHedge::Body));
    check(Facts { another_endpoint: false, ..GET }, 20 * MS, Hedging::No(NoHedge::Endpoint));
    let hurry = Facts { deadline: Some(Nanos::from_millis(5)), ..GET };
    check(hurry, Duration::ZERO, Hedging::No(NoHedge::Deadline));
    check(hurry, 8 * MS, Hedging::In(2 * MS));
}

#[test]
fn the_budget_is_charged_for_what_is_sent() {
    let mut budget = Budget::new(BudgetConfig { reserve: 1, ..BudgetConfig::default() });
    let mut hedger = fixed(10 * MS);
    assert_eq!(hedger.decide(&GET, Duration::ZERO, &mut budget, Nanos(0)), Hedging::In(10 * MS));
    assert_eq!(budget.remaining(Nanos(0)), 1);
    assert_eq!(hedger.decide(&GET, 10 * MS, &mut budget, Nanos(0)), Hedging::Now);
    assert_eq!(hedger.decide(&GET, 10 * MS, &mut budget, Nanos(0)), Hedging::No(NoHedge::Budget));
}

#[test]
fn a_percentile_needs_calls_and_follows_them() {
    let mut hedger = Hedger::new(HedgeConfig::default());
    let now = Nanos::from_secs(1);
    assert_eq!(hedger.decide(&GET, MS, &mut plenty(), now), Hedging::No(NoHedge::Samples));
    (0..1_000u32).for_each(|n| hedger.record(MS * (n % 100 + 1), now));
    let delay = hedger.delay(now).unwrap();
    assert!(delay >= 95 * MS && delay <= 102 * MS, "{delay:?}");
    // A minute later all calls take longer, and the earlier ones are forgotten.
    let later = now + Duration::from_secs(61);
    (0..1_000).for_each(|_| hedger.record(500 * MS, later));
    assert!(hedger.delay(later).unwrap() >= 500 * MS);
    // Nothing is known of long ago.
    assert_eq!(hedger.delay(later + Duration::from_secs(600)), None);
}

/// About as many calls are hedged as the percentile leaves, and if all get slow at once, no more than the budget allows.
#[test]
fn hedging_adds_little_load() {
    let (mut rng, _seed) = seeded();
    let mut hedger = Hedger::new(HedgeConfig::default());
    let mut budget = plenty();
    let mut hedged = [0u32; 2];
    for n in 0..60_000u64 {
        let now = Nanos::from_secs(1_000) + MS * u32::try_from(n).unwrap();
        let slow = n >= 30_000;
        let latency = MS * rng.random_range(1..100) * if slow { 30 } else { 1 };
        budget.request(now);
        if let Some(delay) = hedger.delay(now)
            && latency > delay
            && hedger.decide(&GET, delay, &mut budget, now) == Hedging::Now
        {
            hedged[usize::from(slow)] += 1;
        }
        hedger.record(latency, now);
    }
    let share = f64::from(hedged[0]) / 30_000.0;
    assert!((0.02..0.07).contains(&share), "{share}");
    assert!(f64::from(hedged[1]) / 30_000.0 < 0.22, "{hedged:?}");
}

#[test]
fn a_document_says_when() {
    let of = |delay: Option<&str>, percentile| {
        HedgeConfig::from_spec(&Spec {
            enabled: None,
            delay: delay.map(|text| text.parse().unwrap()),
            percentile,
        })
        .after
    };
    assert_eq!(of(Some("20ms"), None), HedgeAfter::Delay(20 * MS));
    assert_eq!(of(None, Some(0.99)), HedgeAfter::Percentile(0.99));
    assert_eq!(of(None, Some(7.0)), HedgeAfter::Percentile(0.999));
    assert_eq!(of(None, None), HedgeAfter::Percentile(0.95));
}
