//! The service `consul`: every Consul catalog lists its own servers under this name, and tools look for them there.
//!
//! Made up here, so that the foreign name goes no further: this server's own node with Consul's server port. Somebody
//! who registers a service of that name himself is shown that one.

use std::sync::Arc;

use weir_control::catalog::{Catalog, InstanceEntry, NodeEntry, ServiceMember, Versioned};
use weir_model::DEFAULT_NAMESPACE;
use weir_model::registry::Instance;

use super::status::SERVER_PORT;

/// Its name.
pub(crate) const NAME: &str = "consul";

/// The instance on this server's own node, `own`; `None` on others and in other namespaces.
pub(super) fn instance(own: &str, node: &NodeEntry, namespace: &str) -> Option<Arc<InstanceEntry>> {
    let is_own = node.node.value.name.eq_ignore_ascii_case(own);
    if !is_own || namespace != DEFAULT_NAMESPACE {
        return None;
    }
    let instance = Instance {
        namespace: namespace.to_owned(),
        node: node.node.value.name.clone(),
        id: NAME.to_owned(),
        service: NAME.to_owned(),
        port: SERVER_PORT,
        ..Instance::default()
    };
    let revision = node.node.create_revision;
    let instance = Versioned { value: instance, create_revision: revision, modify_revision: revision };
    Some(Arc::new(InstanceEntry { instance: Arc::new(instance), checks: Vec::new() }))
}

/// The service's members: this one, on the node `own`.
pub(crate) fn members(catalog: &Catalog, own: &str, namespace: &str) -> Vec<ServiceMember> {
    let Some(node) = catalog.node(own) else { return Vec::new() };
    let instance = instance(own, &node, namespace);
    instance.into_iter().map(|instance| ServiceMember { node: Arc::clone(&node), instance }).collect()
}
