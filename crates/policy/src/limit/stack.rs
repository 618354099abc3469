//! Several limits that must all admit a request, asked in a given order.
//!
//! When one refuses, those before it get back what they gave: rates as if the request had not come, places at once. When one
//! lets the request wait, it waits with what it has. The order is the caller's; cheap and likely refusals go first, and places
//! last, so that nobody holds one while he waits.

use super::Limiter;
use super::verdict::{Grant, Outcome, Quota, Refusal, Request, Ticket, Verdict, Wake};
use crate::time::Nanos;

/// One of the limits that a request has to pass, and what that limit tells it apart by.
#[derive(Clone, Copy, Debug)]
pub struct Rule<'a> {
    /// The limit.
    pub limiter: &'a Limiter,
    /// The request, as this limit sees it.
    pub request: Request<'a>,
}

/// How far a request has come.
#[derive(Debug)]
pub enum Step {
    /// All have admitted it. It goes on at its turn, which may be now.
    Admitted {
        /// The latest of its turns.
        turn: Nanos,
    },
    /// It waits for one of them.
    Wait {
        /// Which.
        rule: usize,
        /// What its [`Wake`] will have.
        ticket: Ticket,
        /// When it has waited long enough.
        deadline: Nanos,
    },
    /// One has refused it. It holds nothing any more.
    Refused {
        /// Which.
        rule: usize,
        /// With what.
        refusal: Refusal,
    },
}

/// What a request holds of its limits. One that is used again allocates nothing.
///
/// The same rules, in the same order, are given to each call until the request is over.
#[derive(Debug, Default)]
pub struct Admission {
    grants: Vec<(usize, Grant)>,
    /// Rules before this one have been asked.
    asked: usize,
    turn: Nanos,
    /// Which rule's that is.
    turn_of: usize,
    quota: Option<(usize, Quota)>,
    /// Of the limit that was called last; empty between calls.
    wakes: Vec<Wake>,
}

impl Admission {
    /// Asks those that have not been asked. `woken` is called with how it went on with others, and whose ticket that is;
    /// `shadowed` with what one in shadow would have refused.
    pub fn admit(
        &mut self,
        rules: &[Rule<'_>],
        now: Nanos,
        woken: &mut impl FnMut(usize, Wake),
        mut shadowed: impl FnMut(usize, &Refusal),
    ) -> Step {
        self.turn = self.turn.max(now);
        while let Some(Rule { limiter, request }) = rules.get(self.asked) {
            let rule = self.asked;
            self.asked += 1;
            let in_shadow = limiter.config().shadow;
            let verdict = limiter.admit(request, now, &mut self.wakes);
            self.wakes.drain(..).for_each(|wake| woken(rule, wake));
            match verdict {
                Verdict::Admit(grant, quota) => self.hold(rule, grant, quota.filter(|_| !in_shadow)),
                // What is only tried out makes nobody wait.
                Verdict::Turn(grant, _, _) if in_shadow => self.hold(rule, grant, None),
                Verdict::Turn(grant, turn, quota) => {
                    if turn > self.turn {
                        (self.turn, self.turn_of) = (turn, rule);
                    }
                    self.hold(rule, grant, Some(quota));
                }
                Verdict::Wait(ticket, deadline) => return Step::Wait { rule, ticket, deadline },
                Verdict::Refuse(refusal) if in_shadow => shadowed(rule, &refusal),
                Verdict::Refuse(refusal) => {
                    self.refund(rules, now, woken);
                    return Step::Refused { rule, refusal };
                }
            }
        }
        Step::Admitted { turn: self.turn }
    }

    /// It waited for a rule, and goes on: to be followed by `admit`. (If it does not go on: `refund`.)
    pub fn woken(&mut self, rule: usize, grant: Grant) {
        self.grants.push((rule, grant));
    }

    /// The quota of the rate that has least left, and which rule's it is.
    pub fn quota(&self) -> Option<(usize, Quota)> {
        self.quota
    }

    /// Which rule's turn it is that it goes on at; the first's where it goes on at once.
    pub const fn turn_of(&self) -> usize {
        self.turn_of
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.grants.is_empty()
    }

    /// The request is over.
    pub fn release(
        &mut self,
        rules: &[Rule<'_>],
        outcome: Outcome,
        now: Nanos,
        woken: &mut impl FnMut(usize, Wake),
    ) {
        while let Some((rule, grant)) = self.grants.pop() {
            rules[rule].limiter.release(grant, outcome, now, &mut self.wakes);
            self.wakes.drain(..).for_each(|wake| woken(rule, wake));
        }
        self.begin_again();
    }

    /// The request did not go on.
    pub fn refund(&mut self, rules: &[Rule<'_>], now: Nanos, woken: &mut impl FnMut(usize, Wake)) {
        while let Some((rule, grant)) = self.grants.pop() {
            rules[rule].limiter.refund(grant, now, &mut self.wakes);
            self.wakes.drain(..).for_each(|wake| woken(rule, wake));
        }
        self.begin_again();
    }

    /// The request goes on without some of them, which learn nothing of it: what it took of rates is gone, its places are free. All
    /// have been asked, and all are given to later calls as before.
    pub fn leave(
        &mut self,
        rules: &[Rule<'_>],
        left: impl Fn(usize) -> bool,
        now: Nanos,
        woken: &mut impl FnMut(usize, Wake),
    ) {
        for (rule, grant) in self.grants.extract_if(.., |(rule, _)| left(*rule)) {
            rules[rule].limiter.release(grant, Outcome::Failed, now, &mut self.wakes);
            self.wakes.drain(..).for_each(|wake| woken(rule, wake));
        }
    }

    fn hold(&mut self, rule: usize, grant: Grant, quota: Option<Quota>) {
        self.grants.push((rule, grant));
        if let Some(quota) = quota
            && self.quota.is_none_or(|(_, least)| quota.remaining < least.remaining)
        {
            self.quota = Some((rule, quota));
        }
    }

    fn begin_again(&mut self) {
        (self.asked, self.turn, self.turn_of, self.quota) = (0, Nanos(0), 0, None);
    }
}
