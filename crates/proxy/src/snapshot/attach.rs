//! Which routes apply where: attachment of `HTTPRoute`s to the listeners of gateways and to services of the mesh, as the
//! Gateway API (v1, and its mesh profile) says.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use weir_model::resource::gateway::FromNamespaces;
use weir_model::resource::http_route::ParentRef;
use weir_model::resource::{GatewaySpec, HttpRouteSpec, Listener, ListenerProtocol};
use weir_model::{DEFAULT_NAMESPACE, Kind, ResourceId, ServiceRef, Spec};

use super::compile::Interner;
use super::rules::{self, CompiledRoute};
use super::{Inputs, ListenerConfig, Rejection};
use crate::route::{
    Backends, Conditions, HostPattern, MatchSpec, PathPattern, RouteTable, RouteTableBuilder, Rule,
    TimeLimit, UpstreamIndex,
};

/// Route tables of services of the mesh that have routes.
pub(super) type Routes = HashMap<ServiceRef, RouteTable>;

/// A route with its identity and what its rules compiled to.
struct Route<'a> {
    id: &'a ResourceId,
    spec: &'a HttpRouteSpec,
    hosts: Vec<HostPattern>,
    rules: Vec<CompiledRoute>,
}

/// What the gateways of a proxy listen on.
pub(super) fn gateways(
    inputs: &Inputs,
    wanted: &[String],
    loopback_only: bool,
    names: &mut Interner,
    rejections: &mut Vec<Rejection>,
) -> Vec<ListenerConfig> {
    let routes = routes(inputs, names, rejections, |parent| is_kind(parent, Kind::Gateway));
    let mut taken = BTreeMap::new();
    let mut listeners = Vec::new();
    for (id, resource) in inputs.resources.iter() {
        if let Spec::Gateway(spec) = &resource.spec
            && is_wanted(id, wanted)
        {
            if loopback_only {
                refuse_open(id, spec, rejections);
            }
            listeners.extend(gateway(id, spec, &routes, &mut taken, rejections));
        }
    }
    listeners
}

/// Route tables of the services that are the parent of a route, for callers in a namespace.
pub(super) fn mesh(
    inputs: &Inputs,
    own_namespace: &str,
    names: &mut Interner,
    rejections: &mut Vec<Rejection>,
) -> Routes {
    let routes = routes(inputs, names, rejections, |parent| is_kind(parent, Kind::Service));
    let mut parents: BTreeMap<ServiceRef, Vec<&Route<'_>>> = BTreeMap::new();
    for route in &routes {
        for parent in route.spec.parent_refs.iter().filter(|parent| is_kind(parent, Kind::Service)) {
            let service = ServiceRef::new(namespace_of(parent, route.id), &*parent.name);
            let of_service = parents.entry(service).or_default();
            if !of_service.iter().any(|other| other.id == route.id) {
                of_service.push(route);
            }
        }
    }
    let mut tables = Routes::new();
    for (service, routes) in parents {
        // A caller's own routes for a service count instead of those of the service's owner (Gateway API, GAMMA:
        // consumer and producer routes).
        let consumers: Vec<_> = routes.iter().copied().filter(|r| r.id.namespace == own_namespace).collect();
        let producers: Vec<_> =
            routes.iter().copied().filter(|r| r.id.namespace == service.namespace).collect();
        let applied = if consumers.is_empty() { producers } else { consumers };
        if !applied.is_empty() {
            tables.insert(service.clone(), service_table(&service, &applied));
        }
    }
    tables
}

