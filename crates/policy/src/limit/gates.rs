//! A gate for each key.
//!
//! A key has a place in the table at least as long as it has requests in flight or waiting. When every place is taken by
//! such a key, a newcomer is refused: letting it through would make the number in flight one that nobody knows.

use super::config::{Algorithm, LimitConfig};
use super::gate::{Gate, GateVerdict, GateView, refusal};
use super::keys::{Keys, Put};
use super::latch::{Guard, Latch};
use super::verdict::{Outcome, Place, Request, Ticket, Wake, Why};
use crate::time::Nanos;

/// Shards, by the highest bits of a hash. A power of two.
const SHARDS: usize = 16;

/// Most gates that are looked at while others wait.
const VISITED_AT_ONCE: usize = 16;

/// Gates by key.
#[derive(Debug)]
pub(super) struct Gates {
    shards: Vec<Shard>,
}

/// Cache lines of its own, so that threads at different shards do not disturb each other.
#[derive(Debug)]
#[repr(align(128))]
struct Shard(Latch<Part>);

#[derive(Debug)]
#[repr(C)]
struct Part {
    keys: Keys,
    gates: Vec<Gate>,
    /// What new gates are made of.
    algorithm: Algorithm,
}

impl Gates {
    pub(super) fn new(config: &LimitConfig) -> Self {
        let part = || Part {
            keys: Keys::new(places(config), 0),
            gates: Vec::new(),
            algorithm: config.algorithm.clone(),
        };
        Self { shards: (0..shards(config)).map(|_| Shard(Latch::new(part()))).collect() }
    }

    pub(super) fn admit(
        &self,
        hash: u64,
        request: &Request<'_>,
        may_wait: bool,
        now: Nanos,
        wakes: &mut Vec<Wake>,
    ) -> GateVerdict {
        let mut part = self.shard(hash);
        let Some(at) = part.place(hash, request.key) else { return GateVerdict::Refuse(refusal(Why::Keys)) };
        part.gates[at].admit(hash, request.level, may_wait, now, wakes)
    }

    pub(super) fn release(
        &self,
        hash: u64,
        place: Place,
        outcome: Option<Outcome>,
        now: Nanos,
        wakes: &mut Vec<Wake>,
    ) {
        let mut part = self.shard(hash);
        let at = part.keys.place_of(hash);
        debug_assert!(at.is_some(), "a key with a request in flight keeps its place");
        if let Some(at) = at {
            part.gates[at].release(hash, place, outcome, now, wakes);
        }
    }

    pub(super) fn cancel(&self, ticket: Ticket, now: Nanos) -> bool {
        let mut part = self.shard(ticket.key);
        part.keys.place_of(ticket.key).is_some_and(|at| part.gates[at].cancel(ticket, now))
    }

    /// Goes on by another configuration; false if the gates cannot.
    pub(super) fn carry(&self, config: &LimitConfig, now: Nanos, wakes: &mut Vec<Wake>) -> bool {
        // Gates of one table are alike: if a fresh one cannot be carried on, none can.
        let mut fresh = Gate::new(&self.shards[0].0.lock().algorithm);
        if shards(config) != self.shards.len() || !fresh.carry(0, &config.algorithm, now, wakes) {
            return false;
        }
        for shard in &self.shards {
            shard.0.lock().carry(config, now, wakes);
        }
        true
    }

    /// Whether a key has no place, and none may be given up for it.
    pub(super) fn has_no_place_for(&self, hash: u64) -> bool {
        let Part { keys, gates, .. } = &*self.shard(hash);
        keys.place_of(hash).is_none() && keys.len() >= keys.max() && !gates.iter().any(Gate::is_idle)
    }

    /// Calls back with every key's name and gate. Nobody waits while it is called.
    pub(super) fn visit(&self, mut each: impl FnMut(&[u8], GateView)) {
        let mut some: Vec<(Box<[u8]>, GateView)> = Vec::with_capacity(VISITED_AT_ONCE);
        for shard in &self.shards {
            // A key keeps its place until it makes room for another, so none is seen twice.
            for begin in (0..).step_by(VISITED_AT_ONCE) {
                some.extend(shard.0.lock().some(begin, VISITED_AT_ONCE));
                if some.is_empty() {
                    break;
                }
                some.drain(..).for_each(|(name, view)| each(&name, view));
            }
        }
    }

    #[inline]
    fn shard(&self, hash: u64) -> Guard<'_, Part> {
        self.shards[(hash >> 60) as usize & (self.shards.len() - 1)].0.lock()
    }
}

/// A small table is not divided: its bound is then exact.
fn shards(config: &LimitConfig) -> usize {
    if config.keys_max as usize >= 64 * SHARDS { SHARDS } else { 1 }
}

fn places(config: &LimitConfig) -> usize {
    (config.keys_max as usize / shards(config)).max(1)
}

impl Part {
    fn carry(&mut self, config: &LimitConfig, now: Nanos, wakes: &mut Vec<Wake>) {
        self.algorithm = config.algorithm.clone();
        self.keys.set_max(places(config));
        while self.gates.len() > self.keys.max() && self.gates.last().is_some_and(Gate::is_idle) {
            self.keys.pop();
            self.gates.pop();
        }
        for (at, gate) in self.gates.iter_mut().enumerate() {
            gate.carry(self.keys.hash(at), &config.algorithm, now, wakes);
        }
    }

    /// Copies of the names of so many places from one on, and how their gates stand.
    fn some(&self, begin: usize, count: usize) -> impl Iterator<Item = (Box<[u8]>, GateView)> {
        let gates = self.gates.iter().enumerate().skip(begin).take(count);
        gates.map(|(at, gate)| (self.keys.name(at).into(), gate.view()))
    }

    #[inline]
    fn place(&mut self, hash: u64, name: &[u8]) -> Option<usize> {
        if let Some(at) = self.keys.find(hash) {
            return Some(at);
        }
        let gates = &self.gates;
        match self.keys.put(hash, name, |at| gates[at].is_idle(), |_, _| {}) {
            Put::New(at) => {
                self.gates.push(Gate::new(&self.algorithm));
                Some(at)
            }
            Put::Instead(at) => {
                self.gates[at] = Gate::new(&self.algorithm);
                Some(at)
            }
            Put::Full => None,
        }
    }
}
