//! What entries say that a service speaks, as its document: proxies must know it also where no instance can tell them.

use weir_model::resource::{Metadata, ServiceSpec};
use weir_model::{Resource, Spec};

use super::{Making, entry_name, id_of};

impl Making<'_> {
    /// Makes a document state the protocol of each service that an entry of its own names and that entries lead on from: it
    /// can be called without an instance. What a declared document states goes before.
    pub(super) fn protocols(&mut self) {
        for service in self.entries.services() {
            let Some(protocol) = self.entries.protocol(service) else { continue };
            let entry = entry_name("service-defaults", service);
            let id = id_of(service);
            let Some(declared) = self.documents.get(&id) else {
                let metadata = Metadata {
                    name: service.name.clone(),
                    namespace: service.namespace.clone(),
                    ..Metadata::default()
                };
                let spec = ServiceSpec { protocol: Some(protocol), ..ServiceSpec::default() };
                self.add(&entry, Resource { metadata, spec: Spec::Service(spec) });
                continue;
            };
            let mut resource = declared.resource.clone();
            if let Spec::Service(spec) = &mut resource.spec
                && spec.protocol.is_none()
            {
                spec.protocol = Some(protocol);
                self.put(&entry, id, resource);
            }
        }
    }
}
