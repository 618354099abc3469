//! What proxies do with a request: limit, break, balance, send, and account for what comes back.

use weir_policy::Nanos;
use weir_policy::balance::Tried;
use weir_policy::limit::Grant;
use weir_policy::retry::Facts;

use super::state::{Attempt, Outcome};
use super::{NONE, What, World};
use crate::proxy::{Asked, Chosen, Verdict};

impl World<'_> {
    /// A request comes to its proxy.
    pub(super) fn receive(&mut self, number: u32) {
        let request = &self.requests[number];
        let (proxy, service, stamp, sent) = (request.proxy, request.service, request.stamp, request.sent);
        let upstream = self.proxies[proxy as usize].upstream(service);
        upstream.came(Nanos(sent));
        if let Some(lane) = upstream.request_lane {
            let deadline = sent.saturating_add(upstream.request_timeout);
            let request = &mut self.requests[number];
            if deadline < request.deadline {
                request.deadline = deadline;
                self.set_deadline(lane, number, stamp);
            }
        }
        self.pass_limits(number);
    }

    /// Asks the limits that were not asked yet.
    fn pass_limits(&mut self, number: u32) {
        let now = self.moment();
        let request = &mut self.requests[number];
        let asked = Asked { clients: &self.groups[request.group as usize].spec, values: &request.values };
        let (proxy, service) = (request.proxy, request.service);
        let verdict = self.proxies[proxy as usize].admit(service, &asked, &mut request.held, number, now);
        let waits_until = if matches!(verdict, Verdict::At(_)) { self.waits_until(number) } else { u64::MAX };
        let request = &mut self.requests[number];
        match verdict {
            Verdict::Pass => self.attempt(number, false),
            Verdict::At(turn) if turn.0 >= waits_until => {
                self.proxies[proxy as usize].refund(service, &mut request.held, now);
                self.finish(number, Outcome::Limited);
            }
            Verdict::At(turn) => {
                request.pins += 1;
                self.queue.push(turn.0, What::Turn(number));
            }
            Verdict::Wait(deadline) => {
                request.pins += 1;
                self.queue.push(deadline.0, What::Patience(number));
            }
            Verdict::Refuse(outcome) => self.finish(number, outcome),
        }
        self.wake(proxy, service);
    }

    /// Until when a request's proxy waits for its answer, by the policy of the service that it was for. How long its client does, no
    /// proxy knows.
    pub(super) fn waits_until(&mut self, number: u32) -> u64 {
        let request = &self.requests[number];
        let (first, sent) = (self.groups[request.group as usize].service, request.sent);
        match self.proxies[request.proxy as usize].upstream(first).request_timeout {
            0 => u64::MAX,
            timeout => sent.saturating_add(timeout),
        }
    }

    /// A request that waited for its turn has it.
    pub(super) fn turn(&mut self, number: u32) {
        let request = &mut self.requests[number];
        request.pins -= 1;
        if request.over {
            return self.let_go(number);
        }
        self.attempt(number, false);
    }

    /// A request has waited for a place as long as it may, if it still waits.
    pub(super) fn patience(&mut self, number: u32) {
        let now = self.moment();
        let request = &mut self.requests[number];
        request.pins -= 1;
        if request.over {
            return self.let_go(number);
        }
        let (proxy, service) = (request.proxy, request.service);
        // A wait that is over by now may have been for another limit.
        if request.held.is_out_of_time(now)
            && self.proxies[proxy as usize].lose_patience(service, &mut request.held, number, now)
        {
            self.finish(number, Outcome::Shed);
        }
        self.wake(proxy, service);
    }

    /// Those whose waiting at a limit has come to an end go on. One that goes on may make others go on in turn: they come after it, as
    /// a queue may be longer than what fits on the stack.
    pub(super) fn wake(&mut self, proxy: u32, service: u32) {
        let now = self.moment();
        if !self.to_wake.is_empty() {
            if !self.to_wake.contains(&(proxy, service)) {
                self.to_wake.push((proxy, service));
            }
            return;
        }
        let mut of = (proxy, service);
        loop {
            let (proxy, service) = of;
            while let Some((number, rule, result)) = self.proxies[proxy as usize].woken(service, now) {
                if self.to_wake.is_empty() {
                    self.to_wake.push(of);
                }
                self.goes_on(number, rule, result);
            }
            self.to_wake.retain(|one| *one != of);
            let Some(next) = self.to_wake.first() else { return };
            of = *next;
        }
    }

    /// A request waits no more.
    fn goes_on(&mut self, number: u32, rule: usize, result: Result<Grant, Outcome>) {
        let held = &mut self.requests[number].held;
        match result {
            Ok(grant) => {
                held.woken(rule, grant);
                self.pass_limits(number);
            }
            Err(outcome) => {
                held.waits_no_more();
                self.finish(number, outcome);
            }
        }
    }

    /// What a request held is given back.
    pub(super) fn give_back(&mut self, number: u32, outcome: Outcome) {
        let now = self.moment();
        let request = &mut self.requests[number];
        let (proxy, service) = (request.proxy, request.service);
        self.proxies[proxy as usize].give_back(service, &mut request.held, number, outcome, now);
    }

    /// Sends a request to an endpoint.
    fn attempt(&mut self, number: u32, hedge: bool) {
        let now = self.moment();
        let request = &mut self.requests[number];
        let (proxy, service, deadline) = (request.proxy, request.service, request.deadline);
        let group = &self.groups[request.group as usize];
        let asked = Asked { clients: &group.spec, values: &request.values };
        let passes = &mut request.passes[usize::from(hedge)];
        let chosen = self.proxies[proxy as usize].choose(service, &asked, &request.tried, passes, now);
        let endpoint = match chosen {
            Chosen::Endpoint(endpoint) => endpoint,
            // The first attempt may still be answered.
            _ if hedge => return,
            Chosen::None(outcome) => return self.finish(number, outcome),
            Chosen::Elsewhere(other) => return self.go_elsewhere(number, &other),
        };
        let request = &mut self.requests[number];
        request.attempts += 1;
        request.tried.add(endpoint as usize);
        let server = self.services[service as usize][endpoint as usize];
        let stamp = self.stamp();
        let attempt = self.attempts.insert(Attempt {
            request: number,
            proxy,
            service,
            server,
            endpoint,
            next: NONE,
            stamp,
            life: self.servers[server as usize].life,
            sent: self.now,
            reached: self.now,
            deadline,
            paused: 0,
            outcome: Outcome::Ok,
            working: false,
            held_back: false,
            lost: false,
            others: 0,
            hedge,
        });
        let request = &mut self.requests[number];
        request.under_way[usize::from(hedge)] = attempt;
        self.measure.attempt(hedge, self.now);
        let upstream = self.proxies[proxy as usize].upstream(service);
        upstream.sent(endpoint);
        if let Some(lane) = upstream.try_lane {
            self.set_deadline(lane, attempt, stamp);
        }
        self.think_of_hedging(number);
        self.travel(attempt);
        self.send_probes(proxy, service);
    }

    /// A breaker's fallback sends a request to another service. It has no more to do with the limits of the first. What the other's own
    /// limits and breakers answer it gets, but a third service would be one too many.
    fn go_elsewhere(&mut self, number: u32, name: &str) {
        let other = self.scenario.services.iter().position(|service| service.name == name);
        let request = &mut self.requests[number];
        let first = self.groups[request.group as usize].service;
        match other {
            Some(other) if request.service == first && other as u32 != first => {
                let proxy = request.proxy;
                self.give_back(number, Outcome::Broken);
                let request = &mut self.requests[number];
                request.service = other as u32;
                request.tried = Tried::none();
                // Where nobody is there to answer it takes nothing of what others may have later.
                if self.proxies[proxy as usize].upstream(other as u32).takes_requests() {
                    self.pass_limits(number);
                } else {
                    self.attempt(number, false);
                }
                self.wake(proxy, first);
            }
            _ => self.finish(number, Outcome::Broken),
        }
    }

    /// An attempt leaves for its server.
    fn travel(&mut self, attempt: u32) {
        let Attempt { proxy, server, .. } = self.attempts[attempt];
        match self.delay(proxy, server) {
            None => self.time_out_connect(attempt),
            Some(0) => self.reach(attempt),
            Some(delay) => self.plan(delay, What::Reach(attempt)),
        }
    }

    /// No connection comes about, which is noticed after the time for it.
    pub(super) fn time_out_connect(&mut self, number: u32) {
        let attempt = &mut self.attempts[number];
        if attempt.request == NONE {
            return self.attempts.remove(number);
        }
        attempt.outcome = Outcome::Connect;
        let timeout = self.proxies[attempt.proxy as usize].upstream(attempt.service).connect_timeout;
        self.plan(timeout, What::Back(number));
    }

    /// An answer is lost on its way. Whoever waits for it does so until a deadline, and carries the attempt until then.
    pub(super) fn lose(&mut self, number: u32) {
        self.attempts[number].lost = true;
    }

    /// Nobody waits for an attempt any more. Whoever carries it will find that out; one that was lost is carried by nobody.
    fn give_up_on(&mut self, number: u32) {
        self.attempts[number].request = NONE;
        if self.attempts[number].lost {
            self.attempts.remove(number);
        }
    }

    /// How long a message travels between a proxy and a server now; none if it does not get through.
    pub(super) fn delay(&mut self, proxy: u32, server: u32) -> Option<u64> {
        let state = &self.servers[server as usize];
        let proxy = &mut self.proxies[proxy as usize];
        let mut delay = self.network.draw(&mut proxy.network);
        if state.zone != proxy.zone {
            delay = delay.saturating_add(self.cross_zone.draw(&mut proxy.network));
        }
        for fault in &self.network_faults {
            let fault = &self.struck[*fault as usize];
            if fault.strikes(server, proxy.group) {
                match &fault.delay {
                    None => return None,
                    Some(more) => delay = delay.saturating_add(more.draw(&mut proxy.network)),
                }
            }
        }
        Some(delay)
    }

    /// An answer reaches its proxy.
    pub(super) fn back(&mut self, number: u32) {
        let attempt = self.attempts[number].clone();
        self.attempts.remove(number);
        self.attempts[number].request = NONE;
        if attempt.request == NONE {
            return;
        }
        let request = &mut self.requests[attempt.request];
        request.under_way[usize::from(attempt.hedge)] = NONE;
        self.account(&attempt, attempt.outcome);
        self.judge(attempt.request, attempt.outcome);
    }

    /// A proxy waited long enough for an attempt.
    pub(super) fn attempt_timed_out(&mut self, number: u32) {
        let attempt = self.attempts[number].clone();
        self.give_up_on(number);
        self.requests[attempt.request].under_way[usize::from(attempt.hedge)] = NONE;
        self.account(&attempt, Outcome::Timeout);
        self.judge(attempt.request, Outcome::Timeout);
    }

    /// What an attempt's outcome means for the request.
    fn judge(&mut self, number: u32, outcome: Outcome) {
        let request = &self.requests[number];
        if outcome == Outcome::Ok {
            let degraded = request.service != self.groups[request.group as usize].service;
            return self.finish(number, if degraded { Outcome::Fallback } else { outcome });
        }
        // The other attempt may still be answered.
        if request.under_way != [NONE; 2] {
            return;
        }
        let facts = self.facts(number, outcome == Outcome::Connect);
        let request = &self.requests[number];
        let now = Nanos(self.now);
        let delay = self.proxies[request.proxy as usize].retry(request.service, outcome, &facts, now);
        match delay {
            None => self.finish(number, outcome),
            Some(delay) => {
                self.measure.retried(self.now);
                let request = &mut self.requests[number];
                if delay == 0 {
                    return self.attempt(number, false);
                }
                request.pins += 1;
                self.plan(delay, What::Retry(number));
            }
        }
    }

    /// A proxy tries again.
    pub(super) fn retry(&mut self, number: u32) {
        let request = &mut self.requests[number];
        request.pins -= 1;
        if request.over {
            return self.let_go(number);
        }
        self.attempt(number, false);
    }

    /// Whoever still waits for attempts of a request waits no more.
    pub(super) fn abandon_attempts(&mut self, number: u32, outcome: Outcome) {
        for place in 0..2 {
            let attempt = std::mem::replace(&mut self.requests[number].under_way[place], NONE);
            if attempt != NONE {
                let of = self.attempts[attempt].clone();
                self.give_up_on(attempt);
                self.account(&of, outcome);
            }
        }
    }
}

