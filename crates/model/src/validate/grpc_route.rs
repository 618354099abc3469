//! Rules of `GRPCRoute`, those of the Gateway API where it has any.

use super::route::{MATCHES_MAX, RULES_MAX};
use super::{Faults, filters, route};
use crate::document::node::shortened;
use crate::resource::GrpcRouteSpec;
use crate::resource::grpc_route::{GrpcMethodMatch, GrpcMethodMatchKind, GrpcRouteRule};

/// Longest name of a gRPC service or method, in bytes (the Gateway API's own limit).
pub const NAME_BYTES_MAX: usize = 1024;

const A_SERVICE: &str = "the full name of a gRPC service, such as `shop.v1.Cart`";
const A_METHOD: &str = "the name of a gRPC method, such as `AddItem`";

pub(super) fn validate(spec: &GrpcRouteSpec, faults: &mut Faults) {
    route::parents(&spec.parent_refs, route::WITH_MESH, faults);
    route::hostnames(&spec.hostnames, faults);
    let rules = spec.rules.iter().map(|rule| rule.name.as_deref());
    route::rule_names(rules, RULES_MAX, faults);
    for (index, one) in spec.rules.iter().take(RULES_MAX).enumerate() {
        rule(&format!("spec.rules[{index}]"), one, faults);
    }
}

fn rule(path: &str, rule: &GrpcRouteRule, faults: &mut Faults) {
    faults.at_most(&format!("{path}.matches"), rule.matches.len(), MATCHES_MAX);
    for (index, one) in rule.matches.iter().take(MATCHES_MAX).enumerate() {
        let path = format!("{path}.matches[{index}]");
        if let Some(wanted) = &one.method {
            method(&format!("{path}.method"), wanted, faults);
        }
        route::headers(&format!("{path}.headers"), &one.headers, faults);
    }
    let filtered = filters::Rule { replaces_prefix: false, answers: false, has_backends: true };
    filters::of_rule(path, &rule.filters, &rule.backend_refs, filtered, faults);
    route::backends(path, &rule.backend_refs, faults);
}

fn method(path: &str, wanted: &GrpcMethodMatch, faults: &mut Faults) {
    let filled = |name: &Option<String>| name.as_deref().is_some_and(|name| !name.is_empty());
    if !filled(&wanted.service) && !filled(&wanted.method) {
        return faults.add(path, "it names neither", "a `service`, a `method`, or both");
    }
    let names = [
        ("service", &wanted.service, A_SERVICE, is_service as fn(&str) -> bool),
        ("method", &wanted.method, A_METHOD, is_identifier),
    ];
    for (field, name, expected, is_good) in names {
        let Some(name) = name.as_deref().filter(|name| !name.is_empty()) else { continue };
        let path = format!("{path}.{field}");
        match wanted.kind {
            GrpcMethodMatchKind::RegularExpression => faults.pattern(&path, name),
            GrpcMethodMatchKind::Exact if name.len() > NAME_BYTES_MAX || !is_good(name) => {
                faults.add(path, format!("`{}` is no such name", shortened(name)), expected);
            }
            GrpcMethodMatchKind::Exact => {}
        }
    }
}

/// Parts between points; it may begin with one.
fn is_service(name: &str) -> bool {
    name.strip_prefix('.').unwrap_or(name).split('.').all(is_identifier)
}

fn is_identifier(part: &str) -> bool {
    part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && part.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}
