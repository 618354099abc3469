//! The snapshot: everything the request path works from, immutable, compiled whole from declared resources and
//! registered endpoints, and swapped atomically.
//!
//! ```text
//! Inputs (resources, endpoints) -> compile -> Snapshot { listeners -> RouteTable, mesh -> RouteTable, upstreams }
//!                                          -> or what is refused, resource by resource
//! ```
//!
//! Compiling is pure: no clock, no IO. Names were resolved by the source. What must outlive a snapshot (`state`) is
//! taken over from the previous one by identity.

mod attach;
mod balancing;
mod compile;
mod endpoints;
mod inputs;
mod listener;
mod load;
mod mesh;
mod policies;
mod ports;
mod rules;
mod secure;
mod selection;
mod services;
mod settings;
mod state;
mod streams;
#[cfg(test)]
pub(crate) mod tests;
mod times;
mod upstream;
mod verdicts;
mod version;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use rand::Rng;
use weir_model::resource::{ListenerProtocol, TrafficPolicySpec};
use weir_model::{Position, ResourceId, ServiceRef};

pub use attach::Overlap;
pub(crate) use attach::is_gateway_of;
pub(crate) use balancing::described;
pub use balancing::{Balancing, HashKey};
pub use compile::{Addresses, Compiler, Rejection, Role};
pub(crate) use endpoints::host_names;
pub use inputs::{Inputs, Registered, Resources, Services};
pub use listener::ListenerSettings;
pub(crate) use load::Known;
pub use load::{Load, PROBE_EVERY, SILENT_FOR};
pub(crate) use mesh::READINGS_MAX;
pub use mesh::{MeshLookup, MeshService, MeshTable};
pub(crate) use policies::label;
pub use policies::{RoutePolicies, RoutePolicy};
pub(crate) use ports::is_wanted;
pub use selection::{Origin, Selected};
pub use settings::{Settings, TimesBy};
pub use state::{EndpointState, UpstreamState};
pub(crate) use times::Time;
pub use upstream::{Declared, Endpoint, Seen, Upstream, UpstreamTls};
pub use verdicts::{Checked, ServiceVerdicts, Verdict, Verdicts};
pub(crate) use version::version;

use compile::UpstreamNames;
use ports::Ports;

use crate::breaker::BreakerTable;
use crate::limit::LimitTable;
use crate::listen::ProxySources;
use crate::observe::process_now;
use crate::route::{
    Decision, KnownPatterns, NoReasons, Reasons, RequestView, RouteTable, Rule, StreamFound, StreamRule,
    StreamTable, UpstreamIndex,
};
use crate::tls::{Certificates, TlsPort};

/// What is in force.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Where in history it stands. In static mode the epoch is 0 and the revision counts loads.
    pub position: Position,
    /// What a gateway listens on.
    pub listeners: Vec<ListenerConfig>,
    /// What a sidecar's application can call by name.
    pub mesh: MeshTable,
    /// The routes that listeners do not take because of others.
    pub overlaps: Vec<Overlap>,
    /// What limits requests.
    pub limits: Arc<LimitTable>,
    /// What breaks calls off.
    pub breakers: Arc<BreakerTable>,
    /// What policies say of calls by routes.
    pub policies: Arc<RoutePolicies>,
    /// What it was compiled from.
    pub inputs: Inputs,
    ports: Ports,
    upstreams: Vec<Arc<Upstream>>,
    names: Arc<UpstreamNames>,
    patterns: Arc<KnownPatterns>,
    /// Who this proxy is, and where.
    pub(crate) origin: Arc<Origin>,
    addresses: Arc<Addresses>,
    verdicts: Arc<Verdicts>,
    certificates: Option<Arc<Certificates>>,
    /// Made when it is first asked for: most proxies never do.
    owners: OnceLock<HashMap<SocketAddr, Option<u32>>>,
}

/// One socket of a gateway.
#[derive(Clone, Debug)]
pub struct ListenerConfig {
    /// Stable over revisions: the gateway and the address.
    pub id: Arc<str>,
    /// The gateway it is from.
    pub gateway: ResourceId,
    /// Which of the gateway's `spec.listeners` asked for it first, for reports.
    pub index: usize,
    /// Where to listen.
    pub addr: SocketAddr,
    /// What is spoken there.
    pub protocol: ListenerProtocol,
    /// Where its requests go.
    pub routes: Arc<RouteTable>,
    /// Where its connections go, as far as they are not for requests.
    pub streams: Option<Arc<StreamTable>>,
    /// Which connections begin with a PROXY header; none when absent.
    pub proxy_protocol: Option<ProxySources>,
    /// How clients are served over TLS; none where they are not, and where nobody has looked at certificates.
    pub tls: Option<Arc<TlsPort>>,
    /// Its bounds.
    pub settings: Arc<ListenerSettings>,
}

