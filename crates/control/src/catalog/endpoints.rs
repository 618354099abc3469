//! A service as its callers see it: endpoints with address, weight and health.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_model::registry::{ActiveChecks, Address, CheckDefinition, CheckKind, Health};
use weir_model::resource::Protocol;
use weir_model::resource::service::StaticEndpoint;
use weir_model::{Position, Revision, ServiceRef};

use super::entry::{NodeEntry, ServiceMember};
use super::kept::KeptInstance;
use super::topic::Topic;
use super::{Catalog, State};
use crate::records::{RecordEntry, TableRef};
use crate::resources::ResourceSet;

/// One address that requests for a service can go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Unique and stable within the service: `node/id`, or `static/HOST:PORT`.
    pub id: String,
    /// Where to connect: the sidecar's address if the instance has one, else the application's.
    pub address: Address,
    /// Whether `address` is a sidecar's.
    pub inbound: bool,
    /// Whether it is one of the Service document's own endpoints, not a registered instance.
    pub fixed: bool,
    /// Share of the requests, by its present health; 0 gets none.
    pub weight: u32,
    /// Its health in the registry: that of its checks and its node's, critical in maintenance.
    pub health: Health,
    /// The instance's metadata.
    pub metadata: BTreeMap<String, String>,
    /// Whether the instance has a gRPC check of its own port.
    pub grpc_check: bool,
    /// How a caller can check it by itself, if it can.
    pub active_checks: Option<Arc<ActiveChecks>>,
}

/// The endpoints of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointsView {
    /// Whether the service is declared or has an instance.
    pub known: bool,
    /// The revision at which this last changed (or any declared resource did); never 0.
    pub index: Revision,
    /// The position of the catalog this was read from.
    pub position: Position,
    /// The protocol, from the Service document, else from instance metadata `protocol`, else from a gRPC check; none
    /// when nothing says it.
    pub protocol: Option<Protocol>,
    /// The endpoints, by id; unhealthy ones too.
    pub endpoints: Vec<Endpoint>,
}

/// The catalog at one moment: all that is read through it is of one revision.
pub struct Moment<'a> {
    state: &'a State,
}

impl<'a> Moment<'a> {
    pub(crate) fn of(state: &'a State) -> Self {
        Self { state }
    }
}

impl Moment<'_> {
    /// The position of the moment.
    pub fn position(&self) -> Position {
        self.state.position
    }

    /// The declared resources in force.
    pub fn resources(&self) -> &Arc<ResourceSet> {
        &self.state.declared.set
    }

    /// The revision at which the declared resources last changed; never 0.
    pub fn resources_index(&self) -> Revision {
        self.state.index(&Topic::Resources)
    }

    /// The endpoints of a service: registered instances and the static ones of its Service document.
    pub fn endpoints(&self, service: &ServiceRef) -> EndpointsView {
        self.state.endpoints(service)
    }

    /// A service's instances, by node and id.
    pub fn members(&self, service: &ServiceRef) -> Vec<ServiceMember> {
        self.state.members(service)
    }

    /// The records of all tables whose names begin so, with their tables.
    pub fn records<'a>(
        &'a self,
        tables: &'a str,
    ) -> impl Iterator<Item = (&'a TableRef, &'a Arc<RecordEntry>)> {
        self.state.records.all().filter(move |(table, _)| table.name.starts_with(tables))
    }

    /// The revision at which any of them was last written. Those that were there once count, as far as the catalog knows.
    pub fn records_index(&self, tables: &str) -> Revision {
        let heads = self.state.records.heads().filter(|(table, _)| table.name.starts_with(tables));
        heads.map(|(_, revision)| revision).fold(self.state.records.floor(), Revision::max)
    }

    /// The index that [`Moment::endpoints`] would answer with, without the endpoints.
    pub fn endpoints_index(&self, service: &ServiceRef) -> Revision {
        self.state.endpoints_index(service)
    }
}

