//! Rules of how endpoints are chosen.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::resource::traffic_policy::{Balance, SlowStart};
use crate::validate::policy::{self, Owned};
use crate::validate::{Bounds, Faults};

/// Bounds of `balance.loadFactor`: more is no bound.
pub(crate) const LOAD_FACTOR: Bounds = Bounds::From(1.0, 100.0);
/// Bounds of `balance.decay`.
pub const DECAY: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);
/// Bounds of `balance.slowStart.window`.
pub const SLOW_START: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);
/// Bounds of `balance.slowStart.aggression`.
pub(crate) const AGGRESSION: Bounds = Bounds::Above(0.0, 10.0);
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
    faults.number("spec.balance.loadFactor", balance.load_factor, LOAD_FACTOR);
    faults.span("spec.balance.decay", balance.decay, DECAY);
    if let Some(SlowStart { window, aggression, floor }) = &balance.slow_start {
        let path = "spec.balance.slowStart";
        faults.span(&format!("{path}.window"), Some(*window), SLOW_START);
        faults.number(&format!("{path}.aggression"), *aggression, AGGRESSION);
        faults.number(&format!("{path}.floor"), *floor, Bounds::SHARE_ABOVE_ZERO);
    }
    faults.number("spec.balance.panicThreshold", balance.panic_threshold, Bounds::SHARE);
    faults.within("spec.balance.subset", balance.subset.map(u64::from), 1..=SUBSET_MAX);
}
