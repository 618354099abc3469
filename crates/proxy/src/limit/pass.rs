//! What a request has of its limits: from being asked to the end.

use std::array;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot::Receiver;
use weir_policy::Nanos;
use weir_policy::limit::{
    Admission, Outcome, Quota, Refusal, Request, Rule, Step as Asked, Ticket, Wake, Why,
};

use super::key::{self, Asker};
use super::rule::Limit;
use super::table::Chain;
use super::waiting::Word;
use crate::observe::process_now;
use crate::route::RequestView;

/// Most limits of one request: five (`weir_model::validate`) of each of a gateway, its listener, a route, its rule and a
/// service.
pub(crate) const LIMITS_PER_REQUEST_MAX: usize = 25;

/// When one that waited in vain may try again.
const RETRY_AFTER_QUEUE: Duration = Duration::from_secs(1);

/// What a request holds. Kept with its exchange and used again, so that it costs no memory; whatever it holds goes back when
/// it is dropped.
#[derive(Default)]
pub(crate) struct Pass {
    chain: Option<Chain>,
    admission: Admission,
    seen: Seen,
    waits: Option<Waits>,
    /// When its turn is.
    turn: Option<Nanos>,
    /// What it has of the limits that it had passed when it was sent to another service, whose limits these are. There as long
    /// as these are.
    earlier: Option<Box<Self>>,
}

/// The request, as its limits see it.
#[derive(Default)]
struct Seen {
    /// The keys of all limits, one behind the other, and where each ends.
    keys: Vec<u8>,
    ends: [u32; LIMITS_PER_REQUEST_MAX],
    levels: [u8; LIMITS_PER_REQUEST_MAX],
}

impl Seen {
    fn look(&mut self, chain: &Chain, request: &impl RequestView, asker: Asker<'_>) {
        self.keys.clear();
        for (index, limit) in chain.iter().enumerate() {
            key::write(&limit.key, request, asker, &mut self.keys);
            self.ends[index] = self.keys.len() as u32;
            self.levels[index] = limit.levels.as_ref().map_or(0, |levels| levels.of(request));
        }
    }

    /// The limits with this request's keys. As many as the chain has count; the others are there to fill the array.
    fn rules<'a>(&'a self, chain: &'a Chain) -> [Rule<'a>; LIMITS_PER_REQUEST_MAX] {
        let last = chain[chain.len() - 1].limiter();
        array::from_fn(|index| {
            let limiter = if index < chain.len() { chain[index].limiter() } else { last };
            let index = index.min(chain.len() - 1);
            let from = index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
            let key = &self.keys[from..self.ends[index] as usize];
            Rule { limiter, request: Request { key, level: self.levels[index] } }
        })
    }
}

/// A place in a queue.
struct Waits {
    rule: usize,
    ticket: Ticket,
    deadline: Nanos,
    word: Receiver<Word>,
}

/// How far a request has come.
pub(crate) enum Step {
    /// It goes on, at its turn (see [`Pass::take_turn`]).
    GoOn,
    /// It waits for its place.
    Waits,
    /// It is refused.
    Refused(Box<Refused>),
}

/// By which limit a request is refused, and why.
pub(crate) struct Refused {
    pub(crate) limit: Arc<Limit>,
    pub(crate) refusal: Refusal,
    /// What is left of each of its rates.
    pub(crate) quotas: Vec<Quota>,
}

impl Pass {
    /// Begins with a request.
    pub(crate) fn begin(&mut self, chain: Chain, request: &impl RequestView, asker: Asker<'_>) {
        debug_assert!(self.chain.is_none(), "what another request had was not given back");
        self.seen.look(&chain, request, asker);
        self.chain = Some(chain);
    }