impl Catalog {
    /// Reads several things of one revision. Nothing is applied meanwhile, so `read` must be quick.
    pub fn read<T>(&self, read: impl FnOnce(&Moment<'_>) -> T) -> T {
        let state = self.state();
        read(&Moment::of(&state))
    }

    /// The endpoints of a service: registered instances and the static ones of its Service document.
    pub fn endpoints(&self, service: &ServiceRef) -> EndpointsView {
        self.state().endpoints(service)
    }
}

impl State {
    fn endpoints_index(&self, service: &ServiceRef) -> Revision {
        self.registry.service_index(service).max(self.declared.index()).max(1)
    }

    fn endpoints(&self, service: &ServiceRef) -> EndpointsView {
        let document = self.declared.set.service(service);
        let members = self.members(service);
        let mut endpoints: Vec<_> = members.iter().map(endpoint).collect();
        endpoints.extend(document.into_iter().flat_map(|document| &document.endpoints).map(fixed_endpoint));
        endpoints.sort_by(|a, b| a.id.cmp(&b.id));
        let stated = || endpoints.iter().map(|endpoint| (&endpoint.metadata, endpoint.grpc_check));
        let protocol = document.and_then(|document| document.protocol);
        let protocol = protocol.or_else(|| Protocol::of_instances(stated()).map(|told| told.protocol));
        EndpointsView {
            known: document.is_some() || self.registry.service(&service.namespace, &service.name).is_some(),
            index: self.endpoints_index(service),
            position: self.position,
            protocol,
            endpoints,
        }
    }

    /// A service's instances whose nodes are there, by node and id.
    pub(crate) fn members(&self, service: &ServiceRef) -> Vec<ServiceMember> {
        self.kept_members(service).map(|(node, kept)| self.registry.open.member(node, kept)).collect()
    }

    /// The same, not read yet.
    pub(crate) fn kept_members(
        &self,
        service: &ServiceRef,
    ) -> impl Iterator<Item = (Arc<NodeEntry>, &Arc<KeptInstance>)> {
        let slot = self.registry.service(&service.namespace, &service.name);
        slot.into_iter().flat_map(|slot| slot.members.iter()).filter_map(|kept| {
            let node = self.registry.nodes.get(kept.node())?.node.clone()?;
            Some((node, kept))
        })
    }
}

fn fixed_endpoint(fixed: &StaticEndpoint) -> Endpoint {
    Endpoint {
        id: format!("static/{}:{}", fixed.address, fixed.port),
        address: Address { host: fixed.address.clone(), port: fixed.port },
        inbound: false,
        fixed: true,
        weight: fixed.weight,
        health: Health::Passing,
        metadata: BTreeMap::new(),
        grpc_check: false,
        active_checks: None,
    }
}

fn endpoint(member: &ServiceMember) -> Endpoint {
    let instance = member.instance.value();
    let health = member.health();
    let application = || Address { host: member.address().to_owned(), port: instance.port };
    Endpoint {
        id: format!("{}/{}", instance.node, instance.id),
        address: instance.inbound.clone().unwrap_or_else(application),
        inbound: instance.inbound.is_some(),
        fixed: false,
        weight: match health {
            Health::Passing => instance.weights.passing,
            Health::Warning => instance.weights.warning,
            // The share it would have; whether it gets requests at all is the caller's decision by its health.
            Health::Critical => instance.weights.passing,
        },
        health,
        metadata: instance.metadata.clone(),
        grpc_check: has_grpc_check(member),
        active_checks: active_checks(member).map(Arc::new),
    }
}

/// Whether a check asks for gRPC where the application listens. One of another port says nothing of what is called.
fn has_grpc_check(member: &ServiceMember) -> bool {
    let port = member.instance.value().port;
    member.instance.checks.iter().any(|check| match check.value.definition.as_ref().map(|how| &how.kind) {
        Some(CheckKind::Grpc { address, .. }) => {
            address.rsplit_once(':').is_some_and(|(_, checked)| checked.parse() == Ok(port))
        }
        _ => false,
    })
}

/// The checks of an instance that its callers can carry out as well. What they cannot counts by what it says.
fn active_checks(member: &ServiceMember) -> Option<ActiveChecks> {
    let instance = member.instance.value();
    let mut others = member.node.health();
    if instance.maintenance.is_some() {
        others = Health::Critical;
    }
    let reached = instance.inbound.as_ref().map_or_else(|| member.address(), |inbound| &inbound.host);
    let mut definitions = Vec::new();
    for check in &member.instance.checks {
        match check.value.definition.as_ref().filter(|how| can_be_seen_from_afar(how, reached)) {
            // When it is deregistered is no matter of its callers.
            Some(how) => definitions.push(CheckDefinition { deregister_after: None, ..how.clone() }),
            None => others = others.max(check.value.health),
        }
    }
    let some = (1..=ActiveChecks::DEFINITIONS_MAX).contains(&definitions.len());
    some.then_some(ActiveChecks { others, weights: instance.weights, definitions })
}

/// Whether a check that is carried out elsewhere looks at the same thing: a target of the host's own (`127.0.0.1`) is
/// another one on each host, unless the instance is reached by such an address itself.
fn can_be_seen_from_afar(how: &CheckDefinition, instance: &str) -> bool {
    let target = match &how.kind {
        CheckKind::Ttl
        | CheckKind::Udp { .. }
        | CheckKind::H2Ping { .. }
        | CheckKind::Alias { .. }
        | CheckKind::Script { .. } => return false,
        CheckKind::Tcp { address } | CheckKind::Grpc { address, .. } => host_of(address),
        // What may change something is not done by everybody who calls.
        CheckKind::Http { method, .. } if !matches!(&*method.to_ascii_uppercase(), "GET" | "HEAD") => {
            return false;
        }
        CheckKind::Http { url, .. } => {
            let rest = url.split_once("://").map_or(&**url, |(_, rest)| rest);
            host_of(&rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())])
        }
    };
    !is_own(target) || is_own(instance)
}

