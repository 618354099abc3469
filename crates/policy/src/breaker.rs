//! Circuit breakers: whether a call may be made at all, judged by what became of the calls before it.
//!
//! ```text
//!          too many bad calls             its time is over, a call comes
//! Closed ---------------------> Open ------------------------------------> HalfOpen
//!    ^                           ^                                          |  |
//!    |                           +------------- probes failed --------------+  |
//!    +--- lets calls through by and by (ramp) <---- enough probes succeeded ---+
//! ```
//!
//! A call is admitted with a [`Permit`], which is handed back with what became of the call. A permit says under which
//! state the call was admitted: what becomes of calls that were admitted before the last transition counts no more. A
//! permit that is never handed back costs nothing, except for a probe, whose place is taken for the length of a lease.
//!
//! - `window` opens at a share of failures or slow calls, over time or over the last calls.
//! - `consecutive` opens after failures in a row.
//! - `statistical` opens when failures are more than chance (CUSUM), with a bound on false trips.
//! - `throttle` never opens; it refuses a share of calls that follows from what is accepted.
//!
//! Only a bad call opens a breaker. A probe is judged as any call: with `window` it takes the share of failed (or slow)
//! probes that opens the breaker, with the others one failure. A breaker that opens again soon after it was closed stays
//! open twice as long; that is forgotten once it was closed for its ramp and the length of its last opening.
//!
//! What this must not do: know what a failure is, wait, or answer calls. [`Breaker`] is the state machine,
//! [`SharedBreaker`] the same for several threads.

mod config;
mod event;
mod meter;
mod probes;
mod shared;
#[cfg(test)]
mod tests;
mod window;

use std::time::Duration;

use rand::{Rng, RngExt};

use crate::time::Nanos;
pub use config::{
    BreakerConfig, CusumConfig, PROBES_MAX, Strategy, ThrottleConfig, WINDOW_CALLS_MAX, WindowConfig,
    WindowSpan,
};
pub use event::{BreakerState, Cause, Phase, ProbesState, Reading, Transition, Why};
use meter::Meter;
use probes::Probes;
pub use shared::SharedBreaker;
pub use window::Counts;

/// What a caller is told who comes too early, where nothing better is known.
pub const RETRY_SOON: Duration = Duration::from_secs(1);
/// The share of calls that is let through as soon as a breaker is closed.
const RAMP_MIN: f64 = 0.1;
/// A throttle that refuses this share is spoken of, until it refuses less than [`THROTTLE_QUIET`].
const THROTTLE_LOUD: f64 = 0.1;
/// See [`THROTTLE_LOUD`].
const THROTTLE_QUIET: f64 = 0.01;

/// Whether a call may be made.
#[derive(Debug, PartialEq)]
pub enum Admission {
    /// It may.
    Admit {
        /// To be handed back to [`Breaker::record`].
        permit: Permit,
        /// What changed by this call.
        transition: Option<Transition>,
    },
    /// It may not.
    Refuse(Refusal),
}

/// Why a call may not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// When it may be worth while to ask again.
    pub retry_after: Duration,
    /// The reason.
    pub why: Why,
}

/// The right to make one call.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a probe that is never recorded holds its place until its lease ends"]
pub struct Permit {
    generation: u32,
    /// 0: the call is no probe.
    probe: u32,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallOutcome {
    /// How it ended.
    pub ended: Ended,
    /// How long it took.
    pub latency: Duration,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was answered.
    Success,
    /// It failed.
    Failure,
    /// The caller went away or took another answer: this says nothing.
    Cancelled,
}

impl Permit {
    /// Whether the call is to show how things are: it should not be the victim of anything else, such as a full queue.
    pub const fn is_probe(&self) -> bool {
        self.probe != 0
    }
}

impl CallOutcome {
    /// A call that was answered.
    pub const fn success(latency: Duration) -> Self {
        Self { ended: Ended::Success, latency }
    }

    /// A call that failed.
    pub const fn failure(latency: Duration) -> Self {
        Self { ended: Ended::Failure, latency }
    }

    /// A call that nobody waits for any more.
    pub const CANCELLED: Self = Self { ended: Ended::Cancelled, latency: Duration::ZERO };
}

/// A circuit breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    config: BreakerConfig,
    meter: Meter,
    state: State,
    /// Rises with each transition, so that permits of earlier states are known.
    generation: u32,
    /// How often in a row it opened.
    openings: u32,
    /// When what it did before is forgotten, unless it opens again.
    forget_at: Nanos,
    throttling: bool,
    trips: u64,
    refused: u64,
    probes_lost: u64,
}

#[derive(Clone, Debug)]
enum State {
    Closed {
        /// When it was closed, as long as it does not let all calls through.
        ramp: Option<Nanos>,
    },
    Open {
        since: Nanos,
        until: Nanos,
    },
    HalfOpen(Probes),
}

