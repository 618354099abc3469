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
//! When its configuration changes, a limit goes on from what was spent (`carry`): its state goes over into a new form of it,
//! which also answers whoever still has the old one (`forms`).
//!
//! Several limits that must all admit are asked in turn by an [`Admission`].

mod adaptive;
mod carry;
mod cell;
mod config;
mod core;
mod few;
mod forms;
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

use std::borrow::Cow;
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

use self::forms::{Form, Forms};
use self::hold::{Hold, Moment};
use crate::time::Nanos;

/// A limit, shared by whoever has a clone of it.
///
/// A decision takes no lock (rates for everybody) or a short one, and allocates only for a key that it has not seen.
#[derive(Clone, Debug)]
pub struct Limiter {
    form: Form,
    forms: Arc<Forms>,
}

impl Limiter {
    /// A limit of which nothing is used. Clients must not know the seed; two limiters with the same seed decide alike. Of one
    /// that is shared with other processes there is nothing to be had before [`Limiter::hold`].
    pub fn new(config: LimitConfig, seed: u64) -> Self {
        Self::begin(config, seed, 0, None)
    }

    fn begin(config: LimitConfig, seed: u64, version: u32, hold: Option<Arc<Hold>>) -> Self {
        let forms = Forms::new(config, seed, version, hold);
        Self { form: forms.newest(), forms }
    }

    /// The same limit by another configuration. What was spent, who is in flight and who waits is kept and shared with the
    /// old one, which may be in use for a while: from now on, that too decides by the new rates. But where the algorithm or
    /// the key has changed, the limit begins anew; and so it does where the number of levels has changed. Whoever goes on
    /// because there is more room now is added to `wakes`.
    ///
    /// A new rate goes on from the old one that is most like it, and one that is like none from where nothing is spent. A limit
    /// that was of this process alone and is shared now has no more left than before, and no more than one that has just begun to
    /// be shared; it goes by what it does alone until the next [`Limiter::hold`]. One that was shared has as much left as
    /// it had of its share.
    ///
    /// Where it begins anew, the old one must still be told of the requests that it let through.
    pub fn carry_over(old: &Self, config: LimitConfig, now: Nanos, wakes: &mut Vec<Wake>) -> Self {
        match old.forms.go_on(&config, now, wakes) {
            Some(form) => Self { form, forms: Arc::clone(&old.forms) },
            None => {
                let Form { rules, hold, .. } = old.forms.newest();
                Self::begin(config, rules.seed, rules.version.wrapping_add(1), hold)
            }
        }
    }

    /// From now on this process has so much of a limit that is shared; of any other, all of it in any case.
    pub fn hold(&self, holding: Holding, now: Nanos) {
        let Form { rules, hold, .. } = self.forms.newest();
        if let Some(hold) = &hold {
            hold.set(holding, rules.paces(), now);
        }
    }

    /// What this process has of a limit that is shared; none of any other.
    pub fn holds(&self, now: Nanos) -> Option<HoldState> {
        self.seen().hold.as_ref().map(|hold| hold.state(now))
    }

    /// The form to look at: the newest, if this one is over.
    fn seen(&self) -> Cow<'_, Form> {
        if self.form.core.is_over() { Cow::Owned(self.forms.newest()) } else { Cow::Borrowed(&self.form) }
    }

    /// Whether both are one limit, by whatever configurations: what is in flight in one is in the other.
    pub fn shares(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.forms, &other.forms)
    }

    /// How it is set.
    pub fn config(&self) -> &LimitConfig {
        &self.form.rules.config
    }

    /// Decides about one request. Nobody gets a ticket from a limit in shadow: who would have to wait for a place is refused.
    ///
    /// What is decided about others because of it (one that waited has to give way) is added to `wakes`.
    #[inline]
    pub fn admit(&self, request: &Request<'_>, now: Nanos, wakes: &mut Vec<Wake>) -> Verdict {
        self.form.admit(request, now, wakes)
    }

    /// A request is over. Whoever goes on because of it is added to `wakes`.
    #[inline]
    pub fn release(&self, grant: Grant, outcome: Outcome, now: Nanos, wakes: &mut Vec<Wake>) {
        self.form.core.release(grant, Some(outcome), now, wakes);
    }

    /// A request did not go on: what it took is given back, as if it had not come. Whoever goes on because of it is added to
    /// `wakes`.
    pub fn refund(&self, grant: Grant, now: Nanos, wakes: &mut Vec<Wake>) {
        match grant.held.form() {
            // It was let through by a newer form; or what it was let through by is over, and takes nothing back.
            Some((version, key)) if version != self.form.rules.version => {
                self.forms.form_of(key).refund(grant, now, wakes);
            }
            _ => self.form.refund(grant, now, wakes),
        }
    }

    /// One that waits leaves. False if it waits no more: then its [`Wake`] is under way, and an admission in it must be
    /// given back.
    pub fn cancel(&self, ticket: Ticket, now: Nanos) -> bool {
        self.form.core.cancel(ticket, now)
    }

    /// How it stands for requests with a key, which is not looked at by a limit for all. None where the key is not remembered,
    /// so that nothing of it is used. O(keys): for explanations.
    pub fn state_of(&self, key: &[u8], now: Nanos) -> Option<KeyState> {
        let form = self.seen();
        let moment = form.moment(now);
        let state = form.core.state_of(&form.rules, key, moment.as_ref(), now)?;
        Some(told(state, moment.as_ref()))
    }

    /// Whether requests with a key that is not remembered are refused because every key that is has requests in flight.
    /// O(keys): for explanations.
    pub fn has_no_place_for(&self, key: &[u8]) -> bool {
        let form = self.seen();
        form.core.has_no_place_for(&form.rules, key)
    }

    /// What is left of each rate for a request, in the order of the document; nothing of a limit that has no rates.
    pub fn quotas(&self, request: &Request<'_>, now: Nanos) -> Vec<Quota> {
        let form = self.seen();
        let moment = form.moment(now);
        let mut quotas = form.core.quotas(&form.rules, request.key, moment.as_ref(), now);
        if let Some(moment) = &moment {
            quotas.iter_mut().for_each(|quota| *quota = moment.quota(*quota));
        }
        quotas
    }

    /// As it stands, with the keys that have least left.
    pub fn state(&self, now: Nanos) -> LimitState {
        let form = self.seen();
        let moment = form.moment(now);
        let mut state = form.core.state(&form.rules, moment.as_ref(), now);
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
