//! Rules of `RateLimit`.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::policy::{self, Owned};
use super::{Bounds, Faults, filters};
use crate::document::node::shortened;
use crate::resource::Kind;
use crate::resource::rate_limit::{LimitAlgorithm, LimitScope, Priority, Queue, Rate, RateLimitSpec, WarmUp};
use crate::units::Span;

/// Most rates of one limit.
pub const RATES_MAX: usize = 4;
/// Bounds of `rates[].requests` and `rates[].burst`.
pub const REQUESTS: RangeInclusive<u64> = 1..=1_000_000_000;
/// Bounds of `rates[].per`.
pub const PER: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(24 * 3600);
/// Most requests a second: one a nanosecond, the finest that is counted.
pub const PER_SECOND_MAX: u64 = 1_000_000_000;
/// The longest that a burst may take to come back in full.
pub const BURST_SPAN_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Bounds of `keysMax`.
pub const KEYS: RangeInclusive<u64> = 1..=1_000_000;
/// Largest `queue.max`.
pub const QUEUE_MAX: u64 = 100_000;
/// Bounds of `queue.timeout`.
pub const QUEUE_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(300);
/// Bounds of `warmUp.over`.
pub const WARM_UP: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
/// Bounds of `warmUp.from`.
pub(crate) const WARM_UP_FROM: Bounds = Bounds::SHARE_ABOVE_ZERO;
/// Bounds of `concurrencyMax` and `concurrencyMin`.
pub const CONCURRENCY: RangeInclusive<u64> = 1..=1_000_000;
/// What is meant by `concurrencyMax` of `adaptive` when it is not written.
pub const CONCURRENCY_MAX_DEFAULT: u64 = 1000;
/// Most levels of priority.
pub const LEVELS_MAX: usize = 16;
/// Longest name of a level, in bytes.
pub const LEVEL_BYTES_MAX: usize = 256;

/// Algorithms with rates; those with bursts; those whose requests may wait; those of requests at once.
const RATED: &[&str] = &["token_bucket", "leaky_bucket", "sliding_window", "warm_up"];
const BURSTING: &[&str] = &["token_bucket", "warm_up"];
const QUEUEING: &[&str] = &["leaky_bucket", "concurrency", "adaptive"];
const AT_ONCE: &[&str] = &["concurrency", "adaptive"];

pub(super) fn validate(spec: &RateLimitSpec, faults: &mut Faults) {
    policy::targets(Kind::RateLimit, &spec.target_refs, faults);
    belonging(spec, faults);
    policy::key("spec.key", &spec.key, faults);
    faults.within("spec.keysMax", spec.keys_max.map(u64::from), KEYS);
    if spec.keys_max.is_some() && spec.key.is_empty() {
        faults.add("spec.keysMax", "without a `key` there is one limit for all", "a `key`");
    }
    if RATED.contains(&spec.algorithm.as_str()) {
        rates(&spec.rates, faults);
    }
    if let Some(queue) = &spec.queue {
        wait(queue, spec.algorithm, faults);
    }
    if let Some(WarmUp { over, from }) = &spec.warm_up {
        faults.span("spec.warmUp.over", *over, WARM_UP);
        faults.number("spec.warmUp.from", *from, WARM_UP_FROM);
    }
    concurrency(spec, faults);
    if let Some(priority) = &spec.priority {
        levels(priority, faults);
    }
    if let Some(response) = &spec.response {
        policy::response("spec.response", response, faults);
    }
}

/// What does not belong to the algorithm.
fn belonging(spec: &RateLimitSpec, faults: &mut Faults) {
    let chosen = spec.algorithm.as_str();
    let field = |field, is_there, owners| Owned { field, is_there, owners };
    let fields = [
        field("rates", !spec.rates.is_empty(), RATED),
        field("queue", spec.queue.is_some(), QUEUEING),
        field("warmUp", spec.warm_up.is_some(), &["warm_up"]),
        field("concurrencyMax", spec.concurrency_max.is_some(), AT_ONCE),
        field("concurrencyMin", spec.concurrency_min.is_some(), &["adaptive"]),
        field("priority", spec.priority.is_some(), AT_ONCE),
    ];
    policy::owned("spec", "algorithm", chosen, &fields, faults);
    match spec.scope {
        LimitScope::Global => {
            if let Some((why, instead)) = not_shared(spec.algorithm) {
                let message = format!("proxies cannot share an `algorithm: {chosen}`: {why}");
                faults.add("spec.scope", message, instead);
            }
        }
        LimitScope::Process if spec.alone.is_some() => {
            faults.add("spec.alone", "it does not belong to `scope: process`", "`scope: global`");
        }
        LimitScope::Process => {}
    }
    if RATED.contains(&chosen) {
        for (index, rate) in spec.rates.iter().take(RATES_MAX).enumerate() {
            let burst = [field("burst", rate.burst.is_some(), BURSTING)];
            policy::owned(&format!("spec.rates[{index}]"), "algorithm", chosen, &burst, faults);
        }
    }
}

