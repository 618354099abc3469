//! Rules of `TrafficPolicy`.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use super::{Faults, certificate};
use crate::names;
use crate::resource::TrafficPolicySpec;
use crate::resource::traffic_policy::{Connection, UpstreamTls};

/// Most services one policy is for.
pub const TARGETS_MAX: usize = 256;
/// Most retries of one request.
pub const RETRIES_MAX: u32 = 10;
/// Largest `connection.streamsMax`: each may have a window of its own in memory.
pub const STREAMS_MAX: u32 = 1000;
/// Largest `connection.connectionsMax`.
pub const CONNECTIONS_MAX: u32 = 10_000;

pub(super) fn validate(spec: &TrafficPolicySpec, faults: &mut Faults) {
    if spec.target_refs.is_empty() {
        faults.add("spec.targetRefs", "it is empty", "at least one service");
    }
    faults.at_most("spec.targetRefs", spec.target_refs.len(), TARGETS_MAX);
    let mut seen = HashSet::new();
    for (index, target) in spec.target_refs.iter().enumerate() {
        let path = format!("spec.targetRefs[{index}]");
        faults.reference(&path, (target.kind.as_deref(), &["Service"]), (None, &[]));
        faults.name(&format!("{path}.name"), names::registered(&target.name));
        if !seen.insert(&target.name) {
            faults.add(path, format!("`{}` is there twice", target.name), "each service once");
        }
    }
    if let Some(timeouts) = &spec.timeouts
        && timeouts.connect.is_some_and(|connect| connect.0 == Duration::ZERO)
    {
        faults.add("spec.timeouts.connect", "no time to connect in", "a duration above zero");
    }
    if let Some(retry) = &spec.retry
        && retry.attempts > RETRIES_MAX
    {
        let message = format!("{} retries of one request", retry.attempts);
        faults.add("spec.retry.attempts", message, format!("0 to {RETRIES_MAX}"));
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
