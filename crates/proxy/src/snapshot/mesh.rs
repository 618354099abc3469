//! Calls inside the mesh: which service a host name means, and the rules for it.
//!
//! Hosts are compared without case, names of registered services with it. So a host means the service spelled like it,
//! else the one spelled in lower case, else one already known that differs only in case; each spelling is asked for
//! once. A host with a dot is `name.namespace`; only if there is no such service it is a name with a dot in it. Names
//! with more dots are asked for as `name.namespace` in the own namespace alone, since hosts outside the mesh look the
//! same. The names that a service has in DNS mean it too, see [`DnsNames`]: `name.service.consul`, in the namespace `default` as
//! there. Domain and datacenter are those of the control plane. Those with a tag mean some instances only, and no service.

use std::collections::HashMap;
use std::sync::Arc;

use weir_model::dns_names::{DnsNames, Named};
use weir_model::names::{self, REGISTERED_BYTES_MAX};
use weir_model::{DEFAULT_NAMESPACE, ServiceRef};

use crate::route::{HostBuffer, RouteTable, StreamTable, TextHash, UpstreamIndex};

/// The most services that a host may mean: two readings, each in two spellings.
pub(crate) const READINGS_MAX: usize = 4;

/// The services that can be called by name.
#[derive(Debug)]
pub struct MeshTable {
    /// The namespace that a bare name is in.
    namespace: String,
    names: DnsNames,
    /// Known services by each host that means them, in their own spelling: what most requests find at once.
    by_host: HashMap<Box<[u8]>, Arc<MeshService>, TextHash>,
    /// The same in lower case.
    by_folded: HashMap<Box<[u8]>, Arc<MeshService>, TextHash>,
    /// What the control plane has said of services: `None` for one that does not exist.
    told: HashMap<ServiceRef, Option<Arc<MeshService>>>,
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
    /// Where its connections go, if a route says so; else to itself.
    pub streams: Option<Arc<StreamTable>>,
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
        Self::new(DEFAULT_NAMESPACE, DnsNames::default())
    }
}

impl MeshTable {
    /// A table without services, in which a bare name is in the namespace given.
    pub fn new(namespace: impl Into<String>, names: DnsNames) -> Self {
        Self {
            namespace: namespace.into(),
            names,
            by_host: HashMap::default(),
            by_folded: HashMap::default(),
            told: HashMap::default(),
            services: Vec::new(),
        }
    }

    /// Adds a service, or `None` for one that is known not to exist, under `name.namespace` and, in the table's own
    /// namespace, `name`.
    pub(super) fn insert(&mut self, service: &ServiceRef, entry: Option<&Arc<MeshService>>) {
        self.told.insert(service.clone(), entry.cloned());
        let Some(entry) = entry else { return };
        self.services.push(Arc::clone(entry));
        self.name(format!("{}.{}", service.name, service.namespace), entry, true);
        if service.namespace == self.namespace {
            // The same text may be another service's name and namespace, which goes first.
            self.name(service.name.clone(), entry, !service.name.contains('.'));
        }
        if !service.name.contains('.') {
            let ServiceRef { namespace, name } = service;
            for domain in self.names.domains.clone() {
                self.name(format!("{name}.service.{namespace}.ns.{domain}"), entry, false);
                if &**namespace == DEFAULT_NAMESPACE {
                    self.name(format!("{name}.service.{domain}"), entry, false);
                }
            }
        }
    }

    fn name(&mut self, host: String, entry: &Arc<MeshService>, first: bool) {
        let folded = host.to_ascii_lowercase();
        // Of services that differ only in case, the one in lower case is meant by all other spellings.
        let is_folded = folded == host;
        let add = |table: &mut HashMap<Box<[u8]>, _, TextHash>, host: String, replace: bool| {
            let host = host.into_bytes().into_boxed_slice();
            if replace {
                table.insert(host, Arc::clone(entry));
            } else {
                table.entry(host).or_insert_with(|| Arc::clone(entry));
            }
        };
        add(&mut self.by_host, host, first);
        add(&mut self.by_folded, folded, first && is_folded);
    }