    /// The request goes to another service: it leaves the limits that were only for the first one, as a call of which nothing is
    /// known, and asks those of the other one next, if it has any.
    pub(crate) fn go_on_to(&mut self, next: Option<Self>, left: impl Fn(&Limit) -> bool) {
        if let Some(chain) = &self.chain {
            let now = process_now();
            let rules = self.seen.rules(chain);
            let woken = &mut |rule: usize, wake: Wake| chain[rule].woken(wake, now);
            self.admission.leave(&rules[..chain.len()], |rule| left(&chain[rule]), now, woken);
        }
        if let Some(next) = next {
            let earlier = std::mem::replace(self, next);
            self.earlier = (!earlier.is_idle()).then(|| Box::new(earlier));
        }
    }

    /// Asks the limits that have not been asked. Places come last, and are asked for when its turn has come: nobody holds one
    /// while he waits for something else.
    pub(crate) fn ask(&mut self, now: Nanos) -> Step {
        let Some(chain) = self.chain.clone() else { return Step::GoOn };
        let rates = chain.iter().take_while(|limit| !limit.is_of_places()).count();
        match self.ask_of(&chain, rates, now) {
            Step::GoOn if self.turn.is_none() && rates < chain.len() => self.ask_of(&chain, chain.len(), now),
            step => step,
        }
    }

    /// Asks as many of the limits.
    fn ask_of(&mut self, chain: &Chain, count: usize, now: Nanos) -> Step {
        let rules = self.seen.rules(chain);
        let rules = &rules[..count];
        let shadowed = |rule: usize, refusal: &Refusal| chain[rule].count_refused(refusal, true, now);
        let asked =
            self.admission.admit(rules, now, &mut |rule, wake| chain[rule].woken(wake, now), shadowed);
        match asked {
            Asked::Admitted { turn } => {
                self.turn = Some(turn).filter(|turn| *turn > now);
                if self.turn.is_none() && count == chain.len() {
                    chain.iter().for_each(|limit| limit.count_admitted());
                }
                Step::GoOn
            }
            Asked::Wait { rule, ticket, deadline } => {
                chain[rule].count_waited();
                let word = chain[rule].waiting().expect(ticket);
                self.waits = Some(Waits { rule, ticket, deadline, word });
                Step::Waits
            }
            Asked::Refused { rule, refusal } => self.refused(chain, rule, refusal, now),
        }
    }

    /// Waits for the word that was promised, and asks the rest.
    pub(crate) async fn wait(&mut self) -> Step {
        let Some(waits) = &mut self.waits else { return Step::GoOn };
        let left = waits.deadline.since(process_now());
        let word = tokio::time::timeout(left, &mut waits.word).await;
        let Some(chain) = self.chain.clone() else { return Step::GoOn };
        let now = process_now();
        let word = match word {
            Ok(word) => word.ok(),
            // The limit itself knows best whether the time is up: a word may be under way.
            Err(_) => self.overdue(&chain, now),
        };
        let rule = self.waits.take().map_or(0, |waits| waits.rule);
        match word {
            Some(Ok(grant)) => {
                self.admission.woken(rule, grant);
                self.ask(now)
            }
            Some(Err(refusal)) => {
                self.give_back_these(None, now);
                self.refused(&chain, rule, refusal, now)
            }
            None => {
                self.give_back_these(None, now);
                let refusal = Refusal { why: Why::TimedOut, retry_after: RETRY_AFTER_QUEUE, quota: None };
                self.refused(&chain, rule, refusal, now)
            }
        }
    }

    /// Leaves the queue, unless it has just been served.
    fn overdue(&mut self, chain: &Chain, now: Nanos) -> Option<Word> {
        let waits = self.waits.as_mut()?;
        let limit = &chain[waits.rule];
        if limit.limiter().cancel(waits.ticket, now) {
            limit.waiting().forget(waits.ticket);
            return None;
        }
        // From here on a word that is under way finds nobody, and goes back.
        waits.word.close();
        waits.word.try_recv().ok()
    }

