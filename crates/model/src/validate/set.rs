//! Rules over resources taken together.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::FieldError;
use crate::resource::{GatewaySpec, Kind, Resource, ResourceId, Spec};

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
    let mut policies: HashMap<(&str, &str), usize> = HashMap::new();
    let mut bound: HashMap<u16, Bound> = HashMap::new();
    for (index, resource) in resources.iter().enumerate() {
        if !known.insert(&ids[index]) {
            let message = format!("{} is there twice", ids[index]);
            faults.push((index, FieldError::new("metadata.name", message).expected("each resource once")));
            continue;
        }
        match &resource.spec {
            Spec::Gateway(spec) => sockets(index, spec, scope, &ids, &mut bound, &mut faults),
            Spec::TrafficPolicy(spec) => {
                for (at, target) in spec.target_refs.iter().enumerate() {
                    let service = (resource.metadata.namespace.as_str(), target.name.as_str());
                    let first = *policies.entry(service).or_insert(index);
                    if first != index {
                        let message = format!("`{}` already has a policy, {}", target.name, ids[first]);
                        let fault = FieldError::new(format!("spec.targetRefs[{at}]"), message);
                        faults.push((index, fault.expected("one policy for each service")));
                    }
                }
            }
            Spec::HttpRoute(_) | Spec::Service(_) | Spec::Certificate(_) => {}
        }
    }
    for (index, resource) in resources.iter().enumerate() {
        if let Spec::Gateway(spec) = &resource.spec {
            certificates(index, resource, spec, &known, &mut faults);
        }
    }
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

/// The certificates that listeners refer to must be there: a listener without one would refuse every client.
fn certificates(
    index: usize,
    resource: &Resource,
    spec: &GatewaySpec,
    known: &HashSet<&ResourceId>,
    faults: &mut Vec<(usize, FieldError)>,
) {
    for (at, listener) in spec.listeners.iter().enumerate() {
        for (nth, reference) in listener.tls.iter().flat_map(|tls| &tls.certificate_refs).enumerate() {
            let namespace = reference.namespace.as_ref().unwrap_or(&resource.metadata.namespace);
            let id = ResourceId::new(Kind::Certificate, namespace.clone(), reference.name.clone());
            if !known.contains(&id) {
                let path = format!("spec.listeners[{at}].tls.certificateRefs[{nth}].name");
                let fault = FieldError::new(path, format!("there is no {id}"));
                faults.push((index, fault.expected("the name of a `Certificate`")));
            }
        }
    }
}
