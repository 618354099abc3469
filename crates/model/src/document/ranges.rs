//! What the numbers, durations and sizes of documents may be, where that is less than their type can hold: what cannot even
//! be read is answered with the range that counts, and not with the type's.
//!
//! The rules themselves are those of [`crate::validate`], whose bounds these are; a test asks both about every number there
//! is in a document.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::units::{Size, Span};
use crate::validate::rate_limit::{
    CONCURRENCY, KEYS, PER, QUEUE_MAX, QUEUE_TIMEOUT, REQUESTS, WARM_UP, WARM_UP_FROM,
};
use crate::validate::service::{CHECK_INTERVAL, CHECK_TIMEOUT, THRESHOLD};
use crate::validate::traffic_policy as policy;
use crate::validate::{Bounds, PORT, STATUSES, STATUSES_OF_ANSWERS, WEIGHT_MAX, filters, listener_policy};

/// What a value may be.
#[derive(Clone, Debug)]
pub(super) enum Range {
    /// A whole number.
    Whole(RangeInclusive<u64>),
    /// One of some whole numbers.
    Among(&'static [u16]),
    /// A number.
    Number(Bounds),
    /// A length of time.
    Span(RangeInclusive<Duration>),
    /// A number of bytes.
    Size(RangeInclusive<u64>),
}

impl fmt::Display for Range {
    /// As what was expected: `an integer from 1 to 100`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(range) => write!(f, "an integer from {} to {}", range.start(), range.end()),
            Self::Among(values) => {
                let shown: Vec<String> = values.iter().map(ToString::to_string).collect();
                write!(f, "one of {}", shown.join(", "))
            }
            Self::Number(bounds @ Bounds::From(..)) => write!(f, "a number from {bounds}"),
            Self::Number(bounds) => write!(f, "a number ({bounds})"),
            Self::Span(range) => {
                write!(f, "a duration from {} to {}", Span(*range.start()), Span(*range.end()))
            }
            Self::Size(range) => write!(f, "a size from {} to {}", Size(*range.start()), Size(*range.end())),
        }
    }
}

/// Tells the range of the field with a path below a spec, such as `rates[0].burst`.
pub(super) type Ranges = fn(&str) -> Option<Range>;

/// The ranges of the spec, or of the request, that is read into a type of this name.
pub(super) fn of(spec: &str) -> Option<Ranges> {
    Some(match spec {
        "TrafficPolicySpec" => traffic_policy,
        "RateLimitSpec" => rate_limit,
        "ServiceSpec" => service,
        "ListenerPolicySpec" => listener,
        "RegisterInstance" => registration,
        "GatewaySpec" | "HttpRouteSpec" | "GrpcRouteSpec" | "TlsRouteSpec" | "TcpRouteSpec" => routing,
        _ => return None,
    })
}

/// `rates[0].burst` as `rates[].burst`.
fn pattern(path: &str) -> String {
    path.chars().filter(|c| !c.is_ascii_digit()).collect()
}

fn traffic_policy(path: &str) -> Option<Range> {
    let path = &*pattern(path);
    if let Some(field) = path.strip_prefix("breakers[].fallback.response.") {
        return answer(field);
    }
    if let Some(field) = path.strip_prefix("breakers[].") {
        return breaker(field);
    }
    Some(match path {
        "balance.loadFactor" => Range::Number(policy::LOAD_FACTOR),
        "balance.decay" => Range::Span(policy::DECAY),
        "balance.slowStart.window" => Range::Span(policy::SLOW_START),
        "balance.slowStart.aggression" => Range::Number(policy::AGGRESSION),
        "balance.slowStart.floor" => Range::Number(Bounds::SHARE_ABOVE_ZERO),
        "balance.panicThreshold" => Range::Number(Bounds::SHARE),
        "balance.subset" => Range::Whole(1..=policy::SUBSET_MAX),
        "retry.attempts" => Range::Whole(0..=policy::RETRIES_MAX.into()),
        "retry.statuses[]" => Range::Whole(STATUSES),
        "retry.backoff.base" | "retry.backoff.max" => Range::Span(policy::BACKOFF),
        "retry.budget.ratio" => Range::Number(Bounds::SHARE),
        "retry.budget.reserve" => Range::Whole(0..=policy::RESERVE_MAX),
        "retry.budget.window" => Range::Span(policy::BUDGET_WINDOW),
        "hedge.delay" => Range::Span(policy::HEDGE_DELAY),
        "hedge.percentile" => Range::Number(policy::PERCENTILE),
        "outlier.consecutive" => Range::Whole(0..=policy::FAILURES_MAX),
        "outlier.failuresMin" => Range::Whole(1..=policy::FAILURES_MAX),
        "outlier.interval" => Range::Span(policy::INTERVAL),
        "outlier.ejection" | "outlier.ejectionMax" => Range::Span(policy::OPEN),
        "outlier.falseDiscovery" | "outlier.effectMin" | "outlier.ejectedMax" => Range::Number(Bounds::SHARE),
        "connection.streamsMax" => Range::Whole(1..=policy::STREAMS_MAX.into()),
        "connection.connectionsMax" => Range::Whole(1..=policy::CONNECTIONS_MAX.into()),
        _ => return None,
    })
}