    fn refused(&mut self, chain: &Chain, rule: usize, refusal: Refusal, now: Nanos) -> Step {
        let limit = chain[rule].clone();
        limit.count_refused(&refusal, false, now);
        self.chain = None;
        let mut quotas: Vec<Quota> = refusal.quota.into_iter().collect();
        if !quotas.is_empty() && limit.config.algorithm.rates().len() > 1 {
            quotas = limit.limiter().quotas(&self.seen.rules(chain)[rule].request, now);
        }
        if let Some(earlier) = self.earlier.take() {
            *self = *earlier;
        }
        Step::Refused(Box::new(Refused { limit, refusal, quotas }))
    }

    /// Refuses it if its turn is known to come when nobody waits for it any more: it gives its place to others at once.
    pub(crate) fn refuse_if_late(&mut self, until: Nanos, now: Nanos) -> Option<Refused> {
        let late = self.turn.filter(|turn| *turn >= until)?.since(until);
        let (chain, rule) = (self.chain.clone()?, self.admission.turn_of());
        self.give_back_these(None, now);
        let quota =
            chain[rule].limiter().quotas(&self.seen.rules(&chain)[rule].request, now).first().copied();
        let refusal = Refusal { why: Why::Turn, retry_after: late, quota };
        match self.refused(&chain, rule, refusal, now) {
            Step::Refused(refused) => Some(*refused),
            Step::GoOn | Step::Waits => None,
        }
    }

    /// The time of the request is over before it may go on: the limit that it waits for has refused it.
    pub(crate) fn out_of_time(&mut self, now: Nanos) {
        if let Some(limit) = self.waits_for() {
            let refusal = Refusal { why: Why::OutOfTime, retry_after: Duration::ZERO, quota: None };
            limit.count_refused(&refusal, false, now);
        }
        self.abandon();
    }

    /// The limit that it waits for.
    pub(crate) fn waits_for(&self) -> Option<&Limit> {
        let rule = self.waits.as_ref().map_or(self.admission.turn_of(), |waits| waits.rule);
        Some(&**self.chain.as_ref()?.get(rule)?)
    }

    /// When its turn is, if that is not now: it waits for it from now on. Asked once.
    pub(crate) fn take_turn(&mut self) -> Option<Nanos> {
        let turn = self.turn.take()?;
        if let Some(limit) = self.waits_for() {
            limit.count_waited();
        }
        Some(turn)
    }

    /// Whether it has to wait for a word.
    pub(crate) fn waits(&self) -> bool {
        self.waits.is_some()
    }

    /// Whether it may not go on yet.
    #[inline]
    pub(crate) fn is_held_up(&self) -> bool {
        self.waits.is_some() || self.turn.is_some()
    }

    /// Whether there is anything to wait for, or to give back.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.chain.is_none()
    }

    /// The request is over.
    #[inline]
    pub(crate) fn finish(&mut self, outcome: Outcome) {
        if self.chain.is_some() {
            self.give_back(Some(outcome), process_now());
        }
    }

    /// The request did not go on.
    #[inline]
    pub(crate) fn abandon(&mut self) {
        if self.chain.is_some() {
            self.give_back(None, process_now());
        }
    }

    #[inline(never)]
    fn give_back(&mut self, outcome: Option<Outcome>, now: Nanos) {
        self.give_back_these(outcome, now);
        if let Some(mut earlier) = self.earlier.take() {
            earlier.give_back_these(outcome, now);
        }
    }

    fn give_back_these(&mut self, outcome: Option<Outcome>, now: Nanos) {
        self.turn = None;
        let Some(chain) = self.chain.take() else { return };
        if let Some(Waits { rule, ticket, word, .. }) = self.waits.take() {
            chain[rule].leave(ticket, word, now);
        }
        let rules = self.seen.rules(&chain);
        let rules = &rules[..chain.len()];
        let mut woken = |rule: usize, wake: Wake| chain[rule].woken(wake, now);
        match outcome {
            Some(outcome) => self.admission.release(rules, outcome, now, &mut woken),
            None => self.admission.refund(rules, now, &mut woken),
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.abandon();
    }
}
