//! The endpoints of an upstream: those that are registered and those that its document states, with the live state of
//! the ones that were there before.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use weir_api::snapshot::StatedProtocol;
use weir_model::registry::{ActiveChecks, Health, Weights};
use weir_model::resource::service::{ServiceCheck, ServiceCheckKind};
use weir_model::resource::{Protocol, ServiceSpec};
use weir_model::{Kind, ResourceId, ServiceRef, Spec};
use weir_policy::Nanos;

use super::{
    Addresses, Checked, Declared, Endpoint, Inputs, Origin, Seen, ServiceVerdicts, Settings, Upstream,
};

/// What upstreams are made from.
pub(super) struct At<'a> {
    pub(super) inputs: &'a Inputs,
    pub(super) addresses: &'a Addresses,
    pub(super) origin: &'a Arc<Origin>,
    /// What was in force before.
    pub(super) before: Option<&'a Inputs>,
    /// What this proxy's own checks of the service's endpoints came to.
    pub(super) verdicts: Option<&'a ServiceVerdicts>,
    /// Whether the service is called over TLS.
    pub(super) over_tls: bool,
    pub(super) now: Nanos,
}

/// The upstream of a service, taking over live state from what it was before.
pub(super) fn upstream(
    service: &ServiceRef,
    settings: Settings,
    at: &At<'_>,
    previous: Option<&Arc<Upstream>>,
) -> Upstream {
    let inputs = at.inputs;
    let document = document(inputs, service);
    let registered = inputs.services.get(service);
    let mut collected = Collected::new(at, previous.map(|upstream| &**upstream));
    if let Some(registered) = registered {
        // The first answer of the control plane makes nobody new.
        collected.is_new = at.before.is_some_and(|before| before.services.contains_key(service));
        for endpoint in registered.endpoints.values() {
            let said = |key: &str| endpoint.metadata.get(key).map(String::as_str);
            let like = Like {
                weight: endpoint.weight,
                health: endpoint.health,
                draining: endpoint.draining,
                inbound: endpoint.inbound,
                is_static: false,
                how: How::Told(endpoint.active_checks.as_ref()),
                region: said("region"),
                zone: said("zone"),
            };
            collected.add(&endpoint.id, &endpoint.address, endpoint.port, like);
        }
    }
    collected.is_new = at.before.is_some_and(|before| self::document(before, service).is_some());
    for endpoint in document.map_or(&[][..], |document| &document.endpoints) {
        let id = format!("{}:{}", endpoint.address, endpoint.port);
        let check = endpoint.check.as_ref().or(document.and_then(|document| document.check.as_ref()));
        // Until a check says otherwise, an endpoint that is written down is well.
        let like = Like {
            weight: endpoint.weight,
            health: Health::Passing,
            draining: false,
            inbound: false,
            is_static: true,
            how: How::Written { check, over_tls: at.over_tls },
            region: endpoint.region.as_deref(),
            zone: endpoint.zone.as_deref(),
        };
        collected.add(&id, &endpoint.address, endpoint.port, like);
    }
    let before = previous.map(|upstream| upstream.selected());
    let table = before.as_ref().and_then(|selected| selected.table.as_ref());
    Upstream::new(
        service.clone(),
        Declared {
            known: document.is_some() || registered.is_some_and(|registered| registered.known),
            protocol: protocol(inputs, service),
        },
        settings,
        collected.endpoints,
        collected.unresolved,
        previous.map(|upstream| Arc::clone(&upstream.state)).unwrap_or_default(),
        Seen { origin: Arc::clone(at.origin), now: at.now, table },
    )
}

/// What a service's instances speak, and who says so: its document, or else the control plane, or else (it may be of an older
/// version) the instances.
pub(super) fn protocol(inputs: &Inputs, service: &ServiceRef) -> Option<StatedProtocol> {
    if let Some(protocol) = document(inputs, service).and_then(|document| document.protocol) {
        let document = ResourceId::new(Kind::Service, &*service.namespace, &*service.name);
        return Some(StatedProtocol { protocol, from: document.to_string() });
    }
    let registered = inputs.services.get(service)?;
    registered.protocol.clone().or_else(|| {
        let instances = || registered.endpoints.values();
        let told =
            Protocol::of_instances(instances().map(|instance| (&instance.metadata, instance.grpc_check)))?;
        let id = instances().nth(told.instance).map_or("", |instance| &*instance.id);
        Some(StatedProtocol { protocol: told.protocol, from: told.by(id) })
    })
}

/// The host names that the endpoints of these inputs use, to be resolved before compiling.
pub(crate) fn host_names(inputs: &Inputs) -> impl Iterator<Item = &str> {
    let registered = inputs
        .services
        .values()
        .flat_map(|service| service.endpoints.values())
        .map(|endpoint| &*endpoint.address);
    let declared = inputs.resources.values().flat_map(|resource| match &resource.spec {
        Spec::Service(spec) => &spec.endpoints[..],
        _ => &[],
    });
    registered
        .chain(declared.map(|endpoint| &*endpoint.address))
        .filter(|address| parse_ip(address).is_none())
}

