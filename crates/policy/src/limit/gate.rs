//! Bounds what is in flight: a number of places, found or given, and who waits for one.
//!
//! Invariant: nobody waits while a place is free. So whoever comes and finds a place has overtaken nobody.

use std::time::Duration;

use super::adaptive::Adaptive;
use super::config::{Algorithm, GateConfig, QueueConfig};
use super::level::Bar;
use super::queue::{Joined, Queue, Waiter};
use super::verdict::{Grant, Held, Outcome, Place, Refusal, Ticket, Wake, Why};
use crate::time::Nanos;

/// When a request that was shed may be worth trying again: by then a backlog is over, or the limit has been found.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A gate. Two numbers; what else some need is elsewhere.
#[derive(Debug)]
pub(super) struct Gate {
    limit: u32,
    in_flight: u32,
    extras: Option<Box<Extras>>,
}

#[derive(Debug)]
struct Extras {
    adaptive: Option<Adaptive>,
    queue: Queue,
    bar: Option<Bar>,
    config: GateConfig,
}

/// What a gate decides.
#[derive(Clone, Copy, Debug)]
pub(super) enum GateVerdict {
    Admit(Place),
    Wait(Ticket, Nanos),
    Refuse(Refusal),
}

/// A gate as it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct GateView {
    pub(super) limit: u32,
    pub(super) in_flight: u32,
    pub(super) waiting: usize,
    /// The mean that was found.
    pub(super) found: Option<f64>,
    /// The share of ranks that get in.
    pub(super) open: Option<f64>,
}

impl Gate {
    /// A gate with nothing in flight, of an algorithm that has one; any other lets everything through.
    pub(super) fn new(algorithm: &Algorithm) -> Self {
        let (limit, adaptive, config) = parts(algorithm);
        let plain = adaptive.is_none() && config.queue.max == 0 && config.levels <= 1;
        let extras = || Extras {
            adaptive,
            queue: Queue::new(config.queue, config.levels),
            bar: (config.levels > 1).then(|| Bar::new(config.levels)),
            config,
        };
        let mut gate = Self { limit, in_flight: 0, extras: (!plain).then(|| Box::new(extras())) };
        gate.follow();
        gate
    }

    pub(super) fn admit(
        &mut self,
        key: u64,
        level: u8,
        may_wait: bool,
        now: Nanos,
        wakes: &mut Vec<Wake>,
    ) -> GateVerdict {
        if let Some(bar) = self.extras.as_mut().and_then(|extras| extras.bar.as_mut())
            && !bar.passes(level, key, now)
        {
            return refuse(Why::Level);
        }
        if self.in_flight < self.limit {
            self.waited(Duration::ZERO);
            return GateVerdict::Admit(self.enter(now));
        }
        let Some(extras) = self.extras.as_mut().filter(|_| may_wait) else { return refuse(Why::Full) };
        let joined = extras.queue.join(level, now);
        let verdict = match joined {
            Joined::Waits(waiter) | Joined::Instead(waiter, _) => {
                GateVerdict::Wait(Ticket { key, number: waiter.number }, waiter.deadline)
            }
            Joined::Full => {
                // As bad as having waited for as long as it may.
                let wait = extras.config.queue.timeout;
                self.waited(wait);
                refuse(Why::Full)
            }
        };
        if let Joined::Instead(_, other) = joined {
            self.waited(now.since(other.since));
            wakes.push(shed(key, other, Why::Displaced));
        }
        self.check();
        verdict
    }

    pub(super) fn release(
        &mut self,
        key: u64,
        place: Place,
        outcome: Option<Outcome>,
        now: Nanos,
        wakes: &mut Vec<Wake>,
    ) {
        debug_assert!(self.in_flight > 0, "a place is given back that nobody has");
        self.in_flight = self.in_flight.saturating_sub(1);
        if let (Some(outcome), Some(extras)) = (outcome, self.extras.as_mut())
            && let Some(adaptive) = extras.adaptive.as_mut()
        {
            adaptive.over(place.at, place.phase, outcome, now);
            self.limit = adaptive.limit();
        }
        self.let_in(key, now, wakes);
    }

    /// False if it waits no more.
    pub(super) fn cancel(&mut self, ticket: Ticket, now: Nanos) -> bool {
        let queue = self.extras.as_mut().map(|extras| &mut extras.queue);
        let Some(waiter) = queue.and_then(|queue| queue.leave(ticket.number, now)) else { return false };
        self.waited(now.since(waiter.since));
        self.check();
        true
    }

