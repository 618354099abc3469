//! The policies of a proxy, as the real one has them: this is the one place of the simulator that knows them.
//!
//! A proxy is one process with one worker. It has its own balancer, breakers, ejections, budget and limits for each
//! service, and learns of endpoints when the registry tells it.

use weir_model::resource::TrafficPolicySpec;
use weir_model::resource::traffic_policy::BalancePolicy;
use weir_policy::Nanos;
use weir_policy::balance::{Balancer, Candidates, Policy, Tried};
use weir_policy::retry::{self, Budget, BudgetConfig, Decision, Facts, Failure, RetryPolicy};

use crate::rng::{Actor, Stream};
use crate::scenario::{Clients, Scenario, nanos};
use crate::world::{Due, FIELDS_MAX, Lanes, Outcome};

/// Until when a request waits for its response head, when nothing is said.
const REQUEST_TIMEOUT: u64 = 15_000_000_000;
/// How long a connection may take, when nothing is said.
const CONNECT_TIMEOUT: u64 = 1_000_000_000;
/// How long an endpoint is the last choice after a connection failed.
const AVOIDED: u64 = 10_000_000_000;

/// What a request holds of limits and breakers.
#[derive(Debug, Default)]
pub(crate) struct Held {}

/// The limits of a server's own sidecar.
#[derive(Debug)]
pub(crate) struct Guard {}

impl Guard {
    pub(crate) fn new(_: &[weir_model::resource::rate_limit::RateLimitSpec], _: u32, _: u64) -> Option<Box<Self>> {
        None
    }

    pub(crate) fn admit(&mut self, _: u32, _: Nanos) -> Result<(), Outcome> {
        Ok(())
    }

    pub(crate) fn restart(&mut self) {}
}

/// What a request says that policies ask for.
pub(crate) struct Asked<'a> {
    pub(crate) spec: &'a Clients,
    pub(crate) values: &'a [u32; FIELDS_MAX],
}

/// What the limits say.
pub(crate) enum Admission {
    Pass,
    At(Nanos),
    Refuse(Outcome),
}

/// A proxy.
pub(crate) struct Proxy {
    pub(crate) group: u32,
    pub(crate) zone: u32,
    pub(crate) network: Stream,
    rng: Stream,
    /// By number of a service; those that it calls.
    upstreams: Vec<Option<Box<Upstream>>>,
}

/// What a proxy knows of a service.
pub(crate) struct Upstream {
    balancer: Balancer,
    endpoints: Endpoints,
    retries: RetryPolicy,
    statuses: Vec<u16>,
    budget: Budget,
    pub(crate) request_timeout: u64,
    pub(crate) request_lane: Option<u32>,
    pub(crate) try_lane: Option<u32>,
    pub(crate) connect_timeout: u64,
}

/// How endpoints stand.
struct Endpoints {
    in_flight: Vec<u32>,
    avoided_until: Vec<u64>,
    now: u64,
}

impl Candidates for Endpoints {
    fn in_flight(&self, index: usize) -> u32 {
        self.in_flight[index]
    }

    fn avoided(&self, index: usize) -> bool {
        self.avoided_until[index] > self.now
    }
}

impl Proxy {
    pub(crate) fn new(seed: u64, number: u32, group: u32, zone: u32) -> Self {
        Self {
            group,
            zone,
            network: Stream::new(seed, Actor::Network, u64::from(number)),
            rng: Stream::new(seed, Actor::Proxy, u64::from(number)),
            upstreams: Vec::new(),
        }
    }

    /// Learns of a service and its endpoints' weights.
    pub(crate) fn learn(&mut self, scenario: &Scenario, service: u32, weights: &[Vec<u32>], lanes: &mut Lanes) {
        self.upstreams.resize_with(scenario.services.len(), || None);
        let default = TrafficPolicySpec::default();
        let spec = scenario.services[service as usize].traffic_policy.as_ref().unwrap_or(&default);
        let upstream = Upstream::new(spec, &weights[service as usize], lanes, &mut self.rng);
        self.upstreams[service as usize] = Some(Box::new(upstream));
    }

    pub(crate) fn upstream(&mut self, service: u32) -> &mut Upstream {
        self.upstreams[service as usize].as_mut().expect("a proxy calls services that it has learnt of")
    }

    pub(crate) fn endpoints_changed(&mut self, service: u32, weights: &[u32], _: Nanos) {
        if let Some(upstream) = &mut self.upstreams[service as usize] {
            upstream.balancer = Balancer::new(upstream.balancer.policy(), weights, &mut self.rng);
        }
    }