fn document<'a>(inputs: &'a Inputs, service: &ServiceRef) -> Option<&'a ServiceSpec> {
    let id = ResourceId::new(Kind::Service, &*service.namespace, &*service.name);
    match &inputs.resources.get(&id)?.spec {
        Spec::Service(spec) => Some(spec),
        _ => None,
    }
}

/// An address, also in the brackets that IPv6 addresses sometimes come in.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok()
}

#[derive(Clone, Copy)]
struct Like<'a> {
    weight: u32,
    health: Health,
    draining: bool,
    inbound: bool,
    is_static: bool,
    how: How<'a>,
    region: Option<&'a str>,
    zone: Option<&'a str>,
}

/// How an endpoint can be checked, if it can: as the registry tells it, or as a document has it for each address. Where
/// TLS is spoken, of the latter only the connection is.
#[derive(Clone, Copy)]
enum How<'a> {
    Told(Option<&'a Arc<ActiveChecks>>),
    Written { check: Option<&'a ServiceCheck>, over_tls: bool },
}

impl How<'_> {
    fn at(self, host: &str, addr: SocketAddr, weight: u32) -> Option<Arc<ActiveChecks>> {
        match self {
            Self::Told(checks) => checks.cloned(),
            Self::Written { check, over_tls } => check.map(|check| {
                let kind = if over_tls { ServiceCheckKind::Tcp } else { check.kind };
                Arc::new(ActiveChecks {
                    others: Health::Passing,
                    weights: Weights { passing: weight, warning: weight },
                    definitions: vec![ServiceCheck { kind, ..check.clone() }.definition(host, addr)],
                })
            }),
        }
    }
}

struct Collected<'a> {
    addresses: &'a Addresses,
    verdicts: Option<&'a ServiceVerdicts>,
    before: HashMap<(&'a str, SocketAddr), &'a Endpoint>,
    endpoints: Vec<Endpoint>,
    unresolved: Vec<String>,
    /// Whether what was not there before is new, and not only heard of for the first time.
    is_new: bool,
    now: Nanos,
}

impl<'a> Collected<'a> {
    fn new(at: &At<'a>, previous: Option<&'a Upstream>) -> Self {
        let previous = previous.map_or(&[][..], |upstream| &upstream.endpoints);
        let before = previous.iter().map(|old| ((&*old.id, old.addr), old)).collect();
        let (endpoints, unresolved) = Default::default();
        let (addresses, verdicts, now) = (at.addresses, at.verdicts, at.now);
        Self { addresses, verdicts, before, endpoints, unresolved, is_new: false, now }
    }

    /// Adds an endpoint; one for each address when its host name has several.
    fn add(&mut self, id: &str, host: &str, port: u16, like: Like<'_>) {
        if let Some(ip) = parse_ip(host) {
            return self.add_at(id, None, SocketAddr::new(ip, port), like);
        }
        let name = Some(&Arc::from(host));
        match self.addresses.get(host).map_or(&[][..], |ips| ips) {
            [] => self.unresolved.push(host.to_owned()),
            [ip] => self.add_at(id, name, SocketAddr::new(*ip, port), like),
            ips => {
                for ip in ips {
                    self.add_at(&format!("{id}/{ip}"), name, SocketAddr::new(*ip, port), like);
                }
            }
        }
    }

    fn add_at(&mut self, id: &str, host: Option<&Arc<str>>, addr: SocketAddr, like: Like<'_>) {
        let Like { weight, health, draining, inbound, is_static, how, region, zone } = like;
        let ip = addr.ip().to_string();
        let checked = Checked {
            how: how.at(host.map_or(&*ip, |host| host), addr, weight),
            told: (!is_static).then_some(health),
            verdict: self.verdicts.and_then(|verdicts| verdicts.get(id).copied()),
        };
        let (health, weight) = checked.instead_of(health, weight);
        let before = self.before.get(&(id, addr)).copied();
        let joined = match before {
            // Well again is as good as new.
            Some(old) if old.health == Health::Critical && health != Health::Critical => Some(self.now),
            Some(old) => old.joined,
            None => self.is_new.then_some(self.now),
        };
        self.endpoints.push(Endpoint {
            id: id.into(),
            host: host.cloned(),
            addr,
            weight,
            health,
            draining,
            inbound,
            is_static,
            checked,
            region: region.map(Arc::from),
            zone: zone.map(Arc::from),
            joined,
            state: before.map(|old| Arc::clone(&old.state)).unwrap_or_default(),
        });
    }
}
