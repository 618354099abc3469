//! Rules of breakers, fallbacks and ejection.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::document::node::shortened;
use crate::names;
use crate::resource::Kind;
use crate::resource::traffic_policy::{
    Breaker, BreakerLevel, BreakerStrategy, Cached, Fallback, FallbackService, Outlier, PolicyTarget,
};
use crate::validate::policy::{self, Owned};
use crate::validate::{Bounds, Faults};

/// Most breakers of one policy.
pub const BREAKERS_MAX: usize = 8;
/// Bounds of a breaker's `window`.
pub const WINDOW: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
/// Largest `windowCalls`: each call takes a byte.
pub const WINDOW_CALLS_MAX: u64 = 100_000;
/// Largest `callsMin`.
pub const CALLS_MIN_MAX: u64 = 1_000_000;
/// Largest `failures` of a breaker, and `consecutive` and `failuresMin` of ejection.
pub const FAILURES_MAX: u64 = 100_000;
/// Bounds of `callsToFalseTrip`.
pub const CALLS_TO_FALSE_TRIP: RangeInclusive<u64> = 2..=1_000_000_000_000;
/// Bounds of `factor`.
pub(crate) const FACTOR: Bounds = Bounds::From(1.0, 100.0);
/// Bounds of `normalRatio` and `failingRatio`.
pub(crate) const RATIO: Bounds = Bounds::Between(0.0, 1.0);
/// Bounds of `open`, `openMax`, `ejection` and `ejectionMax`.
pub const OPEN: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(24 * 3600);
/// Largest `probes`.
pub const PROBES_MAX: u64 = 1000;
/// Largest `ramp`.
pub const RAMP_MAX: Duration = Duration::from_secs(3600);
/// Bounds of `slowCall`.
pub const SLOW_CALL: RangeInclusive<Duration> = Duration::from_micros(1)..=Duration::from_secs(3600);
/// Bounds of `outlier.interval`.
pub const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
/// Bounds of `fallback.cached.ageMax`.
pub const CACHED_AGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 3600);
/// Bounds of `fallback.cached.sizeMax`, in bytes.
pub const CACHED_BYTES: RangeInclusive<u64> = 64 << 10..=1 << 30;

/// What is meant by `open` and `openMax` when they are not written.
pub const OPEN_DEFAULT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// What is meant by `ejection` and `ejectionMax` when they are not written.
pub const EJECTION_DEFAULT: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(300));
/// What is meant by `normalRatio` and `failingRatio` when they are not written.
pub const RATIOS_DEFAULT: (f64, f64) = (0.01, 0.1);

/// Strategies that open and close.
const OPENING: &[&str] = &["window", "consecutive", "statistical"];

pub(super) fn validate(breakers: &[Breaker], targets: &[PolicyTarget], faults: &mut Faults) {
    faults.at_most("spec.breakers", breakers.len(), BREAKERS_MAX);
    for (index, one) in breakers.iter().take(BREAKERS_MAX).enumerate() {
        breaker(&format!("spec.breakers[{index}]"), one, targets, faults);
    }
}

fn breaker(path: &str, breaker: &Breaker, targets: &[PolicyTarget], faults: &mut Faults) {
    belonging(path, breaker, faults);
    if let Some(statuses) = &breaker.failure_statuses {
        policy::statuses(&format!("{path}.failureStatuses"), statuses, faults);
    }
    windows(path, breaker, faults);
    let at = |field: &str| format!("{path}.{field}");
    faults.within(&at("failures"), breaker.failures.map(u64::from), 1..=FAILURES_MAX);
    statistics(path, breaker, faults);
    faults.number(&at("factor"), breaker.factor, FACTOR);
    faults.span(&at("open"), breaker.open, OPEN);
    faults.span(&at("openMax"), breaker.open_max, OPEN);
    if breaker.strategy != BreakerStrategy::Throttle {
        let (open, open_max) = (("open", breaker.open), ("openMax", breaker.open_max));
        policy::ordered(path, open, open_max, OPEN_DEFAULT, faults);
    }
    faults.within(&at("probes"), breaker.probes.map(u64::from), 1..=PROBES_MAX);
    faults.span(&at("ramp"), breaker.ramp, Duration::ZERO..=RAMP_MAX);
    if let Some(found) = &breaker.fallback {
        let path = at("fallback");
        if breaker.level == BreakerLevel::Instance {
            let message = "it does not belong to `level: instance`, whose calls go to other instances";
            faults.add(path, message, "`level: service` or `level: route`");
        } else {
            fallback(&path, found, targets, faults);
        }
    }
}

/// What does not belong to the strategy.
fn belonging(path: &str, breaker: &Breaker, faults: &mut Faults) {
    let field = |field, is_there, owners| Owned { field, is_there, owners };
    let window: &[&str] = &["window"];
    let fields = [
        field("slowCall", breaker.slow_call.is_some(), window),
        field("window", breaker.window.is_some(), &["window", "throttle"]),
        field("windowCalls", breaker.window_calls.is_some(), window),
        field("callsMin", breaker.calls_min.is_some(), &["window", "throttle"]),
        field("failureRatio", breaker.failure_ratio.is_some(), window),
        field("slowRatio", breaker.slow_ratio.is_some(), window),
        field("failures", breaker.failures.is_some(), &["consecutive"]),
        field("normalRatio", breaker.normal_ratio.is_some(), &["statistical"]),
        field("failingRatio", breaker.failing_ratio.is_some(), &["statistical"]),
        field("callsToFalseTrip", breaker.calls_to_false_trip.is_some(), &["statistical"]),
        field("factor", breaker.factor.is_some(), &["throttle"]),
        field("open", breaker.open.is_some(), OPENING),
        field("openMax", breaker.open_max.is_some(), OPENING),
        field("probes", breaker.probes.is_some(), OPENING),
        field("ramp", breaker.ramp.is_some(), OPENING),
    ];
    policy::owned(path, "strategy", breaker.strategy.as_str(), &fields, faults);
}

