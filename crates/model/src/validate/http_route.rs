//! Rules of `HTTPRoute`, those of the Gateway API where it has any.

use std::collections::HashSet;
use std::time::Duration;

use super::Faults;
use crate::document::node::shortened;
use crate::names;
use crate::resource::http_route::{
    BackendRef, HttpRouteMatch, HttpRouteRule, HttpRouteSpec, ParentRef, ValueMatch,
};

/// Most parents of one route.
pub const PARENTS_MAX: usize = 64;
/// Most host names of one route.
pub const HOSTNAMES_MAX: usize = 256;
/// Most rules of one route.
pub const RULES_MAX: usize = 1024;
/// Most matches of one rule.
pub const MATCHES_MAX: usize = 128;
/// Most conditions on header fields, and most on query parameters, of one match.
pub const CONDITIONS_MAX: usize = 32;
/// Most backends of one rule.
pub const BACKENDS_MAX: usize = 64;
/// Longest path to compare with, in bytes.
pub const PATH_BYTES_MAX: usize = 1024;
/// Longest name of a header field or query parameter, in bytes.
pub const CONDITION_NAME_BYTES_MAX: usize = 256;
/// Longest value of a header field or query parameter, in bytes.
pub const CONDITION_VALUE_BYTES_MAX: usize = 4096;
/// Longest method, in bytes.
const METHOD_BYTES_MAX: usize = 32;

pub(super) fn validate(spec: &HttpRouteSpec, faults: &mut Faults) {
    faults.at_most("spec.parentRefs", spec.parent_refs.len(), PARENTS_MAX);
    for (index, one) in spec.parent_refs.iter().enumerate() {
        parent(&format!("spec.parentRefs[{index}]"), one, faults);
    }
    faults.at_most("spec.hostnames", spec.hostnames.len(), HOSTNAMES_MAX);
    let mut seen = HashSet::new();
    for (index, name) in spec.hostnames.iter().enumerate() {
        let path = format!("spec.hostnames[{index}]");
        faults.name(&path, names::hostname(name));
        if !seen.insert(name) {
            faults.add(path, format!("`{}` is there twice", shortened(name)), "each host name once");
        }
    }
    faults.at_most("spec.rules", spec.rules.len(), RULES_MAX);
    let mut seen = HashSet::new();
    for (index, one) in spec.rules.iter().take(RULES_MAX).enumerate() {
        let path = format!("spec.rules[{index}]");
        if let Some(name) = &one.name {
            faults.name(&format!("{path}.name"), names::subdomain(name));
            if !seen.insert(name) {
                faults.add(format!("{path}.name"), format!("`{name}` is there twice"), "a name of its own");
            }
        }
        rule(&path, one, faults);
    }
}

fn parent(path: &str, parent: &ParentRef, faults: &mut Faults) {
    let kind = parent.kind.as_deref();
    let groups: &[&str] =
        if kind == Some("Service") { &["", "core", "weir.dev"] } else { &["gateway.networking.k8s.io"] };
    faults.reference(path, (kind, &["Gateway", "Service"]), (parent.group.as_deref(), groups));
    let rule = if kind == Some("Service") { names::registered } else { names::subdomain };
    faults.name(&format!("{path}.name"), rule(&parent.name));
    if let Some(namespace) = &parent.namespace {
        faults.name(&format!("{path}.namespace"), names::label(namespace));
    }
    if let Some(section) = &parent.section_name {
        faults.name(&format!("{path}.sectionName"), names::subdomain(section));
    }
    if let Some(port) = parent.port {
        faults.port(&format!("{path}.port"), port);
    }
}

fn rule(path: &str, rule: &HttpRouteRule, faults: &mut Faults) {
    faults.at_most(&format!("{path}.matches"), rule.matches.len(), MATCHES_MAX);
    for (index, one) in rule.matches.iter().take(MATCHES_MAX).enumerate() {
        condition(&format!("{path}.matches[{index}]"), one, faults);
    }
    faults.at_most(&format!("{path}.backendRefs"), rule.backend_refs.len(), BACKENDS_MAX);
    for (index, one) in rule.backend_refs.iter().take(BACKENDS_MAX).enumerate() {
        backend(&format!("{path}.backendRefs[{index}]"), one, faults);
    }
    if let Some(timeouts) = &rule.timeouts
        && let (Some(request), Some(attempt)) = (timeouts.request, timeouts.backend_request)
        && request.0 != Duration::ZERO
        && (attempt > request || attempt.0 == Duration::ZERO)
    {
        faults.add(
            format!("{path}.timeouts.backendRequest"),
            format!(
                "one attempt may take longer ({}) than the whole request ({request})",
                unlimited(attempt)
            ),
            format!("at most {request}"),
        );
    }
}

