//! From the model to the messages of the mesh protocol, and back.

use weir_api::mesh;
use weir_api::snapshot::EndpointInputs;
use weir_control::catalog::Endpoint;
use weir_control::proxies::Rejection;
use weir_control::resources::ResourceEntry;
use weir_model::{DEFAULT_NAMESPACE, Position, ResourceId, ServiceRef};

use weir_model::validate::cut;

use super::session::{Delta, EndpointsDelta};

/// Bytes that are kept of each text in a rejection.
const REJECTION_TEXT_BYTES_MAX: usize = 1024;

/// The message that carries a delta.
pub(super) fn update(delta: Delta) -> mesh::Update {
    mesh::Update {
        position: Some(mesh::Position { epoch: delta.position.epoch, revision: delta.position.revision }),
        reset: delta.reset,
        upserts: delta.upserts.iter().map(|(id, entry)| resource(id, entry)).collect(),
        removals: delta.removals.iter().map(resource_ref).collect(),
        endpoints: delta.endpoints.into_iter().map(service_endpoints).collect(),
    }
}

fn service_endpoints(delta: EndpointsDelta) -> mesh::ServiceEndpoints {
    let ServiceRef { namespace, name } = delta.service;
    mesh::ServiceEndpoints {
        service: Some(mesh::ServiceRef { namespace, name }),
        known: delta.known,
        whole: delta.whole,
        upserts: delta.upserts.into_iter().map(|endpoint| endpoint_inputs(endpoint).into()).collect(),
        removals: delta.removals,
        protocol: delta.protocol.map_or_else(String::new, |protocol| protocol.as_str().to_owned()),
    }
}

pub(super) fn position_from(position: mesh::Position) -> Position {
    Position::new(position.epoch, position.revision)
}

/// An empty namespace means the default one.
pub(super) fn service_from(service: mesh::ServiceRef) -> ServiceRef {
    ServiceRef::new(namespace_from(service.namespace), service.name)
}

pub(super) fn namespace_from(namespace: String) -> String {
    if namespace.is_empty() { DEFAULT_NAMESPACE.to_owned() } else { namespace }
}

fn resource_ref(id: &ResourceId) -> mesh::ResourceRef {
    mesh::ResourceRef { kind: id.kind.to_string(), namespace: id.namespace.clone(), name: id.name.clone() }
}

fn resource(id: &ResourceId, entry: &ResourceEntry) -> mesh::Resource {
    mesh::Resource {
        r#ref: Some(resource_ref(id)),
        revision: entry.changed_in,
        // Resources are plain structs with string keys: writing them cannot fail.
        json: serde_json::to_vec(&entry.resource).unwrap_or_default(),
    }
}

/// An endpoint in the form that callers share.
pub(crate) fn endpoint_inputs(endpoint: Endpoint) -> EndpointInputs {
    EndpointInputs {
        id: endpoint.id,
        address: endpoint.address.host,
        port: endpoint.address.port,
        weight: endpoint.weight,
        health: endpoint.health,
        // Nothing drains in the registry yet: maintenance counts as critical.
        draining: false,
        inbound: endpoint.inbound,
        metadata: endpoint.metadata,
        grpc_check: endpoint.grpc_check,
        active_checks: endpoint.active_checks,
    }
}

/// A rejection under the name that people know the resource by.
pub(super) fn rejection_from(rejection: mesh::Rejection, position: Position) -> Rejection {
    let resource = match rejection.resource {
        None => String::new(),
        Some(r#ref) if r#ref.namespace.is_empty() || r#ref.namespace == DEFAULT_NAMESPACE => {
            format!("{}/{}", r#ref.kind, r#ref.name)
        }
        Some(r#ref) => format!("{}/{}/{}", r#ref.kind, r#ref.namespace, r#ref.name),
    };
    let short = |mut text: String| {
        cut(&mut text, REJECTION_TEXT_BYTES_MAX);
        text
    };
    Rejection {
        position,
        resource: short(resource),
        path: short(rejection.path),
        reason: short(rejection.reason),
    }
}
