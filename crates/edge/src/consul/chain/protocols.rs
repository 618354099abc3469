//! What a service speaks, and who says so. Proxies are told it with the service's endpoints, so they know it also where no
//! instance can say it.

use weir_api::snapshot::StatedProtocol;
use weir_control::catalog::Endpoint;
use weir_control::resources::ResourceSet;
use weir_model::ServiceRef;
use weir_model::resource::Protocol;

use super::entries::Entries;
use super::{Effective, entry_name, id_of};

/// The name of the entry for all services of a namespace.
const ALL: &str = "global";

/// Who says it, of those that are asked before instances are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// The service's document.
    Document,
    /// The service's own entry.
    Entry,
}

/// What is said of a service before its instances are asked: by its document, else by its entry.
pub(super) fn stated(entries: &Entries, documents: &ResourceSet, service: &ServiceRef) -> Option<Protocol> {
    said(entries, documents, service).map(|(protocol, _)| protocol)
}

fn said(entries: &Entries, documents: &ResourceSet, service: &ServiceRef) -> Option<(Protocol, Who)> {
    let declared = documents.service(service).and_then(|document| document.protocol);
    let entry = || entries.protocol(service).map(|protocol| (protocol, Who::Entry));
    declared.map(|protocol| (protocol, Who::Document)).or_else(entry)
}

impl Effective {
    /// What a service with these endpoints speaks: what its document says, else its entry, else its instances, else the entry
    /// for all services. What is derived of a service speaks as that does.
    pub(crate) fn protocol(&self, service: &ServiceRef, endpoints: &[Endpoint]) -> Option<StatedProtocol> {
        let base = self.base(service);
        if let Some((protocol, who)) = said(&self.entries, &self.documents, base) {
            let from = match who {
                Who::Document => id_of(base).to_string(),
                Who::Entry => format!("config entry {}", entry_name("service-defaults", base)),
            };
            return Some(StatedProtocol { protocol, from });
        }
        let told = Protocol::of_instances(endpoints.iter().map(|one| (&one.metadata, one.grpc_check)));
        if let Some(told) = told {
            let id = endpoints.get(told.instance).map_or("", |one| &*one.id);
            return Some(StatedProtocol { protocol: told.protocol, from: told.by(id) });
        }
        let protocol = self.entries.default_protocol(base)?;
        let all = ServiceRef::new(&*base.namespace, ALL);
        Some(StatedProtocol {
            protocol,
            from: format!("config entry {}", entry_name("proxy-defaults", &all)),
        })
    }
}
