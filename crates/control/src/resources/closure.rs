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

/// What a subscription leads to: for a gateway the Gateway, its policies, routes and certificates and the services
/// behind them; for an upstream the service, its routes inside the mesh and the services behind these. A service brings
/// its Service document and its traffic policies with their certificates. Whether a listener accepts a route is the data plane's decision:
/// every route that names the gateway is included.
pub fn closure(set: &ResourceSet, subscription: &Subscription) -> Closure {
    let mut closure = Closure::default();
    match subscription {
        Subscription::Gateway { namespace, name } => {
            let id = ResourceId::new(Kind::Gateway, &**namespace, &**name);
            if let Some(entry) = set.get(&id) {
                add_certificates(set, entry, &mut closure);
                closure.resources.insert(id.clone());
                closure.resources.extend(set.listener_policies_of(&id).iter().cloned());
                add_routes(set, &id, &mut closure);
            }
        }
        Subscription::Upstream(service) => {
            add_service(set, service, &mut closure);
            let id = ResourceId::new(Kind::Service, &*service.namespace, &*service.name);
            add_routes(set, &id, &mut closure);
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
        for backend in entry.resource.spec.backends() {
            if backend.kind.is_none_or(|kind| kind == "Service") {
                let namespace = backend.namespace.unwrap_or(&id.namespace);
                add_service(set, &ServiceRef::new(namespace, backend.name), closure);
            }
        }
    }
}

fn add_service(set: &ResourceSet, service: &ServiceRef, closure: &mut Closure) {
    if closure.services.insert(service.clone()) {
        add_existing(set, ResourceId::new(Kind::Service, &*service.namespace, &*service.name), closure);
        for id in set.policies_of(service) {
            closure.resources.insert(id.clone());
            if let Some(entry) = set.get(id) {
                add_certificates(set, entry, closure);
            }
        }
    }
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
