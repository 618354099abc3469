//! An upstream: a service as a caller sees it, with the endpoints that may be chosen.

use std::net::SocketAddr;
use std::sync::Arc;

use rand::Rng;
use weir_api::snapshot::StatedProtocol;
use weir_model::ServiceRef;
use weir_model::registry::Health;
use weir_model::resource::Protocol;
use weir_policy::Nanos;
use weir_policy::balance::select::{Facts, Place};
use weir_policy::balance::{Balancer, Candidates, Pick, Policy, Table, Tried, hash, standby};

use super::selection::{Origin, Selected, Selection, selected};
use super::settings::Settings;
use super::state::{EndpointState, UpstreamState};
use super::verdicts::Checked;
use crate::tls::ClientTls;

/// A service that this proxy calls. Immutable; its live part is behind [`UpstreamState`] and [`EndpointState`].
#[derive(Debug)]
pub struct Upstream {
    /// The service.
    pub service: ServiceRef,
    /// The service as logs and metrics show it.
    pub label: Arc<str>,
    /// Whether the service exists, as a document or in the registry.
    pub known: bool,
    /// What its instances speak, if anything declares it.
    pub declared: Option<Protocol>,
    /// Who declares it, for people; empty where nothing does.
    pub declared_by: Box<str>,
    /// How it is called.
    pub settings: Settings,
    /// Every endpoint, by id; also those that get no requests.
    pub endpoints: Box<[Endpoint]>,
    /// What carries over from snapshot to snapshot.
    pub state: Arc<UpstreamState>,
    /// Host names of endpoints that could not be resolved, for explanations.
    pub unresolved: Box<[String]>,
    /// How its connections are encrypted.
    pub tls: UpstreamTls,
    /// By the endpoint's index: the same in every proxy.
    keys: Box<[u64]>,
    origin: Arc<Origin>,
    selection: Selection,
}

/// Whether TLS is spoken with an upstream.
#[derive(Clone, Debug, Default)]
pub enum UpstreamTls {
    /// It is not.
    #[default]
    Plain,
    /// In this way.
    Secure(Arc<ClientTls>),
    /// It is to be, but nobody has looked at certificates: such an upstream cannot be called.
    Unready,
}

impl UpstreamTls {
    /// Whether two are the same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Plain, Self::Plain) | (Self::Unready, Self::Unready) => true,
            (Self::Secure(a), Self::Secure(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// One endpoint of an upstream.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Unique within the service.
    pub id: Arc<str>,
    /// The host name that it is written with, if it is one.
    pub host: Option<Arc<str>>,
    /// Where to connect.
    pub addr: SocketAddr,
    /// Share of the requests.
    pub weight: u32,
    /// The registry's judgement, or this proxy's own where it checks by itself.
    pub health: Health,
    /// Whether it is on its way out.
    pub draining: bool,
    /// Whether the address is a sidecar's.
    pub inbound: bool,
    /// Whether it is written down in a document, so that only this proxy checks it, if anybody does.
    pub is_static: bool,
    /// How it is checked by this proxy itself, and what that came to.
    pub checked: Checked,
    /// The region that it is in, if that is known.
    pub region: Option<Arc<str>>,
    /// The zone that it is in, if that is known.
    pub zone: Option<Arc<str>>,
    /// When it joined, or was well again, if this proxy has seen it.
    pub joined: Option<Nanos>,
    /// What carries over from snapshot to snapshot.
    pub state: Arc<EndpointState>,
}

impl Endpoint {
    /// Whether the registry wants it to get requests, and it can be called.
    pub fn is_wanted(&self) -> bool {
        self.health != Health::Critical && !self.draining && self.weight > 0 && self.addr.port() != 0
    }

    /// What balancing has to know of it. What was registered without a port cannot be called, and so has no weight.
    pub(super) fn facts(&self, key: u64) -> Facts<'_> {
        Facts {
            key,
            weight: if self.addr.port() == 0 { 0 } else { self.weight },
            health: self.health,
            draining: self.draining,
            ejected: self.state.tally().is_ejected(),
            place: Place { region: self.region.as_deref(), zone: self.zone.as_deref() },
            joined: self.joined,
            returned: self.state.tally().returned_at(),
        }
    }
}

/// What is said of a service.
#[derive(Clone, Debug)]
pub struct Declared {
    /// Whether it exists, as a document or in the registry.
    pub known: bool,
    /// What its instances speak, if anything declares it.
    pub protocol: Option<StatedProtocol>,
}

/// Who calls an upstream, when, and the table that hashes led to before.
#[derive(Debug)]
pub struct Seen<'a> {
    /// The proxy.
    pub origin: Arc<Origin>,
    /// The moment.
    pub now: Nanos,
    /// Kept if it fits.
    pub table: Option<&'a Table>,
}

impl Upstream {
    /// What is spoken with its instances: HTTP/1.1 where nothing declares it.
    #[inline]
    pub fn protocol(&self) -> Protocol {
        self.declared.unwrap_or_default()
    }