/// The host of `HOST[:PORT]`, without brackets.
fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => authority.split(':').next().unwrap_or(authority),
    }
}

fn is_own(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<std::net::IpAddr>()
            .map(|ip| ip.to_canonical())
            .is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_model::units::Span;

    use super::*;

    #[test]
    fn what_is_the_hosts_own_is_not_seen_from_afar() {
        let check = |kind: CheckKind, instance: &str, expected: bool| {
            let how = CheckDefinition {
                kind,
                interval: Span(Duration::from_secs(1)),
                timeout: Span(Duration::from_secs(1)),
                successes_before_passing: 0,
                failures_before_critical: 0,
                failures_before_warning: 0,
                deregister_after: None,
            };
            assert_eq!(can_be_seen_from_afar(&how, instance), expected, "{how:?} of {instance}");
        };
        let tcp = |address: &str| CheckKind::Tcp { address: address.to_owned() };
        let asked = |method: &str, url: &str| CheckKind::Http {
            url: url.to_owned(),
            method: method.to_owned(),
            headers: BTreeMap::new(),
            body: String::new(),
        };
        let http = |url: &str| asked("GET", url);
        check(tcp("10.0.0.1:80"), "10.0.0.1", true);
        check(tcp("10.0.0.1:80"), "127.0.0.1", true);
        check(tcp("127.0.0.1:80"), "10.0.0.1", false);
        check(tcp("127.0.0.1:80"), "127.0.0.1", true);
        check(tcp("[::1]:80"), "10.0.0.1", false);
        check(tcp("[::1]:80"), "[::1]", true);
        check(http("http://localhost:80/x"), "web.example", false);
        check(http("http://localhost/x:1"), "localhost", true);
        check(http("http://web.example?a=127.0.0.1"), "web.example", true);
        check(http("http://[::1]/"), "web.example", false);
        check(CheckKind::Ttl, "127.0.0.1", false);
        // What may change something is not done by everybody who calls.
        for (method, expected) in [
            ("HEAD", true),
            ("get", true),
            ("POST", false),
            ("PUT", false),
            ("DELETE", false),
            ("OPTIONS", false),
        ] {
            check(asked(method, "http://10.0.0.1/health"), "10.0.0.1", expected);
        }
    }
}