    /// What a host means; given without a port, in any case. Allocates only for hosts that are not spelled like a known
    /// service.
    pub fn lookup(&self, host: &[u8]) -> MeshLookup<'_> {
        let host = host.strip_suffix(b".").unwrap_or(host);
        if let Some(service) = self.by_host.get(host) {
            return MeshLookup::Known(service);
        }
        for reading in self.readings(host) {
            match self.told.get(&reading) {
                Some(Some(service)) => return MeshLookup::Known(service),
                Some(None) => {}
                None => return MeshLookup::NotSubscribed(reading),
            }
        }
        self.without_case(host).map_or(MeshLookup::Unknown, MeshLookup::Known)
    }

    /// A service, by what it is.
    pub fn service(&self, service: &ServiceRef) -> MeshLookup<'_> {
        match self.told.get(service) {
            Some(Some(found)) => MeshLookup::Known(found),
            Some(None) => MeshLookup::Unknown,
            None => MeshLookup::NotSubscribed(service.clone()),
        }
    }

    /// What a host means as far as it is known, where the control plane cannot be asked.
    pub fn known(&self, host: &[u8]) -> Option<&Arc<MeshService>> {
        let host = host.strip_suffix(b".").unwrap_or(host);
        self.by_host.get(host).or_else(|| self.without_case(host))
    }

    fn without_case(&self, host: &[u8]) -> Option<&Arc<MeshService>> {
        self.by_folded.get(HostBuffer::default().fold(host))
    }

    /// Why a host that looks as if it meant a service means none, and what would, where that can be told.
    #[cold]
    pub fn why_unknown(&self, host: &[u8]) -> Option<String> {
        let host = std::str::from_utf8(host.strip_suffix(b".").unwrap_or(host)).ok()?;
        let domain = &self.names.domains.first()?;
        Some(match self.names.read(host)? {
            Named::Service(..) => return None,
            Named::Tagged(namespace, text) => {
                let name = text.rsplit('.').next().unwrap_or(&text);
                let place =
                    if namespace == DEFAULT_NAMESPACE { String::new() } else { format!("{namespace}.ns.") };
                format!(
                    "it names instances by a tag, and a call goes to all of a service: call {name}.service.{place}{domain}, and choose \
                     by a route to a subset of them"
                )
            }
            Named::Elsewhere => match &*self.names.datacenter {
                "" => format!("which datacenter this is has not been said: call NAME.service.{domain}"),
                here => format!(
                    "it is in another datacenter than this, {here:?}, or of no form that names have: call NAME.service.{domain} or \
                     NAME.service.{here}.{domain}"
                ),
            },
            Named::Other => format!("it is no service's name: call NAME.service.{domain}"),
        })
    }

    /// The services of the table, in order.
    pub fn services(&self) -> &[Arc<MeshService>] {
        &self.services
    }

    /// The services that a host may mean, the likeliest first; none for an address, or what no service is called.
    pub fn readings(&self, host: &[u8]) -> Vec<ServiceRef> {
        let mut readings = Vec::new();
        let host = host.strip_suffix(b".").unwrap_or(host);
        let Ok(host) = std::str::from_utf8(host) else { return readings };
        let by_dns = self.names.read(host);
        if by_dns.is_none() && !is_possible(host) {
            return readings;
        }
        let mut add = |namespace: &str, name: &str| {
            // Namespaces are in lower case always.
            let namespace = namespace.to_ascii_lowercase();
            if names::label(&namespace).is_ok() && names::registered(name).is_ok() {
                let spelled = ServiceRef::new(&*namespace, name);
                let folded = ServiceRef::new(namespace, name.to_ascii_lowercase());
                let both = if spelled == folded { vec![spelled] } else { vec![spelled, folded] };
                readings.extend(both);
            }
        };
        match host.rsplit_once('.') {
            None => add(&self.namespace, host),
            Some((name, namespace)) => {
                let own = namespace.eq_ignore_ascii_case(&self.namespace);
                let dotted = name.contains('.');
                if own || !dotted {
                    add(namespace, name);
                }
                if !own && !dotted {
                    add(&self.namespace, host);
                }
            }
        }
        if let Some(Named::Service(namespace, name)) = &by_dns {
            add(namespace, name);
        }
        debug_assert!(readings.len() <= READINGS_MAX, "{readings:?}");
        readings
    }
}

