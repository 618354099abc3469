//! What servers do: they take work in, let it wait, do it, and answer.

use weir_policy::{Nanos, deadline};

use super::state::{Attempt, Line, Outcome, Server};
use super::{NONE, What, World};
use crate::proxy::{Asked, Verdict};
use crate::scenario::Order;

impl World<'_> {
    /// An attempt reaches its server.
    pub(super) fn reach(&mut self, number: u32) {
        let attempt = &self.attempts[number];
        let server = attempt.server;
        if attempt.request == NONE && self.servers[server as usize].guard.is_some() {
            // Its caller has gone, and the sidecar knows that the connection is closed.
            return self.attempts.remove(number);
        }
        if attempt.life != self.servers[server as usize].life || !self.servers[server as usize].up {
            return self.send_back(number, Outcome::Connect);
        }
        self.servers[server as usize].tally.reached += 1;
        if self.servers[server as usize].guard.is_some() {
            return self.pass_guard(number);
        }
        self.take_in(number);
    }

    /// Asks the limits of the server's sidecar.
    fn pass_guard(&mut self, number: u32) {
        let now = self.moment();
        let attempt = &self.attempts[number];
        let server = attempt.server;
        let Some(guard) = &mut self.servers[server as usize].guard else { return self.take_in(number) };
        if attempt.request == NONE {
            guard.give_back(number, Outcome::GaveUp, now);
            self.attempts.remove(number);
            return self.wake_guard(server);
        }
        let request = &self.requests[attempt.request];
        let asked = Asked { clients: &self.groups[request.group as usize].spec, values: &request.values };
        match guard.admit(&asked, number, now) {
            Verdict::Pass => self.take_in(number),
            Verdict::At(turn) if turn.0 >= self.told_until(number) => {
                if let Some(guard) = &mut self.servers[server as usize].guard {
                    guard.refund(number, now);
                }
                self.turn_away(number, Outcome::Limited);
            }
            Verdict::At(turn) => {
                self.attempts[number].held_back = true;
                self.queue.push(turn.0, What::Admitted(number));
            }
            Verdict::Wait(deadline) => {
                self.attempts[number].held_back = true;
                self.queue.push(deadline.0, What::Tired(number));
            }
            Verdict::Refuse(outcome) => self.turn_away(number, outcome),
        }
        self.wake_guard(server);
    }

    /// Until when the proxy that sent an attempt waits for its answer, as it tells the sidecar.
    fn told_until(&mut self, number: u32) -> u64 {
        let Attempt { request, proxy, service, sent, .. } = self.attempts[number];
        let whole = self.waits_until(request);
        let of_try = self.proxies[proxy as usize].upstream(service).try_timeout;
        of_try.map_or(whole, |timeout| whole.min(sent.saturating_add(timeout)))
    }

    /// An attempt that waited for its turn at the server's sidecar has it.
    pub(super) fn admitted(&mut self, number: u32) {
        let attempt = &mut self.attempts[number];
        attempt.held_back = false;
        if attempt.life != self.servers[attempt.server as usize].life {
            return self.send_back(number, Outcome::Reset);
        }
        self.take_in(number);
    }

    /// An attempt has waited for a place as long as it may. This event carries it until then, even if it got its place
    /// before: then another attempt has gone on in its stead.
    pub(super) fn tired(&mut self, number: u32) {
        let now = self.moment();
        let attempt = &mut self.attempts[number];
        let server = attempt.server;
        if !attempt.held_back {
            return self.attempts.remove(number);
        }
        attempt.held_back = false;
        if attempt.life != self.servers[server as usize].life {
            return self.send_back(number, Outcome::Reset);
        }
        if let Some(guard) = &mut self.servers[server as usize].guard {
            guard.lose_patience(number, now);
        }
        self.turn_away(number, Outcome::Shed);
        self.wake_guard(server);
    }

    /// Those whose waiting at a server's sidecar has come to an end go on.
    fn wake_guard(&mut self, server: u32) {
        let now = self.moment();
        while let Some((number, result)) =
            self.servers[server as usize].guard.as_mut().and_then(|guard| guard.woken(now))
        {
            // The event of its patience still carries the old one.
            let copy = self.copy_of(number);
            let guard = self.servers[server as usize].guard.as_mut();
            match result {
                Ok(()) => {
                    if let Some(guard) = guard {
                        guard.renumber(number, copy);
                    }
                    self.pass_guard(copy);
                }
                Err(outcome) => {
                    if let Some(guard) = guard {
                        guard.give_back(number, outcome, now);
                    }
                    self.turn_away(copy, outcome);
                }
            }
        }
    }

    /// The sidecar refuses, and says that it was a limit: no fault of the server.
    fn turn_away(&mut self, number: u32, outcome: Outcome) {
        self.servers[self.attempts[number].server as usize].tally.refused += 1;
        self.send_back(number, outcome);
    }

    /// Makes an attempt one with another number, because an event holds the old one.
    fn copy_of(&mut self, number: u32) -> u32 {
        let attempt = self.attempts[number].clone();
        self.attempts[number].request = NONE;
        self.attempts[number].working = false;
        self.attempts[number].held_back = false;
        let request = attempt.request;
        let copy = self.attempts.insert(Attempt { working: false, held_back: false, ..attempt });
        if request != NONE {
            let under_way = &mut self.requests[request].under_way;
            if let Some(place) = under_way.iter_mut().find(|place| **place == number) {
                *place = copy;
            }
        }
        copy
    }

    /// What an attempt held of the limits of the server's sidecar is given back.
    fn release_guard(&mut self, number: u32, outcome: Outcome) {
        let now = self.moment();
        let attempt = &self.attempts[number];
        let server = &mut self.servers[attempt.server as usize];
        if let Some(guard) = &mut server.guard {
            let outcome = if attempt.request == NONE { Outcome::GaveUp } else { outcome };
            guard.give_back(number, outcome, now);
        }
        if let Some(estimator) = &mut server.estimator
            && outcome == Outcome::Ok
        {
            let took = std::time::Duration::from_nanos(self.now - attempt.reached);
            estimator.completed(attempt.others, took, now);
        }
    }

    /// The server itself has the request: it works on it, or lets it wait.
    pub(super) fn take_in(&mut self, number: u32) {
        let server = self.attempts[number].server as usize;
        self.attempts[number].reached = self.now;
        let state = &mut self.servers[server];
        self.attempts[number].others = state.busy + state.line.len;
        let group = &self.server_groups[state.group as usize];
        let idle = state.busy < group.cores && self.now >= state.paused_until;
        if idle && state.line.len == 0 {
            return self.work(number);
        }
        if state.line.len >= group.queue_max {
            state.tally.refused += 1;
            // A frozen server cannot even say that it is full: its connections are not accepted.
            if self.now < state.paused_until {
                self.release_guard(number, Outcome::Connect);
                return self.time_out_connect(number);
            }
            self.release_guard(number, Outcome::Status(503));
            return self.send_back(number, Outcome::Status(503));
        }
        state.line.len += 1;
        self.waiting += 1;
        state.tally.line_max = state.tally.line_max.max(state.line.len);
        match group.order {
            _ if state.line.first == NONE => {
                (state.line.first, state.line.last) = (number, number);
                self.attempts[number].next = NONE;
            }
            Order::Fifo => {
                self.attempts[state.line.last].next = number;
                self.attempts[number].next = NONE;
                state.line.last = number;
            }
            Order::Lifo => {
                self.attempts[number].next = state.line.first;
                state.line.first = number;
            }
        }
    }

    /// Begins to work on an attempt.
    fn work(&mut self, number: u32) {
        let attempt = &mut self.attempts[number];
        let server = &mut self.servers[attempt.server as usize];
        let group = &self.server_groups[server.group as usize];
        let mut time = group.time;
        attempt.outcome = Outcome::Ok;
        if server.failing != NONE {
            let failing = &self.struck[server.failing as usize].failing;
            if server.rng.chance(failing.ratio) {
                attempt.outcome = Outcome::Status(failing.status);
                time = failing.time.unwrap_or(time);
            }
        }
        let drawn = time.draw(&mut server.rng) as f64;
        let contended = 1.0 + group.contention * f64::from(server.busy);
        let factor = contended * server.slow * warmth(server, group.cold, self.now) / group.speed;
        let work = if factor == 1.0 { drawn as u64 } else { (drawn * factor).min(3.2e17) as u64 };
        server.busy += 1;
        attempt.working = true;
        attempt.paused = server.paused;
        // What is still to be done when the world ends is not done.
        server.tally.worked_nanos += u128::from(work.min(self.end - self.now));
        self.plan(work, What::Done(number));
    }

    /// A server is done with an attempt.
    pub(super) fn done(&mut self, number: u32) {
        let attempt = &mut self.attempts[number];
        let server = &mut self.servers[attempt.server as usize];
        if attempt.life != server.life {
            // It died meanwhile, and whoever waited has been told.
            return self.attempts.remove(number);
        }
        if attempt.paused != server.paused {
            let stood_still = server.paused - attempt.paused;
            attempt.paused = server.paused;
            return self.plan(stood_still, What::Done(number));
        }
        attempt.working = false;
        server.busy -= 1;
        server.tally.completed += 1;
        let (index, outcome) = (attempt.server, attempt.outcome);
        self.release_guard(number, outcome);
        self.send_back(number, outcome);
        self.wake_guard(index);
        self.work_on(index);
    }

    /// Gives idle cores what waits.
    pub(super) fn work_on(&mut self, index: u32) {
        loop {
            let server = &mut self.servers[index as usize];
            let group = &self.server_groups[server.group as usize];
            if server.line.len == 0
                || server.busy >= group.cores
                || self.now < server.paused_until
                || !server.up
            {
                return;
            }
            let number = server.line.first;
            server.line.first = self.attempts[number].next;
            server.line.len -= 1;
            self.waiting -= 1;
            if server.line.len == 0 {
                server.line = Line::EMPTY;
            }
            let attempt = &self.attempts[number];
            let deadline = (attempt.deadline != u64::MAX).then_some(Nanos(attempt.deadline));
            let in_time = deadline::is_worth_while(deadline, Nanos(self.now), std::time::Duration::ZERO);
            if group.drop_expired && (attempt.request == NONE || !in_time) {
                server.tally.expired += 1;
                self.release_guard(number, Outcome::Expired);
                self.send_back(number, Outcome::Expired);
                self.wake_guard(index);
            } else {
                self.work(number);
            }
        }
    }

    /// Everything that a server has is lost, because it dies.
    pub(super) fn lose_all(&mut self, index: u32) {
        let server = &mut self.servers[index as usize];
        server.life += 1;
        server.busy = 0;
        let line = std::mem::replace(&mut server.line, Line::EMPTY);
        self.waiting -= u64::from(line.len);
        let mut next = line.first;
        while next != NONE {
            let number = next;
            next = self.attempts[number].next;
            self.send_back(number, Outcome::Reset);
        }
        // What is being worked on is carried by an event, which will find that the server has died.
        let working: Vec<u32> = self.attempts.numbers().filter(|number| self.lost(*number, index)).collect();
        for number in working {
            let copy = self.copy_of(number);
            self.send_back(copy, Outcome::Reset);
        }
        if let Some(guard) = &mut self.servers[index as usize].guard {
            guard.restart(Nanos(self.now));
        }
    }

    fn lost(&self, number: u32, server: u32) -> bool {
        let attempt = &self.attempts[number];
        attempt.working && attempt.server == server
    }

    /// An answer leaves the server.
    pub(super) fn send_back(&mut self, number: u32, outcome: Outcome) {
        let attempt = &mut self.attempts[number];
        attempt.outcome = outcome;
        if attempt.request == NONE {
            return self.attempts.remove(number);
        }
        let (proxy, server) = (attempt.proxy, attempt.server);
        match self.delay(proxy, server) {
            // Lost on the way: only a deadline can end the waiting.
            None => self.lose(number),
            Some(0) => self.back(number),
            Some(delay) => self.plan(delay, What::Back(number)),
        }
    }
}

/// How many times as long work takes because the server was started a short while ago.
fn warmth(server: &Server, cold: Option<(f64, u64)>, now: u64) -> f64 {
    match (cold, server.started) {
        (Some((factor, over)), Some(started)) if now < started.saturating_add(over) => {
            let share = (now - started) as f64 / over as f64;
            factor + (1.0 - factor) * share
        }
        _ => 1.0,
    }
}
