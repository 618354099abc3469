//! Limits: how many requests pass, which wait, and which are refused.
//!
//! ```text
//! request -> Limiter::admit -> Admit | Turn { until } | Wait { ticket } | Refuse { why, retry_after }
//!                |                 |          |               ^
//!            one word,             +- release (over) or refund (did not go on) -> wakes those that wait
//!            a table of keys,
//!            or a gate
//! ```
//!
//! A limit is a promise of one process, so its state is shared by all threads: [`Limiter`] has methods on `&self`. A rate
//! for everybody is one atomic word, and several are a few that change together (`cell`); those of keys, and gates, are behind
//! locks of parts of a table, or of a gate, that are held for some nanoseconds (`latch`), and never while anything is called
//! back. Nobody ever waits in here: who has to wait gets a moment or a ticket. The caller's clock must be the same for all
//! threads; readings that are out of order by a little do no harm.
//!
//! | algorithm | state | module |
//! |---|---|---|
//! | `token_bucket`, `leaky_bucket` | where the last slot ended | `pace` |
//! | `sliding_window` | two counts | `window` |
//! | `warm_up` | the same as a bucket's, and its warmth | `warm` |
//! | `concurrency`, `adaptive` | what is in flight, who waits | `gate`, `queue`, `level`, `adaptive` |
//!
//! A token bucket may be shared with other processes: then this one goes by a lease on a share of it (`hold`;
//! [`crate::quota`]), and a [`Tenure`] says what to ask for.
//!
//! Several limits that must all admit are asked in turn by an [`Admission`].

mod adaptive;
mod cell;
mod config;
mod core;
mod few;
mod gate;
mod gates;
mod hash;
mod hold;
mod keys;
mod latch;
mod level;
mod pace;
mod queue;
mod scheme;
mod stack;
mod state;
mod table;
mod tenure;
mod verdict;
mod versioned;
mod warm;
mod window;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use config::{
    AdaptiveConfig, Algorithm, GateConfig, LEVELS_MAX, LimitConfig, QueueConfig, RATES_MAX, RateConfig,
    WarmUpConfig,
};
pub use hold::{HoldState, Holding};
pub use stack::{Admission, Rule, Step};
pub use state::{KeyState, LimitState, WithKeys};
pub use tenure::Tenure;
pub use verdict::{Grant, Outcome, Quota, Refusal, Request, Ticket, Verdict, Wake, Why};

use self::core::{Core, Rules};
use self::hold::{Hold, Moment};
use self::scheme::Scheme;
use self::verdict::Held;
use crate::time::Nanos;

/// A limit, shared by whoever has a clone of it.
///
/// A decision takes no lock (rates for everybody) or a short one, and allocates only for a key that it has not seen.
#[derive(Clone, Debug)]
pub struct Limiter {
    rules: Arc<Rules>,
    core: Arc<Core>,
    /// Of one that is shared with other processes.
    hold: Option<Arc<Hold>>,
}

impl Limiter {
    /// A limit of which nothing is used. Clients must not know the seed; two limiters with the same seed decide alike. Of one
    /// that is shared with other processes there is nothing to be had before [`Limiter::hold`].
    pub fn new(config: LimitConfig, seed: u64) -> Self {
        let rules = Rules::new(config, seed, 0);
        let core = Arc::new(Core::new(&rules));
        let hold = rules.config.global.map(|_| Arc::default());
        Self { rules: Arc::new(rules), core, hold }
    }

    /// The same limit by another configuration. What was spent, who is in flight and who waits is kept and shared with the
    /// old one, which may be in use for a while. But where the algorithm, the key, or how many rates there are has changed,
    /// the limit begins anew; and so it does where the number of levels has changed, or whether
    /// it is shared. Whoever goes on because there is more room now is added to `wakes`.
    ///
    /// Where it begins anew, the old one must still be told of the requests that it let through.
    pub fn carry_over(old: &Self, config: LimitConfig, now: Nanos, wakes: &mut Vec<Wake>) -> Self {
        let rules = Rules::new(config, old.rules.seed, old.rules.version.wrapping_add(1));
        let is_global = rules.config.global.is_some();
        let alike = old.rules.config.key == rules.config.key
            && old.hold.is_some() == is_global
            && old.core.carry(&old.rules, &rules, old.kept_from(now), wakes);
        let core = if alike { Arc::clone(&old.core) } else { Arc::new(Core::new(&rules)) };
        let hold = if is_global { Some(old.hold.clone().unwrap_or_default()) } else { None };
        Self { rules: Arc::new(rules), core, hold }
    }

    /// From now on this process has so much of a limit that is shared; of any other, all of it in any case.
    pub fn hold(&self, holding: Holding, now: Nanos) {
        if let Some(hold) = &self.hold {
            let paces = self.rules.scheme.as_ref().map(Scheme::paces).unwrap_or_default();
            hold.set(holding, paces, now);
        }
    }

