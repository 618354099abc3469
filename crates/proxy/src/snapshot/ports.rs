//! What gateways listen on: one socket for each address and port, behind which all listeners of that port are told apart
//! by host name.
//!
//! What a port was made from is remembered. A port whose listeners, routes and policy are the same as before keeps its
//! tables, so that a change costs what it touches.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use weir_model::resource::{GatewaySpec, Listener, ListenerPolicySpec, ListenerProtocol};
use weir_model::{DEFAULT_NAMESPACE, Kind, Resource, ResourceId, Spec};

use super::attach::{self, Overlap, Route};
use super::compile::Interner;
use super::listener::{self, Policies};
use super::{Inputs, ListenerConfig, Rejection, Snapshot};
use crate::route::{HostPattern, RouteTable, RouteTableBuilder, StreamTable, StreamTableBuilder};

/// What the ports of gateways were made from.
pub(super) type Ports = HashMap<(ResourceId, u16), Arc<PortInputs>>;

/// What a port was made from.
#[derive(Debug)]
pub(super) struct PortInputs {
    addresses: Vec<IpAddr>,
    /// With their places in the gateway's list.
    listeners: Vec<(usize, Listener)>,
    policy: Option<ListenerPolicySpec>,
    /// The routes of each listener.
    routes: Vec<Vec<Arc<Resource>>>,
}

impl PartialEq for PortInputs {
    fn eq(&self, other: &Self) -> bool {
        self.addresses == other.addresses
            && self.listeners == other.listeners
            && self.policy == other.policy
            && self.routes.len() == other.routes.len()
            && self.routes.iter().zip(&other.routes).all(|(ours, theirs)| {
                ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| same(a, b))
            })
    }
}

/// Sources share what has not changed where they can; files are read as a whole.
fn same(a: &Arc<Resource>, b: &Arc<Resource>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

/// What the gateways of a proxy come to.
#[derive(Default)]
pub(super) struct Gateways {
    pub(super) listeners: Vec<ListenerConfig>,
    pub(super) overlaps: Vec<Overlap>,
    pub(super) ports: Ports,
}

impl Gateways {
    /// Those of a snapshot.
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        Self {
            listeners: snapshot.listeners.clone(),
            overlaps: snapshot.overlaps.clone(),
            ports: snapshot.ports.clone(),
        }
    }
}

/// A port that is to be made, or taken over.
struct Plan<'a> {
    gateway: &'a ResourceId,
    port: u16,
    listeners: Vec<(usize, &'a Listener)>,
    policy: Option<(&'a ResourceId, &'a ListenerPolicySpec)>,
    /// The routes of each listener: their places in the list of all.
    attached: Vec<Vec<usize>>,
    inputs: Arc<PortInputs>,
    /// The previous snapshot's, if nothing has changed.
    before: Option<Vec<ListenerConfig>>,
}

/// What the gateways of a proxy listen on. `previous` may only be given if its upstreams keep their indices.
pub(super) fn gateways(
    inputs: &Inputs,
    wanted: &[String],
    loopback_only: bool,
    previous: Option<&Snapshot>,
    names: &mut Interner,
    rejections: &mut Vec<Rejection>,
) -> Gateways {
    let mut routes = attach::routes(inputs, Kind::Gateway);
    let mut found = Gateways::default();
    let plans = plans(inputs, wanted, loopback_only, previous, &routes, &mut found.overlaps, rejections);
    // A route that did not change was judged when it came; its rules are needed only where a port is made anew.
    let mut is_needed = vec![false; routes.len()];
    for (index, route) in routes.iter().enumerate() {
        let before = previous.and_then(|previous| previous.inputs.resources.get(route.id));
        is_needed[index] = !before.is_some_and(|before| same(before, route.resource));
    }
    for plan in plans.iter().filter(|plan| plan.before.is_none()) {
        plan.attached.iter().flatten().for_each(|&index| is_needed[index] = true);
    }
    for (route, _) in routes.iter_mut().zip(&is_needed).filter(|(_, is_needed)| **is_needed) {
        route.compile(names, rejections);
    }
    let mut taken = BTreeMap::new();
    for plan in plans {
        let configs = plan.configs(&routes, rejections);
        found.ports.insert((plan.gateway.clone(), plan.port), plan.inputs);
        for config in configs {
            if claim(&config, &mut taken, rejections) {
                found.listeners.push(config);
            }
        }
    }
    found
}