    /// Goes on by another configuration; false if this gate cannot.
    pub(super) fn carry(
        &mut self,
        key: u64,
        algorithm: &Algorithm,
        now: Nanos,
        wakes: &mut Vec<Wake>,
    ) -> bool {
        let carried = self.set(algorithm);
        self.follow();
        self.let_in(key, now, wakes);
        carried
    }

    fn set(&mut self, algorithm: &Algorithm) -> bool {
        let (limit, adaptive, config) = parts(algorithm);
        match &mut self.extras {
            None if adaptive.is_some() || config.levels > 1 => return false,
            // Begins to let wait.
            None => {
                if config.queue.max > 0 {
                    let queue = Queue::new(config.queue, config.levels);
                    self.extras = Some(Box::new(Extras { adaptive: None, queue, bar: None, config }));
                }
                self.limit = limit;
            }
            Some(extras) => {
                if extras.queue.levels() != usize::from(config.levels.max(1)) {
                    return false;
                }
                match (&mut extras.adaptive, algorithm) {
                    (Some(own), Algorithm::Adaptive { adaptive, .. }) => own.set_config(*adaptive),
                    (None, Algorithm::Concurrency { .. }) => self.limit = limit,
                    _ => return false,
                }
                extras.config = config;
                extras.queue.set_config(config.queue);
            }
        }
        true
    }

    pub(super) fn view(&self) -> GateView {
        let extras = self.extras.as_ref();
        GateView {
            limit: self.limit,
            in_flight: self.in_flight,
            waiting: extras.map_or(0, |extras| extras.queue.len()),
            found: extras.and_then(|extras| extras.adaptive.as_ref()).map(Adaptive::mean),
            open: extras.and_then(|extras| extras.bar.as_ref()).map(Bar::open),
        }
    }

    /// Whether nothing is in flight and nobody waits.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.extras.as_ref().is_none_or(|extras| extras.queue.len() == 0)
    }

    /// Lets in who waits while there is room.
    fn let_in(&mut self, key: u64, now: Nanos, wakes: &mut Vec<Wake>) {
        while self.in_flight < self.limit {
            let Some(extras) = self.extras.as_mut() else { break };
            let bar = &mut extras.bar;
            let late = |waiter: Waiter| {
                if let Some(bar) = bar {
                    bar.waited(now.since(waiter.since));
                }
                wakes.push(shed(key, waiter, Why::TimedOut));
            };
            let Some(waiter) = extras.queue.next(now, late) else { break };
            self.waited(now.since(waiter.since));
            let held = Held::Place { key, place: self.enter(now) };
            wakes.push(Wake { ticket: Ticket { key, number: waiter.number }, result: Ok(Grant { held }) });
        }
        self.check();
    }

    fn enter(&mut self, now: Nanos) -> Place {
        self.in_flight += 1;
        let adaptive = self.extras.as_mut().and_then(|extras| extras.adaptive.as_mut());
        let phase = adaptive.map_or(0, |adaptive| {
            adaptive.came(self.in_flight);
            adaptive.phase()
        });
        Place { at: now, phase }
    }

    fn waited(&mut self, wait: Duration) {
        if let Some(bar) = self.extras.as_mut().and_then(|extras| extras.bar.as_mut()) {
            bar.waited(wait);
        }
    }

    /// Takes over the limit that was found.
    fn follow(&mut self) {
        if let Some(adaptive) = self.extras.as_ref().and_then(|extras| extras.adaptive.as_ref()) {
            self.limit = adaptive.limit();
        }
    }

    fn check(&self) {
        let waiting = self.extras.as_ref().map_or(0, |extras| extras.queue.len());
        debug_assert!(waiting == 0 || self.in_flight >= self.limit, "somebody waits while a place is free");
    }
}

fn parts(algorithm: &Algorithm) -> (u32, Option<Adaptive>, GateConfig) {
    match algorithm {
        Algorithm::Concurrency { max, gate } => (*max, None, *gate),
        Algorithm::Adaptive { adaptive, gate } => (adaptive.initial, Some(Adaptive::new(*adaptive)), *gate),
        _ => (u32::MAX, None, GateConfig { queue: QueueConfig::GATE, levels: 1 }),
    }
}

fn refuse(why: Why) -> GateVerdict {
    GateVerdict::Refuse(refusal(why))
}

pub(super) const fn refusal(why: Why) -> Refusal {
    Refusal { why, retry_after: RETRY_AFTER, quota: None }
}

fn shed(key: u64, waiter: Waiter, why: Why) -> Wake {
    Wake { ticket: Ticket { key, number: waiter.number }, result: Err(refusal(why)) }
}
