//! What a proxy does about one service: balancing, accounting, retries.

use std::time::Duration;

use weir_model::resource::TrafficPolicySpec;
use weir_model::resource::key::KeyPart;
use weir_policy::Nanos;
use weir_policy::balance::prequal::{ProbeAnswer, Probes};
use weir_policy::balance::select::Settings;
use weir_policy::balance::{Balancer, Config, Query, Tried};
use weir_policy::hedge::{HedgeConfig, Hedger, Hedging};
use weir_policy::retry::{self, Budget, BudgetConfig, Decision, Facts, Failure, RetryPolicy};

use super::breakers::{Breakers, Refused};
use super::endpoints::Endpoints;
use super::limits::Limits;
use super::outliers::Ejections;
use super::{Asked, Chosen, Event, News, Passes};
use crate::rng::Stream;
use crate::scenario::nanos;
use crate::world::{Due, Lanes, Outcome};

/// Until when a request waits for its response head, when nothing is said.
const REQUEST_TIMEOUT: u64 = 15_000_000_000;
/// How long a connection may take, when nothing is said.
const CONNECT_TIMEOUT: u64 = 1_000_000_000;
/// How long an endpoint is the last choice after a connection failed, unless a request succeeds there.
const AVOIDED: u64 = 10_000_000_000;

/// How many endpoints are looked at whose breakers may be open.
const PICKS_MAX: usize = 4;

/// What a proxy knows of a service.
pub(crate) struct Upstream {
    balance: Config,
    hash: Vec<KeyPart>,
    key: Vec<u8>,
    balancer: Balancer,
    endpoints: Endpoints,
    pub(super) limits: Limits,
    pub(super) breakers: Breakers,
    pub(super) ejections: Ejections,
    /// What policies did since they were last asked.
    pub(super) events: Vec<Event>,
    retries: RetryPolicy,
    budget: Budget,
    hedger: Option<Hedger>,
    pub(crate) request_timeout: u64,
    pub(crate) request_lane: Option<u32>,
    /// None where attempts have no time of their own.
    pub(crate) try_timeout: Option<u64>,
    pub(crate) try_lane: Option<u32>,
    pub(crate) connect_timeout: u64,
}

impl Upstream {
    pub(super) fn new(
        spec: &TrafficPolicySpec,
        limits: Limits,
        news: &News<'_>,
        caller: (u64, u32),
        lanes: &mut Lanes,
        rng: &mut Stream,
    ) -> Self {
        let balance = spec.balance.clone().unwrap_or_default();
        let config = Config::from_spec(&balance);
        let mut endpoints = Endpoints::new(Settings::from_spec(&balance), news, caller);
        let shares = endpoints.select(|_| (false, None), Nanos(0)).shares;
        let timeouts = spec.timeouts.clone().unwrap_or_default();
        let request = timeouts.request.map_or(REQUEST_TIMEOUT, nanos);
        let retry = spec.retry.clone().unwrap_or_default();
        Self {
            balancer: Balancer::new(config, &shares, &endpoints.keys, rng),
            balance: config,
            hash: balance.hash,
            key: Vec::new(),
            endpoints,
            limits,
            breakers: Breakers::new(&spec.breakers, news.endpoints.len()),
            ejections: Ejections::new(&spec.outlier.clone().unwrap_or_default(), news.endpoints.len()),
            events: Vec::new(),
            retries: RetryPolicy::from_spec(&retry),
            budget: Budget::new(BudgetConfig::from_spec(&retry.budget.clone().unwrap_or_default())),
            hedger: spec
                .hedge
                .as_ref()
                .filter(|hedge| hedge.is_on())
                .map(|hedge| Hedger::new(HedgeConfig::from_spec(hedge))),
            request_timeout: request,
            request_lane: (request > 0).then(|| lanes.lane(Due::Request, request)),
            try_timeout: timeouts.per_try.map(nanos),
            try_lane: timeouts.per_try.map(|span| lanes.lane(Due::Attempt, nanos(span))),
            connect_timeout: timeouts.connect.map_or(CONNECT_TIMEOUT, nanos),
        }
    }

    pub(super) fn endpoints_changed(&mut self, news: &News<'_>, now: Nanos, rng: &mut Stream) {
        self.endpoints.learn(news, now);
        self.select(now, rng);
    }

    /// Works out who takes part, and tells the balancer.
    fn select(&mut self, now: Nanos, rng: &mut Stream) {
        let shares = self.endpoints.select(|index| self.ejections.standing(index), now).shares;
        self.ejections.changed = false;
        self.balancer.update(&self.balance, &shares, &self.endpoints.keys, None, rng);
    }

