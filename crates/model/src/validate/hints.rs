//! What is legal and most likely not what was meant: shown to people, never refused, because the missing part may come
//! later.

use std::collections::HashMap;

use super::FieldError;
use crate::document::nearest;
use crate::resource::gateway::{FromNamespaces, GatewaySpec, Listener};
use crate::resource::http_route::{HttpRouteRule, HttpRouteSpec, ParentRef};
use crate::resource::{Kind, Resource, ResourceId, Spec};

/// Hints about resources taken together, each with the resource it is about.
pub fn hints<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Vec<(ResourceId, FieldError)> {
    let resources: Vec<&Resource> = resources.into_iter().collect();
    let gateways: HashMap<(&str, &str), &GatewaySpec> = resources
        .iter()
        .filter_map(|resource| match &resource.spec {
            Spec::Gateway(spec) => {
                Some(((resource.metadata.namespace.as_str(), resource.metadata.name.as_str()), spec))
            }
            _ => None,
        })
        .collect();
    let mut hints = Vec::new();
    for resource in resources {
        if let Spec::HttpRoute(spec) = &resource.spec {
            let found = route(&resource.metadata.namespace, spec, &gateways);
            hints.extend(found.into_iter().map(|hint| (resource.id(), hint)));
        }
    }
    hints
}

type Gateways<'a> = HashMap<(&'a str, &'a str), &'a GatewaySpec>;

fn route(namespace: &str, spec: &HttpRouteSpec, gateways: &Gateways<'_>) -> Vec<FieldError> {
    let mut hints = Vec::new();
    if spec.parent_refs.is_empty() {
        hints.push(FieldError::new(
            "spec.parentRefs",
            "the route belongs to no gateway and takes effect nowhere",
        ));
    }
    for (index, reference) in spec.parent_refs.iter().enumerate() {
        if reference.kind.as_deref().is_none_or(|kind| kind == "Gateway") {
            let path = format!("spec.parentRefs[{index}]");
            hints.extend(parent(&path, namespace, reference, gateways));
        }
    }
    for (index, rule) in spec.rules.iter().enumerate() {
        hints.extend(backends(&format!("spec.rules[{index}].backendRefs"), rule));
    }
    hints
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
