//! What clients do: they send, wait, give up, try again, and think.

use weir_policy::balance::Tried;

use super::lanes::{Deadline, Due};
use super::state::{FIELDS_MAX, Outcome, Request};
use super::{NONE, What, World};
use crate::scenario::{ClientRetry, Jitter, nanos};

/// A client of a closed loop that was refused, or answered in no time, sends no sooner than this: otherwise time would stand
/// still.
const PAUSE_MIN: u64 = 1_000_000;

impl World<'_> {
    /// The next request of a group that comes of itself.
    pub(super) fn arrive(&mut self, group: u32) {
        if let Some(next) = self.paces[group as usize].next() {
            self.queue.push(next, What::Arrive(group));
        }
        let state = &mut self.groups[group as usize];
        let proxies = state.proxies.clone();
        let proxy = proxies.start + if proxies.len() > 1 { state.rng.below(proxies.len() as u32) } else { 0 };
        self.begin(group, NONE, proxy);
    }

    /// A client of a closed loop has thought.
    pub(super) fn thought(&mut self, client: u32) {
        let of = self.clients[client as usize];
        self.begin(of.group, client, of.proxy);
    }

    /// A client wants something.
    fn begin(&mut self, group: u32, client: u32, proxy: u32) {
        self.count_request();
        let state = &mut self.groups[group as usize];
        let mut values = [0; FIELDS_MAX];
        for (value, sampler) in values.iter_mut().zip(&state.values) {
            *value = sampler.draw(&mut state.rng);
        }
        let (held, passes) = self.spare.pop().unwrap_or_default();
        let request = Request {
            group,
            client,
            proxy,
            service: state.service,
            begun: self.now,
            sent: self.now,
            deadline: u64::MAX,
            stamp: self.stamp(),
            tries: 0,
            attempts: 0,
            under_way: [NONE; 2],
            pins: 0,
            over: false,
            tried: Tried::none(),
            values,
            held,
            passes,
        };
        let number = self.requests.insert(request);
        self.measure.begun(group, self.now);
        self.send(number);
    }

    /// A client tries again.
    pub(super) fn again(&mut self, number: u32) {
        let stamp = self.stamp();
        let request = &mut self.requests[number];
        request.pins -= 1;
        request.stamp = stamp;
        request.over = false;
        request.attempts = 0;
        request.tried = Tried::none();
        request.service = self.groups[request.group as usize].service;
        self.send(number);
    }

    /// A try begins.
    fn send(&mut self, number: u32) {
        let request = &mut self.requests[number];
        request.tries += 1;
        request.sent = self.now;
        request.deadline = u64::MAX;
        let (group, stamp) = (request.group, request.stamp);
        self.measure.sent(group, self.now);
        let state = &self.groups[group as usize];
        if let Some(lane) = state.timeout_lane {
            let timeout = state.spec.timeout.map_or(u64::MAX, nanos);
            self.requests[number].deadline = self.now.saturating_add(timeout);
            self.set_deadline(lane, number, stamp);
        }
        self.receive(number);
    }

    /// Numbers tries, so that what was meant for an earlier one is known.
    pub(super) fn stamp(&mut self) -> u32 {
        self.stamps = self.stamps.wrapping_add(1);
        self.stamps
    }

    pub(super) fn set_deadline(&mut self, lane: u32, number: u32, stamp: u32) {
        let (requests, attempts) = (&self.requests, &self.attempts);
        let live = |due, deadline: Deadline| is_live(requests, attempts, due, deadline);
        if let Some(at) = self.lanes.set(lane, self.now, (number, stamp), live) {
            self.queue.push(at, What::Lane(lane));
        }
    }

    /// The first deadline of a lane has come.
    pub(super) fn expire(&mut self, lane: u32) {
        loop {
            let (requests, attempts) = (&self.requests, &self.attempts);
            let live = |due, deadline: Deadline| is_live(requests, attempts, due, deadline);
            match self.lanes.next(lane, self.now, live) {
                Ok((Due::Client, deadline)) => self.finish(deadline.number, Outcome::GaveUp),
                Ok((Due::Request, deadline)) => self.finish(deadline.number, Outcome::Timeout),
                Ok((Due::Attempt, deadline)) => self.attempt_timed_out(deadline.number),
                Err(next) => {
                    if let Some(at) = next {
                        self.queue.push(at, What::Lane(lane));
                    }
                    return;
                }
            }
        }
    }

    /// A try is over, as the client sees it, and others may go on because of it.
    pub(super) fn finish(&mut self, number: u32, outcome: Outcome) {
        let request = &self.requests[number];
        let (proxy, service) = (request.proxy, request.service);
        self.end_try(number, outcome);
        self.wake(proxy, service);
    }

    fn end_try(&mut self, number: u32, outcome: Outcome) {
        debug_assert!(!self.requests[number].over, "a try ended twice");
        // A proxy whose own time ran out holds that against the endpoint; when somebody else ended it, nothing is known.
        let of_others = if outcome == Outcome::Timeout { outcome } else { Outcome::GaveUp };
        self.abandon_attempts(number, of_others);
        self.give_back(number, outcome);
        let request = &mut self.requests[number];
        request.over = true;
        let (group, tries) = (request.group, request.tries);
        let (begun, client) = (request.begun, request.client);
        let good = outcome.is_good();
        let state = &mut self.groups[group as usize];
        if !good
            && let Some(retry) = &state.spec.retry
            && tries <= retry.attempts
        {
            let delay = backoff(retry, tries, &mut state.rng);
            request.pins += 1;
            // A try that failed without time passing must not be repeated for ever at one moment: attempts are bounded.
            return self.plan(delay, What::Again(number));
        }
        self.measure.ended(group, outcome, self.now - begun, self.now);
        if client != NONE {
            let mut think = state.think.draw(&mut state.rng);
            if think == 0 && (!good || self.now == begun) {
                think = PAUSE_MIN;
            }
            self.plan(think, What::Thought(client));
        }
        self.let_go(number);
    }

    /// Forgets a request that is over, as soon as no event names it.
    pub(super) fn let_go(&mut self, number: u32) {
        let request = &mut self.requests[number];
        if request.over && request.pins == 0 {
            request.stamp = 0;
            self.spare.push((std::mem::take(&mut request.held), std::mem::take(&mut request.passes)));
            self.requests.remove(number);
        }
    }
}

/// Whether a deadline still means something.
fn is_live(
    requests: &crate::slab::Slab<Request>,
    attempts: &crate::slab::Slab<super::Attempt>,
    due: Due,
    deadline: Deadline,
) -> bool {
    match due {
        Due::Client | Due::Request => {
            let request = &requests[deadline.number];
            request.stamp == deadline.stamp && !request.over
        }
        Due::Attempt => {
            let attempt = &attempts[deadline.number];
            attempt.stamp == deadline.stamp && attempt.request != NONE
        }
    }
}

/// How long a client waits before it tries again.
fn backoff(retry: &ClientRetry, tries: u32, rng: &mut crate::rng::Stream) -> u64 {
    let base = retry.base.map_or(0, nanos);
    let max = retry.max.map_or(u64::MAX, nanos);
    let whole = base.saturating_mul(1 << tries.saturating_sub(1).min(30)).min(max);
    match retry.jitter {
        Jitter::None => whole,
        Jitter::Full => (rng.unit() * whole as f64) as u64,
    }
}
