//! A server's own sidecar: limits in force where the requests arrive.

use weir_model::resource::rate_limit::RateLimitSpec;
use weir_policy::Nanos;
use weir_policy::limit::Grant;
use weir_policy::quota::{Lease, Wish};

use super::Asked;
use super::limits::{Holding, Limits, Verdict};
use crate::world::Outcome;

/// The limits of a server's own sidecar, and what attempts hold of them.
#[derive(Debug)]
pub(crate) struct Guard {
    specs: Vec<RateLimitSpec>,
    seed: u64,
    limits: Limits,
    /// By number of an attempt.
    held: std::collections::BTreeMap<u32, Holding>,
    spare: Vec<Holding>,
}

impl Guard {
    /// None where there is no limit.
    pub(crate) fn new(specs: &[RateLimitSpec], server: u32, seed: u64) -> Option<Box<Self>> {
        let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(u64::from(server) << 8);
        let guard = || Self {
            specs: specs.to_vec(),
            seed,
            limits: Limits::new(specs, seed, Nanos(0)),
            held: std::collections::BTreeMap::new(),
            spare: Vec::new(),
        };
        (!specs.is_empty()).then(|| Box::new(guard()))
    }

    /// Asks the limits that an attempt has not passed yet.
    pub(crate) fn admit(&mut self, asked: &Asked<'_>, number: u32, now: Nanos) -> Verdict {
        let mut holding = self.held.remove(&number).or_else(|| self.spare.pop()).unwrap_or_default();
        let verdict = self.limits.admit(asked, &mut holding, number, now);
        match verdict {
            Verdict::Refuse(_) => self.spare.push(holding),
            _ => drop(self.held.insert(number, holding)),
        }
        verdict
    }

    /// Whether an attempt waits no more because it has waited long enough.
    pub(crate) fn lose_patience(&mut self, number: u32, now: Nanos) -> bool {
        let Some(holding) = self.held.get_mut(&number) else { return false };
        let lost = self.limits.lose_patience(holding, number, now);
        if lost && let Some(holding) = self.held.remove(&number) {
            self.spare.push(holding);
        }
        lost
    }

    /// An attempt does not wait for its turn, which would come too late.
    pub(crate) fn refund(&mut self, number: u32, now: Nanos) {
        if let Some(mut holding) = self.held.remove(&number) {
            self.limits.refund(&mut holding, now);
            self.spare.push(holding);
        }
    }

    /// An attempt is over.
    pub(crate) fn give_back(&mut self, number: u32, outcome: Outcome, now: Nanos) {
        if let Some(mut holding) = self.held.remove(&number) {
            self.limits.give_back(&mut holding, number, outcome, now);
            self.spare.push(holding);
        }
    }

    /// The next one of those whose waiting has come to an end, and how.
    pub(crate) fn woken(&mut self, now: Nanos) -> Option<(u32, Result<(), Outcome>)> {
        let (number, rule, result): (u32, usize, Result<Grant, Outcome>) = self.limits.woken(now)?;
        let holding = self.held.entry(number).or_default();
        match result {
            Ok(grant) => {
                holding.woken(rule, grant);
                Some((number, Ok(())))
            }
            Err(outcome) => {
                holding.waits_no_more();
                Some((number, Err(outcome)))
            }
        }
    }

    /// An attempt has another number from now on.
    pub(crate) fn renumber(&mut self, old: u32, new: u32) {
        if let Some(holding) = self.held.remove(&old) {
            self.held.insert(new, holding);
        }
    }

    /// The process was started anew, and knows nothing.
    pub(crate) fn restart(&mut self, now: Nanos) {
        self.limits = Limits::new(&self.specs, self.seed, now);
        self.held.clear();
    }

    /// Whether it keeps limits together with others.
    pub(crate) fn shares_limits(&self) -> bool {
        self.limits.are_shared()
    }

    /// Asks for its shares of limits, by their number. Tells whether something was given up that others may have.
    pub(crate) fn ask(
        &mut self,
        book: &mut impl FnMut(usize, Wish) -> (Option<Lease>, u32),
        now: Nanos,
    ) -> bool {
        self.limits.ask(book, now)
    }

    /// The mean of the limits of concurrency in force.
    pub(crate) fn concurrency(&self, now: Nanos) -> Option<f64> {
        self.limits.concurrency(now)
    }

    /// How each limit stands.
    pub(crate) fn states(&self, now: Nanos) -> Vec<(String, String)> {
        self.limits.states(now)
    }
}
