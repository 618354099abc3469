//! Rules over resources taken together.

mod fallbacks;
mod policies;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::FieldError;
use crate::resource::references::{CertificateNeed, CertificateUse};
use crate::resource::{CertificateSpec, GatewaySpec, Kind, Resource, ResourceId, Spec};
use policies::Policies;
pub use policies::{Bounded, LIMITS_MAX, SHARED_LIMITS_MAX};

/// Where the resources of a set take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Somewhere in a cluster: two gateways may be served by different hosts, so only addresses that belong to one host
    /// (neither loopback nor "any") can collide.
    Cluster,
    /// All in one proxy, which binds every gateway's ports itself.
    OneProxy,
}

/// What is wrong with resources taken together; each fault with the index of the resource it is best mended in.
pub fn conflicts(resources: &[&Resource], scope: Scope) -> Vec<(usize, FieldError)> {
    let mut faults = Vec::new();
    let ids: Vec<ResourceId> = resources.iter().map(|resource| resource.id()).collect();
    let mut known = HashSet::new();
    let mut policies = Policies::default();
    let mut bound: HashMap<u16, Bound> = HashMap::new();
    for (index, resource) in resources.iter().enumerate() {
        if !known.insert(&ids[index]) {
            let message = format!("{} is there twice", ids[index]);
            faults.push((index, FieldError::new("metadata.name", message).expected("each resource once")));
            continue;
        }
        match &resource.spec {
            Spec::Gateway(spec) => sockets(index, spec, scope, &ids, &mut bound, &mut faults),
            Spec::TrafficPolicy(_) | Spec::RateLimit(_) | Spec::ListenerPolicy(_) => {
                policies.add(index, resource, &ids, &mut faults);
            }
            Spec::HttpRoute(_)
            | Spec::GrpcRoute(_)
            | Spec::TlsRoute(_)
            | Spec::TcpRoute(_)
            | Spec::Service(_)
            | Spec::Certificate(_) => {}
        }
    }
    let certificates: HashMap<&ResourceId, &CertificateSpec> = ids
        .iter()
        .zip(resources)
        .filter_map(|(id, resource)| match &resource.spec {
            Spec::Certificate(spec) => Some((id, spec)),
            _ => None,
        })
        .collect();
    for (index, resource) in resources.iter().enumerate() {
        let needs = resource.spec.certificates().into_iter();
        let missing = needs.filter_map(|need| missing(&resource.metadata.namespace, &need, &certificates));
        faults.extend(missing.map(|fault| (index, fault)));
    }
    shared_ports(resources, &ids, &mut faults);
    fallbacks::of_routes(resources, &mut faults);
    fallbacks::circles(resources, &mut faults);
    faults.sort_by_key(|(index, _)| *index);
    faults
}

/// Who is bound to one port, so that each question takes constant time.
#[derive(Default)]
struct Bound {
    /// By address, who came first.
    exact: HashMap<IpAddr, usize>,
    /// Who came first of all, and of those with IPv4.
    first: Option<(usize, IpAddr)>,
    first_v4: Option<(usize, IpAddr)>,
}

impl Bound {
    /// Who is in the way of an address. `::` takes IPv4 along, as Linux has it by default.
    fn taken(&self, ip: IpAddr) -> Option<(usize, IpAddr)> {
        const ANY_V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        const ANY_V6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let exact = |ip: IpAddr| self.exact.get(&ip).map(|index| (*index, ip));
        let covered = match ip {
            ANY_V4 => self.first_v4,
            ANY_V6 => self.first,
            IpAddr::V4(_) => exact(ANY_V4),
            IpAddr::V6(_) => None,
        };
        exact(ip).or(covered).or_else(|| exact(ANY_V6))
    }

    fn add(&mut self, index: usize, ip: IpAddr) {
        self.exact.entry(ip).or_insert(index);
        self.first.get_or_insert((index, ip));
        if ip.is_ipv4() {
            self.first_v4.get_or_insert((index, ip));
        }
    }
}