/// Whether a host may be a service's name, and is no address: `1.2` and `2130706433` are addresses to inet_aton, and so
/// to many resolvers.
fn is_possible(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or(host);
    host.len() <= REGISTERED_BYTES_MAX && !last.is_empty() && !last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service of which only its name matters.
    fn put(table: &mut MeshTable, namespace: &str, name: &str) {
        let service = ServiceRef::new(namespace, name);
        let entry = MeshService {
            service: service.clone(),
            upstream: UpstreamIndex(0),
            routes: Arc::default(),
            streams: None,
        };
        table.insert(&service, Some(&Arc::new(entry)));
    }

    fn table() -> MeshTable {
        let names = DnsNames { datacenter: "dc1".to_owned(), ..DnsNames::default() };
        let mut table = MeshTable::new("shop", names);
        let services = [
            ("shop", "cart"),
            ("default", "mail"),
            ("shop", "my_SVC"),
            ("shop", "Twin"),
            ("shop", "twin"),
            ("shop", "pay.v2"),
            ("shop", "mail.default"),
        ];
        for (namespace, name) in services {
            put(&mut table, namespace, name);
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
        check("CART", "ask shop/CART");
        check("cart.shop", "known shop/cart");
        check("cart.shop.", "known shop/cart");
        check("mail", "ask shop/mail");
        check("mail.default", "known mail");
        check("gone", "unknown");
        check("gone.shop", "unknown");
        check("gone.default", "ask gone");
        check("Gone", "ask shop/Gone");
        check("my_SVC", "known shop/my_SVC");
        check("my_SVC.shop", "known shop/my_SVC");
        check("my_SVC.Shop.", "known shop/my_SVC");
        check("my_svc", "ask shop/my_svc");
        check("Twin", "known shop/Twin");
        check("twin", "known shop/twin");
        check("a_b", "ask shop/a_b");
        check("_x", "ask shop/_x");
        check(&"n".repeat(100), &format!("ask shop/{}", "n".repeat(100)));
        check("pay.v2", "known shop/pay.v2");
        check("pay.v3", "ask v3/pay");
        check("pay.v2.shop", "known shop/pay.v2");
        check("pay.v3.shop", "ask shop/pay.v3");
        check("www.shop.example", "unknown");
        check("mail.service.consul", "known mail");
        check("Mail.Service.Consul.", "ask Mail");
        check("cart.service.shop.ns.consul", "known shop/cart");
        check("mail.service.default.ns.consul", "known mail");
        check("cart.service.consul", "ask cart");
        check("gone.service.shop.ns.consul", "unknown");
        check(&format!("{}.service.consul", "n".repeat(100)), &format!("ask {}", "n".repeat(100)));
        check("mail.service.dc1.consul", "known mail");
        check("mail.service.dc1.dc.consul", "known mail");
        check("_mail._tcp.service.consul", "known mail");
        check("cart.service.shop.dc1.consul", "known shop/cart");
        check("cart.service.shop.ns.dc1.dc.consul", "known shop/cart");
        check("gone.service.shop.dc1.consul", "unknown");
        for (no_service, why) in [
            ("v1.mail.service.consul", "call mail.service.consul, and choose"),
            ("v1.cart.service.shop.ns.consul", "call cart.service.shop.ns.consul, and choose"),
            ("mail.service.dc2.consul", "another datacenter than this, \"dc1\""),
            ("mail.node.consul", "no service's name: call NAME.service.consul"),
        ] {
            check(no_service, "unknown");
            let said = table.why_unknown(no_service.as_bytes()).expect("it can be told");
            assert!(said.contains(why), "{no_service}: {said}");
        }
        assert_eq!(table.why_unknown(b"gone"), None);
        assert_eq!(table.why_unknown(b"gone.service.consul"), None);
        check("127.0.0.1", "unknown");
        check("127.1", "unknown");
        check("::1", "unknown");
        check("-x", "unknown");
        check("a b", "unknown");
        check("a..b", "unknown");
        check("a%20b", "unknown");
        check("", "unknown");
        check("\u{e9}", "unknown");
    }

    #[test]
    fn each_spelling_is_asked_for_and_then_case_is_nothing() {
        let mut table = table();
        let mut asked = Vec::new();
        let found = loop {
            match table.lookup(b"My_svc") {
                MeshLookup::NotSubscribed(service) => {
                    asked.push(service.to_string());
                    table.insert(&service, None);
                }
                MeshLookup::Known(service) => break service.service.to_string(),
                MeshLookup::Unknown => panic!("not found"),
            }
        };
        assert_eq!(
            (asked, &*found),
            (vec!["shop/My_svc".to_owned(), "shop/my_svc".to_owned()], "shop/my_SVC")
        );
    }

    #[test]
    fn what_cannot_be_asked_is_found_without_case() {
        let table = table();
        let known = |host: &str| table.known(host.as_bytes()).map(|found| found.service.to_string());
        assert_eq!(known("CART"), Some("shop/cart".to_owned()));
        assert_eq!(known("MY_svc.SHOP"), Some("shop/my_SVC".to_owned()));
        assert_eq!(known("TWIN"), Some("shop/twin".to_owned()));
        assert_eq!(known("Twin"), Some("shop/Twin".to_owned()));
        assert_eq!(known("mail.default"), Some("mail".to_owned()));
        assert_eq!(known("gone"), None);
    }

    #[test]
    fn domains_are_those_of_the_control_plane() {
        let names = DnsNames {
            domains: vec!["weir.example".to_owned(), "svc".to_owned()],
            datacenter: String::new(),
        };
        let mut table = MeshTable::new("shop", names);
        put(&mut table, "default", "mail");
        for host in ["mail.service.weir.example", "MAIL.service.svc.", "mail.service.default.ns.svc"] {
            let found = match table.lookup(host.as_bytes()) {
                MeshLookup::NotSubscribed(service) if service.name == "MAIL" => continue,
                MeshLookup::Known(service) => service.service.to_string(),
                other => panic!("{host}: {other:?}"),
            };
            assert_eq!(found, "mail", "{host}");
        }
        assert!(matches!(table.lookup(b"mail.service.consul"), MeshLookup::Unknown));
        assert!(
            table.why_unknown(b"mail.service.dc1.svc").is_some_and(|why| why.contains("has not been said"))
        );
    }

    #[test]
    fn services_are_listed_once() {
        assert_eq!(table().services().len(), 7);
    }
}
