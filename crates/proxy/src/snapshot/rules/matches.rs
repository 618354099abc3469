//! Matches of rules: paths in the form that requests have when they are routed, gRPC methods as paths.

use weir_http1::{Normalized, PathError, normalize_path};
use weir_model::resource::grpc_route::{GrpcMethodMatch, GrpcMethodMatchKind, GrpcRouteMatch};
use weir_model::resource::http_route::{HttpRouteMatch, PathMatchKind};
use weir_model::resource::route::{ValueMatch, ValueMatchKind};

use super::Scope;
use crate::route::{Conditions, MatchSpec, PathPattern, ValueTest};

/// The matches of a rule of an `HTTPRoute`; one for every request when there are none.
pub(super) fn http(scope: &mut Scope<'_>, path: &str, matches: &[HttpRouteMatch]) -> Vec<MatchSpec> {
    if matches.is_empty() {
        return vec![http_match(scope, path, &HttpRouteMatch::default())];
    }
    let compile = |(at, one)| http_match(scope, &format!("{path}.matches[{at}]"), one);
    matches.iter().enumerate().map(compile).collect()
}

/// The same for a `GRPCRoute`: every request of gRPC when there are none.
pub(super) fn grpc(scope: &mut Scope<'_>, path: &str, matches: &[GrpcRouteMatch]) -> Vec<MatchSpec> {
    if matches.is_empty() {
        return vec![grpc_match(scope, path, &GrpcRouteMatch::default())];
    }
    let compile = |(at, one)| grpc_match(scope, &format!("{path}.matches[{at}]"), one);
    matches.iter().enumerate().map(compile).collect()
}

fn http_match(scope: &mut Scope<'_>, field: &str, spec: &HttpRouteMatch) -> MatchSpec {
    let (kind, value) = match &spec.path {
        None => (PathMatchKind::PathPrefix, "/"),
        Some(path) => (path.kind, &*path.value),
    };
    let path = match kind {
        PathMatchKind::RegularExpression => expression(scope, &format!("{field}.path.value"), value),
        PathMatchKind::Exact => PathPattern::Exact(normal_form(scope, field, value)),
        PathMatchKind::PathPrefix => PathPattern::Prefix(normal_form(scope, field, value)),
    };
    let conditions = Conditions {
        grpc: false,
        preflights: false,
        method: spec.method.as_deref().map(Into::into),
        headers: first_of_each(scope, &format!("{field}.headers"), &spec.headers, str::to_ascii_lowercase),
        params: first_of_each(scope, &format!("{field}.queryParams"), &spec.query_params, str::to_owned),
    };
    MatchSpec::new(path, conditions)
}

fn grpc_match(scope: &mut Scope<'_>, field: &str, spec: &GrpcRouteMatch) -> MatchSpec {
    let path = match &spec.method {
        None => PathPattern::Prefix("/".into()),
        Some(method) => grpc_path(scope, &format!("{field}.method"), method),
    };
    let headers = first_of_each(scope, &format!("{field}.headers"), &spec.headers, str::to_ascii_lowercase);
    MatchSpec::new(path, Conditions { grpc: true, headers, ..Conditions::default() })
}

/// The path of a gRPC request is `/service/method`.
fn grpc_path(scope: &mut Scope<'_>, field: &str, spec: &GrpcMethodMatch) -> PathPattern {
    let named = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
    match (spec.kind, named(&spec.service), named(&spec.method)) {
        (_, None, None) => PathPattern::Prefix("/".into()),
        (GrpcMethodMatchKind::Exact, Some(service), Some(method)) => {
            PathPattern::Exact(format!("/{service}/{method}").into())
        }
        (GrpcMethodMatchKind::Exact, Some(service), None) => {
            PathPattern::Prefix(format!("/{service}").into())
        }
        (GrpcMethodMatchKind::Exact, None, Some(method)) => PathPattern::AnyService(method.into()),
        (GrpcMethodMatchKind::RegularExpression, service, method) => {
            let part = |name: Option<String>| name.map_or("[^/]+".to_owned(), |name| format!("(?:{name})"));
            // Each by itself first, so that parentheses pair within one.
            for (name, text) in [("service", &service), ("method", &method)] {
                if let Some(text) = text {
                    expression(scope, &format!("{field}.{name}"), text);
                }
            }
            expression(scope, field, &format!("/{}/{}", part(service), part(method)))
        }
    }
}

/// A path in the form that requests have when they are routed; one in another form would match nothing.
fn normal_form(scope: &mut Scope<'_>, field: &str, path: &str) -> Box<str> {
    match normalized(path) {
        Ok(path) => path.into(),
        Err(error) => {
            scope.reject(format!("{field}.path.value"), format!("`{path}` is not a path: {error}"));
            path.into()
        }
    }
}

fn normalized(path: &str) -> Result<String, PathError> {
    let mut normal = Vec::new();
    match normalize_path(path.as_bytes(), &mut normal)? {
        Normalized::Unchanged => Ok(path.to_owned()),
        // Escapes and slashes only: normalising leaves all other bytes alone.
        Normalized::Changed => Ok(String::from_utf8_lossy(&normal).into_owned()),
    }
}

fn expression(scope: &mut Scope<'_>, field: &str, text: &str) -> PathPattern {
    match scope.names.pattern(text) {
        Ok(pattern) => PathPattern::Regex(pattern),
        Err(error) => {
            scope.reject(field, error.to_string());
            PathPattern::Exact(text.into())
        }
    }
}

/// Of several conditions on the same name only the first counts (Gateway API).
fn first_of_each(
    scope: &mut Scope<'_>,
    field: &str,
    conditions: &[ValueMatch],
    fold: fn(&str) -> String,
) -> Box<[(Box<str>, ValueTest)]> {
    let mut kept: Vec<(Box<str>, ValueTest)> = Vec::with_capacity(conditions.len());
    for (at, condition) in conditions.iter().enumerate() {
        let name = fold(&condition.name);
        if kept.iter().any(|(other, _)| **other == *name) {
            continue;
        }
        let test = match condition.kind {
            ValueMatchKind::Exact => ValueTest::Exact((&*condition.value).into()),
            ValueMatchKind::RegularExpression => match scope.names.pattern(&condition.value) {
                Ok(pattern) => ValueTest::Regex(pattern),
                Err(error) => {
                    scope.reject(format!("{field}[{at}].value"), error.to_string());
                    continue;
                }
            },
        };
        kept.push((name.into(), test));
    }
    kept.into()
}
