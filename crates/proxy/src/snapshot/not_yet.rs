//! What documents can say and the request path cannot do yet: refused with the field's path, so that nothing that
//! people write is silently without effect.

use weir_model::resource::http_route::{HttpRouteSpec, PathMatchKind, ValueMatch, ValueMatchKind};
use weir_model::{Resource, Spec};

use super::{Inputs, Rejection};

/// Refuses what cannot be done yet.
pub(super) fn refuse(inputs: &Inputs, rejections: &mut Vec<Rejection>) {
    for (id, resource) in inputs.resources.iter() {
        for path in paths(resource) {
            let reason = "not served yet".to_owned();
            rejections.push(Rejection { resource: id.clone(), path, reason });
        }
    }
}

fn paths(resource: &Resource) -> Vec<String> {
    let whole = || vec!["kind".to_owned()];
    match &resource.spec {
        Spec::HttpRoute(spec) => route(spec),
        Spec::GrpcRoute(_) => whole(),
        Spec::TrafficPolicy(spec) if spec.connection.is_some() => vec!["spec.connection".to_owned()],
        _ => Vec::new(),
    }
}

fn route(spec: &HttpRouteSpec) -> Vec<String> {
    let mut paths = Vec::new();
    for (index, rule) in spec.rules.iter().enumerate() {
        let path = format!("spec.rules[{index}]");
        if !rule.filters.is_empty() {
            paths.push(format!("{path}.filters"));
        }
        for (at, backend) in rule.backend_refs.iter().enumerate() {
            if !backend.filters.is_empty() {
                paths.push(format!("{path}.backendRefs[{at}].filters"));
            }
        }
        for (at, one) in rule.matches.iter().enumerate() {
            let path = format!("{path}.matches[{at}]");
            if one.path.as_ref().is_some_and(|path| path.kind == PathMatchKind::RegularExpression) {
                paths.push(format!("{path}.path.type"));
            }
            for (field, conditions) in [("headers", &one.headers), ("queryParams", &one.query_params)] {
                let expressions = conditions.iter().enumerate().filter(|(_, one)| is_expression(one));
                paths.extend(expressions.map(|(at, _)| format!("{path}.{field}[{at}].type")));
            }
        }
    }
    paths
}

fn is_expression(condition: &ValueMatch) -> bool {
    condition.kind == ValueMatchKind::RegularExpression
}