    /// What this process has of a limit that is shared; none of any other.
    pub fn holds(&self, now: Nanos) -> Option<HoldState> {
        self.hold.as_ref().map(|hold| hold.state(now))
    }

    /// From when on slots are kept that are given back but are not the last ones. Of a limit that is shared, none is: its slots
    /// lie on its own line. Nor are they moved when its rates change.
    const fn kept_from(&self, now: Nanos) -> Nanos {
        if self.hold.is_some() { Nanos(u64::MAX) } else { now }
    }

    /// Whether both are one limit, by whatever configurations: what is in flight in one is in the other.
    pub fn shares(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.core, &other.core)
    }

    /// How it is set.
    pub fn config(&self) -> &LimitConfig {
        &self.rules.config
    }

    /// Decides about one request. Nobody gets a ticket from a limit in shadow: who would have to wait for a place is refused.
    ///
    /// What is decided about others because of it (one that waited has to give way) is added to `wakes`.
    #[inline]
    pub fn admit(&self, request: &Request<'_>, now: Nanos, wakes: &mut Vec<Wake>) -> Verdict {
        match &self.hold {
            None => self.core.admit(&self.rules, request, None, now, wakes),
            Some(hold) => self.admit_shared(&hold.at(now), request, now, wakes),
        }
    }

    #[inline(never)]
    fn admit_shared(
        &self,
        moment: &Moment,
        request: &Request<'_>,
        now: Nanos,
        wakes: &mut Vec<Wake>,
    ) -> Verdict {
        if moment.open {
            return Verdict::Admit(Grant { held: Held::Nothing }, None);
        }
        if moment.is_closed() {
            return Verdict::Refuse(moment.closed());
        }
        match self.core.admit(&self.rules, request, Some(moment), now, wakes) {
            Verdict::Admit(grant, quota) => Verdict::Admit(grant, quota.map(|quota| moment.quota(quota))),
            Verdict::Refuse(refusal) => Verdict::Refuse(moment.refusal(refusal)),
            other => other,
        }
    }

    /// A request is over. Whoever goes on because of it is added to `wakes`.
    #[inline]
    pub fn release(&self, grant: Grant, outcome: Outcome, now: Nanos, wakes: &mut Vec<Wake>) {
        self.core.release(grant, Some(outcome), now, wakes);
    }

    /// A request did not go on: what it took is given back, as if it had not come. Whoever goes on because of it is added to
    /// `wakes`.
    pub fn refund(&self, grant: Grant, now: Nanos, wakes: &mut Vec<Wake>) {
        self.core.refund(&self.rules, grant, self.kept_from(now), wakes);
    }

    /// One that waits leaves. False if it waits no more: then its [`Wake`] is under way, and an admission in it must be
    /// given back.
    pub fn cancel(&self, ticket: Ticket, now: Nanos) -> bool {
        self.core.cancel(ticket, now)
    }

    /// How it stands for requests with a key, which is not looked at by a limit for all. None where the key is not remembered,
    /// so that nothing of it is used. O(keys): for explanations.
    pub fn state_of(&self, key: &[u8], now: Nanos) -> Option<KeyState> {
        let moment = self.hold.as_ref().map(|hold| hold.at(now));
        let state = self.core.state_of(&self.rules, key, moment.as_ref(), now)?;
        Some(told(state, moment.as_ref()))
    }

    /// Whether requests with a key that is not remembered are refused because every key that is has requests in flight.
    /// O(keys): for explanations.
    pub fn has_no_place_for(&self, key: &[u8]) -> bool {
        self.core.has_no_place_for(&self.rules, key)
    }

    /// What is left of each rate for a request, in the order of the document; nothing of a limit that has no rates.
    pub fn quotas(&self, request: &Request<'_>, now: Nanos) -> Vec<Quota> {
        let moment = self.hold.as_ref().map(|hold| hold.at(now));
        let mut quotas = self.core.quotas(&self.rules, request.key, moment.as_ref(), now);
        if let Some(moment) = &moment {
            quotas.iter_mut().for_each(|quota| *quota = moment.quota(*quota));
        }
        quotas
    }

    /// As it stands, with the keys that have least left.
    pub fn state(&self, now: Nanos) -> LimitState {
        let moment = self.hold.as_ref().map(|hold| hold.at(now));
        let mut state = self.core.state(&self.rules, moment.as_ref(), now);
        state.all = state.all.map(|all| told(all, moment.as_ref()));
        state.top = state.top.into_iter().map(|(name, own)| (name, told(own, moment.as_ref()))).collect();
        LimitState { hold: self.holds(now), ..state }
    }
}

/// A state in the time of those that it is told to, where a limit that is shared counts in its own.
fn told(mut state: KeyState, moment: Option<&Moment>) -> KeyState {
    if let Some(moment) = moment {
        state.quotas.iter_mut().for_each(|quota| *quota = moment.quota(*quota));
    }
    state
}
