//! What is legal and most likely not what was meant: shown to people, never refused, because the missing part may come
//! later.

mod effect;
mod overlap;
mod policies;

use std::collections::{HashMap, HashSet};

use super::{FAULTS_MAX, FieldError};
use crate::document::nearest;
use crate::resource::filter::FilterKind;
use crate::resource::gateway::{FromNamespaces, GatewaySpec, Listener};
use crate::resource::route::{BackendRef, ParentRef};
use crate::resource::{Kind, Protocol, Resource, ResourceId, ServiceRef, Spec};
use overlap::Routes;
pub use policies::SHARED_BY_PROXY_MAX;

/// Hints about some resources among all there are, each with the resource it is about. `registered` tells whether a
/// service has instances; one that is declared, or has them, is known.
pub fn hints<'a>(
    about: impl IntoIterator<Item = &'a Resource>,
    all: impl IntoIterator<Item = &'a Resource>,
    registered: impl Fn(&ServiceRef) -> bool,
) -> Vec<(ResourceId, FieldError)> {
    let (about, all): (Vec<&Resource>, Vec<&Resource>) =
        (about.into_iter().collect(), all.into_iter().collect());
    let told: HashSet<ResourceId> = about.iter().map(|resource| resource.id()).collect();
    let mut surroundings = Surroundings {
        gateways: HashMap::new(),
        declared: HashSet::new(),
        rules: HashMap::new(),
        falling_back: HashSet::new(),
        sent_by_others: HashMap::new(),
        in_bytes: HashSet::new(),
        routes: Routes::default(),
        shared: 0,
        registered,
    };
    // Of two versions of one resource the last one counts.
    let latest: HashMap<ResourceId, usize> =
        all.iter().enumerate().map(|(index, resource)| (resource.id(), index)).collect();
    for (index, &resource) in all.iter().enumerate() {
        if latest.get(&resource.id()) == Some(&index) {
            surroundings.routes.add(resource);
            if resource.spec.is_shared() {
                surroundings.shared += resource.spec.targets().len();
            }
            surroundings.add_policy(resource, !told.contains(&resource.id()));
        }
        let name = (resource.metadata.namespace.as_str(), resource.metadata.name.as_str());
        match &resource.spec {
            Spec::Gateway(spec) => drop(surroundings.gateways.insert(name, spec)),
            Spec::Service(spec) => {
                surroundings.declared.insert(name);
                if spec.protocol == Some(Protocol::Tcp) {
                    surroundings.in_bytes.insert(name);
                }
            }
            Spec::HttpRoute(_) | Spec::GrpcRoute(_) => {
                surroundings.rules.insert((resource.kind(), name.0, name.1), &resource.spec);
            }
            _ => {}
        }
    }
    let mut hints = Vec::new();
    for resource in about {
        let namespace = &resource.metadata.namespace;
        let found = match &resource.spec {
            Spec::HttpRoute(_) | Spec::GrpcRoute(_) | Spec::TlsRoute(_) | Spec::TcpRoute(_) => {
                route(resource, &surroundings)
            }
            Spec::TrafficPolicy(_) | Spec::RateLimit(_) | Spec::ListenerPolicy(_) => {
                policies::hints(namespace, &resource.spec, &surroundings)
            }
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
    /// Routes that policies can be for, by kind, namespace and name.
    rules: HashMap<(Kind, &'a str, &'a str), &'a Spec>,
    routes: Routes<'a>,
    /// Services whose own breakers send calls to other services.
    falling_back: HashSet<(&'a str, &'a str)>,
    /// Services that policies which no hint is about send calls to, each with one such policy.
    sent_by_others: HashMap<ServiceRef, ResourceId>,
    /// Services that take bytes, not requests.
    in_bytes: HashSet<(&'a str, &'a str)>,
    /// How many limits proxies share, each target counted.
    shared: usize,
    registered: F,
}

impl<'a, F> Surroundings<'a, F> {
    /// Takes down what a policy means for the services that it is for, and, if it is none that hints are about, for those
    /// that it sends calls to.
    fn add_policy(&mut self, policy: &'a Resource, is_other: bool) {
        let fallbacks = policy.spec.fallbacks();
        if fallbacks.is_empty() {
            return;
        }
        let namespace = policy.metadata.namespace.as_str();
        if is_other {
            let to = fallbacks.iter().map(|fallback| (fallback.service(namespace), policy.id()));
            self.sent_by_others.extend(to);
        }
        let targets = policy.spec.targets().into_iter().filter(|target| target.kind == Some(Kind::Service));
        self.falling_back.extend(targets.map(|target| (namespace, target.name)));
    }
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

fn route<F>(resource: &Resource, surroundings: &Surroundings<'_, F>) -> Vec<FieldError>
where
    F: Fn(&ServiceRef) -> bool,
{
    let (kind, namespace, spec) = (resource.kind(), &*resource.metadata.namespace, &resource.spec);
    let mut hints = Vec::new();
    if spec.parent_refs().is_empty() {
        hints.push(FieldError::new(
            "spec.parentRefs",
            "the route belongs to no gateway and takes effect nowhere",
        ));
    }
    for (index, reference) in spec.parent_refs().iter().enumerate() {
        let path = format!("spec.parentRefs[{index}]");
        if reference.kind.as_deref().is_none_or(|kind| kind == "Gateway") {
            let missing = parent(&path, kind, namespace, reference, &surroundings.gateways);
            hints.extend(missing.or_else(|| {
                let of = (reference.namespace.as_deref().unwrap_or(namespace), &*reference.name);
                let gateway = surroundings.gateways.get(&of)?;
                surroundings.routes.hint(&path, resource, of, gateway)
            }));
        } else {
            let of = reference.namespace.as_deref().unwrap_or(namespace);
            hints.extend(surroundings.unknown_service(format!("{path}.name"), of, &reference.name));
        }
    }
    for (index, (backends, filters)) in spec.rules().into_iter().enumerate() {
        // What a filter answers needs no service.
        if !filters.iter().any(|filter| filter.kind == FilterKind::RequestRedirect) {
            hints.extend(without_backends(kind, &format!("spec.rules[{index}].backendRefs"), backends));
        }
    }
    for backend in spec.backends() {
        let of = backend.namespace.unwrap_or(namespace);
        hints.extend(surroundings.unknown_service(format!("{}.name", backend.place), of, backend.name));
    }
    hints
}

/// Why a route takes no effect at a gateway, if so.
fn parent(
    path: &str,
    kind: Kind,
    namespace: &str,
    reference: &ParentRef,
    gateways: &Gateways<'_>,
) -> Option<FieldError> {
    let of = reference.namespace.as_deref().unwrap_or(namespace);
    let Some(gateway) = gateways.get(&(of, reference.name.as_str())) else {
        return Some(no_gateway(path, of, &reference.name, gateways));
    };
    if let Some(section) = &reference.section_name
        && let Some(hint) = no_listener(path, section, gateway)
    {
        return Some(hint);
    }
    let named =
        |listener: &&Listener| reference.section_name.as_ref().is_none_or(|name| *name == listener.name);
    let on_port = |listener: &&Listener| reference.port.is_none_or(|port| port == listener.port);
    let mut listeners: Vec<&Listener> = gateway.listeners.iter().filter(named).filter(on_port).collect();
    if listeners.is_empty() {
        return Some(FieldError::new(
            format!("{path}.port"),
            "the gateway has no such listener on this port",
        ));
    }
    listeners.retain(|listener| listener.takes(kind));
    if listeners.is_empty() {
        let hint = FieldError::new(path, format!("no listener there takes a {kind}"));
        return Some(hint.expected(match kind {
            Kind::TlsRoute => "a listener with `protocol: TLS`",
            Kind::TcpRoute => "a listener with `protocol: TCP`, or `TLS` that is terminated",
            _ => "a listener with `protocol: HTTP` or `HTTPS`",
        }));
    }
    let allows = |listener: &&Listener| of == namespace || from(listener) == FromNamespaces::All;
    (!listeners.iter().any(allows)).then(|| {
        FieldError::new(path, format!("the gateway takes routes from its own namespace `{of}` only"))
            .expected("`allowedRoutes: {namespaces: {from: All}}` at its listener")
    })
}

fn no_gateway(path: &str, namespace: &str, name: &str, gateways: &Gateways<'_>) -> FieldError {
    let id = ResourceId::new(Kind::Gateway, namespace, name);
    let known = gateways.keys().filter(|(of, _)| *of == namespace).map(|(_, name)| *name);
    let hint = FieldError::new(format!("{path}.name"), format!("there is no {id} yet"));
    match nearest(name, known) {
        Some(name) => hint.expected(format!("`{name}`?")),
        None => hint,
    }
}

fn no_listener(path: &str, section: &str, gateway: &GatewaySpec) -> Option<FieldError> {
    if gateway.listeners.iter().any(|listener| listener.name == section) {
        return None;
    }
    let names: Vec<String> =
        gateway.listeners.iter().map(|listener| format!("`{}`", listener.name)).collect();
    let hint = FieldError::new(format!("{path}.sectionName"), "the gateway has no such listener");
    Some(hint.expected(names.join(" or ")))
}

/// From which namespaces a listener takes routes.
fn from(listener: &Listener) -> FromNamespaces {
    let namespaces = listener.allowed_routes.as_ref().and_then(|allowed| allowed.namespaces.as_ref());
    namespaces.and_then(|namespaces| namespaces.from).unwrap_or(FromNamespaces::Same)
}

fn without_backends(kind: Kind, path: &str, backends: &[BackendRef]) -> Option<FieldError> {
    let end = match kind {
        Kind::HttpRoute => "matching requests are answered with 500",
        Kind::GrpcRoute => "matching calls are answered with UNAVAILABLE",
        _ => "connections are closed",
    };
    if backends.is_empty() {
        return Some(FieldError::new(path, format!("there is none: {end}")));
    }
    backends
        .iter()
        .all(|backend| backend.weight == 0)
        .then(|| FieldError::new(path, format!("all weights are 0: {end}")))
}