fn windows(path: &str, breaker: &Breaker, faults: &mut Faults) {
    let at = |field: &str| format!("{path}.{field}");
    faults.span(&at("window"), breaker.window, WINDOW);
    faults.within(&at("windowCalls"), breaker.window_calls.map(u64::from), 1..=WINDOW_CALLS_MAX);
    faults.within(&at("callsMin"), breaker.calls_min.map(u64::from), 1..=CALLS_MIN_MAX);
    faults.number(&at("failureRatio"), breaker.failure_ratio, Bounds::SHARE_ABOVE_ZERO);
    faults.number(&at("slowRatio"), breaker.slow_ratio, Bounds::SHARE_ABOVE_ZERO);
    faults.span(&at("slowCall"), breaker.slow_call, SLOW_CALL);
    if breaker.strategy != BreakerStrategy::Window {
        return;
    }
    if breaker.window.is_some() && breaker.window_calls.is_some() {
        faults.add(at("windowCalls"), "a window over time and over calls", "`window` or `windowCalls`");
    }
    if breaker.slow_ratio.is_some() && breaker.slow_call.is_none() {
        faults.add(at("slowRatio"), "without `slowCall` no call is slow", "`slowCall` too");
    }
    if let (Some(min), Some(calls)) = (breaker.calls_min, breaker.window_calls)
        && min > calls
    {
        let message = format!("{min} calls never are in a window of {calls}");
        faults.add(at("callsMin"), message, format!("at most {calls}"));
    }
}

fn statistics(path: &str, breaker: &Breaker, faults: &mut Faults) {
    let at = |field: &str| format!("{path}.{field}");
    let (normal, failing) = (breaker.normal_ratio, breaker.failing_ratio);
    faults.number(&at("normalRatio"), normal, RATIO);
    faults.number(&at("failingRatio"), failing, RATIO);
    let (low, high) = (normal.unwrap_or(RATIOS_DEFAULT.0), failing.unwrap_or(RATIOS_DEFAULT.1));
    if low >= high {
        let (field, message) = match failing {
            Some(_) => ("failingRatio", format!("{high} is no more than what is normal ({low})")),
            None => ("normalRatio", format!("{low} is no less than what is found out ({high})")),
        };
        faults.add(at(field), message, "`normalRatio` below `failingRatio`");
    }
    faults.within(&at("callsToFalseTrip"), breaker.calls_to_false_trip, CALLS_TO_FALSE_TRIP);
}

fn fallback(path: &str, fallback: &Fallback, targets: &[PolicyTarget], faults: &mut Faults) {
    let Fallback { response, service, cached } = fallback;
    let written = [response.is_some(), service.is_some(), cached.is_some()];
    match written.iter().filter(|is_there| **is_there).count() {
        0 => faults.add(path, "it is empty", "`response`, `service` or `cached`"),
        1 => {}
        _ => faults.add(path, "several things cannot happen to one call", "one of them"),
    }
    if let Some(response) = response {
        policy::response(&format!("{path}.response"), response, faults);
    }
    if let Some(service) = service {
        instead(&format!("{path}.service"), service, targets, faults);
    }
    if let Some(Cached { age_max, size_max }) = cached {
        faults.span(&format!("{path}.cached.ageMax"), *age_max, CACHED_AGE);
        faults.size(&format!("{path}.cached.sizeMax"), *size_max, CACHED_BYTES);
    }
}

/// Another service. That it is in another namespace is judged with the set.
fn instead(path: &str, service: &FallbackService, targets: &[PolicyTarget], faults: &mut Faults) {
    faults.name(&format!("{path}.name"), names::registered(&service.name));
    if let Some(namespace) = &service.namespace {
        return faults.name(&format!("{path}.namespace"), names::label(namespace));
    }
    let mut services = targets.iter().map(|target| target.of(Kind::TrafficPolicy));
    if services.any(|target| target.kind == Some(Kind::Service) && target.name == service.name) {
        let message = format!("calls to `{}` would fall back to itself", shortened(&service.name));
        faults.add(format!("{path}.name"), message, "a service that this policy is not for");
    }
}

pub(super) fn outlier(outlier: &Outlier, faults: &mut Faults) {
    let at = |field: &str| format!("spec.outlier.{field}");
    faults.within(&at("consecutive"), outlier.consecutive.map(u64::from), 0..=FAILURES_MAX);
    faults.span(&at("interval"), outlier.interval, INTERVAL);
    faults.number(&at("falseDiscovery"), outlier.false_discovery, Bounds::SHARE);
    faults.number(&at("effectMin"), outlier.effect_min, Bounds::SHARE);
    faults.within(&at("failuresMin"), outlier.failures_min.map(u64::from), 1..=FAILURES_MAX);
    faults.span(&at("ejection"), outlier.ejection, OPEN);
    faults.span(&at("ejectionMax"), outlier.ejection_max, OPEN);
    let (first, longest) = (("ejection", outlier.ejection), ("ejectionMax", outlier.ejection_max));
    policy::ordered("spec.outlier", first, longest, EJECTION_DEFAULT, faults);
    faults.number(&at("ejectedMax"), outlier.ejected_max, Bounds::SHARE);
}
