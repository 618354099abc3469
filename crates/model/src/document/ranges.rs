//! What whole numbers in policies may be, where that is less than their type can hold: what cannot even be read is answered
//! with the range that counts, and not with the type's.

use std::ops::RangeInclusive;

use crate::validate::rate_limit::{CONCURRENCY, KEYS, QUEUE_MAX, REQUESTS};
use crate::validate::traffic_policy::{
    CALLS_MIN_MAX, FAILURES_MAX, PROBES_MAX, RETRIES_MAX, SUBSET_MAX, WINDOW_CALLS_MAX,
};

/// The range of the field with this path in a document, or in a scenario where documents' specs stand in fields named for
/// their kinds.
pub(super) fn of(path: &str) -> Option<RangeInclusive<u64>> {
    let path = within_spec(path)?;
    let (within, field) = path.rsplit_once('.').unwrap_or(("", path));
    let list = within.split_once('[').map_or(within, |(list, _)| list);
    Some(match (list, field) {
        ("rates", "requests" | "burst") => REQUESTS,
        ("", "keysMax") => KEYS,
        ("", "concurrencyMax" | "concurrencyMin") => CONCURRENCY,
        ("queue", "max") => 0..=QUEUE_MAX,
        ("retry", "attempts") => 0..=u64::from(RETRIES_MAX),
        ("balance", "subset") => 1..=SUBSET_MAX,
        ("breakers", "failures") => 1..=FAILURES_MAX,
        ("breakers", "windowCalls") => 1..=WINDOW_CALLS_MAX,
        ("breakers", "callsMin") => 1..=CALLS_MIN_MAX,
        ("breakers", "probes") => 1..=PROBES_MAX,
        _ => return None,
    })
}

/// The path from the spec on that a field belongs to.
fn within_spec(path: &str) -> Option<&str> {
    let of_policy = || path.split_once(".trafficPolicy.").map(|(_, field)| field);
    let of_limit = || path.split_once(".rateLimits[")?.1.split_once("].").map(|(_, field)| field);
    path.strip_prefix("spec.").or_else(of_policy).or_else(of_limit)
}
