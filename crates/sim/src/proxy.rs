//! The policies of a proxy, as the real one has them: this folder is the one place of the simulator that knows them.
//!
//! A proxy is one process with one worker. It has its own balancer, ejections, breakers, budget and limits for each
//! service, and learns of endpoints when the registry tells it.

mod asked;
mod breakers;
mod endpoints;
mod guard;
mod limits;
mod outliers;
mod shared;
mod upstream;

use weir_model::resource::TrafficPolicySpec;
use weir_policy::Nanos;
use weir_policy::balance::Tried;
use weir_policy::balance::prequal::{ProbeAnswer, Probes};
use weir_policy::limit::Grant;
use weir_policy::outlier::Probe;
use weir_policy::quota::{Lease, Wish};
use weir_policy::retry::Facts;

use crate::rng::{Actor, Stream};
use crate::scenario::Scenario;
use crate::world::{Lanes, Outcome};
pub(crate) use asked::Asked;
pub(crate) use endpoints::Endpoint;
pub(crate) use guard::Guard;
use limits::Limits;
pub(crate) use limits::{Holding, Verdict};
use upstream::Upstream;

/// A proxy.
pub(crate) struct Proxy {
    pub(crate) group: u32,
    pub(crate) zone: u32,
    /// Chance of the network between it and servers.
    pub(crate) network: Stream,
    seed: u64,
    rng: Stream,
    /// By number of a service; those that it calls.
    upstreams: Vec<Option<Box<Upstream>>>,
}

/// What an attempt holds: the right to be made, of breakers, and that it is to show whether an ejected endpoint is well.
#[derive(Debug, Default)]
pub(crate) struct Passes {
    breakers: Vec<breakers::Pass>,
    probe: Option<Probe>,
}

/// Something that a policy did.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) at: Nanos,
    /// In the policy's own words, with the numbers that caused it.
    pub(crate) what: String,
    pub(crate) trips: u64,
    pub(crate) ejections: u64,
}

/// Where a call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// To the endpoint with this index.
    Endpoint(u32),
    /// To another service.
    Elsewhere(String),
    /// Nowhere.
    None(Outcome),
}

/// What it means that the registry has something new.
pub(crate) struct News<'a> {
    /// All endpoints of a service, those that are not offered with weight 0.
    pub(crate) endpoints: &'a [Endpoint],
    /// The names of zones, by number.
    pub(crate) zones: &'a [String],
}

impl Proxy {
    pub(crate) fn new(seed: u64, number: u32, group: u32, zone: u32) -> Self {
        let mut rng = Stream::new(seed, Actor::Proxy, u64::from(number));
        Self {
            group,
            zone,
            network: Stream::new(seed, Actor::Network, u64::from(number)),
            seed: rng.next(),
            rng,
            upstreams: Vec::new(),
        }
    }

    /// Learns of a service and its endpoints.
    pub(crate) fn learn(&mut self, scenario: &Scenario, service: u32, news: &News<'_>, lanes: &mut Lanes) {
        self.upstreams.resize_with(scenario.services.len(), || None);
        let of = &scenario.services[service as usize];
        let default = TrafficPolicySpec::default();
        let spec = of.traffic_policy.as_ref().unwrap_or(&default);
        let limits = Limits::new(&of.rate_limits, self.seed.wrapping_add(u64::from(service) << 32), Nanos(0));
        let caller = (self.seed, self.zone);
        let upstream = Upstream::new(spec, limits, news, caller, lanes, &mut self.rng);
        self.upstreams[service as usize] = Some(Box::new(upstream));
    }

    /// What it knows of a service.
    pub(crate) fn upstream(&mut self, service: u32) -> &mut Upstream {
        self.upstreams[service as usize].as_mut().expect("a proxy calls services that it has learnt of")
    }

    /// The registry has something new about a service.
    pub(crate) fn endpoints_changed(&mut self, service: u32, news: &News<'_>, now: Nanos) {
        if let Some(upstream) = &mut self.upstreams[service as usize] {
            upstream.endpoints_changed(news, now, &mut self.rng);
        }
    }

    /// Asks the limits that were not asked yet.
    pub(crate) fn admit(
        &mut self,
        service: u32,
        asked: &Asked<'_>,
        held: &mut Holding,
        number: u32,
        now: Nanos,
    ) -> Verdict {
        self.upstream(service).limits.admit(asked, held, number, now)
    }

    /// Whether a request waits no more because it has waited long enough.
    pub(crate) fn lose_patience(
        &mut self,
        service: u32,
        held: &mut Holding,
        number: u32,
        now: Nanos,
    ) -> bool {
        self.upstream(service).limits.lose_patience(held, number, now)
    }