impl ListenerConfig {
    /// Whether connections are served as they come: HTTP, in the clear, from whoever it is.
    pub fn is_plain(&self) -> bool {
        self.protocol == ListenerProtocol::Http && self.proxy_protocol.is_none() && self.streams.is_none()
    }
}

/// Where a connection goes.
#[derive(Clone, Copy, Debug)]
pub enum StreamDecision<'a> {
    /// To an instance of this upstream.
    Forward {
        /// Where to.
        upstream: &'a Arc<Upstream>,
        /// The rule that matched.
        rule: &'a StreamRule,
    },
    /// Nowhere: no rule is for the name.
    NoRoute,
    /// Nowhere: the rule names no service, or the one drawn does not exist.
    NoBackend {
        /// The rule that matched.
        rule: &'a StreamRule,
        /// The service that does not exist, if one was drawn.
        service: Option<&'a ServiceRef>,
    },
}

impl Snapshot {
    /// Decides where a request goes, by one of this snapshot's own tables. Allocates nothing; `rng` is used only where
    /// a rule has several services.
    pub fn route<'a>(
        &'a self,
        table: &'a RouteTable,
        request: &impl RequestView,
        rng: &mut impl Rng,
    ) -> Decision<'a> {
        self.route_with(table, request, rng, &mut NoReasons)
    }

    /// The same, telling why.
    pub fn route_with<'a>(
        &'a self,
        table: &'a RouteTable,
        request: &impl RequestView,
        rng: &mut impl Rng,
        reasons: &mut impl Reasons,
    ) -> Decision<'a> {
        let Some(found) = table.find(request, rng, reasons) else {
            return Decision::NoRoute;
        };
        let (rule, filtered) = (found.rule, found.filtered());
        match found.backend.map(|backend| self.upstream(backend.upstream)) {
            Some(upstream) if upstream.known => Decision::Forward { upstream, rule, filtered },
            unusable => {
                Decision::NoBackend { rule, service: unusable.map(|upstream| &upstream.service), filtered }
            }
        }
    }

    /// Decides where a connection goes, by one of this snapshot's own tables.
    pub fn stream<'a>(
        &'a self,
        table: &'a StreamTable,
        server_name: Option<&[u8]>,
        rng: &mut impl Rng,
    ) -> StreamDecision<'a> {
        let Some(StreamFound { rule, upstream }) = table.find(server_name, rng) else {
            return StreamDecision::NoRoute;
        };
        match upstream.map(|index| self.upstream(index)) {
            Some(upstream) if upstream.known => StreamDecision::Forward { upstream, rule },
            unusable => {
                StreamDecision::NoBackend { rule, service: unusable.map(|upstream| &upstream.service) }
            }
        }
    }

    /// Tells what outlives snapshots how it goes on, now that this one takes the place of another. To be called before it
    /// does.
    pub fn take_effect(&self, before: &Self) {
        if !Arc::ptr_eq(&self.breakers, &before.breakers) {
            self.breakers.take_effect(process_now());
        }
        if !Arc::ptr_eq(&self.limits, &before.limits) {
            self.limits.take_effect(&before.limits, process_now());
        }
        for upstream in &self.upstreams {
            let old = before.upstream_of(&upstream.service);
            if !old.is_some_and(|old| Arc::ptr_eq(old, upstream)) {
                upstream.state.ejection().put_in_force(upstream);
                upstream.seat();
            }
        }
    }

    /// The upstream that a decision names.
    pub fn upstream(&self, index: UpstreamIndex) -> &Arc<Upstream> {
        &self.upstreams[index.0 as usize]
    }

    /// The upstream of a service, if any rule or name leads there.
    pub fn upstream_of(&self, service: &ServiceRef) -> Option<&Arc<Upstream>> {
        self.names.get(service).map(|index| self.upstream(index))
    }

    /// The policy for a service, if there is one. It looks through all of them.
    pub(crate) fn policy_of(&self, service: &ServiceRef) -> Option<(&ResourceId, &TrafficPolicySpec)> {
        policies::of_services(&self.inputs).remove(service)
    }

    /// Every rule that requests may meet.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        let of_listeners = self.listeners.iter().map(|listener| &listener.routes);
        let of_services = self.mesh.services().iter().map(|service| &service.routes);
        of_listeners.chain(of_services).flat_map(|table| table.rules())
    }

    /// The service that has an endpoint at an address; none when several have.
    pub fn service_at(&self, addr: SocketAddr) -> Option<&ServiceRef> {
        let owners = self.owners.get_or_init(|| {
            let mut owners = HashMap::new();
            for (index, upstream) in (0u32..).zip(&self.upstreams).filter(|(_, upstream)| upstream.known) {
                for endpoint in &upstream.endpoints {
                    let owner = owners.entry(endpoint.addr).or_insert(Some(index));
                    if *owner != Some(index) {
                        *owner = None;
                    }
                }
            }
            owners
        });
        let index = owners.get(&addr).copied().flatten()?;
        Some(&self.upstream(UpstreamIndex(index)).service)
    }

    /// Every upstream.
    pub fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }
}
