//! Finds how many requests should be in flight, without ever pausing and without knowing how fast the upstream is.
//!
//! More in flight that brings no more throughput means that the limit is too high: that is the idea of Cinnamon (Uber,
//! 2023), which moves its target by the sign of the covariance of the two. Here it is measured on purpose. The limit alternates
//! between a little above and a little below its mean, in phases of about two response times, and the response times of
//! two phases are compared. By Little's law throughput is X = L / R, so the elasticity of throughput is
//!
//! ```text
//! e = d ln X / d ln L = 1 - d ln R / d ln L
//! ```
//!
//! It is 1 while the upstream has room (more in flight, as fast as before) and 0 when it is busy (more in flight, slower in the
//! same measure). The mean follows it: ln L += GAIN x (e - TARGET), so it settles at the knee.
//!
//! What this avoids. Nothing is remembered longer than three phases: no least response time that ages, is measured under
//! load (Vegas) or by a pause (Envoy), and no long-term mean that the limit drags along (Gradient2, which drifts). And where
//! what is in flight does not follow the limit, because there are not enough requests, there is nothing to compare: a limit
//! that is not used does not move.

use std::time::Duration;

use super::config::AdaptiveConfig;
use super::pace::nanos;
use super::verdict::Outcome;
use crate::time::Nanos;

/// How far the phases are from the mean, as a share of it.
const SWING: f64 = 0.08;

/// How far ln L moves for each 1 of elasticity that is known well,
const GAIN: f64 = 0.08;

/// and by what share of that further for each phase before it that has moved it the same way, so that a change of the
/// upstream is followed at several times the speed at which noise moves the limit,
const RUN_GAIN: f64 = 0.25;

/// up to so many phases.
const RUN_MAX: u32 = 4;

/// Where to settle: a little above the knee rather than below, since a limit too low wastes what the upstream could do, and
/// one slightly too high only makes it queue a little.
const TARGET: f64 = 0.3;

/// Elasticity counts no further than this from the target: one odd phase must not matter much.
const ERROR_MAX: f64 = 1.0;

/// Least requests of a phase.
const SAMPLES_MIN: u32 = 40;

/// Shortest phase: where responses take less, more of them make a better estimate.
const PHASE_MIN: Duration = Duration::from_millis(10);

/// Least share of a phase's requests that found the limit nearly reached, for it to count.
const LIMITED_MIN: f64 = 0.5;

/// How much an upstream that says it has too much to do lowers the limit, at most once a phase.
const OVERLOADED: f64 = 0.95;

/// Phases that are remembered: the current one, and three before it, the last of which may still have requests in flight.
const PHASES: usize = 4;

/// The controller.
#[derive(Debug)]
pub(super) struct Adaptive {
    config: AdaptiveConfig,
    /// The mean; a real number, so that small steps add up.
    mean: f64,
    /// What follows from the mean in this phase.
    limit: u32,
    phases: [Phase; PHASES],
    /// Number of the current phase; even ones are above the mean.
    number: u32,
    began: Nanos,
    /// A moving mean of response times, in nanoseconds; 0 while none is known.
    response: f64,
    overloaded: bool,
    /// How many phases in a row have moved it the same way, and whether that was up.
    run: (u32, bool),
}

/// What is known of the requests that came in one phase.
#[derive(Clone, Copy, Debug, Default)]
struct Phase {
    came: u32,
    in_flight_sum: u64,
    limited: u32,
    done: u32,
    response_sum: f64,
    response_squares: f64,
}

impl Adaptive {
    pub(super) fn new(config: AdaptiveConfig) -> Self {
        let mean = f64::from(config.initial.clamp(config.min.max(1), config.max.max(1)));
        let mut adaptive = Self {
            config,
            mean,
            limit: 0,
            phases: [Phase::default(); PHASES],
            number: 0,
            began: Nanos(0),
            response: 0.0,
            overloaded: false,
            run: (0, true),
        };
        adaptive.set_limit();
        adaptive
    }

    pub(super) fn set_config(&mut self, config: AdaptiveConfig) {
        self.config = config;
        self.clamp();
    }

    /// The mean of the limit.
    pub(super) fn mean(&self) -> f64 {
        self.mean
    }

    /// The limit as of this phase.
    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// At least half a place, and then a whole one, from that of the phase before.
    fn set_limit(&mut self) {
        let swing = (self.mean * SWING).max(0.5);
        let limit = if self.number.is_multiple_of(2) { self.mean + swing } else { self.mean - swing };
        self.limit = (limit.round() as u32).clamp(self.config.min.max(1), self.config.max.max(1));
    }