/// Two gateways cannot listen on the same address and port.
fn sockets(
    index: usize,
    spec: &GatewaySpec,
    scope: Scope,
    ids: &[ResourceId],
    bound: &mut HashMap<u16, Bound>,
    faults: &mut Vec<(usize, FieldError)>,
) {
    let mut addresses: Vec<IpAddr> =
        spec.addresses.iter().filter_map(|address| address.value.parse().ok()).collect();
    if spec.addresses.is_empty() {
        addresses.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    if scope == Scope::Cluster {
        addresses.retain(|ip| !ip.is_loopback() && !ip.is_unspecified());
    }
    for (at, listener) in spec.listeners.iter().enumerate() {
        let Some(others) = bound.get(&listener.port) else { continue };
        if let Some((other, ip)) = addresses.iter().find_map(|ip| others.taken(*ip)) {
            let message = format!("port {} on {ip} is already taken by {}", listener.port, ids[other]);
            let fault = FieldError::new(format!("spec.listeners[{at}].port"), message);
            faults.push((index, fault.expected("another port or address")));
        }
    }
    for listener in &spec.listeners {
        let port = bound.entry(listener.port).or_default();
        addresses.iter().for_each(|ip| port.add(index, *ip));
    }
}

/// The certificates that are referred to must be there and hold what they are needed for: a listener without one would
/// refuse every client.
fn missing(
    namespace: &str,
    need: &CertificateNeed<'_>,
    certificates: &HashMap<&ResourceId, &CertificateSpec>,
) -> Option<FieldError> {
    let namespace = need.reference.namespace.as_deref().unwrap_or(namespace);
    let id = ResourceId::new(Kind::Certificate, namespace, need.reference.name.as_str());
    let path = format!("{}.name", need.path);
    let Some(certificate) = certificates.get(&id) else {
        return Some(
            FieldError::new(path, format!("there is no {id}")).expected("the name of a `Certificate`"),
        );
    };
    let (is_there, what) = match need.usage {
        CertificateUse::Present => (certificate.cert_file.is_some(), "`certFile` and `keyFile`"),
        CertificateUse::Trust => (certificate.ca_file.is_some(), "`caFile`"),
    };
    (!is_there).then(|| {
        FieldError::new(path, format!("{id} has nothing for this purpose"))
            .expected(format!("one with {what}"))
    })
}

/// Listeners on one port share a policy: it counts before it is known which of them a connection is for.
fn shared_ports(resources: &[&Resource], ids: &[ResourceId], faults: &mut Vec<(usize, FieldError)>) {
    let gateways: HashMap<(&str, &str), &GatewaySpec> = resources
        .iter()
        .filter_map(|resource| match &resource.spec {
            Spec::Gateway(spec) => Some(((&*resource.metadata.namespace, &*resource.metadata.name), spec)),
            _ => None,
        })
        .collect();
    let mut ports: HashMap<(&str, &str, u16), usize> = HashMap::new();
    for (index, resource) in resources.iter().enumerate() {
        let Spec::ListenerPolicy(policy) = &resource.spec else { continue };
        for (at, target) in policy.target_refs.iter().enumerate() {
            let gateway = (&*resource.metadata.namespace, &*target.name);
            let (Some(section), Some(spec)) = (&target.section_name, gateways.get(&gateway)) else {
                continue;
            };
            let Some(listener) = spec.listeners.iter().find(|listener| listener.name == *section) else {
                continue;
            };
            let first = *ports.entry((gateway.0, gateway.1, listener.port)).or_insert(index);
            if first != index {
                let message = format!("port {} already has a policy, {}", listener.port, ids[first]);
                let fault = FieldError::new(format!("spec.targetRefs[{at}].sectionName"), message);
                faults.push((index, fault.expected("one policy for all listeners on one port")));
            }
        }
    }
}
