//! Fallbacks of breakers to other services: none that leads back to where a call came from.

use std::collections::HashMap;

use crate::resource::targets::Target;
use crate::resource::{Kind, Resource, ServiceRef, Spec};
use crate::validate::FieldError;
use crate::validate::route::named_rules;

/// Most services that are named when fallbacks go in a circle.
const SHOWN_MAX: usize = 6;

/// Routes by kind, namespace and name.
type Routes<'a> = HashMap<(Kind, &'a str, &'a str), &'a Spec>;

/// Fallbacks of routes to the one service that all of their calls go to anyway. One of several services may be fallen back
/// to: its share of the calls may have been taken from it.
pub(super) fn of_routes(resources: &[&Resource], faults: &mut Vec<(usize, FieldError)>) {
    let is_route = |resource: &&&Resource| resource.kind().is_route();
    let routes: Routes<'_> = resources
        .iter()
        .filter(is_route)
        .map(|route| ((route.kind(), &*route.metadata.namespace, &*route.metadata.name), &route.spec))
        .collect();
    for (index, resource) in resources.iter().enumerate() {
        let fallbacks = resource.spec.fallbacks();
        if fallbacks.is_empty() {
            continue;
        }
        let namespace = &*resource.metadata.namespace;
        for target in resource.spec.targets() {
            let Some(route) = target.kind.and_then(|kind| routes.get(&(kind, namespace, target.name))) else {
                continue;
            };
            for fallback in &fallbacks {
                let to = fallback.service(namespace);
                if only_service(route, target.section, namespace).is_some_and(|only| only == to) {
                    let message =
                        format!("all calls of `{}` go to `{to}`, and would fall back to it", target.name);
                    let fault = FieldError::new(format!("{}.name", fallback.path()), message);
                    faults.push((index, fault.expected("another service")));
                }
            }
        }
    }
}

/// The service that all rules of a route, or those of a name, lead to, if it is one.
fn only_service(route: &Spec, section: Option<&str>, namespace: &str) -> Option<ServiceRef> {
    let rules = named_rules(route).into_iter().filter(|(name, _)| section.is_none() || section == *name);
    let mut services = rules
        .flat_map(|(_, backends)| backends)
        .map(|backend| ServiceRef::new(backend.namespace.as_deref().unwrap_or(namespace), &*backend.name));
    let first = services.next()?;
    services.all(|other| other == first).then_some(first)
}

/// Where calls of one service go when a breaker is open.
struct Edge {
    /// The policy that says so.
    policy: usize,
    path: String,
    to: ServiceRef,
}

/// Fallbacks that would send a call in a circle: it might come back while nothing of it is well. A policy's own fault,
/// a fallback to its own target without a namespace, is said by itself.
pub(super) fn circles(resources: &[&Resource], faults: &mut Vec<(usize, FieldError)>) {
    let mut edges: HashMap<ServiceRef, Vec<Edge>> = HashMap::new();
    let mut order = Vec::new();
    for (policy, resource) in resources.iter().enumerate() {
        let fallbacks = resource.spec.fallbacks();
        if fallbacks.is_empty() {
            continue;
        }
        let namespace = &*resource.metadata.namespace;
        let targets = resource.spec.targets();
        for target in targets.iter().filter(|target| target.kind == Some(Kind::Service)) {
            let from = ServiceRef::new(namespace, target.name);
            for fallback in &fallbacks {
                let to = fallback.service(namespace);
                if fallback.service.namespace.is_none() && targets.iter().any(|other| is(other, &to)) {
                    continue;
                }
                let edge = Edge { policy, path: format!("{}.name", fallback.path()), to };
                edges.entry(from.clone()).or_default().push(edge);
            }
            order.push(from);
        }
    }
    walk(&edges, &order, faults);
}

fn is(target: &Target<'_>, service: &ServiceRef) -> bool {
    target.kind == Some(Kind::Service) && target.name == service.name
}

/// Goes along all edges, depth first and without recursion; each one that leads back to where the walk came through
/// closes a circle.
fn walk(edges: &HashMap<ServiceRef, Vec<Edge>>, order: &[ServiceRef], faults: &mut Vec<(usize, FieldError)>) {
    /// Where on the way a service stands, or none when all that it leads to has been looked at.
    type Visited<'a> = HashMap<&'a ServiceRef, Option<usize>>;
    let mut visited: Visited<'_> = HashMap::new();
    for start in order {
        if visited.contains_key(start) {
            continue;
        }
        visited.insert(start, Some(0));
        let mut way: Vec<(&ServiceRef, usize)> = vec![(start, 0)];
        while let Some((service, next)) = way.last_mut() {
            let Some(edge) = edges.get(*service).and_then(|all| all.get(*next)) else {
                visited.insert(*service, None);
                way.pop();
                continue;
            };
            *next += 1;
            match visited.get(&edge.to) {
                None => {
                    visited.insert(&edge.to, Some(way.len()));
                    way.push((&edge.to, 0));
                }
                Some(None) => {}
                Some(Some(at)) => {
                    let circle: Vec<&ServiceRef> = way[*at..].iter().map(|(service, _)| *service).collect();
                    faults.push((edge.policy, circular(&edge.path, &circle)));
                }
            }
        }
    }
}

fn circular(path: &str, circle: &[&ServiceRef]) -> FieldError {
    let mut shown: Vec<String> = circle.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    if circle.len() > SHOWN_MAX {
        shown.push("...".to_owned());
    }
    shown.extend(circle.first().map(ToString::to_string));
    FieldError::new(path, format!("calls would fall back in a circle: {}", shown.join(" -> ")))
        .expected("a service that does not lead back")
}
