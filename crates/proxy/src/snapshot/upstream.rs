//! An upstream: a service as a caller sees it, with the endpoints that may be chosen.

use std::net::SocketAddr;
use std::sync::Arc;

use rand::Rng;
use weir_model::ServiceRef;
use weir_model::registry::Health;
use weir_model::resource::Protocol;
use weir_policy::balance::{Balancer, Candidates, Config, Tried, hash};

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
    candidates: Box<[u32]>,
    panicking: bool,
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
    /// What carries over from snapshot to snapshot.
    pub state: Arc<EndpointState>,
}

impl Endpoint {
    /// Whether the registry wants it to get requests.
    pub fn is_eligible(&self) -> bool {
        self.health != Health::Critical && self.is_possible()
    }

    /// Whether it may get requests when nothing better is left. A weight of 0 is a person's wish to send nothing there,
    /// and what was registered without a port cannot be called.
    const fn is_possible(&self) -> bool {
        !self.draining && self.weight > 0 && self.addr.port() != 0
    }
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
        known: bool,
        declared: Option<Protocol>,
        settings: Settings,
        endpoints: Vec<Endpoint>,
        unresolved: Vec<String>,
        state: Arc<UpstreamState>,
    ) -> Self {
        let (candidates, panicking) = choose_candidates(&endpoints);
        Self {
            label: service.to_string().into(),
            service,
            known,
            declared,
            settings,
            endpoints: endpoints.into(),
            state,
            unresolved: unresolved.into(),
            tls: UpstreamTls::Plain,
            candidates,
            panicking,
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
            state: Arc::default(),
        };
        Self::new(service, true, Some(protocol), settings, vec![endpoint], Vec::new(), Arc::default())
    }

    /// The same, called over TLS or not.
    #[must_use]
    pub fn with_tls(self, tls: UpstreamTls) -> Self {
        Self { tls, ..self }
    }

    /// Indices into `endpoints` of those that may be chosen: neither critical nor draining, with a weight. When that
    /// leaves none, all that are not draining (see [`Upstream::is_panicking`]); empty when those are none either.
    pub fn candidates(&self) -> &[u32] {
        &self.candidates
    }

    /// Whether the candidates include critical endpoints because there is nothing better: a try is worth more than a
    /// certain refusal, and the registry may be wrong about all of them at once.
    pub const fn is_panicking(&self) -> bool {
        self.panicking
    }

    /// A balancer over the endpoints, by their index: it picks candidates only.
    pub fn balancer(&self, rng: &mut impl Rng) -> Balancer {
        Balancer::new(self.balance(), &self.shares(), &self.keys(), rng)
    }

    /// How it is balanced.
    pub fn balance(&self) -> Config {
        Config::of(self.settings.balance.into())
    }

    /// The key of each endpoint, the same in every proxy.
    pub fn keys(&self) -> Vec<u64> {
        self.endpoints.iter().map(|endpoint| hash::bytes(endpoint.id.as_bytes())).collect()
    }

    /// The weight of each endpoint that is a candidate, and 0 for the others.
    pub fn shares(&self) -> Vec<u32> {
        let mut shares = vec![0; self.endpoints.len()];
        for &index in self.candidates() {
            shares[index as usize] = self.endpoint(index).weight;
        }
        shares
    }

    /// The endpoint to take where a balancer has picked one that is ejected, because nothing better was left: the least busy
    /// of those that are not ejected, even if it failed lately or was tried; the one picked if all are ejected.
    #[cold]
    pub(crate) fn instead_of_ejected(&self, picked: usize, tried: &Tried) -> usize {
        let rank = |index: usize| {
            let state = &self.endpoints[index].state;
            (tried.has(index), state.is_avoided(), state.in_flight())
        };
        let indices = self.candidates().iter().map(|&index| index as usize);
        let others = indices.filter(|&index| !self.is_ejected(index));
        others.min_by_key(|&index| rank(index)).unwrap_or(picked)
    }

    /// Whether an endpoint gets no requests for a while.
    #[inline]
    pub(crate) fn is_ejected(&self, index: usize) -> bool {
        self.endpoints[index].state.tally().is_ejected()
    }

    /// The endpoint at an index from [`Upstream::candidates`].
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
        self.candidates().iter().map(|index| u64::from(self.endpoint(*index).state.in_flight())).sum()
    }

    #[inline]
    fn avoided(&self, index: usize) -> bool {
        let state = &self.endpoints[index].state;
        state.is_avoided() || state.tally().is_ejected()
    }
}

fn choose_candidates(endpoints: &[Endpoint]) -> (Box<[u32]>, bool) {
    let indices = |wanted: fn(&Endpoint) -> bool| -> Box<[u32]> {
        (0u32..).zip(endpoints).filter(|(_, endpoint)| wanted(endpoint)).map(|(index, _)| index).collect()
    };
    let eligible = indices(Endpoint::is_eligible);
    if !eligible.is_empty() {
        return (eligible, false);
    }
    let any = indices(Endpoint::is_possible);
    let panicking = !any.is_empty();
    (any, panicking)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(endpoints: &[(Health, bool, u32)]) -> Upstream {
        let endpoints = endpoints
            .iter()
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
                state: Arc::default(),
            })
            .collect();
        let service = ServiceRef::new("default", "cart");
        Upstream::new(service, true, None, Settings::default(), endpoints, vec![], Arc::default())
    }

    #[test]
    fn candidates_and_panic() {
        use Health::{Critical, Passing, Warning};
        let check = |endpoints: &[(Health, bool, u32)], candidates: &[u32], panicking: bool| {
            let upstream = upstream(endpoints);
            assert_eq!(upstream.candidates(), candidates, "{endpoints:?}");
            assert_eq!(upstream.is_panicking(), panicking, "{endpoints:?}");
        };
        check(&[], &[], false);
        check(&[(Passing, false, 1), (Warning, false, 1)], &[0, 1], false);
        check(&[(Critical, false, 1), (Passing, false, 1)], &[1], false);
        check(&[(Passing, true, 1), (Passing, false, 0), (Passing, false, 2)], &[2], false);
        check(&[(Critical, false, 1), (Critical, false, 1), (Passing, true, 1)], &[0, 1], true);
        check(&[(Passing, true, 1), (Critical, true, 1)], &[], false);
        check(&[(Passing, false, 0)], &[], false);
    }

    #[test]
    fn what_has_no_port_is_no_candidate() {
        let mut endpoints = upstream(&[(Health::Passing, false, 1), (Health::Critical, false, 1)]).endpoints;
        let make = |endpoints: &[Endpoint]| {
            let service = ServiceRef::new("default", "cart");
            let endpoints = endpoints.to_vec();
            Upstream::new(service, true, None, Settings::default(), endpoints, vec![], Arc::default())
        };
        endpoints[0].addr.set_port(0);
        assert_eq!(make(&endpoints).candidates(), [1], "as a last resort");
        endpoints[1].addr.set_port(0);
        assert!(make(&endpoints).candidates().is_empty());
    }
}
