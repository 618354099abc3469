//! Breakers: those of a service and those of its instances, and what happens to calls that they refuse.

use std::time::Duration;

use weir_model::resource::traffic_policy::{Breaker as Spec, BreakerLevel, Fallback};
use weir_policy::Nanos;
use weir_policy::breaker::{Admission, Breaker, BreakerConfig, CallOutcome, Permit, Phase, Transition};

use super::Event;
use crate::rng::Stream;
use crate::world::Outcome;

/// The breakers of a service at one proxy.
#[derive(Debug, Default)]
pub(super) struct Breakers {
    /// For all calls. Those for the rules of a route count here too: a scenario has one rule.
    all: Vec<Level>,
    /// For each endpoint, by its index.
    instances: Vec<Level>,
}

/// The breakers that one entry of a policy makes.
#[derive(Debug)]
struct Level {
    config: BreakerConfig,
    fallback: Option<Fallback>,
    breakers: Vec<Breaker>,
}

/// The right to make a call, of one breaker.
#[derive(Debug)]
pub(super) struct Pass {
    instance: bool,
    level: usize,
    permit: Permit,
}

/// What happens to a call that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It fails.
    Fails,
    /// It is answered with what stands in the document, or what was kept.
    Answered,
    /// It goes to another service.
    Elsewhere(String),
}

impl Breakers {
    pub(super) fn new(specs: &[Spec], endpoints: usize) -> Self {
        let level = |spec: &Spec, count| {
            let config = BreakerConfig::from_spec(spec);
            let breakers = (0..count).map(|_| Breaker::new(config.clone())).collect();
            Level { config, fallback: spec.fallback.clone(), breakers }
        };
        let of = |wanted: bool, count: usize| {
            let fit = specs.iter().filter(move |spec| (spec.level == BreakerLevel::Instance) == wanted);
            fit.map(|spec| level(spec, count)).collect()
        };
        Self { all: of(false, 1), instances: of(true, endpoints) }
    }

    /// Asks those for all calls.
    pub(super) fn admit(
        &mut self,
        passes: &mut Vec<Pass>,
        now: Nanos,
        rng: &mut Stream,
        events: &mut Vec<Event>,
    ) -> Result<(), Refused> {
        for level in 0..self.all.len() {
            if !ask(&mut self.all[level], 0, (false, level), passes, events, now, rng) {
                let fallback = self.all[level].fallback.clone();
                self.cancel(passes, 0, now, events);
                return Err(refused(fallback.as_ref()));
            }
        }
        Ok(())
    }

    /// Asks those of an instance. What was got before is kept when they refuse.
    pub(super) fn admit_to(
        &mut self,
        endpoint: usize,
        passes: &mut Vec<Pass>,
        now: Nanos,
        rng: &mut Stream,
        events: &mut Vec<Event>,
    ) -> bool {
        let before = passes.len();
        for level in 0..self.instances.len() {
            if !ask(&mut self.instances[level], endpoint, (true, level), passes, events, now, rng) {
                for pass in passes.drain(before..) {
                    let breaker = &mut self.instances[pass.level].breakers[endpoint];
                    breaker.record(pass.permit, CallOutcome::CANCELLED, now);
                }
                return false;
            }
        }
        true
    }

    /// Gives back what was got for a call that is not made.
    pub(super) fn cancel(
        &mut self,
        passes: &mut Vec<Pass>,
        endpoint: usize,
        now: Nanos,
        events: &mut Vec<Event>,
    ) {
        self.record(passes, endpoint, (Outcome::GaveUp, 0), now, events);
    }

    /// What became of a call.
    pub(super) fn record(
        &mut self,
        passes: &mut Vec<Pass>,
        endpoint: usize,
        (outcome, took): (Outcome, u64),
        now: Nanos,
        events: &mut Vec<Event>,
    ) {
        for Pass { instance, level, permit } in passes.drain(..) {
            let (levels, index) = if instance { (&mut self.instances, endpoint) } else { (&mut self.all, 0) };
            let level = &mut levels[level];
            let call = call(outcome, took, &level.config);
            let transition = level.breakers[index].record(permit, call, now);
            note(transition, level, instance.then_some(endpoint), events);
        }
    }

    /// How many are open. Looks at each: not for every call.
    pub(super) fn open(&mut self, now: Nanos) -> u64 {
        let all = self.all.iter_mut().chain(&mut self.instances).flat_map(|level| &mut level.breakers);
        all.filter_map(|breaker| (breaker.state(now).phase == Phase::Open).then_some(())).count() as u64
    }

    /// How those for all calls stand.
    pub(super) fn states(&mut self, now: Nanos) -> Vec<(String, String)> {
        let all = self.all.iter_mut().flat_map(|level| &mut level.breakers);
        all.map(|breaker| ("breaker".to_owned(), breaker.state(now).to_string())).collect()
    }
}

fn ask(
    level: &mut Level,
    index: usize,
    (instance, number): (bool, usize),
    passes: &mut Vec<Pass>,
    events: &mut Vec<Event>,
    now: Nanos,
    rng: &mut Stream,
) -> bool {
    match level.breakers[index].admit(now, rng) {
        Admission::Admit { permit, transition } => {
            note(transition, level, instance.then_some(index), events);
            passes.push(Pass { instance, level: number, permit });
            true
        }
        Admission::Refuse(_) => level.config.shadow,
    }
}

fn note(transition: Option<Transition>, level: &Level, endpoint: Option<usize>, events: &mut Vec<Event>) {
    if let Some(transition) = transition {
        let of = endpoint.map(|index| format!(" of endpoint {index}")).unwrap_or_default();
        let what = format!("breaker ({}){of} {transition}", level.config.strategy.name());
        let trips = u64::from(transition.to == Phase::Open && transition.from != Phase::Open);
        events.push(Event { at: transition.at, what, trips, ejections: 0 });
    }
}

fn refused(fallback: Option<&Fallback>) -> Refused {
    match fallback {
        Some(Fallback { service: Some(service), .. }) => Refused::Elsewhere(service.name.clone()),
        Some(Fallback { response: Some(_), .. } | Fallback { cached: Some(_), .. }) => Refused::Answered,
        _ => Refused::Fails,
    }
}

/// What a breaker is told of an outcome.
fn call(outcome: Outcome, took: u64, config: &BreakerConfig) -> CallOutcome {
    let took = Duration::from_nanos(took);
    match outcome {
        Outcome::Connect | Outcome::Reset | Outcome::Timeout => CallOutcome::failure(took),
        Outcome::GaveUp => CallOutcome::CANCELLED,
        _ if outcome.status().is_some_and(|status| config.failure_statuses.contains(status)) => {
            CallOutcome::failure(took)
        }
        _ => CallOutcome::success(took),
    }
}