impl World<'_> {
    /// What became of an attempt, for those that keep accounts.
    fn account(&mut self, attempt: &Attempt, outcome: Outcome) {
        let now = self.moment();
        let passes = &mut self.requests[attempt.request].passes[usize::from(attempt.hedge)];
        let upstream = self.proxies[attempt.proxy as usize].upstream(attempt.service);
        if !attempt.hedge {
            upstream.first_took(self.now - attempt.sent, now);
        }
        upstream.answered(attempt.endpoint, passes, outcome, self.now - attempt.sent, now);
    }

    /// What a proxy knows about a request, for decisions to send it once more.
    fn facts(&self, number: u32, unsent: bool) -> Facts {
        let request = &self.requests[number];
        Facts {
            attempts: request.attempts,
            idempotent: self.groups[request.group as usize].idempotent,
            unsent,
            replayable: true,
            response_begun: false,
            another_endpoint: self.services[request.service as usize].len() > request.tried.len(),
            deadline: (request.deadline != u64::MAX).then_some(Nanos(request.deadline)),
        }
    }

    /// Asks whether the request is sent to another endpoint as well, now or later.
    fn think_of_hedging(&mut self, number: u32) {
        let request = &self.requests[number];
        let [first, second] = request.under_way;
        if first == NONE || second != NONE {
            return;
        }
        let waited = self.now - self.attempts[first].sent;
        let facts = self.facts(number, false);
        let (proxy, service, now) = (request.proxy, request.service, self.moment());
        match self.proxies[proxy as usize].upstream(service).hedge(&facts, waited, now) {
            Some(0) => self.attempt(number, true),
            Some(wait) => {
                self.requests[number].pins += 1;
                self.plan(wait, What::Hedge(number));
            }
            None => {}
        }
    }

    /// It is time to ask again whether a request is hedged.
    pub(super) fn hedge(&mut self, number: u32) {
        let request = &mut self.requests[number];
        request.pins -= 1;
        if request.over {
            return self.let_go(number);
        }
        self.think_of_hedging(number);
    }
}