    /// Whether its instances speak HTTP/2.
    #[inline]
    pub fn is_http2(&self) -> bool {
        matches!(self.protocol(), Protocol::Http2 | Protocol::Grpc)
    }

    /// An upstream over the endpoints given; works out which of them may be chosen.
    pub fn new(
        service: ServiceRef,
        declared: Declared,
        settings: Settings,
        endpoints: Vec<Endpoint>,
        unresolved: Vec<String>,
        state: Arc<UpstreamState>,
        seen: Seen<'_>,
    ) -> Self {
        let keys: Box<[u64]> = endpoints.iter().map(|endpoint| hash::bytes(endpoint.id.as_bytes())).collect();
        let ejections = state.ejection().version();
        let Seen { origin, now, table } = seen;
        let first = selected(&endpoints, &keys, &settings.balance, &origin, table, now);
        Self {
            label: service.to_string().into(),
            service,
            known: declared.known,
            declared: declared.protocol.as_ref().map(|stated| stated.protocol),
            declared_by: declared.protocol.map(|stated| stated.from.into()).unwrap_or_default(),
            settings,
            endpoints: endpoints.into(),
            state,
            unresolved: unresolved.into(),
            tls: UpstreamTls::Plain,
            keys,
            origin,
            selection: Selection::new(first, ejections),
        }
    }

    /// An upstream of exactly one endpoint at a fixed address that is taken as passing, such as the application behind
    /// a sidecar.
    pub fn fixed(service: ServiceRef, protocol: Protocol, settings: Settings, addr: SocketAddr) -> Self {
        let endpoint = Endpoint {
            id: addr.to_string().into(),
            host: None,
            addr,
            weight: 1,
            health: Health::Passing,
            draining: false,
            inbound: false,
            is_static: false,
            checked: Checked::default(),
            region: None,
            zone: None,
            joined: None,
            state: Arc::default(),
        };
        let seen = Seen { origin: Arc::default(), now: Nanos(0), table: None };
        let stated = StatedProtocol { protocol, from: "the proxy's configuration".to_owned() };
        let declared = Declared { known: true, protocol: Some(stated) };
        Self::new(service, declared, settings, vec![endpoint], Vec::new(), Arc::default(), seen)
    }

    /// The same, called over TLS or not.
    #[must_use]
    pub fn with_tls(self, tls: UpstreamTls) -> Self {
        Self { tls, ..self }
    }

    /// Who takes part in balancing now, and with what share.
    pub fn selected(&self) -> Arc<Selected> {
        self.selection.now()
    }

    /// Rises with each change of [`Upstream::selected`]; that of an upstream which was made later is always higher.
    #[inline]
    pub(crate) fn selected_version(&self) -> u64 {
        self.selection.version()
    }

    /// Whether it is time to select anew; who is told so must do it.
    pub(crate) fn begin_selecting(&self, now: Nanos) -> bool {
        self.selection.begin_if_due(self.state.ejection().version(), now)
    }

    /// Works out anew who takes part. O(n), and more where a table must be made: not on the way of a request.
    pub(crate) fn select(&self, now: Nanos) {
        if self.reselect(now) {
            self.state.ejection().follow(self);
        }
        self.seat();
    }

    /// Lets the endpoints tell those who pick by `least_connections` when they become less busy: to be called when this
    /// upstream comes into force, and whenever [`Upstream::is_unseated`] says so. Until then picks look at all. O(n).
    pub(crate) fn seat(&self) {
        // Held until all endpoints know, so that they tell the same one: this upstream, or the one before it that shares them.
        let mut is_seated = self.state.seating();
        match &self.selected().floors {
            Some(floors) if floors.is_watched() => {}
            Some(floors) => {
                *is_seated = true;
                for (index, endpoint) in self.endpoints.iter().enumerate() {
                    endpoint.state.sit(floors, index);
                }
                floors.watch();
            }
            None if std::mem::take(&mut *is_seated) => {
                self.endpoints.iter().for_each(|endpoint| endpoint.state.stand_up());
            }
            None => {}
        }
    }

    /// Whether nobody tells those who pick when endpoints become less busy: an upstream that was in force before may have
    /// called them to itself again.
    pub(crate) fn is_unseated(&self) -> bool {
        let is_unwatched = || self.selected().floors.as_ref().is_some_and(|floors| !floors.is_watched());
        self.settings.balance.config.policy == Policy::LeastConnections && is_unwatched()
    }

    /// The same, but that ejection is not told, which knows nothing of endpoints that are ejected elsewhere. Gives whether
    /// there are other candidates.
    pub(crate) fn reselect(&self, now: Nanos) -> bool {
        let before = self.selected();
        let ejections = self.state.ejection().version();
        let balancing = &self.settings.balance;
        let selected =
            selected(&self.endpoints, &self.keys, balancing, &self.origin, before.table.as_ref(), now);
        let changed = selected.candidates != before.candidates;
        self.selection.replace(selected, ejections);
        changed
    }

