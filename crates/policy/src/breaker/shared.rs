//! One breaker for several threads.
//!
//! As long as it is closed, an admission is one load, and a success is one addition to a counter that each worker has for
//! itself. Whatever may change the state takes a lock that is held for some ten nanoseconds: a bad call, a call while it
//! is not closed or lets not all calls through, and one call each time that a part of the window ends. That one, and
//! every bad call, hands in the successes that were counted aside, so that a bad call is judged with all calls before it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::Rng;

use super::{
    Admission, Breaker, BreakerConfig, BreakerState, CallOutcome, Ended, Permit, Refusal, Transition, Why,
};
use crate::time::Nanos;

/// Most counters that successes are spread over.
const LANES_MAX: usize = 64;

/// A [`Breaker`] that threads share.
#[derive(Debug)]
pub struct SharedBreaker {
    face: Face,
    lanes: Box<[Lane]>,
    core: Mutex<Core>,
}

/// What is read for each call and seldom written; on its own cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Face {
    /// Twice the generation; plus one if calls have to be asked for one by one.
    gate: AtomicU64,
    /// Until when successes may be counted aside.
    turn: AtomicU64,
    /// Until when every call is refused; 0 if it is not open.
    open_until: AtomicU64,
    /// A call that takes longer is slow.
    slow_nanos: AtomicU64,
}

/// One worker's successes. They are only ever added up.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Lane {
    successes: AtomicU64,
    refused: AtomicU64,
}

#[derive(Debug)]
struct Core {
    breaker: Breaker,
    /// The successes of each lane that were handed in, or belong to an earlier state.
    seen: Box<[u64]>,
}

impl SharedBreaker {
    /// A closed breaker for so many workers. More may use it, and then share counters.
    pub fn new(config: BreakerConfig, workers: usize) -> Self {
        let lanes = workers.clamp(1, LANES_MAX).next_power_of_two();
        let shared = Self {
            face: Face::default(),
            lanes: (0..lanes).map(|_| Lane::default()).collect(),
            core: Mutex::new(Core { breaker: Breaker::new(config), seen: vec![0; lanes].into_boxed_slice() }),
        };
        shared.publish(&shared.lock().breaker);
        shared
    }

    /// Decides about one call, as [`Breaker::admit`]. `worker` is the caller's number, any at all.
    pub fn admit(&self, now: Nanos, rng: &mut impl Rng, worker: usize) -> Admission {
        let gate = self.face.gate.load(Ordering::Acquire);
        if gate & 1 == 0 {
            let permit = Permit { generation: generation(gate), probe: 0 };
            return Admission::Admit { permit, transition: None };
        }
        let until = Nanos(self.face.open_until.load(Ordering::Relaxed));
        if now < until {
            self.lane(worker).refused.fetch_add(1, Ordering::Relaxed);
            return Admission::Refuse(Refusal { retry_after: until.since(now), why: Why::Open });
        }
        self.change(|breaker| breaker.admit(now, rng))
    }

    /// Takes note of what became of a call, as [`Breaker::record`].
    pub fn record(
        &self,
        permit: Permit,
        outcome: CallOutcome,
        now: Nanos,
        worker: usize,
    ) -> Option<Transition> {
        let gate = self.face.gate.load(Ordering::Acquire);
        let is_of_now = permit.generation == generation(gate);
        if permit.probe == 0 && (outcome.ended == Ended::Cancelled || !is_of_now) {
            return None;
        }
        // A probe that comes back late may be of an earlier state, too.
        if gate & 1 == 0 && is_of_now && outcome.ended == Ended::Success && !self.is_slow(outcome.latency) {
            self.success(now, worker);
            return None;
        }
        self.change(|breaker| breaker.record(permit, outcome, now))
    }

    /// How it stands, see [`Breaker::state`].
    pub fn state(&self, now: Nanos) -> BreakerState {
        let mut state = self.change(|breaker| breaker.state(now));
        state.refused += self.lanes.iter().map(|lane| lane.refused.load(Ordering::Relaxed)).sum::<u64>();
        state
    }

    /// Its configuration.
    pub fn config(&self) -> BreakerConfig {
        self.lock().breaker.config().clone()
    }

    /// Puts another configuration in force, see [`Breaker::reconfigure`].
    pub fn reconfigure(&self, config: BreakerConfig, now: Nanos) {
        self.change(|breaker| breaker.reconfigure(config, now));
    }

    /// Counts a success aside. The first one after a part of the window has ended hands in all of them.
    fn success(&self, now: Nanos, worker: usize) {
        if now.0 >= self.face.turn.load(Ordering::Relaxed)
            && let Ok(mut core) = self.core.try_lock()
        {
            self.change_locked(&mut core, |breaker| breaker.meter.advance(now));
        }
        self.lane(worker).successes.fetch_add(1, Ordering::Relaxed);
    }

    fn is_slow(&self, latency: Duration) -> bool {
        latency.as_nanos() > u128::from(self.face.slow_nanos.load(Ordering::Relaxed))
    }

    fn lane(&self, worker: usize) -> &Lane {
        // Their number is a power of two.
        &self.lanes[worker & (self.lanes.len() - 1)]
    }

    fn change<R>(&self, change: impl FnOnce(&mut Breaker) -> R) -> R {
        self.change_locked(&mut self.lock(), change)
    }

    /// Hands in what was counted aside, makes the change, and shows to the fast path what came of it.
    fn change_locked<R>(&self, core: &mut Core, change: impl FnOnce(&mut Breaker) -> R) -> R {
        let Core { breaker, seen } = core;
        breaker.successes(self.fresh(seen));
        let before = breaker.generation;
        let result = change(breaker);
        if breaker.generation != before {
            // What comes in until the gate is seen to have changed belongs to the earlier state.
            self.fresh(seen);
        }
        self.publish(breaker);
        result
    }

    /// The successes that were not seen before.
    fn fresh(&self, seen: &mut [u64]) -> u64 {
        self.lanes
            .iter()
            .zip(seen)
            .map(|(lane, seen)| {
                let successes = lane.successes.load(Ordering::Relaxed);
                successes.wrapping_sub(std::mem::replace(seen, successes))
            })
            .sum()
    }

    fn publish(&self, breaker: &Breaker) {
        let slow = breaker.meter.slow_call().and_then(|limit| u64::try_from(limit.as_nanos()).ok());
        write(&self.face.slow_nanos, slow.unwrap_or(u64::MAX));
        write(&self.face.turn, breaker.meter.turn().0);
        write(&self.face.open_until, breaker.open_until().map_or(0, |until| until.0));
        write(&self.face.gate, u64::from(breaker.generation) << 1 | u64::from(breaker.is_guarded()));
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        // A panic leaves nothing half done that matters: numbers.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes only what changes, so that other cores keep their copies.
fn write(cell: &AtomicU64, value: u64) {
    if cell.load(Ordering::Relaxed) != value {
        cell.store(value, Ordering::Release);
    }
}

const fn generation(gate: u64) -> u32 {
    // The gate was made of 32 bits.
    (gate >> 1) as u32
}
