//! The endpoints of an upstream: those that are registered and those that its document states, with the live state of
//! the ones that were there before.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use weir_model::registry::{ActiveChecks, Health, Weights};
use weir_model::resource::service::{ServiceCheck, ServiceCheckKind};
use weir_model::resource::{Protocol, ServiceSpec};
use weir_model::{Kind, ResourceId, ServiceRef, Spec};

use super::{Addresses, Checked, Endpoint, EndpointState, Inputs, ServiceVerdicts, Settings, Upstream};

/// The upstream of a service, taking over live state from what it was before.
pub(super) fn upstream(
    inputs: &Inputs,
    service: &ServiceRef,
    settings: Settings,
    addresses: &Addresses,
    verdicts: Option<&ServiceVerdicts>,
    over_tls: bool,
    previous: Option<&Arc<Upstream>>,
) -> Upstream {
    let document = document(inputs, service);
    let registered = inputs.services.get(service);
    let mut collected = Collected::new(addresses, verdicts, previous.map(|upstream| &**upstream));
    if let Some(registered) = registered {
        for endpoint in registered.endpoints.values() {
            let like = Like {
                health: endpoint.health,
                draining: endpoint.draining,
                inbound: endpoint.inbound,
                is_static: false,
                how: How::Told(endpoint.active_checks.as_ref()),
            };
            collected.add(&endpoint.id, &endpoint.address, endpoint.port, endpoint.weight, like);
        }
    }
    for endpoint in document.map_or(&[][..], |document| &document.endpoints) {
        let id = format!("{}:{}", endpoint.address, endpoint.port);
        let check = endpoint.check.as_ref().or(document.and_then(|document| document.check.as_ref()));
        // Until a check says otherwise, an endpoint that is written down is well.
        let like = Like {
            health: Health::Passing,
            draining: false,
            inbound: false,
            is_static: true,
            how: How::Written { check, over_tls },
        };
        collected.add(&id, &endpoint.address, endpoint.port, endpoint.weight, like);
    }
    Upstream::new(
        service.clone(),
        document.is_some() || registered.is_some_and(|registered| registered.known),
        protocol(inputs, service),
        settings,
        collected.endpoints,
        collected.unresolved,
        previous.map(|upstream| Arc::clone(&upstream.state)).unwrap_or_default(),
    )
}

/// What a service's instances speak, as its document says, or else the instances do.
pub(super) fn protocol(inputs: &Inputs, service: &ServiceRef) -> Option<Protocol> {
    let stated = document(inputs, service).and_then(|document| document.protocol);
    stated.or_else(|| {
        let instances = inputs.services.get(service)?.endpoints.values();
        Protocol::of_instances(instances.map(|instance| (&instance.metadata, instance.grpc_check)))
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
    health: Health,
    draining: bool,
    inbound: bool,
    is_static: bool,
    how: How<'a>,
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
    states: HashMap<(&'a str, SocketAddr), &'a Arc<EndpointState>>,
    endpoints: Vec<Endpoint>,
    unresolved: Vec<String>,
}

impl<'a> Collected<'a> {
    fn new(
        addresses: &'a Addresses,
        verdicts: Option<&'a ServiceVerdicts>,
        previous: Option<&'a Upstream>,
    ) -> Self {
        let previous = previous.map_or(&[][..], |upstream| &upstream.endpoints);
        let states = previous.iter().map(|old| ((&*old.id, old.addr), &old.state)).collect();
        Self { addresses, verdicts, states, endpoints: Vec::new(), unresolved: Vec::new() }
    }

    /// Adds an endpoint; one for each address when its host name has several.
    fn add(&mut self, id: &str, host: &str, port: u16, weight: u32, like: Like<'_>) {
        if let Some(ip) = parse_ip(host) {
            return self.add_at(id, None, SocketAddr::new(ip, port), weight, like);
        }
        let name = Some(&Arc::from(host));
        match self.addresses.get(host).map_or(&[][..], |ips| ips) {
            [] => self.unresolved.push(host.to_owned()),
            [ip] => self.add_at(id, name, SocketAddr::new(*ip, port), weight, like),
            ips => {
                for ip in ips {
                    self.add_at(&format!("{id}/{ip}"), name, SocketAddr::new(*ip, port), weight, like);
                }
            }
        }
    }

    fn add_at(&mut self, id: &str, host: Option<&Arc<str>>, addr: SocketAddr, weight: u32, like: Like<'_>) {
        let Like { health, draining, inbound, is_static, how } = like;
        let ip = addr.ip().to_string();
        let checked = Checked {
            how: how.at(host.map_or(&*ip, |host| host), addr, weight),
            told: (!is_static).then_some(health),
            verdict: self.verdicts.and_then(|verdicts| verdicts.get(id).copied()),
        };
        let (health, weight) = checked.instead_of(health, weight);
        let state = self.states.get(&(id, addr)).map(|state| Arc::clone(state)).unwrap_or_default();
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
            state,
        });
    }
}