fn breaker(field: &str) -> Option<Range> {
    Some(match field {
        "failureStatuses[]" => Range::Whole(STATUSES),
        "slowCall" => Range::Span(policy::SLOW_CALL),
        "window" => Range::Span(policy::WINDOW),
        "windowCalls" => Range::Whole(1..=policy::WINDOW_CALLS_MAX),
        "callsMin" => Range::Whole(1..=policy::CALLS_MIN_MAX),
        "failureRatio" | "slowRatio" => Range::Number(Bounds::SHARE_ABOVE_ZERO),
        "failures" => Range::Whole(1..=policy::FAILURES_MAX),
        "normalRatio" | "failingRatio" => Range::Number(policy::RATIO),
        "callsToFalseTrip" => Range::Whole(policy::CALLS_TO_FALSE_TRIP),
        "factor" => Range::Number(policy::FACTOR),
        "open" | "openMax" => Range::Span(policy::OPEN),
        "probes" => Range::Whole(1..=policy::PROBES_MAX),
        "ramp" => Range::Span(Duration::ZERO..=policy::RAMP_MAX),
        "fallback.cached.ageMax" => Range::Span(policy::CACHED_AGE),
        "fallback.cached.sizeMax" => Range::Size(policy::CACHED_BYTES),
        _ => return None,
    })
}

fn answer(field: &str) -> Option<Range> {
    (field == "status").then_some(Range::Whole(STATUSES_OF_ANSWERS))
}

fn rate_limit(path: &str) -> Option<Range> {
    let path = &*pattern(path);
    if let Some(field) = path.strip_prefix("response.") {
        return answer(field);
    }
    Some(match path {
        "rates[].requests" | "rates[].burst" => Range::Whole(REQUESTS),
        "rates[].per" => Range::Span(PER),
        "keysMax" => Range::Whole(KEYS),
        "queue.max" => Range::Whole(0..=QUEUE_MAX),
        "queue.timeout" => Range::Span(QUEUE_TIMEOUT),
        "warmUp.over" => Range::Span(WARM_UP),
        "warmUp.from" => Range::Number(WARM_UP_FROM),
        "concurrencyMax" | "concurrencyMin" => Range::Whole(CONCURRENCY),
        _ => return None,
    })
}

fn service(path: &str) -> Option<Range> {
    let path = &*pattern(path);
    let checked = path.strip_prefix("endpoints[].").unwrap_or(path);
    Some(match checked {
        "port" | "check.port" => Range::Whole(PORT),
        "weight" => Range::Whole(0..=WEIGHT_MAX.into()),
        "check.interval" => Range::Span(CHECK_INTERVAL),
        "check.timeout" => Range::Span(CHECK_TIMEOUT),
        "check.healthyThreshold" | "check.unhealthyThreshold" => Range::Whole(THRESHOLD),
        _ => return None,
    })
}

/// What an instance is registered with, by the native API.
fn registration(path: &str) -> Option<Range> {
    Some(match path {
        "inbound.port" => Range::Whole(PORT),
        "weights.passing" | "weights.warning" => Range::Whole(0..=WEIGHT_MAX.into()),
        _ => return None,
    })
}

fn listener(path: &str) -> Option<Range> {
    let narrow = |range: RangeInclusive<u32>| Range::Whole((*range.start()).into()..=(*range.end()).into());
    Some(match path {
        "limits.connections" => narrow(listener_policy::CONNECTIONS),
        "limits.streams" => narrow(listener_policy::STREAMS),
        "limits.headBytes" => Range::Size(listener_policy::HEAD_BYTES),
        "limits.headFields" => narrow(listener_policy::HEAD_FIELDS),
        _ => return None,
    })
}

/// Gateways and routes.
fn routing(path: &str) -> Option<Range> {
    let path = &*pattern(path);
    if let Some((_, field)) = path.rsplit_once("filters[].") {
        return filter(field);
    }
    Some(match path {
        "listeners[].port" | "tls.frontend.perPort[].port" => Range::Whole(PORT),
        "parentRefs[].port" | "rules[].backendRefs[].port" => Range::Whole(PORT),
        "rules[].backendRefs[].weight" => Range::Whole(0..=WEIGHT_MAX.into()),
        _ => return None,
    })
}

fn filter(field: &str) -> Option<Range> {
    Some(match field {
        "requestRedirect.port" | "requestMirror.backendRef.port" => Range::Whole(PORT),
        "requestRedirect.statusCode" => Range::Among(&filters::REDIRECT_STATUSES),
        "requestMirror.percent" => Range::Whole(0..=100),
        "requestMirror.fraction.denominator" => Range::Whole(filters::DENOMINATOR),
        "cors.maxAge" => Range::Whole(filters::CORS_AGE),
        "fault.delay.percentage" | "fault.abort.percentage" => Range::Number(filters::PERCENTAGE),
        "fault.delay.duration" => Range::Span(filters::DELAY),
        "fault.abort.status" => Range::Whole(STATUSES_OF_ANSWERS),
        "fault.abort.grpcStatus" => Range::Whole(1..=filters::GRPC_STATUS_MAX.into()),
        _ => return None,
    })
}
