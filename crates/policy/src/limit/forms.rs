//! The forms of a limit: one for each configuration that its state was made for, of which the newest decides.
//!
//! ```text
//! configuration -> another with other rates -> its state goes over, key by key -> who still asks the old form is
//!                                                                                answered by the new one
//! ```
//!
//! When rates change, so does what the words of a key mean, and how many there are. So their state goes over into a new
//! core, and the old one is over, as soon as it has; of a table, one shard after the other, so that nobody waits long. Every key
//! is in one of the two at any time: nothing is admitted by both.

use std::mem::{discriminant, take};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::carry::{Carry, sources};
use super::config::LimitConfig;
use super::core::{Core, Rules};
use super::hold::{Hold, Holding, Moment};
use super::verdict::{Grant, Held, Request, Verdict, Wake};
use crate::time::Nanos;

/// A limit by one configuration.
#[derive(Clone, Debug)]
pub(super) struct Form {
    pub(super) rules: Arc<Rules>,
    pub(super) core: Arc<Core>,
    /// Of one that is shared with other processes.
    pub(super) hold: Option<Arc<Hold>>,
}

/// The newest form of a limit, and the one that its state comes from.
#[derive(Debug)]
pub(super) struct Forms {
    /// One change at a time.
    changing: Mutex<()>,
    pair: Mutex<Pair>,
}

#[derive(Debug)]
struct Pair {
    settled: Form,
    /// To which the state of some keys has gone over.
    coming: Option<Form>,
}

impl Form {
    #[inline]
    pub(super) fn admit(&self, request: &Request<'_>, now: Nanos, wakes: &mut Vec<Wake>) -> Verdict {
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
        if self.core.is_over() {
            return self.rules.decide_elsewhere(request, now);
        }
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

    pub(super) fn refund(&self, grant: Grant, now: Nanos, wakes: &mut Vec<Wake>) {
        self.core.refund(&self.rules, grant, self.kept_from(now), wakes);
    }

    /// From when on slots are kept that are given back but are not the last ones. Of a limit that is shared, none is: its slots
    /// lie on its own line.
    const fn kept_from(&self, now: Nanos) -> Nanos {
        if self.hold.is_some() { Nanos(u64::MAX) } else { now }
    }

    pub(super) fn moment(&self, now: Nanos) -> Option<Moment> {
        self.hold.as_ref().map(|hold| hold.at(now))
    }

    /// What is held of it when its rates, or whether it is shared, have changed. What has just become shared goes by what it does
    /// alone, until it is told what is held.
    fn hold_next(&self, rules: &Rules, now: Nanos) -> Option<Arc<Hold>> {
        let alone = rules.config.global?;
        Some(Arc::new(match &self.hold {
            Some(hold) => hold.reordered(&sources(self.rules.rates(), rules.rates())),
            None => {
                let hold = Hold::default();
                hold.set(Holding::none(alone, 1), rules.paces(), now);
                hold
            }
        }))
    }
}

impl Forms {
    /// A limit of which nothing is used.
    pub(super) fn new(config: LimitConfig, seed: u64, version: u32, hold: Option<Arc<Hold>>) -> Arc<Self> {
        Arc::new_cyclic(|forms: &Weak<Self>| {
            let rules = Rules::new(config, seed, version, forms.clone());
            let core = Arc::new(Core::new(&rules));
            let hold = rules.config.global.map(|_| hold.unwrap_or_default());
            let settled = Form { rules: Arc::new(rules), core, hold };
            Self { changing: Mutex::default(), pair: Mutex::new(Pair { settled, coming: None }) }
        })
    }

    /// The newest.
    pub(super) fn newest(&self) -> Form {
        let pair = self.lock();
        pair.coming.as_ref().unwrap_or(&pair.settled).clone()
    }

    /// The one that has the state of a key, by its hash.
    pub(super) fn form_of(&self, key: u64) -> Form {
        let pair = self.lock();
        match &pair.coming {
            Some(coming) if pair.settled.core.is_over_for(key) => coming.clone(),
            _ => pair.settled.clone(),
        }
    }

    /// Goes on by another configuration from what was spent; none if there is nothing to go on from.
    pub(super) fn go_on(
        self: &Arc<Self>,
        config: &LimitConfig,
        now: Nanos,
        wakes: &mut Vec<Wake>,
    ) -> Option<Form> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.newest();
        let before = &old.rules.config;
        if before.key != config.key || discriminant(&before.algorithm) != discriminant(&config.algorithm) {
            return None;
        }
        let is_alike =
            before.algorithm == config.algorithm && before.global.is_some() == config.global.is_some();
        let is_new = old.rules.scheme.is_some() && !is_alike;
        let version = old.rules.version.wrapping_add(u32::from(is_new));
        let rules = Rules::new(config.clone(), old.rules.seed, version, Arc::downgrade(self));
        if is_new {
            return Some(self.hand_over(&old, rules, now));
        }
        let goes_on = old.core.keep_on(&rules, now, wakes);
        goes_on.then(|| self.settle(Form { rules: Arc::new(rules), ..old }))
    }

    /// The state goes over into a core of its own.
    fn hand_over(&self, old: &Form, rules: Rules, now: Nanos) -> Form {
        let hold = old.hold_next(&rules, now);
        let core = Arc::new(Core::after(&old.core, &rules));
        let new = Form { rules: Arc::new(rules), core, hold };
        if let (Some(old_scheme), Some(scheme)) = (&old.rules.scheme, &new.rules.scheme) {
            let carry = Carry {
                old: old_scheme,
                new: scheme,
                from: sources(old.rules.rates(), new.rules.rates()),
                held: old.moment(now),
                holds: new.moment(now),
                now,
            };
            let mut pair = self.lock();
            if new.rules.config.is_keyed() {
                pair.coming = Some(new.clone());
                // Who finds a key gone is to find out where to.
                drop(pair);
                old.core.hand_over(&new.core, &carry, new.rules.keys_max());
            } else {
                old.core.hand_over(&new.core, &carry, 0);
                pair.settled = new.clone();
            }
        }
        self.settle(new)
    }

    fn settle(&self, form: Form) -> Form {
        let mut pair = self.lock();
        pair.settled = form.clone();
        take(&mut pair.coming);
        form
    }

    fn lock(&self) -> MutexGuard<'_, Pair> {
        self.pair.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
