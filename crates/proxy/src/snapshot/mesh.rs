//! Calls inside the mesh: which service a host name means, and the rules for it.

use std::collections::HashMap;
use std::sync::Arc;

use weir_model::{DEFAULT_NAMESPACE, ServiceRef};

use crate::route::{HostBuffer, RouteTable, TextHash, UpstreamIndex};

/// The longest label of a host name (RFC 1035).
const LABEL_LEN_MAX: usize = 63;

/// The services that can be called by name.
#[derive(Debug)]
pub struct MeshTable {
    /// The namespace that a bare name is in.
    namespace: String,
    by_host: HashMap<Box<[u8]>, Option<Arc<MeshService>>, TextHash>,
    services: Vec<Arc<MeshService>>,
}

/// A service that can be called by name.
#[derive(Debug)]
pub struct MeshService {
    /// The service.
    pub service: ServiceRef,
    /// The service itself, whatever its routes say.
    pub upstream: UpstreamIndex,
    /// Where its requests go: by the routes whose parent it is, else to itself.
    pub routes: Arc<RouteTable>,
}

/// What a host name means.
#[derive(Clone, Debug)]
pub enum MeshLookup<'a> {
    /// A service of the mesh.
    Known(&'a Arc<MeshService>),
    /// Not a service of the mesh.
    Unknown,
    /// Perhaps a service: the control plane has not been asked yet.
    NotSubscribed(ServiceRef),
}

impl Default for MeshTable {
    fn default() -> Self {
        Self::new(DEFAULT_NAMESPACE)
    }
}

impl MeshTable {
    /// A table without services, in which a bare name is in the namespace given.
    pub fn new(namespace: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), by_host: HashMap::default(), services: Vec::new() }
    }

    /// Adds a service, or `None` for one that is known not to exist, under `name.namespace` and, in the table's own
    /// namespace, `name`.
    pub(super) fn insert(&mut self, service: &ServiceRef, entry: Option<&Arc<MeshService>>) {
        self.services.extend(entry.cloned());
        let mut add =
            |host: String| self.by_host.insert(host.to_ascii_lowercase().into_bytes().into(), entry.cloned());
        add(format!("{}.{}", service.name, service.namespace));
        if service.namespace == self.namespace {
            add(service.name.clone());
        }
    }

    /// What a host means; given without a port, in any case. Allocates only for [`MeshLookup::NotSubscribed`].
    pub fn lookup(&self, host: &[u8]) -> MeshLookup<'_> {
        let mut buffer = HostBuffer::default();
        let host = buffer.fold(host);
        match self.by_host.get(host) {
            Some(Some(service)) => MeshLookup::Known(service),
            Some(None) => MeshLookup::Unknown,
            None => self.possible_service(host).map_or(MeshLookup::Unknown, MeshLookup::NotSubscribed),
        }
    }

    /// The services of the table, in order.
    pub fn services(&self) -> &[Arc<MeshService>] {
        &self.services
    }

    /// `name` or `name.namespace`, if the host could be that: one or two labels, not an address.
    fn possible_service(&self, host: &[u8]) -> Option<ServiceRef> {
        let host = std::str::from_utf8(host).ok()?;
        let mut labels = host.split('.');
        let name = labels.next().filter(|label| is_label(label))?;
        let namespace = labels.next();
        if labels.next().is_some() || namespace.is_some_and(|label| !is_label(label)) {
            return None;
        }
        // `1.2` and `2130706433` are addresses to inet_aton, and so to many resolvers.
        if namespace.unwrap_or(name).bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(ServiceRef::new(namespace.unwrap_or(&self.namespace), name))
    }
}

/// Whether text is a DNS label in lower case (RFC 1123).
fn is_label(text: &str) -> bool {
    (1..=LABEL_LEN_MAX).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> MeshTable {
        let mut table = MeshTable::new("shop");
        for (namespace, name) in [("shop", "cart"), ("default", "mail")] {
            let service = ServiceRef::new(namespace, name);
            let entry =
                MeshService { service: service.clone(), upstream: UpstreamIndex(0), routes: Arc::default() };
            table.insert(&service, Some(&Arc::new(entry)));
        }
        table.insert(&ServiceRef::new("shop", "gone"), None);
        table
    }

    #[test]
    fn names_of_services() {
        let table = table();
        let check = |host: &str, expected: &str| {
            let found = match table.lookup(host.as_bytes()) {
                MeshLookup::Known(service) => format!("known {}", service.service),
                MeshLookup::Unknown => "unknown".to_owned(),
                MeshLookup::NotSubscribed(service) => format!("ask {service}"),
            };
            assert_eq!(found, expected, "{host}");
        };
        check("cart", "known shop/cart");
        check("CART", "known shop/cart");
        check("cart.shop", "known shop/cart");
        check("cart.shop.", "known shop/cart");
        check("mail", "ask shop/mail");
        check("mail.default", "known mail");
        check("gone", "unknown");
        check("gone.shop", "unknown");
        check("gone.default", "ask gone");
        check("www.shop.example", "unknown");
        check("127.0.0.1", "unknown");
        check("127.1", "unknown");
        check("::1", "unknown");
        check("-x", "unknown");
        check("a_b", "unknown");
        check("", "unknown");
        check("\u{e9}", "unknown");
    }

    #[test]
    fn services_are_listed_once() {
        assert_eq!(table().services().len(), 2);
    }
}
