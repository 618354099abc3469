//! Limits: those of a service at each proxy, and those of a server's own sidecar.

use weir_model::resource::rate_limit::RateLimitSpec;
use weir_policy::Nanos;
use weir_policy::limit::{
    Admission, Grant, LimitConfig, Limiter, Outcome as Spent, Refusal, Request, Rule, Step, Ticket, Wake,
    WithKeys,
};
use weir_policy::quota::{Lease, Wish};

use super::asked::Asked;
use super::shared::Shared;
use crate::world::{NONE, Outcome};

/// Limits that must all admit.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    specs: Vec<RateLimitSpec>,
    limiters: Vec<Limiter>,
    shared: Shared,
    /// Who waits for a place, and at which limit.
    waiting: Vec<(Ticket, usize, u32)>,
    keys: Vec<Vec<u8>>,
    /// How it went on with some that waited, and whose tickets those are.
    wakes: Vec<(usize, Wake)>,
}

/// What a request holds of the limits. One that is used again allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Holding {
    admission: Admission,
    levels: Vec<u8>,
    waits: Option<Ticket>,
    /// Until when it waits, if it does.
    until: Nanos,
}

/// What the limits say.
pub(crate) enum Verdict {
    Pass,
    /// It goes on at a moment.
    At(Nanos),
    /// It waits for a place, at most until a moment.
    Wait(Nanos),
    Refuse(Outcome),
}

impl Limits {
    pub(crate) fn new(specs: &[RateLimitSpec], seed: u64, now: Nanos) -> Self {
        let limiter = |(number, spec): (u64, &RateLimitSpec)| {
            Limiter::new(LimitConfig::from_spec(spec), seed.wrapping_add(number))
        };
        let limiters: Vec<Limiter> = (0..).zip(specs).map(limiter).collect();
        Self {
            specs: specs.to_vec(),
            shared: Shared::new(&limiters, now),
            limiters,
            waiting: Vec::new(),
            keys: vec![Vec::new(); specs.len()],
            wakes: Vec::new(),
        }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.limiters.is_empty()
    }

    /// Works out the keys of a request.
    fn look_at(&mut self, asked: &Asked<'_>, holding: &mut Holding) {
        holding.levels.clear();
        for (spec, key) in self.specs.iter().zip(&mut self.keys) {
            asked.key(&spec.key, key);
            let level = spec.priority.as_ref().map_or(0, |of| asked.level(&of.header, &of.levels));
            holding.levels.push(level);
        }
    }

    /// Asks the limits that were not asked yet.
    pub(crate) fn admit(
        &mut self,
        asked: &Asked<'_>,
        holding: &mut Holding,
        number: u32,
        now: Nanos,
    ) -> Verdict {
        if self.is_empty() {
            return Verdict::Pass;
        }
        self.look_at(asked, holding);
        let rules = rules(&self.limiters, &self.keys, &holding.levels);
        let step =
            holding.admission.admit(&rules, now, &mut |rule, wake| self.wakes.push((rule, wake)), |_, _| {});
        match &step {
            Step::Admitted { .. } => self.shared.came(None),
            Step::Refused { rule, .. } => self.shared.came(Some(*rule)),
            Step::Wait { .. } => {}
        }
        match step {
            Step::Admitted { turn } if turn > now => Verdict::At(turn),
            Step::Admitted { .. } => Verdict::Pass,
            Step::Wait { rule, ticket, deadline } => {
                self.waiting.push((ticket, rule, number));
                (holding.waits, holding.until) = (Some(ticket), deadline);
                Verdict::Wait(deadline)
            }
            Step::Refused { refusal, .. } => Verdict::Refuse(outcome(&refusal)),
        }
    }

    /// Whether a request waits no more because it has waited long enough. It holds nothing then.
    pub(crate) fn lose_patience(&mut self, holding: &mut Holding, number: u32, now: Nanos) -> bool {
        let Some(ticket) = holding.waits else { return false };
        let at = self.waiting.iter().position(|(waits, _, who)| *waits == ticket && *who == number);
        let Some(at) = at else { return false };
        let (_, rule, _) = self.waiting[at];
        holding.waits = None;
        if self.limiters[rule].cancel(ticket, now) {
            self.waiting.swap_remove(at);
        } else {
            // It was woken in the same moment: what it got goes to the next.
            self.waiting[at].2 = NONE;
        }
        self.refund(holding, now);
        true
    }

