//! What servers do: they take work in, let it wait, do it, and answer.

use super::state::{Attempt, Line, Outcome, Server};
use super::{NONE, What, World};
use crate::scenario::Order;

impl World<'_> {
    /// An attempt reaches its server.
    pub(super) fn reach(&mut self, number: u32) {
        let attempt = &self.attempts[number];
        let server = attempt.server;
        if attempt.life != self.servers[server as usize].life || !self.servers[server as usize].up {
            return self.send_back(number, Outcome::Connect);
        }
        self.servers[server as usize].tally.reached += 1;
        if let Some(guard) = &mut self.servers[server as usize].guard
            && let Err(outcome) = guard.admit(number, weir_policy::Nanos(self.now))
        {
            self.servers[server as usize].tally.refused += 1;
            return self.send_back(number, outcome);
        }
        self.take_in(number);
    }

    /// The server itself has the request: it works on it, or lets it wait.
    pub(super) fn take_in(&mut self, number: u32) {
        let server = self.attempts[number].server as usize;
        self.attempts[number].reached = self.now;
        let state = &mut self.servers[server];
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
        attempt.work = work;
        server.tally.worked_nanos += work;
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
        self.work_on(index);
    }

    /// Gives idle cores what waits.
    pub(super) fn work_on(&mut self, index: u32) {
        loop {
            let server = &mut self.servers[index as usize];
            let group = &self.server_groups[server.group as usize];
            if server.line.len == 0 || server.busy >= group.cores || self.now < server.paused_until || !server.up {
                return;
            }
            let number = server.line.first;
            server.line.first = self.attempts[number].next;
            server.line.len -= 1;
            if server.line.len == 0 {
                server.line = Line::EMPTY;
            }
            let attempt = &self.attempts[number];
            if group.drop_expired && (attempt.request == NONE || attempt.deadline <= self.now) {
                server.tally.expired += 1;
                self.release_guard(number, Outcome::Expired);
                self.send_back(number, Outcome::Expired);
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
        let mut next = std::mem::replace(&mut server.line, Line::EMPTY).first;
        while next != NONE {
            let number = next;
            next = self.attempts[number].next;
            self.send_back(number, Outcome::Reset);
        }
        // What is being worked on is carried by an event, which will find that the server has died.
        let working: Vec<u32> = self.attempts.numbers().filter(|number| self.lost(*number, index)).collect();
        for number in working {
            let orphan = self.attempts[number].clone();
            self.attempts[number].request = NONE;
            self.attempts[number].working = false;
            let copy = self.attempts.insert(Attempt { working: false, ..orphan });
            if orphan.request != NONE {
                let request = &mut self.requests[orphan.request];
                if let Some(place) = request.under_way.iter_mut().find(|place| **place == number) {
                    *place = copy;
                }
            }
            self.send_back(copy, Outcome::Reset);
        }
        if let Some(guard) = &mut self.servers[index as usize].guard {
            guard.restart();
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