impl Breaker {
    /// A closed breaker that has seen nothing.
    pub fn new(config: BreakerConfig) -> Self {
        Self {
            meter: Meter::new(&config.strategy),
            config,
            state: State::Closed { ramp: None },
            generation: 0,
            openings: 0,
            forget_at: Nanos(0),
            throttling: false,
            trips: 0,
            refused: 0,
            probes_lost: 0,
        }
    }

    /// Its configuration.
    pub const fn config(&self) -> &BreakerConfig {
        &self.config
    }

    /// Puts another configuration in force. The state stays, and so does what was counted, unless it counts over something
    /// else from now on; one that is open is so for as long as it would be had it opened under the new one. Probes under way
    /// count no more if their number changes. Another strategy begins anew: what the one before has found says nothing of it.
    /// Only totals go on.
    pub fn reconfigure(&mut self, config: BreakerConfig, now: Nanos) {
        if !config.strategy.is_like(&self.config.strategy) {
            *self = Self {
                generation: self.generation.wrapping_add(1),
                trips: self.trips,
                refused: self.refused,
                probes_lost: self.probes_lost,
                ..Self::new(config)
            };
            return;
        }
        self.meter.advance(now);
        self.meter = self.meter.reconfigured(&config.strategy);
        self.meter.advance(now);
        self.config = config;
        let open_for = self.open_for();
        match &mut self.state {
            State::Closed { .. } => {}
            State::Open { since, until } => *until = *since + open_for,
            State::HalfOpen(probes) => {
                if probes.needed() != self.config.probes {
                    *probes = Probes::new(self.config.probes);
                    self.generation = self.generation.wrapping_add(1);
                }
            }
        }
    }

    /// Decides about one call. O(1), or O(probes) when it is half open.
    pub fn admit(&mut self, now: Nanos, rng: &mut impl Rng) -> Admission {
        let mut transition = None;
        if let State::Open { since, until } = self.state {
            if now < until {
                return self.refuse(Why::Open, until.since(now));
            }
            let waited = Cause::Waited { open_for: now.since(since) };
            transition = Some(self.enter(State::HalfOpen(Probes::new(self.config.probes)), waited, now));
        }
        match &mut self.state {
            State::HalfOpen(probes) => {
                self.probes_lost += probes.expire(now);
                if let Some(probe) = probes.lease(now, self.config.probe_lease) {
                    return Admission::Admit {
                        permit: Permit { generation: self.generation, probe },
                        transition,
                    };
                }
                let wait = probes.first_expiry().map_or(RETRY_SOON, |first| first.since(now).min(RETRY_SOON));
                self.refuse(Why::HalfOpen, wait)
            }
            _ => self.admit_closed(now, rng),
        }
    }

    fn admit_closed(&mut self, now: Nanos, rng: &mut impl Rng) -> Admission {
        if let Some(share) = self.ramp_share(now) {
            if share < 1.0 && rng.random::<f64>() >= share {
                return self.refuse(Why::Ramp, RETRY_SOON);
            }
            if share >= 1.0 {
                self.state = State::Closed { ramp: None };
            }
        }
        self.meter.advance(now);
        let refusing = self.meter.refusing();
        if refusing > 0.0 && rng.random::<f64>() < refusing {
            self.meter.refused();
            return self.refuse(Why::Throttle, RETRY_SOON);
        }
        let transition = self.speak_of_throttle(now);
        Admission::Admit { permit: Permit { generation: self.generation, probe: 0 }, transition }
    }

    /// Takes note of what became of a call. A permit of an earlier state, or one whose lease is over, changes nothing.
    #[expect(clippy::needless_pass_by_value, reason = "a permit is good for one call")]
    pub fn record(&mut self, permit: Permit, outcome: CallOutcome, now: Nanos) -> Option<Transition> {
        let Permit { generation, probe } = permit;
        if generation != self.generation {
            return None;
        }
        let failed = outcome.ended == Ended::Failure;
        let slow = self.meter.slow_call().is_some_and(|limit| outcome.latency > limit);
        match &mut self.state {
            State::HalfOpen(probes) => {
                self.probes_lost += probes.expire(now);
                if !probes.end(probe) || outcome.ended == Ended::Cancelled {
                    return None;
                }
                if failed {
                    probes.failures += 1;
                } else {
                    probes.successes += 1;
                    probes.slow += u32::from(slow);
                }
                self.judge(now)
            }
            State::Closed { .. } if outcome.ended != Ended::Cancelled => {
                self.meter.advance(now);
                if !failed && !slow {
                    self.meter.good(1);
                    return self.speak_of_throttle(now);
                }
                match self.meter.bad(failed, slow) {
                    Some(cause) => Some(self.open(cause, now)),
                    None => self.speak_of_throttle(now),
                }
            }
            State::Closed { .. } | State::Open { .. } => None,
        }
    }

