//! Rules that policies of several kinds have in common: what they are for, keys, statuses, answers.

use std::collections::HashSet;
use std::time::Duration;

use super::{Faults, STATUSES, STATUSES_OF_ANSWERS, filters};
use crate::document::nearest;
use crate::document::node::shortened;
use crate::names::{self, GRPC_STATUSES};
use crate::resource::Kind;
use crate::resource::key::{KeyKind, KeyPart};
use crate::resource::traffic_policy::{PolicyTarget, StaticResponse};
use crate::units::{Size, Span};

/// Most things one policy is for.
pub const TARGETS_MAX: usize = 256;
/// Most parts of a key, or of what a hash is taken of.
pub(super) const KEY_PARTS_MAX: usize = 8;
/// Longest name of a field, a cookie or a parameter, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 256;
/// Most statuses of a list.
pub(super) const STATUSES_MAX: usize = 64;
/// Most header fields of an answer that stands in a document.
pub(super) const RESPONSE_FIELDS_MAX: usize = 32;
/// Longest body of an answer that stands in a document, in bytes.
pub(super) const RESPONSE_BODY_BYTES_MAX: usize = 64 << 10;

/// Longest message for a call of gRPC that stands in a document, in bytes: it goes into a field of a head.
pub(super) const GRPC_MESSAGE_BYTES_MAX: usize = 1024;

/// Groups of the Gateway API's kinds, and of services.
const GATEWAY_GROUPS: &[&str] = &["gateway.networking.k8s.io"];
const SERVICE_GROUPS: &[&str] = &["", "core", "weir.dev"];

/// What a policy of this kind is for.
pub(super) fn targets(policy: Kind, targets: &[PolicyTarget], faults: &mut Faults) {
    if targets.is_empty() {
        faults.add("spec.targetRefs", "it is empty", "at least one target");
    }
    faults.at_most("spec.targetRefs", targets.len(), TARGETS_MAX);
    let kinds: Vec<&str> = policy.targets().iter().map(|kind| kind.as_str()).collect();
    let mut seen = HashSet::new();
    for (index, one) in targets.iter().take(TARGETS_MAX).enumerate() {
        let path = format!("spec.targetRefs[{index}]");
        let target = one.of(policy);
        let is_service = target.kind == Some(Kind::Service);
        let groups = if is_service { SERVICE_GROUPS } else { GATEWAY_GROUPS };
        faults.reference(&path, (one.kind.as_deref(), &kinds), (one.group.as_deref(), groups));
        let rule = if is_service { names::registered } else { names::subdomain };
        faults.name(&format!("{path}.name"), rule(&one.name));
        if let Some(section) = target.section {
            let at = format!("{path}.sectionName");
            if is_service {
                faults.add(at, "a service has no sections", "a target of another kind, or no `sectionName`");
            } else {
                faults.name(&at, names::subdomain(section));
            }
        }
        if !seen.insert(target) {
            faults.add(path, format!("`{}` is there twice", shortened(&one.name)), "each target once");
        }
    }
}

/// What requests are told apart by.
pub(super) fn key(path: &str, parts: &[KeyPart], faults: &mut Faults) {
    faults.at_most(path, parts.len(), KEY_PARTS_MAX);
    let mut seen = HashSet::new();
    for (index, part) in parts.iter().take(KEY_PARTS_MAX).enumerate() {
        let path = format!("{path}[{index}]");
        let kind = part.kind.as_str();
        match &part.name {
            None if part.kind.is_named() => {
                faults.add(format!("{path}.name"), format!("a {kind} needs a name"), "a name");
            }
            Some(_) if !part.kind.is_named() => {
                let message = format!("`type: {kind}` has no name");
                faults.add(format!("{path}.name"), message, "no `name`, or another `type`");
            }
            Some(name) => key_name(&format!("{path}.name"), part.kind, name, faults),
            None => {}
        }
        let name = part.name.as_ref().map(|name| match part.kind {
            KeyKind::Header => name.to_ascii_lowercase(),
            _ => name.clone(),
        });
        if !seen.insert((part.kind, name)) {
            faults.add(path, "it is there twice", "each part once");
        }
    }
}

fn key_name(path: &str, kind: KeyKind, name: &str, faults: &mut Faults) {
    if name.len() > NAME_BYTES_MAX {
        return faults.add(path, format!("{} bytes long", name.len()), super::at_most(NAME_BYTES_MAX));
    }
    if kind != KeyKind::Query {
        // Names of cookies are tokens, too (RFC 6265, section 4.1.1).
        return faults.name(path, names::token(name));
    }
    if name.is_empty() || name.chars().any(char::is_control) {
        faults.add(path, "it cannot be the name of a parameter", "text without control characters");
    }
}

/// Names a header field that is only read.
pub(super) fn header_name(path: &str, name: &str, faults: &mut Faults) {
    key_name(path, KeyKind::Header, name, faults);
}

/// A list of response statuses.
pub(super) fn statuses(path: &str, statuses: &[u16], faults: &mut Faults) {
    faults.at_most(path, statuses.len(), STATUSES_MAX);
    let mut seen = HashSet::new();
    for (index, status) in statuses.iter().take(STATUSES_MAX).enumerate() {
        let path = format!("{path}[{index}]");
        faults.within(&path, Some(u64::from(*status)), STATUSES);
        if !seen.insert(status) {
            faults.add(path, format!("{status} is there twice"), "each status once");
        }
    }
}

