//! Messages of the protocol, for tests.

use weir_api::mesh;
use weir_api::snapshot::EndpointInputs;
use weir_model::Resource;

/// An update that says nothing, at a position.
pub(super) fn update(epoch: u64, revision: u64) -> mesh::Update {
    mesh::Update { position: Some(mesh::Position { epoch, revision }), ..mesh::Update::default() }
}

pub(super) fn upsert(resource: &Resource) -> mesh::Resource {
    let id = resource.id();
    mesh::Resource {
        r#ref: Some(mesh::ResourceRef { kind: id.kind.to_string(), namespace: id.namespace, name: id.name }),
        revision: 1,
        json: serde_json::to_vec(resource).unwrap(),
    }
}

pub(super) fn endpoints(
    service: &str,
    whole: bool,
    upserts: &[EndpointInputs],
    removals: &[&str],
) -> mesh::ServiceEndpoints {
    mesh::ServiceEndpoints {
        service: Some(mesh::ServiceRef { namespace: "default".into(), name: service.into() }),
        known: true,
        whole,
        upserts: upserts.iter().cloned().map(Into::into).collect(),
        removals: removals.iter().map(|&id| id.to_owned()).collect(),
        protocol: String::new(),
    }
}
