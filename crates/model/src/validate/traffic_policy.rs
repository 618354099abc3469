//! Rules of `TrafficPolicy`.

mod balance;
mod breaker;
mod retry;

use std::net::IpAddr;
use std::time::Duration;

pub use super::policy::TARGETS_MAX;
use super::{Faults, certificate, policy};
use crate::names;
use crate::resource::traffic_policy::{Connection, Timeouts, UpstreamTls};
use crate::resource::{Kind, TrafficPolicySpec};
use crate::units::Span;
pub(crate) use balance::{AGGRESSION, LOAD_FACTOR};
pub use balance::{DECAY, SLOW_START, SUBSET_MAX};
pub use breaker::{
    BREAKERS_MAX, CACHED_AGE, CACHED_BYTES, CALLS_MIN_MAX, CALLS_TO_FALSE_TRIP, EJECTION_DEFAULT,
    FAILURES_MAX, INTERVAL, OPEN, OPEN_DEFAULT, PROBES_MAX, RAMP_MAX, RATIOS_DEFAULT, SLOW_CALL, WINDOW,
    WINDOW_CALLS_MAX,
};
pub(crate) use breaker::{FACTOR, RATIO};
pub(crate) use retry::PERCENTILE;
pub use retry::{BACKOFF, BACKOFF_DEFAULT, BUDGET_WINDOW, HEDGE_DELAY, RESERVE_MAX, RETRIES_MAX};

/// What is meant by `timeouts.request` when it is not written.
pub const REQUEST_DEFAULT: Duration = Duration::from_secs(15);
/// Largest `connection.streamsMax`: each may have a window of its own in memory.
pub const STREAMS_MAX: u32 = 1000;
/// Largest `connection.connectionsMax`.
pub const CONNECTIONS_MAX: u32 = 10_000;

pub(super) fn validate(spec: &TrafficPolicySpec, faults: &mut Faults) {
    policy::targets(Kind::TrafficPolicy, &spec.target_refs, faults);
    of_services(spec, faults);
    if let Some(found) = &spec.balance {
        balance::validate(found, faults);
    }
    if let Some(found) = &spec.timeouts {
        timeouts(found, faults);
        within_time(spec, found, faults);
    }
    if let Some(found) = &spec.retry {
        retry::validate(found, faults);
    }
    if let Some(found) = &spec.hedge {
        retry::hedge(found, faults);
    }
    breaker::validate(&spec.breakers, &spec.target_refs, faults);
    if let Some(found) = &spec.outlier {
        breaker::outlier(found, faults);
    }
    if let Some(tls) = &spec.tls {
        upstream_tls(tls, faults);
    }
    if let Some(Connection { streams_max, connections_max }) = &spec.connection {
        let bounds =
            [("streamsMax", streams_max, STREAMS_MAX), ("connectionsMax", connections_max, CONNECTIONS_MAX)];
        for (field, value, max) in bounds {
            faults.within(&format!("spec.connection.{field}"), value.map(u64::from), 1..=u64::from(max));
        }
    }
}

/// What only a service can have, since it concerns its instances whatever route a call takes.
fn of_services(spec: &TrafficPolicySpec, faults: &mut Faults) {
    let mut kinds = spec.target_refs.iter().filter_map(|target| target.of(Kind::TrafficPolicy).kind);
    let Some(route) = kinds.find(|kind| kind.is_route()) else { return };
    let timeouts = spec.timeouts.as_ref();
    let fields = [
        ("balance", spec.balance.is_some()),
        ("timeouts.connect", timeouts.is_some_and(|timeouts| timeouts.connect.is_some())),
        ("timeouts.idle", timeouts.is_some_and(|timeouts| timeouts.idle.is_some())),
        ("outlier", spec.outlier.is_some()),
        ("tls", spec.tls.is_some()),
        ("proxyProtocol", spec.proxy_protocol.is_some()),
        ("connection", spec.connection.is_some()),
    ];
    for (field, _) in fields.into_iter().filter(|(_, is_there)| *is_there) {
        let message = format!("it does not belong to a policy for a {route}");
        faults.add(format!("spec.{field}"), message, "a policy for services only");
    }
}

fn timeouts(timeouts: &Timeouts, faults: &mut Faults) {
    if timeouts.connect.is_some_and(|connect| connect.0 == Duration::ZERO) {
        faults.add("spec.timeouts.connect", "no time to connect in", "a duration above zero");
    }
    if let (Some(request), Some(per_try)) = (timeouts.request, timeouts.per_try)
        && request.0 != Duration::ZERO
        && per_try > request
    {
        let message = format!("one attempt may take longer ({per_try}) than the whole request ({request})");
        faults.add("spec.timeouts.perTry", message, at_most(request));
    }
}

/// What would come only after a call has ended.
fn within_time(spec: &TrafficPolicySpec, timeouts: &Timeouts, faults: &mut Faults) {
    let limited = |limit: Option<Span>| limit.filter(|limit| limit.0 != Duration::ZERO);
    let (request, attempt) = (limited(timeouts.request), limited(timeouts.per_try));
    let limits = [("timeouts.perTry", attempt), ("timeouts.request", request)];
    if let Some(delay) = spec.hedge.as_ref().and_then(|hedge| hedge.delay)
        && let Some((field, limit)) = limits.iter().find_map(|(field, limit)| Some((field, (*limit)?)))
        && delay >= limit
    {
        let message = format!("after {delay} there is nothing to copy: `{field}` ends it after {limit}");
        faults.add("spec.hedge.delay", message, format!("less than {limit}"));
    }
    let Some(request) = request else { return };
    for (index, breaker) in spec.breakers.iter().take(BREAKERS_MAX).enumerate() {
        if let Some(slow) = breaker.slow_call.filter(|slow| *slow > request) {
            let message =
                format!("no call takes longer than {slow}: `timeouts.request` ends it after {request}");
            faults.add(format!("spec.breakers[{index}].slowCall"), message, at_most(request));
        }
    }
}

fn at_most(span: Span) -> String {
    format!("at most {span}")
}

fn upstream_tls(tls: &UpstreamTls, faults: &mut Faults) {
    if let Some(name) = &tls.server_name {
        let path = "spec.tls.serverName";
        if name.starts_with("*.") {
            faults.add(path, "one name is asked for, not many", "a host name such as `cart.internal`");
        } else if name.parse::<IpAddr>().is_err() {
            faults.name(path, names::hostname(name));
        }
    }
    certificate::references("spec.tls.caRefs", &tls.ca_refs, certificate::AUTHORITIES_MAX, faults);
    if let Some(reference) = &tls.certificate_ref {
        certificate::reference("spec.tls.certificateRef", reference, faults);
    }
    if tls.insecure_skip_verify && !tls.ca_refs.is_empty() {
        faults.add(
            "spec.tls.insecureSkipVerify",
            "any certificate would do, and yet there are `caRefs`",
            "one of the two",
        );
    }
}