/// A list of names of gRPC statuses that are failures.
pub(super) fn grpc_statuses(path: &str, statuses: &[String], faults: &mut Faults) {
    faults.at_most(path, statuses.len(), STATUSES_MAX);
    let mut seen = HashSet::new();
    for (index, status) in statuses.iter().take(STATUSES_MAX).enumerate() {
        let path = format!("{path}[{index}]");
        grpc_status(&path, status, faults);
        if !seen.insert(status) {
            faults.add(path, format!("`{}` is there twice", shortened(status)), "each status once");
        }
    }
}

/// The name of a gRPC status that is a failure.
fn grpc_status(path: &str, status: &str, faults: &mut Faults) {
    let failures = &GRPC_STATUSES[1..];
    if status == GRPC_STATUSES[0] {
        faults.add(path, "`OK` is no failure", "the status of a failure such as `UNAVAILABLE`");
    } else if !failures.contains(&status) {
        let expected = match nearest(status, failures.iter().copied()) {
            Some(known) => format!("`{known}`?"),
            None => "a name such as `UNAVAILABLE` or `RESOURCE_EXHAUSTED`".to_owned(),
        };
        faults.add(path, format!("`{}` is no status of gRPC", shortened(status)), expected);
    }
}

/// An answer that stands in a document.
pub(super) fn response(path: &str, response: &StaticResponse, faults: &mut Faults) {
    let StaticResponse { status, headers, body, grpc_status: call_status, grpc_message } = response;
    faults.within(&format!("{path}.status"), Some(u64::from(*status)), STATUSES_OF_ANSWERS);
    let fields = format!("{path}.headers");
    faults.at_most(&fields, headers.len(), RESPONSE_FIELDS_MAX);
    for (index, field) in headers.iter().take(RESPONSE_FIELDS_MAX).enumerate() {
        filters::field_name(&format!("{fields}[{index}].name"), &field.name, faults);
        filters::value(&format!("{fields}[{index}].value"), &field.value, faults);
    }
    if let Some(status) = call_status {
        grpc_status(&format!("{path}.grpcStatus"), status, faults);
    }
    if let Some(message) = grpc_message.as_ref().filter(|message| message.len() > GRPC_MESSAGE_BYTES_MAX) {
        let path = format!("{path}.grpcMessage");
        faults.add(path, format!("{} bytes long", message.len()), super::at_most(GRPC_MESSAGE_BYTES_MAX));
    }
    let Some(body) = body else { return };
    let path = format!("{path}.body");
    if body.len() > RESPONSE_BODY_BYTES_MAX {
        let max = Size(RESPONSE_BODY_BYTES_MAX as u64);
        faults.add(&path, format!("{} bytes long", body.len()), format!("at most {max}"));
    }
    // RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5.
    if matches!(status, 204 | 205 | 304) && !body.is_empty() {
        faults.add(path, format!("a response with {status} has no body"), "no `body`, or another `status`");
    }
}

/// Of two lengths of time the first is no longer than the second; what is not written has its default.
pub(super) fn ordered(
    path: &str,
    (first, shorter): (&str, Option<Span>),
    (second, longer): (&str, Option<Span>),
    defaults: (Duration, Duration),
    faults: &mut Faults,
) {
    let (low, high) = (shorter.unwrap_or(Span(defaults.0)), longer.unwrap_or(Span(defaults.1)));
    if low <= high {
        return;
    }
    match (shorter, longer) {
        (Some(_), Some(_)) => {
            let message = format!("{low} is longer than `{second}` ({high})");
            faults.add(format!("{path}.{first}"), message, format!("at most {high}"));
        }
        (Some(_), None) => {
            let message = format!("{low} is longer than `{second}`, which is {high} unless it is written");
            faults.add(format!("{path}.{first}"), message, format!("at most {high}, or a longer `{second}`"));
        }
        _ => {
            let message = format!("{high} is shorter than `{first}`, which is {low} unless it is written");
            faults.add(
                format!("{path}.{second}"),
                message,
                format!("at least {low}, or a shorter `{first}`"),
            );
        }
    }
}

/// A field that belongs to some values of a selector (`algorithm: token_bucket`) only.
pub(super) struct Owned {
    /// The field.
    pub(super) field: &'static str,
    /// Whether it is written.
    pub(super) is_there: bool,
    /// The values it belongs to.
    pub(super) owners: &'static [&'static str],
}

/// Fields must belong to the value of the selector that was chosen.
pub(super) fn owned(path: &str, selector: &str, chosen: &str, fields: &[Owned], faults: &mut Faults) {
    for Owned { field, is_there, owners } in fields {
        if *is_there && !owners.contains(&chosen) {
            let owners: Vec<String> = owners.iter().map(|owner| format!("`{selector}: {owner}`")).collect();
            let message = format!("it does not belong to `{selector}: {chosen}`");
            faults.add(format!("{path}.{field}"), message, owners.join(" or "));
        }
    }
}
