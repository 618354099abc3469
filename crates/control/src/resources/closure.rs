//! What a subscriber needs to know: from a gateway or an upstream service to all resources and services it leads to.
//! Pure.

use std::collections::BTreeSet;

use weir_model::{Kind, ResourceId, ServiceRef, Spec};

use super::set::ResourceSet;

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

/// What a subscription leads to: for a gateway the Gateway, its routes and certificates and the services behind
/// them; for an upstream the service, its routes inside the mesh and the services behind these. A service brings
/// its Service document and its traffic policies. Whether a listener accepts a route is the data plane's decision:
/// every route that names the gateway is included.
pub fn closure(set: &ResourceSet, subscription: &Subscription) -> Closure {
    let mut closure = Closure::default();
    match subscription {
        Subscription::Gateway { namespace, name } => {
            let id = ResourceId::new(Kind::Gateway, &**namespace, &**name);
            if let Some(entry) = set.get(&id)
                && let Spec::Gateway(gateway) = &entry.resource.spec
            {
                let refs = gateway.listeners.iter().filter_map(|listener| listener.tls.as_ref());
                for reference in refs.flat_map(|tls| &tls.certificate_refs) {
                    let namespace = reference.namespace.as_ref().unwrap_or(namespace);
                    let certificate = ResourceId::new(Kind::Certificate, &**namespace, &*reference.name);
                    add_existing(set, certificate, &mut closure);
                }
                closure.resources.insert(id.clone());
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

/// The routes of a parent with the services behind them. Those services' own mesh routes do not apply: a route
/// leads to endpoints, not to another route.
fn add_routes(set: &ResourceSet, parent: &ResourceId, closure: &mut Closure) {
    for id in set.routes_of(parent) {
        let Some(entry) = set.get(id) else { continue };
        let Spec::HttpRoute(route) = &entry.resource.spec else { continue };
        closure.resources.insert(id.clone());
        for backend in route.rules.iter().flat_map(|rule| &rule.backend_refs) {
            if backend.kind.as_deref().is_none_or(|kind| kind == "Service") {
                let namespace = backend.namespace.as_ref().unwrap_or(&id.namespace);
                add_service(set, &ServiceRef::new(&**namespace, &*backend.name), closure);
            }
        }
    }
}

fn add_service(set: &ResourceSet, service: &ServiceRef, closure: &mut Closure) {
    if closure.services.insert(service.clone()) {
        add_existing(set, ResourceId::new(Kind::Service, &*service.namespace, &*service.name), closure);
        closure.resources.extend(set.policies_of(service).iter().cloned());
    }
}

fn add_existing(set: &ResourceSet, id: ResourceId, closure: &mut Closure) {
    if set.get(&id).is_some() {
        closure.resources.insert(id);
    }
}
