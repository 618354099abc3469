//! From the rules of an `HTTPRoute` or a `GRPCRoute` to what a route table is built from. Both become the same.

mod filters;
mod matches;

use std::sync::Arc;

use weir_model::resource::filter::Filter;
use weir_model::resource::http_route::{RouteTimeouts, RuleOrder};
use weir_model::resource::references::rule_label;
use weir_model::resource::route::BackendRef;
use weir_model::resource::{GrpcRouteSpec, HttpRouteSpec};
use weir_model::units::Span;
use weir_model::{Kind, ResourceId, ServiceRef};

use super::Rejection;
use super::compile::Interner;
use crate::filter::Filters;
use crate::route::{Backends, MatchSpec, Rule, TimeLimit};

/// The most matches a route may have, over all of its rules and hostnames: each becomes an entry of the table.
const MATCHES_PER_ROUTE_MAX: usize = 65_536;

/// A rule with its matches.
pub(super) struct CompiledRoute {
    pub(super) rule: Rule,
    pub(super) matches: Vec<MatchSpec>,
}

impl CompiledRoute {
    fn new(rule: Rule, mut matches: Vec<MatchSpec>) -> Self {
        let answers = rule.filters.as_ref().is_some_and(|filters| filters.cors.is_some());
        matches.iter_mut().for_each(|spec| spec.conditions.preflights = answers);
        Self { rule, matches }
    }
}

/// What compiling a route needs, and where it says what cannot take effect.
struct Scope<'a> {
    id: &'a ResourceId,
    names: &'a mut Interner,
    rejections: &'a mut Vec<Rejection>,
}

impl Scope<'_> {
    fn reject(&mut self, path: impl Into<String>, reason: impl Into<String>) {
        let rejection = Rejection { resource: self.id.clone(), path: path.into(), reason: reason.into() };
        self.rejections.push(rejection);
    }

    /// Whether a route's hostnames and matches are not too many.
    fn fits(&mut self, hostnames: usize, matches: impl Iterator<Item = usize>) -> bool {
        let matches: usize = matches.map(|of_rule| of_rule.max(1)).sum();
        let fits = matches * hostnames.max(1) <= MATCHES_PER_ROUTE_MAX;
        if !fits {
            self.reject(
                "spec.rules",
                format!("more than {MATCHES_PER_ROUTE_MAX} combinations of hostnames and matches"),
            );
        }
        fits
    }
}

/// What rules of both kinds have, besides their matches.
struct RuleParts<'a> {
    name: Option<&'a str>,
    filters: &'a [Filter],
    backends: &'a [BackendRef],
    timeouts: Option<&'a RouteTimeouts>,
}

/// The rules of an `HTTPRoute`.
pub(super) fn http(
    id: &ResourceId,
    spec: &HttpRouteSpec,
    names: &mut Interner,
    rejections: &mut Vec<Rejection>,
) -> Vec<CompiledRoute> {
    let mut scope = Scope { id, names, rejections };
    if !scope.fits(spec.hostnames.len(), spec.rules.iter().map(|rule| rule.matches.len())) {
        return Vec::new();
    }
    let in_order = spec.rule_order == RuleOrder::Written;
    let rules = spec.rules.iter().enumerate().map(|(index, rule)| {
        let path = format!("spec.rules[{index}]");
        let parts = RuleParts {
            name: rule.name.as_deref(),
            filters: &rule.filters,
            backends: &rule.backend_refs,
            timeouts: rule.timeouts.as_ref(),
        };
        let mut matches = matches::http(&mut scope, &path, &rule.matches);
        matches.iter_mut().for_each(|spec| spec.in_order = in_order);
        CompiledRoute::new(compile(&mut scope, &path, index, &parts), matches)
    });
    rules.collect()
}

/// The rules of a `GRPCRoute`.
pub(super) fn grpc(
    id: &ResourceId,
    spec: &GrpcRouteSpec,
    names: &mut Interner,
    rejections: &mut Vec<Rejection>,
) -> Vec<CompiledRoute> {
    let mut scope = Scope { id, names, rejections };
    if !scope.fits(spec.hostnames.len(), spec.rules.iter().map(|rule| rule.matches.len())) {
        return Vec::new();
    }
    let rules = spec.rules.iter().enumerate().map(|(index, rule)| {
        let path = format!("spec.rules[{index}]");
        let parts = RuleParts {
            name: rule.name.as_deref(),
            filters: &rule.filters,
            backends: &rule.backend_refs,
            timeouts: None,
        };
        let matches = matches::grpc(&mut scope, &path, &rule.matches);
        CompiledRoute::new(compile(&mut scope, &path, index, &parts), matches)
    });
    rules.collect()
}

fn compile(scope: &mut Scope<'_>, path: &str, index: usize, parts: &RuleParts<'_>) -> Rule {
    let own = filters::compile(scope, &format!("{path}.filters"), parts.filters, None).map(Arc::new);
    let mut weighted = Vec::new();
    for (at, backend) in parts.backends.iter().enumerate() {
        let path = format!("{path}.backendRefs[{at}]");
        if let Some((field, reason)) = not_a_service(backend) {
            scope.reject(format!("{path}.{field}"), reason);
            continue;
        }
        let namespace = backend.namespace.as_deref().unwrap_or(&scope.id.namespace);
        let upstream = scope.names.index(&ServiceRef::new(namespace, &*backend.name));
        weighted.push((backend.weight, upstream, of_backend(scope, &path, parts.filters, backend, &own)));
    }
    let timeouts = parts.timeouts.cloned().unwrap_or_default();
    Rule {
        route: scope.id.clone(),
        index,
        name: parts.name.map(Into::into),
        label: rule_label(scope.id, index, parts.name).into(),
        request_timeout: time_limit(timeouts.request),
        attempt_timeout: time_limit(timeouts.backend_request),
        filters: own,
        backends: Backends::with_filters(weighted),
    }
}

/// The filters of a rule and of one of its services together; those of the rule alone are shared.
fn of_backend(
    scope: &mut Scope<'_>,
    path: &str,
    of_rule: &[Filter],
    backend: &BackendRef,
    own: &Option<Arc<Filters>>,
) -> Option<Arc<Filters>> {
    if backend.filters.is_empty() {
        return own.clone();
    }
    filters::compile(scope, &format!("{path}.filters"), &backend.filters, Some(of_rule)).map(Arc::new)
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
