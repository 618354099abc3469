//! From the model to the messages of the mesh protocol, and back.

use weir_api::mesh;
use weir_api::snapshot::EndpointInputs;
use weir_control::catalog::Endpoint;
use weir_control::proxies::Rejection;
use weir_control::resources::ResourceEntry;
use weir_model::{DEFAULT_NAMESPACE, Position, ResourceId, ServiceRef};

pub(super) const fn position(position: Position) -> mesh::Position {
    mesh::Position { epoch: position.epoch, revision: position.revision }
}

pub(super) fn position_from(position: mesh::Position) -> Position {
    Position::new(position.epoch, position.revision)
}

pub(super) fn service(service: &ServiceRef) -> mesh::ServiceRef {
    mesh::ServiceRef { namespace: service.namespace.clone(), name: service.name.clone() }
}

/// An empty namespace means the default one.
pub(super) fn service_from(service: mesh::ServiceRef) -> ServiceRef {
    ServiceRef::new(namespace_from(service.namespace), service.name)
}

pub(super) fn namespace_from(namespace: String) -> String {
    if namespace.is_empty() { DEFAULT_NAMESPACE.to_owned() } else { namespace }
}

pub(super) fn resource_ref(id: &ResourceId) -> mesh::ResourceRef {
    mesh::ResourceRef { kind: id.kind.to_string(), namespace: id.namespace.clone(), name: id.name.clone() }
}

pub(super) fn resource(id: &ResourceId, entry: &ResourceEntry) -> mesh::Resource {
    mesh::Resource {
        r#ref: Some(resource_ref(id)),
        revision: entry.changed_in,
        // Resources are plain structs with string keys: writing them cannot fail.
        json: serde_json::to_vec(&entry.resource).unwrap_or_default(),
    }
}

/// An endpoint in the form that callers share.
pub(crate) fn endpoint_inputs(endpoint: &Endpoint) -> EndpointInputs {
    EndpointInputs {
        id: endpoint.id.clone(),
        address: endpoint.address.host.clone(),
        port: endpoint.address.port,
        weight: endpoint.weight,
        health: endpoint.health,
        // Nothing drains in the registry yet: maintenance counts as critical.
        draining: false,
        inbound: endpoint.inbound,
        metadata: endpoint.metadata.clone(),
    }
}

pub(super) fn endpoint(endpoint: &Endpoint) -> mesh::Endpoint {
    endpoint_inputs(endpoint).into()
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
    Rejection { position, resource, path: rejection.path, reason: rejection.reason }
}