    pub(super) fn phase(&self) -> u32 {
        self.number
    }

    /// One got in, as the last of so many in flight.
    pub(super) fn came(&mut self, in_flight: u32) {
        let phase = &mut self.phases[self.number as usize % PHASES];
        phase.came += 1;
        phase.in_flight_sum += u64::from(in_flight);
        // A release makes room for one: who comes right after it finds the limit reached.
        phase.limited += u32::from(in_flight >= self.limit);
    }

    /// One that got in at a moment of a phase is over.
    pub(super) fn over(&mut self, at: Nanos, phase: u32, outcome: Outcome, now: Nanos) {
        match outcome {
            Outcome::Done | Outcome::TimedOut => {
                let response = now.0.saturating_sub(at.0) as f64;
                self.response += (response - self.response) * if self.response == 0.0 { 1.0 } else { 0.02 };
                if (self.number.wrapping_sub(phase) as usize) < PHASES - 1 {
                    let phase = &mut self.phases[phase as usize % PHASES];
                    phase.done += 1;
                    phase.response_sum += response;
                    phase.response_squares += response * response;
                }
            }
            Outcome::Overloaded if !self.overloaded => {
                self.overloaded = true;
                self.mean *= OVERLOADED;
                self.clamp();
            }
            Outcome::Overloaded | Outcome::Failed => {}
        }
        self.turn_phase(now);
    }

    fn turn_phase(&mut self, now: Nanos) {
        let current = &self.phases[self.number as usize % PHASES];
        let enough = current.came >= SAMPLES_MIN && current.done > 0;
        let length = (2.0 * self.response).max(nanos(PHASE_MIN) as f64);
        if !enough || (now.0.saturating_sub(self.began.0) as f64) < length {
            return;
        }
        // The current phase still has requests in flight: the two before it are compared.
        if let Some((elasticity, variance)) = self.elasticity() {
            // What is known badly counts less, as in a Kalman filter.
            let weight = 1.0 / (1.0 + 2.0 * variance);
            let error = (elasticity - TARGET).clamp(-ERROR_MAX, ERROR_MAX) * weight;
            let up = error > 0.0;
            self.run = if up == self.run.1 { ((self.run.0 + 1).min(RUN_MAX), up) } else { (0, up) };
            let gain = GAIN * (1.0 + RUN_GAIN * f64::from(self.run.0) * weight);
            self.mean *= (gain * error).exp();
            self.clamp();
        }
        self.overloaded = false;
        self.number = self.number.wrapping_add(1);
        self.began = now;
        self.phases[self.number as usize % PHASES] = Phase::default();
        self.set_limit();
    }

    /// Of the two phases before the current one, and the variance of the estimate; none if they do not tell.
    fn elasticity(&self) -> Option<(f64, f64)> {
        let before = |steps: u32| &self.phases[self.number.wrapping_sub(steps) as usize % PHASES];
        let (a, b) = (before(1), before(2));
        if !a.tells() || !b.tells() {
            return None;
        }
        let in_flight = (a.in_flight() / b.in_flight()).ln();
        // Where what is in flight does not follow the limit there is nothing to learn.
        if in_flight.abs() < SWING {
            return None;
        }
        let elasticity = 1.0 - (a.response() / b.response()).ln() / in_flight;
        Some((elasticity, (a.variance() + b.variance()) / (in_flight * in_flight)))
    }

    fn clamp(&mut self) {
        self.mean = self.mean.clamp(f64::from(self.config.min.max(1)), f64::from(self.config.max.max(1)));
        self.set_limit();
    }
}

impl Phase {
    fn tells(&self) -> bool {
        self.done >= SAMPLES_MIN / 2
            && self.response_sum > 0.0
            && f64::from(self.limited) >= LIMITED_MIN * f64::from(self.came)
    }

    fn in_flight(&self) -> f64 {
        self.in_flight_sum as f64 / f64::from(self.came.max(1))
    }

    fn response(&self) -> f64 {
        self.response_sum / f64::from(self.done.max(1))
    }

    /// Of the logarithm of the mean response time.
    fn variance(&self) -> f64 {
        let (done, mean) = (f64::from(self.done.max(1)), self.response());
        (self.response_squares / done / (mean * mean) - 1.0).max(0.0) / done
    }
}
