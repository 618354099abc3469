//! What a closed breaker measures: one meter for each strategy.
//!
//! Good calls come in bulk and never open anything, so that they may be counted aside and handed in later. A bad call is
//! measured at once.

use std::time::Duration;

use super::config::{CusumConfig, Strategy, ThrottleConfig, WindowConfig, WindowSpan};
use super::event::{Cause, Reading};
use super::window::{CallWindow, Counts, TimeWindow};
use crate::time::Nanos;

/// Measures calls as a strategy wants.
#[derive(Clone, Debug)]
pub(super) enum Meter {
    Time(WindowConfig, TimeWindow),
    Calls(WindowConfig, CallWindow),
    Consecutive { limit: u32, run: u32 },
    Cusum(Cusum),
    Throttle(ThrottleConfig, TimeWindow),
}

impl Meter {
    pub(super) fn new(strategy: &Strategy) -> Self {
        match *strategy {
            Strategy::Window(config) => match config.span {
                WindowSpan::Time(length) => Self::Time(config, TimeWindow::new(length)),
                WindowSpan::Calls(calls) => Self::Calls(config, CallWindow::new(calls)),
            },
            Strategy::Consecutive { failures } => Self::Consecutive { limit: failures.max(1), run: 0 },
            Strategy::Statistical(config) => Self::Cusum(Cusum::new(&config)),
            Strategy::Throttle(config) => Self::Throttle(config, TimeWindow::new(config.window)),
        }
    }

    /// A meter for another strategy, with what this one has counted if both count the same.
    pub(super) fn reconfigured(&self, strategy: &Strategy) -> Self {
        let mut new = Self::new(strategy);
        match (self, &mut new) {
            (Self::Time(_, old), Self::Time(WindowConfig { span: WindowSpan::Time(length), .. }, window))
            | (Self::Throttle(_, old), Self::Throttle(ThrottleConfig { window: length, .. }, window)) => {
                *window = old.resized(*length);
            }
            (
                Self::Calls(_, old),
                Self::Calls(WindowConfig { span: WindowSpan::Calls(calls), .. }, window),
            ) => {
                *window = old.resized(*calls);
            }
            (Self::Consecutive { run: old, .. }, Self::Consecutive { run, .. }) => *run = *old,
            // As far on the way to the threshold as it was.
            (Self::Cusum(old), Self::Cusum(cusum)) => cusum.sum = old.sum / old.threshold * cusum.threshold,
            _ => {}
        }
        new
    }

    /// Forgets what is too old.
    pub(super) fn advance(&mut self, now: Nanos) {
        if let Self::Time(_, window) | Self::Throttle(_, window) = self {
            window.advance(now);
        }
    }

    /// Until when good calls may be kept aside: they all count as of the moment of the last [`Self::advance`].
    pub(super) const fn turn(&self) -> Nanos {
        match self {
            Self::Time(_, window) | Self::Throttle(_, window) => window.turn(),
            Self::Calls(..) | Self::Consecutive { .. } | Self::Cusum(_) => Nanos(u64::MAX),
        }
    }

    /// So many calls with which all was well.
    pub(super) fn good(&mut self, calls: u64) {
        if calls == 0 {
            return;
        }
        match self {
            Self::Time(_, window) | Self::Throttle(_, window) => {
                window.add(Counts { calls, ..Counts::default() });
            }
            Self::Calls(_, window) => window.add_good(calls),
            Self::Consecutive { run, .. } => *run = 0,
            Self::Cusum(cusum) => cusum.good(calls),
        }
    }

    /// A call that failed, was slow, or both; with the reason to open, if it is one.
    pub(super) fn bad(&mut self, failed: bool, slow: bool) -> Option<Cause> {
        let counts = Counts { calls: 1, failures: u64::from(failed), slow: u64::from(slow) };
        match self {
            Self::Time(config, window) => {
                window.add(counts);
                exceeded(config, window.sum())
            }
            Self::Calls(config, window) => {
                window.add(failed, slow);
                exceeded(config, window.sum())
            }
            Self::Consecutive { limit, run } => {
                *run = if failed { run.saturating_add(1) } else { 0 };
                (*run >= *limit).then_some(Cause::Consecutive { failures: *run })
            }
            Self::Cusum(cusum) => cusum.bad(),
            Self::Throttle(_, window) => {
                window.add(counts);
                None
            }
        }
    }

    /// A call that was refused by [`Self::refusing`]: it asked for something, and was not accepted.
    pub(super) fn refused(&mut self) {
        if let Self::Throttle(_, window) = self {
            window.add(Counts { calls: 1, failures: 1, slow: 0 });
        }
    }

