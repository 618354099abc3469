//! Rules of how endpoints are chosen.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::resource::traffic_policy::{Balance, SlowStart};
use crate::validate::policy::{self, Owned};
use crate::validate::{Bounds, Faults};

/// Largest `balance.loadFactor`: more is no bound.
pub const LOAD_FACTOR_MAX: f64 = 100.0;
/// Bounds of `balance.decay`.
pub const DECAY: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);
/// Bounds of `balance.slowStart.window`.
pub const SLOW_START: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);
/// Largest `balance.slowStart.aggression`.
pub const AGGRESSION_MAX: f64 = 10.0;
/// Largest `balance.subset`.
pub const SUBSET_MAX: u64 = 10_000;

/// Balancers that hash.
const HASHING: &[&str] = &["ring_hash", "maglev"];
/// The others: with a share that grows, keys would move with each step.
const GROWING: &[&str] =
    &["round_robin", "random", "least_request", "least_connections", "peak_ewma", "prequal"];

pub(super) fn validate(balance: &Balance, faults: &mut Faults) {
    let path = "spec.balance";
    let chosen = balance.policy.as_str();
    let field = |field, is_there, owners| Owned { field, is_there, owners };
    let fields = [
        field("hash", !balance.hash.is_empty(), HASHING),
        field("loadFactor", balance.load_factor.is_some(), HASHING),
        field("decay", balance.decay.is_some(), &["peak_ewma"]),
        field("slowStart", balance.slow_start.is_some(), GROWING),
    ];
    policy::owned(path, "policy", chosen, &fields, faults);
    if HASHING.contains(&chosen) && balance.hash.is_empty() {
        let expected = "at least one part of the request, such as `{type: header, name: x-user}`";
        faults.add("spec.balance.hash", "it is missing: there is nothing to take a hash of", expected);
    }
    policy::key("spec.balance.hash", &balance.hash, faults);
    faults.number("spec.balance.loadFactor", balance.load_factor, Bounds::From(1.0, LOAD_FACTOR_MAX));
    faults.span("spec.balance.decay", balance.decay, DECAY);
    if let Some(SlowStart { window, aggression, floor }) = &balance.slow_start {
        let path = "spec.balance.slowStart";
        faults.span(&format!("{path}.window"), Some(*window), SLOW_START);
        faults.number(&format!("{path}.aggression"), *aggression, Bounds::Above(0.0, AGGRESSION_MAX));
        faults.number(&format!("{path}.floor"), *floor, Bounds::Above(0.0, 1.0));
    }
    faults.number("spec.balance.panicThreshold", balance.panic_threshold, Bounds::From(0.0, 1.0));
    faults.within("spec.balance.subset", balance.subset.map(u64::from), 1..=SUBSET_MAX);
}