fn plans<'a>(
    inputs: &'a Inputs,
    wanted: &[String],
    loopback_only: bool,
    previous: Option<&Snapshot>,
    routes: &[Route<'a>],
    overlaps: &mut Vec<Overlap>,
    rejections: &mut Vec<Rejection>,
) -> Vec<Plan<'a>> {
    let policies = Policies::of(inputs);
    let of_gateways = attach::by_gateway(routes);
    let mut plans = Vec::new();
    for (gateway, resource) in inputs.resources.iter() {
        let Spec::Gateway(spec) = &resource.spec else { continue };
        if !is_wanted(gateway, wanted) {
            continue;
        }
        if loopback_only {
            refuse_open(gateway, spec, rejections);
        }
        let own = of_gateways.get(&(&*gateway.namespace, &*gateway.name)).map_or(&[][..], |own| own);
        let mut reject = |path: String, reason: String| {
            rejections.push(Rejection { resource: gateway.clone(), path, reason });
        };
        let addresses = addresses(spec, &mut reject);
        for (port, listeners) in ports(spec, &mut reject) {
            let attached: Vec<Vec<usize>> = listeners
                .iter()
                .map(|(_, listener)| {
                    let own = own.iter().copied();
                    let mut attached: Vec<usize> =
                        own.filter(|&index| attach::attaches(&routes[index], gateway, listener)).collect();
                    let host = HostPattern::parse(listener.hostname.as_deref());
                    attach::exclude(&label(gateway, listener), &host, routes, &mut attached, overlaps);
                    attached
                })
                .collect();
            let policy = policies.of_port(gateway, listeners.iter().map(|(_, listener)| *listener));
            let of_listener = |attached: &Vec<usize>| {
                attached.iter().map(|&index| Arc::clone(routes[index].resource)).collect()
            };
            let made_from = Arc::new(PortInputs {
                addresses: addresses.clone(),
                listeners: listeners.iter().map(|&(index, listener)| (index, listener.clone())).collect(),
                policy: policy.map(|(_, spec)| spec.clone()),
                routes: attached.iter().map(of_listener).collect(),
            });
            let before = before(gateway, port, &made_from, previous);
            plans.push(Plan { gateway, port, listeners, policy, attached, inputs: made_from, before });
        }
    }
    plans
}

/// What the port was in the previous snapshot, if it was made from the same.
fn before(
    gateway: &ResourceId,
    port: u16,
    made_from: &PortInputs,
    previous: Option<&Snapshot>,
) -> Option<Vec<ListenerConfig>> {
    let previous = previous?;
    let same = previous.ports.get(&(gateway.clone(), port)).is_some_and(|old| **old == *made_from);
    let of_port = |config: &&ListenerConfig| config.gateway == *gateway && config.addr.port() == port;
    same.then(|| previous.listeners.iter().filter(of_port).cloned().collect())
}