    /// Whether too few endpoints are well, so that health and ejection do not count: a try is worth more than a certain
    /// refusal, the registry may be wrong about all of them at once, and the few would be overrun.
    #[inline]
    pub fn is_panicking(&self) -> bool {
        self.selection.is_panicking()
    }

    /// A balancer over the endpoints, by their index: it picks only those that take part.
    pub fn balancer(&self, rng: &mut impl Rng) -> Balancer {
        let Selected { shares, table, .. } = &*self.selected();
        Balancer::with_table(self.settings.balance.config, shares, &self.keys, table.as_ref(), rng)
    }

    /// The key of each endpoint, the same in every proxy.
    pub fn keys(&self) -> &[u64] {
        &self.keys
    }

    /// What a balancer has picked, or one that stands by where nobody that takes part is of use.
    #[cold]
    pub(crate) fn or_standby(&self, pick: Pick, tried: &Tried, rng: &mut impl Rng) -> Pick {
        standby(pick, &self.selected().roles, self, tried, rng).unwrap_or(pick)
    }

    /// The endpoint to take where a balancer has picked one that is ejected, because nothing better was left: the least busy
    /// of those that are not ejected, even if it failed lately or was tried; the one picked if all are ejected.
    #[cold]
    pub(crate) fn instead_of_ejected(&self, picked: usize, tried: &Tried) -> usize {
        let rank = |index: usize| {
            let state = &self.endpoints[index].state;
            (tried.has(index), state.is_avoided(), state.in_flight())
        };
        let selected = self.selected();
        let indices = selected.candidates.iter().map(|&index| index as usize);
        let others = indices.filter(|&index| !self.is_ejected(index));
        others.min_by_key(|&index| rank(index)).unwrap_or(picked)
    }

    /// Whether an endpoint gets no requests for a while.
    #[inline]
    pub(crate) fn is_ejected(&self, index: usize) -> bool {
        self.endpoints[index].state.tally().is_ejected() && !self.is_panicking()
    }

    /// The endpoint at an index from [`Selected::candidates`].
    pub fn endpoint(&self, index: u32) -> &Endpoint {
        &self.endpoints[index as usize]
    }
}

/// What balancers may know of the endpoints now.
impl Candidates for Upstream {
    #[inline]
    fn in_flight(&self, index: usize) -> u32 {
        self.endpoints[index].state.in_flight()
    }

    fn in_flight_total(&self) -> u64 {
        self.state.in_flight()
    }

    #[inline]
    fn avoided(&self, index: usize) -> bool {
        self.endpoints[index].state.is_avoided() || self.is_ejected(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(like: &[(Health, bool, u32)]) -> Vec<Endpoint> {
        like.iter()
            .enumerate()
            .map(|(i, &(health, draining, weight))| Endpoint {
                id: i.to_string().into(),
                host: None,
                addr: SocketAddr::from(([127, 0, 0, 1], 9000)),
                weight,
                health,
                draining,
                inbound: false,
                is_static: false,
                checked: Checked::default(),
                region: None,
                zone: None,
                joined: None,
                state: Arc::default(),
            })
            .collect()
    }

    fn upstream(endpoints: Vec<Endpoint>) -> Upstream {
        let service = ServiceRef::new("default", "cart");
        let seen = Seen { origin: Arc::default(), now: Nanos(0), table: None };
        let declared = Declared { known: true, protocol: None };
        Upstream::new(service, declared, Settings::default(), endpoints, vec![], Arc::default(), seen)
    }

    #[test]
    fn candidates_and_panic() {
        use Health::{Critical, Passing, Warning};
        let check = |like: &[(Health, bool, u32)], candidates: &[u32], panicking: bool| {
            let upstream = upstream(endpoints(like));
            assert_eq!(*upstream.selected().candidates, *candidates, "{like:?}");
            assert_eq!(upstream.is_panicking(), panicking, "{like:?}");
        };
        check(&[], &[], false);
        check(&[(Passing, false, 1), (Warning, false, 1)], &[0, 1], false);
        check(&[(Critical, false, 1), (Passing, false, 1)], &[1], false);
        check(&[(Critical, false, 1), (Critical, false, 1), (Passing, false, 1)], &[0, 1, 2], true);
        check(&[(Passing, true, 1), (Passing, false, 0), (Passing, false, 2)], &[2], false);
        check(&[(Critical, false, 1), (Critical, false, 1), (Passing, true, 1)], &[0, 1], true);
        check(&[(Passing, true, 1), (Critical, true, 1)], &[], false);
        check(&[(Passing, false, 0)], &[], false);
    }

    #[test]
    fn what_has_no_port_is_no_candidate() {
        let like = [(Health::Passing, false, 1), (Health::Critical, false, 1)];
        let mut endpoints = endpoints(&like);
        endpoints[0].addr.set_port(0);
        assert_eq!(*upstream(endpoints.clone()).selected().candidates, [1], "as a last resort");
        endpoints[1].addr.set_port(0);
        assert!(upstream(endpoints).selected().candidates.is_empty());
    }
}