/// The table of a service without routes: everything goes to itself.
pub(super) fn direct(service: &ServiceRef, upstream: UpstreamIndex) -> RouteTable {
    let id = ResourceId::new(Kind::Service, &*service.namespace, &*service.name);
    let rule = Rule {
        label: id.to_string().into(),
        route: id.clone(),
        index: 0,
        name: None,
        request_timeout: TimeLimit::Unset,
        attempt_timeout: TimeLimit::Unset,
        backends: Backends::new([(1, upstream)]),
    };
    let everything = MatchSpec { path: PathPattern::Prefix("/".into()), conditions: Conditions::default() };
    let asterisk = MatchSpec { path: PathPattern::Exact("*".into()), conditions: Conditions::default() };
    let mut builder = RouteTableBuilder::new();
    let section = builder.section(id.to_string(), HostPattern::Any);
    builder.rule(section, &[HostPattern::Any], rule, &[everything, asterisk]);
    builder.build()
}

fn service_table(service: &ServiceRef, routes: &[&Route<'_>]) -> RouteTable {
    let mut builder = RouteTableBuilder::new();
    let label = ResourceId::new(Kind::Service, &*service.namespace, &*service.name).to_string();
    let section = builder.section(label, HostPattern::Any);
    for route in routes {
        for compiled in &route.rules {
            // Hostnames of a route have no meaning when its parent is a service (GAMMA).
            builder.rule(section, &[HostPattern::Any], compiled.rule.clone(), &compiled.matches);
        }
    }
    builder.build()
}

/// Every route with a parent of the kind asked for, compiled, in the Gateway API's order for ties: by
/// `namespace/name`.
fn routes<'a>(
    inputs: &'a Inputs,
    names: &mut Interner,
    rejections: &mut Vec<Rejection>,
    is_parent: impl Fn(&ParentRef) -> bool,
) -> Vec<Route<'a>> {
    let mut routes: Vec<_> = inputs
        .resources
        .iter()
        .filter_map(|(id, resource)| match &resource.spec {
            Spec::HttpRoute(spec) if spec.parent_refs.iter().any(&is_parent) => Some((id, spec)),
            _ => None,
        })
        .collect();
    routes.sort_by_cached_key(|(id, _)| format!("{}/{}", id.namespace, id.name));
    routes
        .into_iter()
        .map(|(id, spec)| {
            let hosts = match &spec.hostnames[..] {
                [] => vec![HostPattern::Any],
                names => names.iter().map(|name| HostPattern::parse(Some(name))).collect(),
            };
            Route { id, spec, hosts, rules: rules::compile(id, spec, names, rejections) }
        })
        .collect()
}

fn is_wanted(id: &ResourceId, wanted: &[String]) -> bool {
    wanted.is_empty()
        || wanted.iter().any(|name| match name.split_once('/') {
            Some((namespace, name)) => id.namespace == namespace && id.name == name,
            None => id.namespace == DEFAULT_NAMESPACE && id.name == *name,
        })
}

fn is_kind(parent: &ParentRef, kind: Kind) -> bool {
    parent.kind.as_deref().unwrap_or(Kind::Gateway.as_str()) == kind.as_str()
}

fn namespace_of<'a>(parent: &'a ParentRef, route: &'a ResourceId) -> &'a str {
    parent.namespace.as_deref().unwrap_or(&route.namespace)
}

/// Refuses addresses that others can reach for a gateway that serves anybody without TLS.
fn refuse_open(id: &ResourceId, spec: &GatewaySpec, rejections: &mut Vec<Rejection>) {
    let is_secret =
        |listener: &Listener| matches!(listener.protocol, ListenerProtocol::Https | ListenerProtocol::Tls);
    if spec.listeners.iter().all(is_secret) {
        return;
    }
    for (index, address) in spec.addresses.iter().enumerate() {
        // What is no address is refused as such.
        let Ok(ip) = address.value.parse::<IpAddr>() else { continue };
        if !ip.to_canonical().is_loopback() {
            rejections.push(Rejection {
                resource: id.clone(),
                path: format!("spec.addresses[{index}].value"),
                reason: format!(
                    "others can reach {ip} and there is no TLS: start the proxy with --insecure, or use a loopback \
                     address"
                ),
            });
        }
    }
}