    /// A request is over, or did not go on.
    pub(crate) fn give_back(&mut self, holding: &mut Holding, number: u32, outcome: Outcome, now: Nanos) {
        if self.is_empty() || self.lose_patience(holding, number, now) {
            return;
        }
        if holding.admission.is_empty() {
            holding.admission = Admission::default();
            return;
        }
        let rules = rules(&self.limiters, &self.keys, &holding.levels);
        holding
            .admission
            .release(&rules, spent(outcome), now, &mut |rule, wake| self.wakes.push((rule, wake)));
    }

    /// A request does not go on, and what it took of rates is others' again.
    pub(crate) fn refund(&mut self, holding: &mut Holding, now: Nanos) {
        let rules = rules(&self.limiters, &self.keys, &holding.levels);
        holding.admission.refund(&rules, now, &mut |rule, wake| self.wakes.push((rule, wake)));
    }

    /// The next one of those whose waiting has come to an end, and how.
    pub(crate) fn woken(&mut self, now: Nanos) -> Option<(u32, usize, Result<Grant, Outcome>)> {
        while let Some((rule, wake)) = self.wakes.pop() {
            let is_meant = |(ticket, of, _): &(Ticket, usize, u32)| *ticket == wake.ticket && *of == rule;
            let at = self.waiting.iter().position(is_meant);
            let Some((_, _, number)) = at.map(|at| self.waiting.swap_remove(at)) else { continue };
            match wake.result {
                Ok(grant) if number == NONE => {
                    let mut wakes = Vec::new();
                    self.limiters[rule].refund(grant, now, &mut wakes);
                    self.wakes.extend(wakes.into_iter().map(|wake| (rule, wake)));
                }
                Err(_) if number == NONE => {}
                result => return Some((number, rule, result.map_err(|refusal| outcome(&refusal)))),
            }
        }
        None
    }

    /// Whether some of them are kept together with others.
    pub(crate) fn are_shared(&self) -> bool {
        !self.shared.is_empty()
    }

    /// Asks for the shares of those that are. Tells whether something was given up that others may have.
    pub(crate) fn ask(
        &mut self,
        book: &mut impl FnMut(usize, Wish) -> (Option<Lease>, u32),
        now: Nanos,
    ) -> bool {
        self.shared.ask(&self.limiters, book, now)
    }

    /// The mean of the limits of concurrency in force, if there are any.
    pub(crate) fn concurrency(&self, now: Nanos) -> Option<f64> {
        let found: Vec<f64> = self
            .limiters
            .iter()
            .filter_map(|limiter| limiter.state(now).all?.in_flight)
            .map(|(_, limit)| f64::from(limit))
            .collect();
        (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64)
    }

    /// How each limit stands.
    pub(crate) fn states(&self, now: Nanos) -> Vec<(String, String)> {
        let state = |limiter: &Limiter| {
            let state = limiter.state(now);
            (format!("limit {}", state.algorithm), WithKeys(&state).to_string())
        };
        self.limiters.iter().map(state).collect()
    }
}

impl Holding {
    /// It waited for a limit and goes on.
    pub(crate) fn woken(&mut self, rule: usize, grant: Grant) {
        self.waits = None;
        self.admission.woken(rule, grant);
    }

    /// Whether the time for which it waits is over.
    pub(crate) fn is_out_of_time(&self, now: Nanos) -> bool {
        now >= self.until
    }

    /// It waited for a limit and does not go on.
    pub(crate) fn waits_no_more(&mut self) {
        self.waits = None;
    }
}

fn rules<'a>(limiters: &'a [Limiter], keys: &'a [Vec<u8>], levels: &[u8]) -> Vec<Rule<'a>> {
    let rule = |((limiter, key), level): ((&'a Limiter, &'a Vec<u8>), &u8)| Rule {
        limiter,
        request: Request { key, level: *level },
    };
    limiters.iter().zip(keys).zip(levels).map(rule).collect()
}

fn outcome(refusal: &Refusal) -> Outcome {
    if refusal.why.is_shed() { Outcome::Shed } else { Outcome::Limited }
}

/// What a limit is told of how a request went.
const fn spent(outcome: Outcome) -> Spent {
    match outcome {
        Outcome::Ok => Spent::Done,
        Outcome::Status(503) | Outcome::Shed => Spent::Overloaded,
        Outcome::Timeout | Outcome::GaveUp | Outcome::Expired => Spent::TimedOut,
        _ => Spent::Failed,
    }
}