    /// The share of calls that is refused: max(0, (requests - K * accepts) / (requests + 1)), and none of too few calls.
    /// "Site Reliability Engineering", chapter 21, "Client-Side Throttling".
    pub(super) fn refusing(&self) -> f64 {
        let Self::Throttle(config, window) = self else { return 0.0 };
        let Counts { calls, failures, .. } = window.sum();
        if calls < u64::from(config.calls_min) {
            return 0.0;
        }
        let (requests, accepts) = (calls as f64, (calls - failures) as f64);
        ((requests - config.factor * accepts) / (requests + 1.0)).max(0.0)
    }

    pub(super) const fn slow_call(&self) -> Option<Duration> {
        match self {
            Self::Time(config, _) | Self::Calls(config, _) => config.slow_call,
            Self::Consecutive { .. } | Self::Cusum(_) | Self::Throttle(..) => None,
        }
    }

    /// So many failed probes of `probes` speak for opening again: the share that opens it at all, at least one.
    pub(super) fn probe_failures_max(&self, probes: u32) -> u32 {
        match self {
            Self::Time(config, _) | Self::Calls(config, _) => share_of(config.failure_ratio, probes),
            Self::Consecutive { .. } | Self::Cusum(_) | Self::Throttle(..) => 1,
        }
    }

    /// The same for slow ones among those that succeeded.
    pub(super) fn probe_slow_max(&self, probes: u32) -> u32 {
        match self {
            Self::Time(config, _) | Self::Calls(config, _) => share_of(config.slow_ratio, probes),
            Self::Consecutive { .. } | Self::Cusum(_) | Self::Throttle(..) => u32::MAX,
        }
    }

    pub(super) fn clear(&mut self) {
        match self {
            Self::Time(_, window) | Self::Throttle(_, window) => window.clear(),
            Self::Calls(_, window) => window.clear(),
            Self::Consecutive { run, .. } => *run = 0,
            Self::Cusum(cusum) => cusum.sum = 0.0,
        }
    }

    pub(super) fn reading(&self) -> Reading {
        let window = |config: &WindowConfig, counts| Reading::Window {
            counts,
            calls_min: config.calls_min,
            failure_ratio: config.failure_ratio,
            slow_ratio: config.slow_call.map(|_| config.slow_ratio),
        };
        match self {
            Self::Time(config, counted) => window(config, counted.sum()),
            Self::Calls(config, counted) => window(config, counted.sum()),
            Self::Consecutive { limit, run } => Reading::Consecutive { failures: *run, limit: *limit },
            Self::Cusum(cusum) => Reading::Statistical { sum: cusum.sum, threshold: cusum.threshold },
            Self::Throttle(config, counted) => {
                let Counts { calls, failures, .. } = counted.sum();
                Reading::Throttle {
                    requests: calls,
                    accepts: calls - failures,
                    refusing: self.refusing(),
                    calls_min: config.calls_min,
                }
            }
        }
    }
}

/// The reason that these calls are to open a breaker, if there are enough of them.
fn exceeded(config: &WindowConfig, counts: Counts) -> Option<Cause> {
    let Counts { calls, failures, slow } = counts;
    if calls < u64::from(config.calls_min) {
        return None;
    }
    if failures as f64 >= config.failure_ratio * calls as f64 {
        return Some(Cause::FailureRatio { failures, calls, ratio_max: config.failure_ratio });
    }
    (slow > 0 && slow as f64 >= config.slow_ratio * calls as f64).then_some(Cause::SlowRatio {
        slow,
        calls,
        ratio_max: config.slow_ratio,
    })
}

fn share_of(ratio: f64, probes: u32) -> u32 {
    // In range by the clamps of the configuration; a cast of a float saturates.
    ((ratio * f64::from(probes)).ceil() as u32).max(1)
}

/// The Bernoulli CUSUM: the log-likelihood ratio of "failing" to "normal", never below zero.
///
/// Page's bound: at the normal share, exp(llr) has mean 1, so between two trips there are at least e^threshold calls on
/// average; below that share even more. E. S. Page, "Continuous Inspection Schemes" (Biometrika, 1954); M. R. Reynolds
/// and Z. G. Stoumbos, "A CUSUM Chart for Monitoring a Proportion" (1999).
#[derive(Clone, Debug)]
pub(super) struct Cusum {
    failure: f64,
    /// Below zero.
    success: f64,
    threshold: f64,
    pub(super) sum: f64,
}

impl Cusum {
    fn new(config: &CusumConfig) -> Self {
        Self {
            failure: (config.failing_ratio / config.normal_ratio).ln(),
            success: ((1.0 - config.failing_ratio) / (1.0 - config.normal_ratio)).ln(),
            threshold: (config.calls_to_false_trip as f64).ln(),
            sum: 0.0,
        }
    }

    /// Successes in a row only ever lower the sum, so they can be taken at once.
    fn good(&mut self, calls: u64) {
        self.sum = (self.sum + self.success * calls as f64).max(0.0);
    }

    fn bad(&mut self) -> Option<Cause> {
        self.sum += self.failure;
        (self.sum >= self.threshold)
            .then_some(Cause::Statistical { sum: self.sum, threshold: self.threshold })
    }
}