    /// How it stands. Forgets what is too old, and changes nothing else.
    pub fn state(&mut self, now: Nanos) -> BreakerState {
        self.meter.advance(now);
        let (phase, open_left, probes) = match &mut self.state {
            State::Closed { .. } => (Phase::Closed, None, None),
            State::Open { until, .. } => (Phase::Open, Some(until.since(now)), None),
            State::HalfOpen(probes) => {
                self.probes_lost += probes.expire(now);
                (Phase::HalfOpen, None, Some(probes.state()))
            }
        };
        BreakerState {
            phase,
            strategy: self.config.strategy.name(),
            reading: self.meter.reading(),
            open_left,
            probes,
            ramp_share: self.ramp_share(now).filter(|share| *share < 1.0),
            openings: self.openings,
            trips: self.trips,
            refused: self.refused,
            probes_lost: self.probes_lost,
        }
    }

    /// Counts successes that were kept aside since the last call of this or of [`Self::record`], all of them of the
    /// present state.
    fn successes(&mut self, calls: u64) {
        self.meter.good(calls);
    }

    /// Whether calls have to be asked for one by one: it is not closed, or not for all calls.
    fn is_guarded(&self) -> bool {
        !matches!(self.state, State::Closed { ramp: None }) || self.throttling || self.meter.refusing() > 0.0
    }

    /// Closes it or opens it, if its probes are enough for that.
    fn judge(&mut self, now: Nanos) -> Option<Transition> {
        let State::HalfOpen(probes) = &self.state else { return None };
        let needed = probes.needed();
        let (successes, slow, failures) = (probes.successes, probes.slow, probes.failures);
        if failures >= self.meter.probe_failures_max(needed) {
            return Some(self.open(Cause::ProbesFailed { failures, successes }, now));
        }
        if successes < needed {
            return None;
        }
        if slow >= self.meter.probe_slow_max(needed) {
            return Some(self.open(Cause::ProbesSlow { slow, successes }, now));
        }
        self.meter.clear();
        self.forget_at = now + self.config.ramp + self.open_for();
        let ramp = (!self.config.ramp.is_zero()).then_some(now);
        Some(self.enter(State::Closed { ramp }, Cause::ProbesSucceeded { successes, failures }, now))
    }

    fn open(&mut self, cause: Cause, now: Nanos) -> Transition {
        let forgotten = matches!(self.state, State::Closed { .. }) && now >= self.forget_at;
        self.openings = if forgotten { 1 } else { self.openings.saturating_add(1) };
        self.trips += 1;
        self.meter.clear();
        let open_for = self.open_for();
        let transition = self.enter(State::Open { since: now, until: now + open_for }, cause, now);
        Transition { open_for: Some(open_for), ..transition }
    }

    /// For how long it opens, having opened so often in a row.
    fn open_for(&self) -> Duration {
        let doublings = self.openings.saturating_sub(1).min(30);
        self.config.open.saturating_mul(1 << doublings).min(self.config.open_max)
    }

    fn enter(&mut self, state: State, cause: Cause, now: Nanos) -> Transition {
        let from = self.phase();
        self.state = state;
        self.generation = self.generation.wrapping_add(1);
        Transition { at: now, from, to: self.phase(), cause, open_for: None }
    }

    /// Says when a throttle begins and ends to refuse calls: it has no states, but somebody wants to know.
    fn speak_of_throttle(&mut self, now: Nanos) -> Option<Transition> {
        let Reading::Throttle { requests, accepts, refusing, .. } = self.meter.reading() else { return None };
        let cause = if !self.throttling && refusing >= THROTTLE_LOUD {
            Cause::ThrottleBegan { requests, accepts, refusing }
        } else if self.throttling && refusing < THROTTLE_QUIET {
            Cause::ThrottleEnded { requests, accepts }
        } else {
            return None;
        };
        self.throttling = !self.throttling;
        Some(Transition { at: now, from: Phase::Closed, to: Phase::Closed, cause, open_for: None })
    }

    /// The share of calls let through while it was closed a moment ago: from a tenth to all, in a straight line.
    fn ramp_share(&self, now: Nanos) -> Option<f64> {
        let State::Closed { ramp: Some(began) } = self.state else { return None };
        let share = now.since(began).as_secs_f64() / self.config.ramp.as_secs_f64().max(f64::MIN_POSITIVE);
        Some(share.clamp(RAMP_MIN, 1.0))
    }

    const fn refuse(&mut self, why: Why, retry_after: Duration) -> Admission {
        self.refused += 1;
        Admission::Refuse(Refusal { retry_after, why })
    }

    /// Until when it is open, if it is.
    const fn open_until(&self) -> Option<Nanos> {
        match self.state {
            State::Open { until, .. } => Some(until),
            State::Closed { .. } | State::HalfOpen(_) => None,
        }
    }

    const fn phase(&self) -> Phase {
        match self.state {
            State::Closed { .. } => Phase::Closed,
            State::Open { .. } => Phase::Open,
            State::HalfOpen(_) => Phase::HalfOpen,
        }
    }
}