    /// A request does not wait for its turn, which would come too late.
    pub(crate) fn refund(&mut self, service: u32, held: &mut Holding, now: Nanos) {
        self.upstream(service).limits.refund(held, now);
    }

    /// A request is over, or did not go on.
    pub(crate) fn give_back(
        &mut self,
        service: u32,
        held: &mut Holding,
        number: u32,
        outcome: Outcome,
        now: Nanos,
    ) {
        self.upstream(service).limits.give_back(held, number, outcome, now);
    }

    /// The next one of those whose waiting at a limit has come to an end, and how.
    pub(crate) fn woken(&mut self, service: u32, now: Nanos) -> Option<(u32, usize, Result<Grant, Outcome>)> {
        self.upstream(service).limits.woken(now)
    }

    /// Asks breakers and chooses an endpoint.
    pub(crate) fn choose(
        &mut self,
        service: u32,
        asked: &Asked<'_>,
        tried: &Tried,
        passes: &mut Passes,
        now: Nanos,
    ) -> Chosen {
        let Some(upstream) = &mut self.upstreams[service as usize] else {
            return Chosen::None(Outcome::Unavailable);
        };
        upstream.choose(asked, tried, passes, now, &mut self.rng)
    }

    /// What its policies did since this was last asked, with the number of the service.
    pub(crate) fn events(&mut self) -> impl Iterator<Item = (u32, Event)> {
        let of = |(service, upstream): (u32, &mut Option<Box<Upstream>>)| {
            let events =
                upstream.as_mut().map(|upstream| std::mem::take(&mut upstream.events)).unwrap_or_default();
            events.into_iter().map(move |event| (service, event))
        };
        (0..).zip(&mut self.upstreams).flat_map(of)
    }

    /// How many endpoints are ejected.
    pub(crate) fn ejected(&self) -> u64 {
        self.upstreams.iter().flatten().map(|upstream| upstream.ejections.ejected()).sum()
    }

    /// How many of its breakers are open.
    pub(crate) fn open(&mut self, now: Nanos) -> u64 {
        self.upstreams.iter_mut().flatten().map(|upstream| upstream.breakers.open(now)).sum()
    }

    /// The endpoints to be probed with a request.
    pub(crate) fn probes_due(&mut self, service: u32, now: Nanos) -> Probes {
        match &mut self.upstreams[service as usize] {
            Some(upstream) => upstream.probes_due(now, &mut self.rng),
            None => Probes::default(),
        }
    }

    /// A probe was answered, or not.
    pub(crate) fn probed(&mut self, service: u32, endpoint: u32, answer: Option<ProbeAnswer>, now: Nanos) {
        if let Some(upstream) = &mut self.upstreams[service as usize] {
            upstream.probed(endpoint, answer, now, &mut self.rng);
        }
    }

    /// Whether a failed request is tried again, and after how long.
    pub(crate) fn retry(&mut self, service: u32, outcome: Outcome, facts: &Facts, now: Nanos) -> Option<u64> {
        self.upstreams[service as usize].as_mut()?.retry(outcome, facts, now, &mut self.rng)
    }

    /// Whether it keeps limits together with others.
    pub(crate) fn shares_limits(&self) -> bool {
        self.upstreams.iter().flatten().any(|upstream| upstream.limits.are_shared())
    }

    /// Asks for its shares of limits, by number of a service and of the limit. Tells whether something was given up that
    /// others may have.
    pub(crate) fn ask(
        &mut self,
        book: &mut impl FnMut(u32, usize, Wish) -> (Option<Lease>, u32),
        now: Nanos,
    ) -> bool {
        let mut gives_up = false;
        for (service, upstream) in (0..).zip(&mut self.upstreams) {
            if let Some(upstream) = upstream {
                gives_up |= upstream.limits.ask(&mut |rule, wish| book(service, rule, wish), now);
            }
        }
        gives_up
    }

    /// The mean of its limits of concurrency, if it has any.
    pub(crate) fn concurrency(&self, now: Nanos) -> Option<f64> {
        let found: Vec<f64> =
            self.upstreams.iter().flatten().filter_map(|upstream| upstream.limits.concurrency(now)).collect();
        (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64)
    }

    /// How its policies stand: the number of a service, the policy's name, and its own words.
    pub(crate) fn states(&mut self, now: Nanos) -> Vec<(u32, String, String)> {
        let of = |(service, upstream): (u32, &mut Option<Box<Upstream>>)| {
            let states = upstream.as_mut().map(|upstream| upstream.states(now)).unwrap_or_default();
            states.into_iter().map(move |(policy, state)| (service, policy, state))
        };
        (0..).zip(&mut self.upstreams).flat_map(of).collect()
    }
}
