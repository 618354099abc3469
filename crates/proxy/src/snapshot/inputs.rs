//! What a snapshot is compiled from, held so that a change to one part shares all the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_api::snapshot::{EndpointInputs, SNAPSHOT_FORMAT, ServiceInputs, SnapshotInputs, StatedProtocol};
use weir_model::dns_names::DnsNames;
use weir_model::{Position, Resource, ResourceId, ServiceRef};

/// The declared resources, by identity.
pub type Resources = BTreeMap<ResourceId, Arc<Resource>>;

/// What is registered, by service.
pub type Services = BTreeMap<ServiceRef, Arc<Registered>>;

/// Everything a snapshot is compiled from. Cheap to clone: resources and each service's endpoints are shared, and
/// sharing is how the compiler sees what has not changed.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// Where in history these inputs stand.
    pub position: Position,
    /// The declared resources.
    pub resources: Arc<Resources>,
    /// The services subscribed to, as far as the control plane has answered.
    pub services: Arc<Services>,
    /// By which names in DNS services are called.
    pub names: DnsNames,
}

/// What is registered for one service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registered {
    /// Whether the control plane knows the service.
    pub known: bool,
    /// What it speaks, as the control plane has it.
    pub protocol: Option<StatedProtocol>,
    /// Its registered endpoints, by id.
    pub endpoints: BTreeMap<String, EndpointInputs>,
}

impl Inputs {
    /// Inputs of declared resources alone, as files give them.
    pub fn of_resources(position: Position, resources: impl IntoIterator<Item = Resource>) -> Self {
        let resources = resources.into_iter().map(|resource| (resource.id(), Arc::new(resource))).collect();
        Self {
            position,
            resources: Arc::new(resources),
            services: Arc::default(),
            names: DnsNames::default(),
        }
    }
}

impl From<SnapshotInputs> for Inputs {
    /// Of two entries for the same thing the later one counts.
    fn from(inputs: SnapshotInputs) -> Self {
        let services = inputs.services.into_iter().map(|service| {
            let endpoints = service.endpoints.into_iter().map(|e| (e.id.clone(), e)).collect();
            let ServiceInputs { known, protocol, .. } = service;
            (service.service, Arc::new(Registered { known, protocol, endpoints }))
        });
        Self {
            services: Arc::new(services.collect()),
            names: inputs.names.unwrap_or_default(),
            ..Self::of_resources(inputs.position, inputs.resources)
        }
    }
}

impl From<&Inputs> for SnapshotInputs {
    fn from(inputs: &Inputs) -> Self {
        Self {
            format: SNAPSHOT_FORMAT,
            position: inputs.position,
            names: Some(inputs.names.clone()),
            remarks: Vec::new(),
            decided_by: BTreeMap::new(),
            resources: inputs.resources.values().map(|resource| Resource::clone(resource)).collect(),
            services: inputs
                .services
                .iter()
                .map(|(service, registered)| ServiceInputs {
                    service: service.clone(),
                    known: registered.known,
                    protocol: registered.protocol.clone(),
                    endpoints: registered.endpoints.values().cloned().collect(),
                })
                .collect(),
        }
    }
}
