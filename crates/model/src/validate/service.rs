//! Rules of `Service`.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::Faults;
use super::registry::{CHECK_REQUEST_BYTES_MAX, GRPC_SERVICE_BYTES_MAX};
use crate::document::node::shortened;
use crate::names;
use crate::resource::ServiceSpec;
use crate::resource::service::{ServiceCheck, ServiceCheckKind};

/// Most endpoints written down for one service.
pub const ENDPOINTS_MAX: usize = 10_000;
/// How often a written endpoint may be checked: every proxy that calls it does.
pub const CHECK_INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
/// How long one look may take.
pub const CHECK_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);
/// Outcomes in a row that may be asked for.
pub(crate) const THRESHOLD: RangeInclusive<u64> = 1..=100;

/// Longest name of a zone or a region, in bytes.
pub const PLACE_BYTES_MAX: usize = 128;

pub(super) fn validate(spec: &ServiceSpec, faults: &mut Faults) {
    super::registry::metadata("spec.metadata", &spec.metadata, faults);
    if let Some(found) = &spec.check {
        check("spec.check", found, faults);
        if spec.endpoints.is_empty() {
            let message = "there are no `endpoints` to check: instances that register bring their own checks";
            faults.add("spec.check", message, "`endpoints`, or no `check`");
        }
    }
    faults.at_most("spec.endpoints", spec.endpoints.len(), ENDPOINTS_MAX);
    let mut seen = HashSet::new();
    for (index, endpoint) in spec.endpoints.iter().take(ENDPOINTS_MAX).enumerate() {
        let path = format!("spec.endpoints[{index}]");
        faults.name(&format!("{path}.address"), names::host(&endpoint.address));
        faults.port(&format!("{path}.port"), endpoint.port);
        faults.weight(&format!("{path}.weight"), endpoint.weight);
        if let Some(found) = &endpoint.check {
            check(&format!("{path}.check"), found, faults);
        }
        place(&format!("{path}.region"), endpoint.region.as_deref(), faults);
        place(&format!("{path}.zone"), endpoint.zone.as_deref(), faults);
        if !seen.insert((endpoint.address.to_ascii_lowercase(), endpoint.port)) {
            let shown = format!("{} port {} is there twice", endpoint.address, endpoint.port);
            faults.add(path, shown, "each endpoint once; use `weight` for a larger share");
        }
    }
}

fn check(path: &str, check: &ServiceCheck, faults: &mut Faults) {
    let kind = check.kind;
    let own = [
        ("path", check.path.is_some(), ServiceCheckKind::Http),
        ("host", check.host.is_some(), ServiceCheckKind::Http),
        ("service", check.service.is_some(), ServiceCheckKind::Grpc),
    ];
    for (field, _, of) in own.into_iter().filter(|(_, is_there, of)| *is_there && *of != kind) {
        let message = format!("a check of type `{}` has no {field}", kind.as_str());
        faults.add(format!("{path}.{field}"), message, format!("`type: {}`, or no `{field}`", of.as_str()));
    }
    if let Some(asked) = &check.path {
        let plain = asked.starts_with('/') && asked.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
        if !plain {
            let message = format!("`{}` is no path that can be asked for", shortened(asked));
            faults.add(format!("{path}.path"), message, "a path such as `/health`");
        }
        faults.at_most(&format!("{path}.path (bytes)"), asked.len(), CHECK_REQUEST_BYTES_MAX);
    }
    if let Some(host) = &check.host {
        authority(&format!("{path}.host"), host, faults);
    }
    if let Some(service) = &check.service {
        faults.at_most(&format!("{path}.service (bytes)"), service.len(), GRPC_SERVICE_BYTES_MAX);
    }
    if let Some(port) = check.port {
        faults.port(&format!("{path}.port"), port);
    }
    faults.span(&format!("{path}.interval"), check.interval, CHECK_INTERVAL);
    faults.span(&format!("{path}.timeout"), check.timeout, CHECK_TIMEOUT);
    faults.within(&format!("{path}.healthyThreshold"), check.healthy_threshold.map(u64::from), THRESHOLD);
    faults.within(&format!("{path}.unhealthyThreshold"), check.unhealthy_threshold.map(u64::from), THRESHOLD);
}

/// A host, and a port if need be.
fn authority(path: &str, host: &str, faults: &mut Faults) {
    let bare = match host.rsplit_once(':') {
        Some((bare, port)) if !bare.contains(':') || bare.ends_with(']') => {
            if port.parse::<u16>().is_ok_and(|port| port > 0) { bare } else { "" }
        }
        _ => host,
    };
    let bare = bare.strip_prefix('[').and_then(|bare| bare.strip_suffix(']')).unwrap_or(bare);
    if bare.is_empty() {
        let message = format!("`{}` is no host", shortened(host));
        faults.add(path, message, "a host name or an address, and a port if need be");
    } else {
        faults.name(path, names::host(bare));
    }
}

/// The name of a zone or a region, if there is one.
fn place(path: &str, name: Option<&str>, faults: &mut Faults) {
    let Some(name) = name else { return };
    if name.is_empty() || name.len() > PLACE_BYTES_MAX || name.chars().any(char::is_control) {
        let expected = format!("1 to {PLACE_BYTES_MAX} bytes without control characters, such as `eu-1a`");
        faults.add(path, "it is not the name of a place", expected);
    }
}