/// Why proxies cannot share a limit, and what to have instead; none where they can.
const fn not_shared(algorithm: LimitAlgorithm) -> Option<(&'static str, &'static str)> {
    let bucket = "`algorithm: token_bucket`, whose `burst` bounds what comes at once";
    Some(match algorithm {
        LimitAlgorithm::TokenBucket => return None,
        LimitAlgorithm::SlidingWindow => (
            "whoever is leased a part of a window does not know what others have admitted of it already",
            bucket,
        ),
        LimitAlgorithm::WarmUp => ("how warm it is depends on what all of them admit", bucket),
        LimitAlgorithm::LeakyBucket => (
            "turns would have to be agreed on request by request",
            "`algorithm: token_bucket` with `burst: 1`",
        ),
        LimitAlgorithm::Concurrency | LimitAlgorithm::Adaptive => (
            "what is in flight changes sooner than shares of it can be leased",
            "`scope: process`, with a share of it for each proxy",
        ),
    })
}

fn rates(rates: &[Rate], faults: &mut Faults) {
    if rates.is_empty() {
        faults.add("spec.rates", "there is none", "at least one, such as `{requests: 100, per: 1s}`");
    }
    faults.at_most("spec.rates", rates.len(), RATES_MAX);
    let mut seen = HashSet::new();
    for (index, rate) in rates.iter().take(RATES_MAX).enumerate() {
        let path = format!("spec.rates[{index}]");
        let per = rate.per.map_or(Duration::from_secs(1), |per| per.0);
        faults.within(&format!("{path}.requests"), Some(u64::from(rate.requests)), REQUESTS);
        faults.within(&format!("{path}.burst"), rate.burst.map(u64::from), REQUESTS);
        faults.span(&format!("{path}.per"), rate.per, PER);
        speed(&path, rate, per, faults);
        if !seen.insert(per) {
            let message = format!("a second rate over {}", Span(per));
            faults.add(format!("{path}.per"), message, "each length of time once");
        }
    }
}

/// A rate that cannot be counted: too fast, or with a burst that takes too long to come back.
fn speed(path: &str, rate: &Rate, per: Duration, faults: &mut Faults) {
    let (nanos, requests) = (per.as_nanos(), u128::from(rate.requests));
    // What is out of range by itself has been said.
    if !REQUESTS.contains(&rate.requests.into()) || !PER.contains(&per) {
        return;
    }
    if requests * 1_000_000_000 > nanos * u128::from(PER_SECOND_MAX) {
        let message = format!("{requests} in {} are more than can be counted", Span(per));
        return faults.add(format!("{path}.requests"), message, format!("at most {PER_SECOND_MAX} a second"));
    }
    let Some(burst) = rate.burst else { return };
    if u128::from(burst) * nanos > BURST_SPAN_MAX.as_nanos() * requests {
        let message = format!("a burst of {burst} would take too long to come back");
        let most = BURST_SPAN_MAX.as_nanos() * requests / nanos;
        faults.add(format!("{path}.burst"), message, format!("1 to {most} at this rate"));
    }
}

fn wait(queue: &Queue, algorithm: LimitAlgorithm, faults: &mut Faults) {
    faults.within("spec.queue.max", queue.max.map(u64::from), 0..=QUEUE_MAX);
    faults.span("spec.queue.timeout", queue.timeout, QUEUE_TIMEOUT);
    if queue.max.is_none() && AT_ONCE.contains(&algorithm.as_str()) {
        faults.add("spec.queue.max", "it is missing, and then no request waits", format!("1 to {QUEUE_MAX}"));
    }
}

fn concurrency(spec: &RateLimitSpec, faults: &mut Faults) {
    let (max, min) = (spec.concurrency_max.map(u64::from), spec.concurrency_min.map(u64::from));
    if max.is_none() && spec.algorithm == LimitAlgorithm::Concurrency {
        let expected = format!("{} to {}", CONCURRENCY.start(), CONCURRENCY.end());
        faults.add("spec.concurrencyMax", "it is missing", expected);
    }
    faults.within("spec.concurrencyMax", max, CONCURRENCY);
    faults.within("spec.concurrencyMin", min, CONCURRENCY);
    let Some(min) = min else { return };
    let path = "spec.concurrencyMin";
    match max {
        Some(max) if min > max => {
            let message = format!("the least ({min}) is more than the most ({max})");
            faults.add(path, message, format!("at most {max}"));
        }
        None if min > CONCURRENCY_MAX_DEFAULT && spec.algorithm == LimitAlgorithm::Adaptive => {
            let most = CONCURRENCY_MAX_DEFAULT;
            let message =
                format!("the least ({min}) is more than the most, which is {most} unless it is written");
            faults.add(path, message, format!("at most {most}, or a larger `concurrencyMax`"));
        }
        _ => {}
    }
}

fn levels(priority: &Priority, faults: &mut Faults) {
    policy::header_name("spec.priority.header", &priority.header, faults);
    let path = "spec.priority.levels";
    if priority.levels.len() < 2 {
        let message = format!("{} of them: there is nothing to tell apart", priority.levels.len());
        faults.add(path, message, format!("2 to {LEVELS_MAX}"));
    }
    faults.at_most(path, priority.levels.len(), LEVELS_MAX);
    let mut seen = HashSet::new();
    for (index, level) in priority.levels.iter().take(LEVELS_MAX).enumerate() {
        let path = format!("{path}[{index}]");
        if level.is_empty() || level.len() > LEVEL_BYTES_MAX {
            let expected = format!("1 to {LEVEL_BYTES_MAX} bytes");
            faults.add(&path, format!("{} bytes long", level.len()), expected);
        } else {
            filters::value(&path, level, faults);
        }
        if !seen.insert(level) {
            faults.add(path, format!("`{}` is there twice", shortened(level)), "each level once");
        }
    }
}
