//! From the rules of an `HTTPRoute` to what a route table is built from.

use weir_http1::{Normalized, PathError, normalize_path};
use weir_model::resource::HttpRouteSpec;
use weir_model::resource::http_route::{
    BackendRef, HttpRouteMatch, HttpRouteRule, PathMatchKind, ValueMatch,
};
use weir_model::units::Span;
use weir_model::{Kind, ResourceId, ServiceRef};

use super::Rejection;
use super::compile::Interner;
use crate::route::{Backends, Conditions, MatchSpec, PathPattern, Rule, TimeLimit};

/// The most matches a route may have, over all of its rules and hostnames: each becomes an entry of the table.
const MATCHES_PER_ROUTE_MAX: usize = 65_536;

/// A rule with its matches.
pub(super) struct CompiledRoute {
    pub(super) rule: Rule,
    pub(super) matches: Vec<MatchSpec>,
}

/// The rules of a route.
pub(super) fn compile(
    id: &ResourceId,
    spec: &HttpRouteSpec,
    names: &mut Interner,
    rejections: &mut Vec<Rejection>,
) -> Vec<CompiledRoute> {
    let mut reject =
        |path: String, reason: String| rejections.push(Rejection { resource: id.clone(), path, reason });
    let matches: usize = spec.rules.iter().map(|rule| rule.matches.len().max(1)).sum();
    if matches * spec.hostnames.len().max(1) > MATCHES_PER_ROUTE_MAX {
        reject(
            "spec.rules".to_owned(),
            format!("more than {MATCHES_PER_ROUTE_MAX} combinations of hostnames and matches"),
        );
        return Vec::new();
    }
    spec.rules
        .iter()
        .enumerate()
        .map(|(index, rule)| {
            let path = format!("spec.rules[{index}]");
            CompiledRoute {
                matches: compile_matches(rule, &path, &mut reject),
                rule: compile_rule(id, index, rule, names, &path, &mut reject),
            }
        })
        .collect()
}

fn compile_rule(
    id: &ResourceId,
    index: usize,
    rule: &HttpRouteRule,
    names: &mut Interner,
    path: &str,
    reject: &mut impl FnMut(String, String),
) -> Rule {
    let timeouts = rule.timeouts.clone().unwrap_or_default();
    let mut weighted = Vec::new();
    for (at, backend) in rule.backend_refs.iter().enumerate() {
        match not_a_service(backend) {
            Some((field, reason)) => reject(format!("{path}.backendRefs[{at}].{field}"), reason),
            None => {
                let namespace = backend.namespace.as_deref().unwrap_or(&id.namespace);
                weighted.push((backend.weight, names.index(&ServiceRef::new(namespace, &*backend.name))));
            }
        }
    }
    Rule {
        route: id.clone(),
        index,
        name: rule.name.as_deref().map(Into::into),
        label: format!("{id}#{index}").into(),
        request_timeout: time_limit(timeouts.request),
        attempt_timeout: time_limit(timeouts.backend_request),
        backends: Backends::new(weighted),
    }
}

pub(super) fn not_a_service(backend: &BackendRef) -> Option<(&'static str, String)> {
    let kind = backend.kind.as_deref().unwrap_or(Kind::Service.as_str());
    (kind != Kind::Service.as_str())
        .then(|| ("kind", format!("`{kind}` is not supported: expected `Service`")))
}

fn time_limit(span: Option<Span>) -> TimeLimit {
    match span {
        None => TimeLimit::Unset,
        Some(span) if span.0.is_zero() => TimeLimit::Unlimited,
        Some(span) => TimeLimit::Limited(span.0),
    }
}

fn compile_matches(
    rule: &HttpRouteRule,
    path: &str,
    reject: &mut impl FnMut(String, String),
) -> Vec<MatchSpec> {
    if rule.matches.is_empty() {
        return vec![compile_match(&HttpRouteMatch::default(), path, reject)];
    }
    let compile = |(at, one)| compile_match(one, &format!("{path}.matches[{at}]"), reject);
    rule.matches.iter().enumerate().map(compile).collect()
}

fn compile_match(spec: &HttpRouteMatch, field: &str, reject: &mut impl FnMut(String, String)) -> MatchSpec {
    let sent = spec.path.as_ref().map_or("/", |path| &path.value);
    let path = match normal_form(sent) {
        Ok(path) => path,
        Err(error) => {
            reject(format!("{field}.path.value"), format!("`{sent}` is not a path: {error}"));
            sent.to_owned()
        }
    };
    let exact = spec.path.as_ref().is_some_and(|path| path.kind == PathMatchKind::Exact);
    let path = if exact { PathPattern::Exact(path.into()) } else { PathPattern::Prefix(path.into()) };
    let conditions = Conditions {
        method: spec.method.as_deref().map(Into::into),
        headers: first_of_each(&spec.headers, str::to_ascii_lowercase),
        params: first_of_each(&spec.query_params, str::to_owned),
    };
    MatchSpec { path, conditions }
}

/// A path in the form that requests have when they are routed; one in another form would match nothing.
fn normal_form(path: &str) -> Result<String, PathError> {
    let mut normal = Vec::new();
    match normalize_path(path.as_bytes(), &mut normal)? {
        Normalized::Unchanged => Ok(path.to_owned()),
        // Escapes and slashes only: normalising leaves all other bytes alone.
        Normalized::Changed => Ok(String::from_utf8_lossy(&normal).into_owned()),
    }
}

/// Of several conditions on the same name only the first counts (Gateway API).
fn first_of_each(conditions: &[ValueMatch], fold: fn(&str) -> String) -> Box<[(Box<str>, Box<str>)]> {
    let mut kept: Vec<(Box<str>, Box<str>)> = Vec::with_capacity(conditions.len());
    for condition in conditions {
        let name = fold(&condition.name);
        if kept.iter().all(|(other, _)| **other != *name) {
            kept.push((name.into(), (&*condition.value).into()));
        }
    }
    kept.into()
}
