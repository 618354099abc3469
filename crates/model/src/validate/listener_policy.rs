//! Rules of `ListenerPolicy`.

use std::collections::HashSet;
use std::time::Duration;

use super::Faults;
use crate::names;
use crate::network::Network;
use crate::resource::listener_policy::{
    AcceptProxyProtocol, ListenerLimits, ListenerPolicySpec, ListenerTimeouts,
};

/// Most gateways or listeners one policy is for.
pub const TARGETS_MAX: usize = 64;
/// Most networks of one policy.
pub const NETWORKS_MAX: usize = 256;
/// Bounds of `limits.headBytes`: smaller ones would refuse what browsers send, larger ones do not fit into what a proxy
/// reads at once.
pub const HEAD_BYTES: std::ops::RangeInclusive<u64> = 1024..=(128 << 10);
/// Bounds of `limits.headFields`.
pub const HEAD_FIELDS: std::ops::RangeInclusive<u32> = 8..=1024;
/// Bounds of `limits.streams`.
pub const STREAMS: std::ops::RangeInclusive<u32> = 1..=10_000;
/// Bounds of `limits.connections`.
pub const CONNECTIONS: std::ops::RangeInclusive<u32> = 1..=10_000_000;

pub(super) fn validate(spec: &ListenerPolicySpec, faults: &mut Faults) {
    targets(spec, faults);
    if let Some(AcceptProxyProtocol { from }) = &spec.proxy_protocol {
        let path = "spec.proxyProtocol.from";
        faults.at_most(path, from.len(), NETWORKS_MAX);
        for (index, network) in from.iter().take(NETWORKS_MAX).enumerate() {
            if network.parse::<Network>().is_err() {
                let shown = crate::document::node::shortened(network);
                let expected = "an address with the length of its prefix, such as `10.0.0.0/8`";
                faults.add(format!("{path}[{index}]"), format!("`{shown}` is not a network"), expected);
            }
        }
    }
    if let Some(ListenerLimits { connections, streams, head_bytes, head_fields }) = &spec.limits {
        let wide = |range: std::ops::RangeInclusive<u32>| u64::from(*range.start())..=u64::from(*range.end());
        let checks = [
            ("connections", connections.map(u64::from), wide(CONNECTIONS)),
            ("streams", streams.map(u64::from), wide(STREAMS)),
            ("headFields", head_fields.map(u64::from), wide(HEAD_FIELDS)),
        ];
        for (field, value, range) in checks {
            faults.within(&format!("spec.limits.{field}"), value, range);
        }
        faults.size("spec.limits.headBytes", *head_bytes, HEAD_BYTES);
    }
    if let Some(ListenerTimeouts { head, idle, body, handshake }) = &spec.timeouts {
        for (field, span) in [("head", head), ("idle", idle), ("body", body), ("handshake", handshake)] {
            if span.is_some_and(|span| span.0 == Duration::ZERO) {
                let path = format!("spec.timeouts.{field}");
                faults.add(path, "without a limit, slow clients could pile up", "a duration above zero");
            }
        }
    }
}

fn targets(spec: &ListenerPolicySpec, faults: &mut Faults) {
    if spec.target_refs.is_empty() {
        faults.add("spec.targetRefs", "it is empty", "at least one gateway");
    }
    faults.at_most("spec.targetRefs", spec.target_refs.len(), TARGETS_MAX);
    let mut seen = HashSet::new();
    for (index, target) in spec.target_refs.iter().take(TARGETS_MAX).enumerate() {
        let path = format!("spec.targetRefs[{index}]");
        faults.reference(
            &path,
            (target.kind.as_deref(), &["Gateway"]),
            (target.group.as_deref(), &["gateway.networking.k8s.io"]),
        );
        faults.name(&format!("{path}.name"), names::subdomain(&target.name));
        if let Some(section) = &target.section_name {
            faults.name(&format!("{path}.sectionName"), names::subdomain(section));
        }
        if !seen.insert((&target.name, &target.section_name)) {
            faults.add(path, format!("`{}` is there twice", target.name), "each target once");
        }
    }
}
