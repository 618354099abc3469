//! Rules that routes of several kinds have in common.

use std::collections::HashSet;

use super::Faults;
use crate::document::node::shortened;
use crate::names;
use crate::resource::Spec;
use crate::resource::route::{BackendRef, ParentRef, ValueMatch, ValueMatchKind};

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
/// Longest name of a header field or query parameter, in bytes.
pub const CONDITION_NAME_BYTES_MAX: usize = 256;
/// Longest value of a header field or query parameter, in bytes.
pub const CONDITION_VALUE_BYTES_MAX: usize = 4096;

/// Kinds of parent of routes that also count inside the mesh.
pub(super) const WITH_MESH: &[&str] = &["Gateway", "Service"];

pub(super) fn parents(parents: &[ParentRef], kinds: &[&str], faults: &mut Faults) {
    faults.at_most("spec.parentRefs", parents.len(), PARENTS_MAX);
    for (index, one) in parents.iter().take(PARENTS_MAX).enumerate() {
        parent(&format!("spec.parentRefs[{index}]"), one, kinds, faults);
    }
}

fn parent(path: &str, parent: &ParentRef, kinds: &[&str], faults: &mut Faults) {
    let kind = parent.kind.as_deref();
    let groups: &[&str] =
        if kind == Some("Service") { &["", "core", "weir.dev"] } else { &["gateway.networking.k8s.io"] };
    faults.reference(path, (kind, kinds), (parent.group.as_deref(), groups));
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

pub(super) fn hostnames(hostnames: &[String], faults: &mut Faults) {
    faults.at_most("spec.hostnames", hostnames.len(), HOSTNAMES_MAX);
    let mut seen = HashSet::new();
    for (index, name) in hostnames.iter().enumerate() {
        let path = format!("spec.hostnames[{index}]");
        faults.name(&path, names::hostname(name));
        if !seen.insert(name) {
            faults.add(path, format!("`{}` is there twice", shortened(name)), "each host name once");
        }
    }
}

/// There are not too many rules, and those that have a name have one of their own.
pub(super) fn rule_names<'a>(
    rules: impl ExactSizeIterator<Item = Option<&'a str>>,
    max: usize,
    faults: &mut Faults,
) {
    faults.at_most("spec.rules", rules.len(), max);
    let mut seen = HashSet::new();
    for (index, name) in rules.take(max).enumerate() {
        let Some(name) = name else { continue };
        let path = format!("spec.rules[{index}].name");
        faults.name(&path, names::subdomain(name));
        if !seen.insert(name) {
            faults.add(path, format!("`{name}` is there twice"), "a name of its own");
        }
    }
}

/// Conditions on header fields.
pub(super) fn headers(path: &str, conditions: &[ValueMatch], faults: &mut Faults) {
    values(path, conditions, str::to_ascii_lowercase, faults);
    for (index, header) in conditions.iter().enumerate().filter(|(_, header)| !header.name.is_empty()) {
        faults.name(&format!("{path}[{index}].name"), names::token(&header.name));
    }
}

/// Conditions on named values: bounded, named, and each name once (`fold` says when two names are the same).
pub(super) fn values(path: &str, conditions: &[ValueMatch], fold: fn(&str) -> String, faults: &mut Faults) {
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
        if one.kind == ValueMatchKind::RegularExpression {
            faults.pattern(&value, &one.value);
            continue;
        }
        if one.value.len() > CONDITION_VALUE_BYTES_MAX
            || one.value.chars().any(|c| c.is_control() && c != '\t')
        {
            let expected = format!("at most {CONDITION_VALUE_BYTES_MAX} bytes, no control characters");
            faults.add(value, "the value cannot match any request", expected);
        }
    }
}

pub(super) fn backends(path: &str, backends: &[BackendRef], faults: &mut Faults) {
    faults.at_most(&format!("{path}.backendRefs"), backends.len(), BACKENDS_MAX);
    for (index, one) in backends.iter().take(BACKENDS_MAX).enumerate() {
        backend(&format!("{path}.backendRefs[{index}]"), one, faults);
    }
}

fn backend(path: &str, backend: &BackendRef, faults: &mut Faults) {
    let BackendRef { group, kind, name, namespace, port, weight, .. } = backend;
    service(path, (group.as_deref(), kind.as_deref()), (namespace.as_deref(), name), *port, faults);
    faults.weight(&format!("{path}.weight"), *weight);
}

/// A reference to a service.
pub(super) fn service(
    path: &str,
    (group, kind): (Option<&str>, Option<&str>),
    (namespace, name): (Option<&str>, &str),
    port: Option<u16>,
    faults: &mut Faults,
) {
    faults.reference(path, (kind, &["Service"]), (group, &["", "core", "weir.dev"]));
    faults.name(&format!("{path}.name"), names::registered(name));
    if let Some(namespace) = namespace {
        faults.name(&format!("{path}.namespace"), names::label(namespace));
    }
    if let Some(port) = port {
        faults.port(&format!("{path}.port"), port);
    }
}

/// The rules of a route with their names and services.
pub(super) fn named_rules(route: &Spec) -> Vec<(Option<&str>, &[BackendRef])> {
    match route {
        Spec::HttpRoute(route) => {
            route.rules.iter().map(|rule| (rule.name.as_deref(), &*rule.backend_refs)).collect()
        }
        Spec::GrpcRoute(route) => {
            route.rules.iter().map(|rule| (rule.name.as_deref(), &*rule.backend_refs)).collect()
        }
        _ => Vec::new(),
    }
}
