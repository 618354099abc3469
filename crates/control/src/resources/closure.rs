//! What a subscriber needs to know: from a gateway or an upstream service to all resources and services it leads to.
//! Pure.

use std::collections::BTreeSet;

use weir_model::{Kind, ResourceId, ServiceRef};

use super::set::{ResourceEntry, ResourceSet};

/// What is subscribed to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subscription {
    /// A gateway: its listeners and everything behind them.
    Gateway {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A service that is called.
    Upstream(ServiceRef),
    /// The service that a sidecar stands before.
    Own(ServiceRef),
}

/// Everything that subscriptions lead to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closure {
    /// The declared resources, all of which exist.
    pub resources: BTreeSet<ResourceId>,
    /// The services whose endpoints are needed, known or not.
    pub services: BTreeSet<ServiceRef>,
}

impl Closure {
    /// Takes in another closure.
    pub fn extend(&mut self, other: Self) {
        self.resources.extend(other.resources);
        self.services.extend(other.services);
    }
}

/// What a subscription leads to: for a gateway the Gateway, its routes and certificates and the services behind them; for
/// an upstream the service, its routes inside the mesh and the services behind these; for a sidecar's own service its
/// limits, which act where requests arrive. A service brings its Service document, a gateway, route or service its policies and limits, and a traffic policy its certificates and the services
/// that its breakers fall back to. Whether a listener accepts a route is the data plane's decision: every route that
/// names the gateway is included.
pub fn closure(set: &ResourceSet, subscription: &Subscription) -> Closure {
    let mut closure = Closure::default();
    match subscription {
        Subscription::Gateway { namespace, name } => {
            let id = ResourceId::new(Kind::Gateway, &**namespace, &**name);
            if let Some(entry) = set.get(&id) {
                add_certificates(set, entry, &mut closure);
                closure.resources.insert(id.clone());
                add_policies(set, &id, &mut closure);
                add_routes(set, &id, &mut closure);
            }
        }
        Subscription::Upstream(service) => {
            add_service(set, service.clone(), &mut closure);
            let id = ResourceId::new(Kind::Service, &*service.namespace, &*service.name);
            add_routes(set, &id, &mut closure);
        }
        Subscription::Own(service) => {
            let id = ResourceId::new(Kind::Service, &*service.namespace, &*service.name);
            let policies = set.policies_of(&id).iter();
            closure.resources.extend(policies.filter(|id| id.kind == Kind::RateLimit).cloned());
        }
    }
    closure
}

/// The routes of a parent with the services behind them, those that get copies included. Those services' own mesh
/// routes do not apply: a route leads to endpoints, not to another route.
fn add_routes(set: &ResourceSet, parent: &ResourceId, closure: &mut Closure) {
    for id in set.routes_of(parent) {
        let Some(entry) = set.get(id) else { continue };
        closure.resources.insert(id.clone());
        for service in add_policies(set, id, closure) {
            add_service(set, service, closure);
        }
        for backend in entry.resource.spec.backends() {
            if backend.kind.is_none_or(|kind| kind == "Service") {
                let namespace = backend.namespace.unwrap_or(&id.namespace);
                add_service(set, ServiceRef::new(namespace, backend.name), closure);
            }
        }
    }
}

/// A service, and those that its calls go to instead when its breakers are open: fallbacks may have fallbacks.
fn add_service(set: &ResourceSet, service: ServiceRef, closure: &mut Closure) {
    let mut left = vec![service];
    while let Some(service) = left.pop() {
        if closure.services.insert(service.clone()) {
            let id = ResourceId::new(Kind::Service, service.namespace, service.name);
            left.extend(add_policies(set, &id, closure));
            add_existing(set, id, closure);
        }
    }
}

/// The policies and limits of a service, a gateway or a route, with the certificates they refer to. Gives the services
/// that calls go to instead.
fn add_policies(set: &ResourceSet, target: &ResourceId, closure: &mut Closure) -> Vec<ServiceRef> {
    let mut fallbacks = Vec::new();
    for id in set.policies_of(target) {
        let Some(entry) = set.get(id) else { continue };
        closure.resources.insert(id.clone());
        add_certificates(set, entry, closure);
        let found = entry.resource.spec.fallbacks();
        fallbacks.extend(found.into_iter().map(|fallback| fallback.service(&id.namespace)));
    }
    fallbacks
}

/// The certificates that a gateway or a traffic policy refers to.
fn add_certificates(set: &ResourceSet, entry: &ResourceEntry, closure: &mut Closure) {
    for need in entry.resource.spec.certificates() {
        let namespace = need.reference.namespace.as_ref().unwrap_or(&entry.resource.metadata.namespace);
        let certificate = ResourceId::new(Kind::Certificate, &**namespace, &*need.reference.name);
        add_existing(set, certificate, closure);
    }
}

fn add_existing(set: &ResourceSet, id: ResourceId, closure: &mut Closure) {
    if set.get(&id).is_some() {
        closure.resources.insert(id);
    }
}