/// The sockets of one gateway, one per address and port; its listeners on the same port are sections of one table.
fn gateway(
    id: &ResourceId,
    spec: &GatewaySpec,
    routes: &[Route<'_>],
    taken: &mut BTreeMap<SocketAddr, ResourceId>,
    rejections: &mut Vec<Rejection>,
) -> Vec<ListenerConfig> {
    let mut reject =
        |path: String, reason: String| rejections.push(Rejection { resource: id.clone(), path, reason });
    let addresses = addresses(spec, &mut reject);
    let mut ports: BTreeMap<u16, Vec<(usize, &Listener)>> = BTreeMap::new();
    for (index, listener) in spec.listeners.iter().enumerate() {
        if let Some(problem) = problem(listener) {
            reject(format!("spec.listeners[{index}].{}", problem.0), problem.1);
        }
        ports.entry(listener.port).or_default().push((index, listener));
    }
    let mut configs = Vec::new();
    for (port, listeners) in ports {
        report_same_hosts(&listeners, &mut reject);
        let (first, listener) = listeners[0];
        let table = Arc::new(port_table(id, &listeners, routes));
        for &address in &addresses {
            let addr = SocketAddr::new(address, port);
            if let Some((_, other)) = taken.iter().find(|(used, _)| overlap(**used, addr)) {
                reject(
                    format!("spec.listeners[{first}].port"),
                    format!("{addr} is already taken by {other}"),
                );
                continue;
            }
            taken.insert(addr, id.clone());
            configs.push(ListenerConfig {
                id: format!("{id}@{addr}").into(),
                gateway: id.clone(),
                index: first,
                addr,
                protocol: listener.protocol,
                routes: Arc::clone(&table),
                streams: None,
                proxy_protocol: None,
                tls: None,
            });
        }
    }
    configs
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

fn problem(listener: &Listener) -> Option<(&'static str, String)> {
    match listener.protocol {
        ListenerProtocol::Http | ListenerProtocol::Https if listener.port == 0 => {
            Some(("port", "expected 1 to 65535".to_owned()))
        }
        ListenerProtocol::Http | ListenerProtocol::Https => None,
        ListenerProtocol::Tls => Some(("protocol", not_served("TLS"))),
        ListenerProtocol::Tcp => Some(("protocol", not_served("TCP"))),
    }
}

fn not_served(protocol: &str) -> String {
    format!("protocol {protocol} is not served yet: expected HTTP")
}

/// Listeners on one port must differ in their hosts, or requests could not be told apart.
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

fn port_table(id: &ResourceId, listeners: &[(usize, &Listener)], routes: &[Route<'_>]) -> RouteTable {
    let mut builder = RouteTableBuilder::new();
    for (_, listener) in listeners {
        let host = HostPattern::parse(listener.hostname.as_deref());
        let section = builder.section(format!("{id}:{}", listener.name), host.clone());
        for route in routes.iter().filter(|route| attaches(route, id, listener)) {
            let hosts: Vec<_> =
                route.hosts.iter().filter(|pattern| pattern.intersects(&host)).cloned().collect();
            for compiled in &route.rules {
                builder.rule(section, &hosts, compiled.rule.clone(), &compiled.matches);
            }
        }
    }
    builder.build()
}

/// Whether a route names the listener as its parent, directly or with all of its gateway's, and may.
fn attaches(route: &Route<'_>, gateway: &ResourceId, listener: &Listener) -> bool {
    let named = route.spec.parent_refs.iter().any(|parent| {
        is_kind(parent, Kind::Gateway)
            && parent.name == gateway.name
            && namespace_of(parent, route.id) == gateway.namespace
            && parent.section_name.as_ref().is_none_or(|name| *name == listener.name)
            && parent.port.is_none_or(|port| port == listener.port)
    });
    let from = listener.allowed_routes.as_ref().and_then(|allowed| allowed.namespaces.as_ref()?.from);
    let allowed = match from.unwrap_or(FromNamespaces::Same) {
        FromNamespaces::Same => route.id.namespace == gateway.namespace,
        FromNamespaces::All => true,
    };
    named && allowed
}