    pub(crate) fn admit(&mut self, _: u32, _: &Asked<'_>, _: &mut Held, _: u32, _: Nanos) -> Admission {
        Admission::Pass
    }

    /// Chooses an endpoint.
    pub(crate) fn choose(
        &mut self,
        service: u32,
        _: &Asked<'_>,
        tried: &Tried,
        _: &mut Held,
        now: Nanos,
    ) -> Result<u32, Outcome> {
        let upstream = self.upstreams[service as usize].as_mut().expect("learnt of");
        upstream.endpoints.now = now.0;
        let pick = upstream.balancer.pick(&upstream.endpoints, tried, &mut self.rng, &mut ());
        pick.map(|pick| pick.index as u32).ok_or(Outcome::Unavailable)
    }

    /// Whether a failed request is tried again, and after how long.
    pub(crate) fn retry(&mut self, service: u32, outcome: Outcome, facts: &Facts, now: Nanos) -> Option<u64> {
        let upstream = self.upstreams[service as usize].as_mut()?;
        let failure = match outcome {
            Outcome::Connect => Failure::Connect,
            Outcome::Reset => Failure::Reset,
            Outcome::Status(status) if facts.idempotent && upstream.statuses.contains(&status) => Failure::Reset,
            _ => return None,
        };
        match retry::decide(&upstream.retries, failure, facts, &mut upstream.budget, now, &mut self.rng) {
            Decision::Retry { delay } => Some(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX)),
            Decision::GiveUp(_) => None,
        }
    }

    pub(crate) fn sweeps(&self, _: Nanos) -> Option<Nanos> {
        None
    }
}

impl Upstream {
    fn new(spec: &TrafficPolicySpec, weights: &[u32], lanes: &mut Lanes, rng: &mut Stream) -> Self {
        let balance = spec.balance.clone().unwrap_or_default();
        let policy = match balance.policy {
            BalancePolicy::RoundRobin => Policy::RoundRobin,
            BalancePolicy::Random => Policy::Random,
            _ => Policy::LeastRequest,
        };
        let timeouts = spec.timeouts.clone().unwrap_or_default();
        let request = timeouts.request.map_or(REQUEST_TIMEOUT, nanos);
        let retry = spec.retry.clone().unwrap_or_default();
        let default = RetryPolicy::default();
        let backoff = retry.backoff.clone().unwrap_or_default();
        let budget = retry.budget.clone().unwrap_or_default();
        let window = budget.window.map_or(std::time::Duration::from_secs(10), |span| span.0);
        Self {
            balancer: Balancer::new(policy, weights, rng),
            endpoints: Endpoints {
                in_flight: vec![0; weights.len()],
                avoided_until: vec![0; weights.len()],
                now: 0,
            },
            retries: RetryPolicy {
                retries: retry.attempts,
                backoff_base: backoff.base.map_or(default.backoff_base, |span| span.0),
                backoff_max: backoff.max.map_or(default.backoff_max, |span| span.0),
            },
            statuses: retry.statuses,
            budget: Budget::new(BudgetConfig {
                percent: budget.ratio.map_or(20, |ratio| (ratio * 100.0).round() as u32),
                reserve: (f64::from(budget.reserve.unwrap_or(10)) * window.as_secs_f64()).round() as u32,
                window,
            }),
            request_timeout: request,
            request_lane: (request > 0).then(|| lanes.lane(Due::Request, request)),
            try_lane: timeouts.per_try.map(|span| lanes.lane(Due::Attempt, nanos(span))),
            connect_timeout: timeouts.connect.map_or(CONNECT_TIMEOUT, nanos),
        }
    }

    /// A request came.
    pub(crate) fn came(&mut self, now: Nanos) {
        self.budget.request(now);
    }

    /// An attempt goes to an endpoint.
    pub(crate) fn sent(&mut self, endpoint: u32) {
        self.endpoints.in_flight[endpoint as usize] += 1;
    }

    /// What became of it.
    pub(crate) fn answered(&mut self, endpoint: u32, outcome: Outcome, _took: u64, now: Nanos) {
        let endpoint = endpoint as usize;
        self.endpoints.in_flight[endpoint] -= 1;
        match outcome {
            Outcome::Connect | Outcome::Reset => self.endpoints.avoided_until[endpoint] = now.0 + AVOIDED,
            Outcome::Ok => self.endpoints.avoided_until[endpoint] = 0,
            _ => {}
        }
    }

    pub(crate) fn hedge_after(&mut self, _: Nanos) -> Option<u64> {
        None
    }
}