fn unlimited(span: crate::units::Span) -> String {
    if span.0 == Duration::ZERO { "no limit".to_owned() } else { span.to_string() }
}

fn condition(path: &str, condition: &HttpRouteMatch, faults: &mut Faults) {
    if let Some(wanted) = &condition.path {
        path_value(&format!("{path}.path.value"), &wanted.value, faults);
    }
    if let Some(method) = &condition.method {
        let path = format!("{path}.method");
        if names::token(method).is_err() || method.len() > METHOD_BYTES_MAX {
            faults.add(path, format!("`{}` is not a method", shortened(method)), "a method such as `GET`");
        } else if method.bytes().any(|b| b.is_ascii_lowercase()) {
            let expected = format!("`{}`", method.to_ascii_uppercase());
            faults.add(
                path,
                format!("`{method}` would never match: methods are written in capitals"),
                expected,
            );
        }
    }
    let headers = format!("{path}.headers");
    values(&headers, &condition.headers, str::to_ascii_lowercase, faults);
    for (index, header) in condition.headers.iter().enumerate().filter(|(_, header)| !header.name.is_empty())
    {
        faults.name(&format!("{headers}[{index}].name"), names::token(&header.name));
    }
    values(&format!("{path}.queryParams"), &condition.query_params, str::to_owned, faults);
}

/// Conditions on named values: bounded, named, and each name once (`fold` says when two names are the same).
fn values(path: &str, conditions: &[ValueMatch], fold: fn(&str) -> String, faults: &mut Faults) {
    faults.at_most(path, conditions.len(), CONDITIONS_MAX);
    let mut seen = HashSet::new();
    for (index, one) in conditions.iter().take(CONDITIONS_MAX).enumerate() {
        let name = format!("{path}[{index}].name");
        if one.name.is_empty() {
            faults.add(&name, "it is empty", "a name");
        }
        faults.at_most(&format!("{name} (bytes)"), one.name.len(), CONDITION_NAME_BYTES_MAX);
        if !seen.insert(fold(&one.name)) {
            faults.add(&name, format!("`{}` is there twice", shortened(&one.name)), "each name once");
        }
        let value = format!("{path}[{index}].value");
        if one.value.len() > CONDITION_VALUE_BYTES_MAX
            || one.value.chars().any(|c| c.is_control() && c != '\t')
        {
            let expected = format!("at most {CONDITION_VALUE_BYTES_MAX} bytes, no control characters");
            faults.add(value, "the value cannot match any request", expected);
        }
    }
}

/// The Gateway API's rules for a path: it must be in the form that paths have after they are normalised, else it would
/// never match.
fn path_value(path: &str, value: &str, faults: &mut Faults) {
    let shown = shortened(value);
    if !value.starts_with('/') {
        let expected = format!("`/{}`", shown.trim_start_matches('/'));
        return faults.add(path, format!("`{shown}` does not begin with `/`"), expected);
    }
    if value.len() > PATH_BYTES_MAX {
        return faults.add(path, format!("{} bytes long", value.len()), super::at_most(PATH_BYTES_MAX));
    }
    let lower = value.to_ascii_lowercase();
    let unreachable = ["//", "/./", "/../", "%2f"].into_iter().find(|part| lower.contains(part));
    let unreachable = unreachable.or_else(|| ["/..", "/."].into_iter().find(|part| value.ends_with(part)));
    if let Some(part) = unreachable {
        let message =
            format!("`{shown}` would never match: paths are normalised first, so that none holds `{part}`");
        return faults.add(path, message, "a normalised path");
    }
    if let Some(odd) =
        value.chars().find(|c| !(c.is_ascii_alphanumeric() || "-/._~!$&'()*+,;=:@%".contains(*c)))
    {
        let message = format!("`{shown}` holds {odd:?}, which no path does");
        return faults.add(path, message, "letters, digits, -._~!$&'()*+,;=:@/ and %XX for others");
    }
    let escapes = value.split('%').skip(1);
    if escapes.into_iter().any(|rest| !rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count().eq(&2)) {
        faults.add(path, format!("`{shown}` holds a `%` without two hex digits"), "%XX");
    }
}

fn backend(path: &str, backend: &BackendRef, faults: &mut Faults) {
    faults.reference(
        path,
        (backend.kind.as_deref(), &["Service"]),
        (backend.group.as_deref(), &["", "core", "weir.dev"]),
    );
    faults.name(&format!("{path}.name"), names::registered(&backend.name));
    if let Some(namespace) = &backend.namespace {
        faults.name(&format!("{path}.namespace"), names::label(namespace));
    }
    if let Some(port) = backend.port {
        faults.port(&format!("{path}.port"), port);
    }
    faults.weight(&format!("{path}.weight"), backend.weight);
}
