//! Rules of retries and hedging.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::resource::traffic_policy::{Backoff, Hedge, Retry, RetryBudget};
use crate::validate::{Bounds, Faults, policy};

/// Most retries of one request.
pub const RETRIES_MAX: u32 = 10;
/// Bounds of `retry.backoff.base` and `retry.backoff.max`.
pub const BACKOFF: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);
/// What is meant by `retry.backoff.base` and `retry.backoff.max` when they are not written.
pub const BACKOFF_DEFAULT: (Duration, Duration) = (Duration::from_millis(25), Duration::from_millis(250));
/// Largest `retry.budget.reserve`.
pub const RESERVE_MAX: u64 = 100_000;
/// Bounds of `retry.budget.window`.
pub const BUDGET_WINDOW: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
/// Bounds of `hedge.delay`.
pub const HEDGE_DELAY: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);

/// Bounds of `hedge.percentile`.
pub(crate) const PERCENTILE: Bounds = Bounds::From(0.5, 0.999);

pub(super) fn validate(retry: &Retry, faults: &mut Faults) {
    if retry.attempts > RETRIES_MAX {
        let message = format!("{} retries of one request", retry.attempts);
        faults.add("spec.retry.attempts", message, format!("0 to {RETRIES_MAX}"));
    }
    policy::statuses("spec.retry.statuses", &retry.statuses, faults);
    policy::grpc_statuses("spec.retry.grpcStatuses", &retry.grpc_statuses, faults);
    if let Some(Backoff { base, max }) = &retry.backoff {
        faults.span("spec.retry.backoff.base", *base, BACKOFF);
        faults.span("spec.retry.backoff.max", *max, BACKOFF);
        policy::ordered("spec.retry.backoff", ("base", *base), ("max", *max), BACKOFF_DEFAULT, faults);
    }
    if let Some(RetryBudget { ratio, reserve, window }) = &retry.budget {
        faults.number("spec.retry.budget.ratio", *ratio, Bounds::SHARE);
        faults.within("spec.retry.budget.reserve", reserve.map(u64::from), 0..=RESERVE_MAX);
        faults.span("spec.retry.budget.window", *window, BUDGET_WINDOW);
    }
}

pub(super) fn hedge(hedge: &Hedge, faults: &mut Faults) {
    match (&hedge.delay, &hedge.percentile) {
        (None, None) if hedge.is_on() => {
            faults.add("spec.hedge", "it does not say after how long", "`delay` or `percentile`");
        }
        (Some(_), Some(_)) => {
            faults.add("spec.hedge", "it says twice after how long", "`delay` or `percentile`");
        }
        _ => {}
    }
    faults.span("spec.hedge.delay", hedge.delay, HEDGE_DELAY);
    faults.number("spec.hedge.percentile", hedge.percentile, PERCENTILE);
}
