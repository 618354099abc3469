//! A service as its callers see it: endpoints with address, weight and health.

use std::collections::BTreeMap;

use weir_model::registry::{Address, Health};
use weir_model::resource::Protocol;
use weir_model::{Position, Revision, ServiceRef};

use super::entry::ServiceMember;
use super::topic::Topic;
use super::{Catalog, State};

/// One address that requests for a service can go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Unique and stable within the service: `node/id`, or `static/HOST:PORT`.
    pub id: String,
    /// Where to connect: the sidecar's address if the instance has one, else the application's.
    pub address: Address,
    /// Whether `address` is a sidecar's.
    pub inbound: bool,
    /// Share of the requests, by its present health; 0 gets none.
    pub weight: u32,
    /// Its health in the registry: that of its checks and its node's, critical in maintenance.
    pub health: Health,
    /// The instance's metadata.
    pub metadata: BTreeMap<String, String>,
}

/// The endpoints of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointsView {
    /// Whether the service is declared or has an instance.
    pub known: bool,
    /// The revision at which this last changed (or any declared resource did); never 0.
    pub index: Revision,
    /// The position of the catalog this was read from.
    pub position: Position,
    /// The protocol, from the Service document, else from instance metadata `protocol`, else HTTP.
    pub protocol: Protocol,
    /// The endpoints, by id; unhealthy ones too.
    pub endpoints: Vec<Endpoint>,
}

impl Catalog {
    /// The endpoints of a service: registered instances and the static ones of its Service document.
    pub fn endpoints(&self, service: &ServiceRef) -> EndpointsView {
        let state = self.state();
        let document = state.declared.set.service(service);
        let members = state.members(service);
        let known = document.is_some() || state.registry.service(&service.namespace, &service.name).is_some();
        let protocol = document.map(|document| document.protocol).or_else(|| declared_by(&members));
        let mut endpoints: Vec<_> = members.iter().map(endpoint).collect();
        for fixed in document.into_iter().flat_map(|document| &document.endpoints) {
            let address = Address { host: fixed.address.clone(), port: fixed.port };
            endpoints.push(Endpoint {
                id: format!("static/{}:{}", address.host, address.port),
                address,
                inbound: false,
                weight: fixed.weight,
                health: Health::Passing,
                metadata: BTreeMap::new(),
            });
        }
        endpoints.sort_by(|a, b| a.id.cmp(&b.id));
        let index = state.index(&Topic::Service(service.clone())).max(state.declared.index());
        EndpointsView {
            known,
            index,
            position: state.position,
            protocol: protocol.unwrap_or_default(),
            endpoints,
        }
    }
}

impl State {
    /// A service's instances whose nodes are there, by node and id.
    pub(crate) fn members(&self, service: &ServiceRef) -> Vec<ServiceMember> {
        let Some(slot) = self.registry.service(&service.namespace, &service.name) else { return Vec::new() };
        let mut members = Vec::with_capacity(slot.members.len());
        members.extend(slot.members.iter().filter_map(|instance| {
            let node = self.registry.nodes.get(&*crate::keys::node_key(&instance.value().node))?;
            Some(ServiceMember { node: node.node.clone()?, instance: instance.clone() })
        }));
        members
    }
}

fn endpoint(member: &ServiceMember) -> Endpoint {
    let instance = member.instance.value();
    let health = member.health();
    let application = || Address { host: member.address().to_owned(), port: instance.port };
    Endpoint {
        id: format!("{}/{}", instance.node, instance.id),
        address: instance.inbound.clone().unwrap_or_else(application),
        inbound: instance.inbound.is_some(),
        weight: match health {
            Health::Passing => instance.weights.passing,
            Health::Warning => instance.weights.warning,
            // The share it would have; whether it gets requests at all is the caller's decision by its health.
            Health::Critical => instance.weights.passing,
        },
        health,
        metadata: instance.metadata.clone(),
    }
}

fn declared_by(members: &[ServiceMember]) -> Option<Protocol> {
    members.iter().find_map(|member| match member.instance.value().metadata.get("protocol")?.as_str() {
        "http" => Some(Protocol::Http),
        "http2" => Some(Protocol::Http2),
        "grpc" => Some(Protocol::Grpc),
        "tcp" => Some(Protocol::Tcp),
        _ => None,
    })
}
