//! Rules of `TLSRoute` and `TCPRoute`, those of the Gateway API where it has any.

use super::{Faults, route};
use crate::resource::stream_route::{StreamRouteRule, TcpRouteSpec, TlsRouteSpec};

/// Most rules: they have no conditions, so that nothing could tell several apart.
const RULES_MAX: usize = 1;

pub(super) fn validate_tls(spec: &TlsRouteSpec, faults: &mut Faults) {
    route::parents(&spec.parent_refs, &["Gateway"], faults);
    route::hostnames(&spec.hostnames, faults);
    rules(&spec.rules, faults);
}

pub(super) fn validate_tcp(spec: &TcpRouteSpec, faults: &mut Faults) {
    route::parents(&spec.parent_refs, route::WITH_MESH, faults);
    rules(&spec.rules, faults);
}

fn rules(rules: &[StreamRouteRule], faults: &mut Faults) {
    if rules.is_empty() {
        faults.add("spec.rules", "there is none", "one rule with `backendRefs`");
    }
    route::rule_names(rules.iter().map(|rule| rule.name.as_deref()), RULES_MAX, faults);
    for (index, rule) in rules.iter().take(RULES_MAX).enumerate() {
        let path = format!("spec.rules[{index}]");
        route::backends(&path, &rule.backend_refs, faults);
        for (at, backend) in rule.backend_refs.iter().enumerate() {
            if !backend.filters.is_empty() {
                let path = format!("{path}.backendRefs[{at}].filters");
                faults.add(path, "bytes are passed on as they are", "no `filters`");
            }
        }
    }
}
