//! What is legal and most likely not what was meant: shown to people, never refused, because the missing part may come
//! later.

use std::collections::{HashMap, HashSet};

use super::{FAULTS_MAX, FieldError};
use crate::document::nearest;
use crate::resource::gateway::{FromNamespaces, GatewaySpec, Listener};
use crate::resource::http_route::{HttpRouteRule, HttpRouteSpec, ParentRef};
use crate::resource::{Kind, Resource, ResourceId, ServiceRef, Spec, TrafficPolicySpec};

/// Hints about some resources among all there are, each with the resource it is about. `registered` tells whether a
/// service has instances; one that is declared, or has them, is known.
pub fn hints<'a>(
    about: impl IntoIterator<Item = &'a Resource>,
    all: impl IntoIterator<Item = &'a Resource>,
    registered: impl Fn(&ServiceRef) -> bool,
) -> Vec<(ResourceId, FieldError)> {
    let mut surroundings = Surroundings { gateways: HashMap::new(), declared: HashSet::new(), registered };
    for resource in all {
        let name = (resource.metadata.namespace.as_str(), resource.metadata.name.as_str());
        match &resource.spec {
            Spec::Gateway(spec) => drop(surroundings.gateways.insert(name, spec)),
            Spec::Service(_) => drop(surroundings.declared.insert(name)),
            _ => {}
        }
    }
    let mut hints = Vec::new();
    for resource in about {
        let namespace = &resource.metadata.namespace;
        let found = match &resource.spec {
            Spec::HttpRoute(spec) => route(namespace, spec, &surroundings),
            Spec::TrafficPolicy(spec) => policy(namespace, spec, &surroundings),
            Spec::Gateway(_) | Spec::Service(_) | Spec::Certificate(_) => Vec::new(),
        };
        hints.extend(found.into_iter().take(FAULTS_MAX).map(|hint| (resource.id(), hint)));
    }
    hints
}

type Gateways<'a> = HashMap<(&'a str, &'a str), &'a GatewaySpec>;

/// What resources may refer to.
struct Surroundings<'a, F> {
    gateways: Gateways<'a>,
    declared: HashSet<(&'a str, &'a str)>,
    registered: F,
}

impl<F: Fn(&ServiceRef) -> bool> Surroundings<'_, F> {
    /// What to say of a reference to a service that nobody knows.
    fn unknown_service(&self, path: String, namespace: &str, name: &str) -> Option<FieldError> {
        if self.declared.contains(&(namespace, name)) {
            return None;
        }
        let service = ServiceRef::new(namespace, name);
        if (self.registered)(&service) {
            return None;
        }
        let hint =
            FieldError::new(path, format!("service `{service}` is neither declared nor registered yet"));
        let known = self.declared.iter().filter(|(of, _)| *of == namespace).map(|(_, name)| *name);
        Some(match nearest(name, known) {
            Some(name) => hint.expected(format!("`{name}`?")),
            None => hint,
        })
    }
}

fn route<F>(namespace: &str, spec: &HttpRouteSpec, surroundings: &Surroundings<'_, F>) -> Vec<FieldError>
where
    F: Fn(&ServiceRef) -> bool,
{
    let mut hints = Vec::new();
    if spec.parent_refs.is_empty() {
        hints.push(FieldError::new(
            "spec.parentRefs",
            "the route belongs to no gateway and takes effect nowhere",
        ));
    }
    for (index, reference) in spec.parent_refs.iter().enumerate() {
        let path = format!("spec.parentRefs[{index}]");
        if reference.kind.as_deref().is_none_or(|kind| kind == "Gateway") {
            hints.extend(parent(&path, namespace, reference, &surroundings.gateways));
        } else {
            let of = reference.namespace.as_deref().unwrap_or(namespace);
            hints.extend(surroundings.unknown_service(format!("{path}.name"), of, &reference.name));
        }
    }
    for (index, rule) in spec.rules.iter().enumerate() {
        let path = format!("spec.rules[{index}].backendRefs");
        hints.extend(backends(&path, rule));
        for (at, backend) in rule.backend_refs.iter().enumerate() {
            let of = backend.namespace.as_deref().unwrap_or(namespace);
            hints.extend(surroundings.unknown_service(format!("{path}[{at}].name"), of, &backend.name));
        }
    }
    hints
}

fn policy<F>(namespace: &str, spec: &TrafficPolicySpec, surroundings: &Surroundings<'_, F>) -> Vec<FieldError>
where
    F: Fn(&ServiceRef) -> bool,
{
    let targets = spec.target_refs.iter().enumerate();
    targets
        .filter_map(|(index, target)| {
            surroundings.unknown_service(format!("spec.targetRefs[{index}].name"), namespace, &target.name)
        })
        .collect()
}

/// Why a route takes no effect at a gateway, if so.
fn parent(path: &str, namespace: &str, reference: &ParentRef, gateways: &Gateways<'_>) -> Option<FieldError> {
    let of = reference.namespace.as_deref().unwrap_or(namespace);
    let Some(gateway) = gateways.get(&(of, reference.name.as_str())) else {
        let id = ResourceId::new(Kind::Gateway, of, reference.name.as_str());
        let known = gateways.keys().filter(|(namespace, _)| *namespace == of).map(|(_, name)| *name);
        let hint = FieldError::new(format!("{path}.name"), format!("there is no {id} yet"));
        return Some(match nearest(&reference.name, known) {
            Some(name) => hint.expected(format!("`{name}`?")),
            None => hint,
        });
    };
    let named =
        |listener: &&Listener| reference.section_name.as_ref().is_none_or(|name| *name == listener.name);
    if !gateway.listeners.iter().any(|listener| named(&listener)) {
        let names: Vec<String> =
            gateway.listeners.iter().map(|listener| format!("`{}`", listener.name)).collect();
        let hint = FieldError::new(format!("{path}.sectionName"), "the gateway has no such listener");
        return Some(hint.expected(names.join(" or ")));
    }
    let on_port = |listener: &&Listener| reference.port.is_none_or(|port| port == listener.port);
    let listeners: Vec<&Listener> = gateway.listeners.iter().filter(named).filter(on_port).collect();
    if listeners.is_empty() {
        return Some(FieldError::new(
            format!("{path}.port"),
            "the gateway has no such listener on this port",
        ));
    }
    let allows = |listener: &&Listener| of == namespace || from(listener) == FromNamespaces::All;
    (!listeners.iter().any(allows)).then(|| {
        FieldError::new(path, format!("the gateway takes routes from its own namespace `{of}` only"))
            .expected("`allowedRoutes: {namespaces: {from: All}}` at its listener")
    })
}

/// From which namespaces a listener takes routes.
fn from(listener: &Listener) -> FromNamespaces {
    let namespaces = listener.allowed_routes.as_ref().and_then(|allowed| allowed.namespaces.as_ref());
    namespaces.and_then(|namespaces| namespaces.from).unwrap_or(FromNamespaces::Same)
}

fn backends(path: &str, rule: &HttpRouteRule) -> Option<FieldError> {
    if rule.backend_refs.is_empty() {
        return Some(FieldError::new(path, "there is none: matching requests are answered with 500"));
    }
    rule.backend_refs
        .iter()
        .all(|backend| backend.weight == 0)
        .then(|| FieldError::new(path, "all weights are 0: matching requests are answered with 500"))
}