impl Plan<'_> {
    fn configs(&self, routes: &[Route<'_>], rejections: &mut Vec<Rejection>) -> Vec<ListenerConfig> {
        if let Some(before) = &self.before {
            return before.clone();
        }
        let Some(&(first, listener)) = self.listeners.first() else { return Vec::new() };
        let policy = listener::resolve(self.policy, rejections);
        let table = Arc::new(self.requests(routes));
        let streams = self.connections(routes).map(Arc::new);
        let config = |ip: &IpAddr| {
            let addr = SocketAddr::new(*ip, self.port);
            ListenerConfig {
                id: format!("{}@{addr}", self.gateway).into(),
                gateway: self.gateway.clone(),
                index: first,
                addr,
                protocol: listener.protocol,
                routes: Arc::clone(&table),
                streams: streams.clone(),
                proxy_protocol: policy.proxy_protocol.clone(),
                tls: None,
                settings: Arc::clone(&policy.settings),
            }
        };
        self.inputs.addresses.iter().map(config).collect()
    }

    /// The rules for requests. Each listener of the port has a section, also those that take no requests: so it is known
    /// of every host whose it is.
    fn requests(&self, routes: &[Route<'_>]) -> RouteTable {
        let is_http = |listener: &Listener| {
            matches!(listener.protocol, ListenerProtocol::Http | ListenerProtocol::Https)
        };
        if !self.listeners.iter().any(|(_, listener)| is_http(listener)) {
            return RouteTable::default();
        }
        let mut builder = RouteTableBuilder::new();
        for ((_, listener), attached) in self.listeners.iter().zip(&self.attached) {
            let host = HostPattern::parse(listener.hostname.as_deref());
            let section = builder.section(label(self.gateway, listener), host.clone());
            for route in attached.iter().map(|&index| &routes[index]) {
                let hosts = common(route, &host);
                for compiled in route.requests() {
                    builder.rule(section, &hosts, compiled.rule.clone(), &compiled.matches);
                }
            }
        }
        builder.build()
    }

    /// The rules for connections, if any listener takes them.
    fn connections(&self, routes: &[Route<'_>]) -> Option<StreamTable> {
        let mut builder = StreamTableBuilder::new();
        let mut is_needed = false;
        for ((_, listener), attached) in self.listeners.iter().zip(&self.attached) {
            if !matches!(listener.protocol, ListenerProtocol::Tcp | ListenerProtocol::Tls) {
                continue;
            }
            is_needed = true;
            let host = HostPattern::parse(listener.hostname.as_deref());
            let section = builder.section(label(self.gateway, listener), host.clone());
            for route in attached.iter().map(|&index| &routes[index]) {
                if let Some(rule) = route.connections() {
                    builder.rule(section, &common(route, &host), rule.clone());
                }
            }
        }
        is_needed.then(|| builder.build())
    }
}

/// The hosts of a route that its listener serves.
fn common(route: &Route<'_>, host: &HostPattern) -> Vec<HostPattern> {
    route.hosts.iter().filter(|pattern| pattern.intersects(host)).cloned().collect()
}

fn label(gateway: &ResourceId, listener: &Listener) -> Arc<str> {
    format!("{gateway}:{}", listener.name).into()
}

/// Whether a proxy serves a gateway: those that were named, or all.
pub(crate) fn is_wanted(id: &ResourceId, wanted: &[String]) -> bool {
    wanted.is_empty()
        || wanted.iter().any(|name| match name.split_once('/') {
            Some((namespace, name)) => id.namespace == namespace && id.name == name,
            None => id.namespace == DEFAULT_NAMESPACE && id.name == *name,
        })
}

/// Refuses addresses that others can reach for a gateway that serves anybody without TLS.
fn refuse_open(id: &ResourceId, spec: &GatewaySpec, rejections: &mut Vec<Rejection>) {
    let is_open =
        |listener: &&Listener| matches!(listener.protocol, ListenerProtocol::Http | ListenerProtocol::Tcp);
    let Some(open) = spec.listeners.iter().find(is_open) else { return };
    for (index, address) in spec.addresses.iter().enumerate() {
        // What is no address is refused as such.
        let Ok(ip) = address.value.parse::<IpAddr>() else { continue };
        if !ip.to_canonical().is_loopback() {
            rejections.push(Rejection {
                resource: id.clone(),
                path: format!("spec.addresses[{index}].value"),
                reason: format!(
                    "others can reach {ip} and listener `{}` has no TLS: start the proxy with --insecure, or use a \
                     loopback address",
                    open.name
                ),
            });
        }
    }
}

/// Takes an address for a port, unless another one has it.
fn claim(
    config: &ListenerConfig,
    taken: &mut BTreeMap<SocketAddr, ResourceId>,
    rejections: &mut Vec<Rejection>,
) -> bool {
    let addr = config.addr;
    if let Some((_, other)) = taken.iter().find(|(used, _)| overlap(**used, addr)) {
        rejections.push(Rejection {
            resource: config.gateway.clone(),
            path: format!("spec.listeners[{}].port", config.index),
            reason: format!("{addr} is already taken by {other}"),
        });
        return false;
    }
    taken.insert(addr, config.gateway.clone());
    true
}

/// Whether two addresses cannot be listened on at once.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port()
        && (a.ip() == b.ip()
            || (a.is_ipv4() == b.is_ipv4() && (a.ip().is_unspecified() || b.ip().is_unspecified())))
}

fn addresses(spec: &GatewaySpec, reject: &mut impl FnMut(String, String)) -> Vec<IpAddr> {
    if spec.addresses.is_empty() {
        return vec![Ipv4Addr::LOCALHOST.into()];
    }
    let mut addresses = Vec::new();
    for (index, address) in spec.addresses.iter().enumerate() {
        if address.kind != "IPAddress" {
            reject(
                format!("spec.addresses[{index}].type"),
                format!("`{}` is not supported: expected `IPAddress`", address.kind),
            );
            continue;
        }
        match address.value.parse() {
            Ok(ip) if addresses.contains(&ip) => {}
            Ok(ip) => addresses.push(ip),
            Err(_) => reject(
                format!("spec.addresses[{index}].value"),
                format!("`{}` is not an IPv4 or IPv6 address", address.value),
            ),
        }
    }
    addresses
}

/// The listeners of each port.
fn ports<'a>(
    spec: &'a GatewaySpec,
    reject: &mut impl FnMut(String, String),
) -> BTreeMap<u16, Vec<(usize, &'a Listener)>> {
    let mut ports: BTreeMap<u16, Vec<(usize, &Listener)>> = BTreeMap::new();
    for (index, listener) in spec.listeners.iter().enumerate() {
        if listener.port == 0 {
            reject(format!("spec.listeners[{index}].port"), "expected 1 to 65535".to_owned());
        }
        let here = ports.entry(listener.port).or_default();
        if let Some((_, first)) = here.first()
            && family(first.protocol) != family(listener.protocol)
        {
            reject(
                format!("spec.listeners[{index}].protocol"),
                format!("listener `{}` speaks something else on port {}", first.name, listener.port),
            );
        }
        here.push((index, listener));
    }
    ports.values().for_each(|listeners| report_same_hosts(listeners, reject));
    ports
}

/// What can be told from one another on a port: listeners of the same family.
const fn family(protocol: ListenerProtocol) -> u8 {
    match protocol {
        ListenerProtocol::Http => 0,
        ListenerProtocol::Https | ListenerProtocol::Tls => 1,
        ListenerProtocol::Tcp => 2,
    }
}

/// Listeners on one port must differ in their hosts, or what arrives could not be told apart.
fn report_same_hosts(listeners: &[(usize, &Listener)], reject: &mut impl FnMut(String, String)) {
    let mut hosts: HashMap<HostPattern, &str> = HashMap::new();
    for (index, listener) in listeners {
        let host = HostPattern::parse(listener.hostname.as_deref());
        if let Some(other) = hosts.get(&host) {
            let reason =
                format!("listener `{other}` on port {} already serves the hosts `{host}`", listener.port);
            reject(format!("spec.listeners[{index}].hostname"), reason);
        } else {
            hosts.insert(host, &listener.name);
        }
    }
}