    /// Asks breakers and chooses an endpoint.
    pub(super) fn choose(
        &mut self,
        asked: &Asked<'_>,
        tried: &Tried,
        passes: &mut Passes,
        now: Nanos,
        rng: &mut Stream,
    ) -> Chosen {
        self.ejections.sweep(now, &mut self.events);
        if self.ejections.changed || self.endpoints.next_change.is_some_and(|at| at <= now) {
            self.select(now, rng);
        }
        if let Err(refused) = self.breakers.admit(&mut passes.breakers, now, rng, &mut self.events) {
            return match refused {
                Refused::Fails => Chosen::None(Outcome::Broken),
                Refused::Answered => Chosen::None(Outcome::Fallback),
                Refused::Elsewhere(service) => Chosen::Elsewhere(service),
            };
        }
        if let Some(endpoint) = self.probe_ejected(tried, passes, now) {
            return Chosen::Endpoint(endpoint);
        }
        self.endpoints.at(now);
        while let Some(index) = self.endpoints.next_forgiven() {
            self.balancer.freed(index, self.endpoints.in_flight[index]);
        }
        let hash = if self.hash.is_empty() { None } else { asked.hash(&self.hash, &mut self.key) };
        let mut passed_over = *tried;
        let mut outcome = Outcome::Broken;
        for _ in 0..PICKS_MAX {
            let query = Query { now, hash };
            let pick = self.balancer.pick(query, &self.endpoints, &passed_over, rng, &mut ());
            let Some(pick) = pick else {
                outcome = Outcome::Unavailable;
                break;
            };
            let pick = self.endpoints.or_standby(pick, &passed_over, rng);
            if self.breakers.admit_to(pick.index, &mut passes.breakers, now, rng, &mut self.events) {
                return Chosen::Endpoint(pick.index as u32);
            }
            passed_over.add(pick.index);
        }
        self.breakers.cancel(&mut passes.breakers, 0, now, &mut self.events);
        Chosen::None(outcome)
    }

    /// An ejected endpoint whose time is over gets this request, to see whether it is well again.
    fn probe_ejected(&mut self, tried: &Tried, passes: &mut Passes, now: Nanos) -> Option<u32> {
        let probe = self.ejections.probe(now)?;
        let index = probe.key() as usize;
        if tried.has(index) || !self.endpoints.is_offered(index) {
            self.ejections.keep(probe, now);
            return None;
        }
        passes.probe = Some(probe);
        Some(index as u32)
    }

    pub(super) fn probes_due(&mut self, now: Nanos, rng: &mut Stream) -> Probes {
        self.balancer.probes_due(now, &self.endpoints, rng)
    }

    pub(super) fn probed(
        &mut self,
        endpoint: u32,
        answer: Option<ProbeAnswer>,
        now: Nanos,
        rng: &mut Stream,
    ) {
        self.balancer.probed(endpoint as usize, answer, now, rng);
    }

    /// Whether there is anybody whom a request could be sent to.
    pub(crate) fn takes_requests(&self) -> bool {
        self.endpoints.are_offered()
    }

    /// A request came.
    pub(crate) fn came(&mut self, now: Nanos) {
        self.budget.request(now);
    }

    /// An attempt goes to an endpoint.
    pub(crate) fn sent(&mut self, endpoint: u32) {
        self.endpoints.sent(endpoint as usize);
    }

    /// What became of it.
    pub(crate) fn answered(
        &mut self,
        endpoint: u32,
        passes: &mut Passes,
        outcome: Outcome,
        took: u64,
        now: Nanos,
    ) {
        let index = endpoint as usize;
        self.endpoints.over(index);
        self.breakers.record(&mut passes.breakers, index, (outcome, took), now, &mut self.events);
        self.ejections.record(index, passes.probe.take(), outcome, now, &mut self.events);
        match outcome {
            Outcome::Connect | Outcome::Reset => self.endpoints.avoid(index, now.0 + AVOIDED),
            Outcome::Ok => self.endpoints.forgive(index),
            _ => {}
        }
        self.balancer.freed(index, self.endpoints.in_flight[index]);
        // Who gave up knows only that it took longer than that: nothing about the endpoint.
        if outcome != Outcome::GaveUp {
            self.balancer.done(index, Duration::from_nanos(took), outcome == Outcome::Ok, now);
        }
    }

    /// After how long to ask again whether a second request is sent; zero for now. Charges the budget then.
    pub(crate) fn hedge(&mut self, facts: &Facts, waited: u64, now: Nanos) -> Option<u64> {
        let hedger = self.hedger.as_mut()?;
        match hedger.decide(facts, Duration::from_nanos(waited), &mut self.budget, now) {
            Hedging::Now => Some(0),
            Hedging::In(wait) => Some(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX).max(1)),
            Hedging::No(_) => None,
        }
    }

    /// A first attempt took so long, or longer.
    pub(crate) fn first_took(&mut self, took: u64, now: Nanos) {
        if let Some(hedger) = &mut self.hedger {
            hedger.record(Duration::from_nanos(took), now);
        }
    }

    pub(super) fn retry(
        &mut self,
        outcome: Outcome,
        facts: &Facts,
        now: Nanos,
        rng: &mut Stream,
    ) -> Option<u64> {
        let failure = match outcome {
            Outcome::Connect => Failure::Connect,
            Outcome::Reset => Failure::Reset,
            Outcome::Timeout => Failure::Timeout,
            _ => Failure::Status { code: outcome.status()?, pushback: None },
        };
        match retry::decide(&self.retries, failure, facts, &mut self.budget, now, rng) {
            Decision::Retry { delay } => Some(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX)),
            Decision::GiveUp(_) => None,
        }
    }

    /// How its policies stand, in their own words.
    pub(super) fn states(&mut self, now: Nanos) -> Vec<(String, String)> {
        let mut states = self.limits.states(now);
        states.extend(self.breakers.states(now));
        states
    }
}
