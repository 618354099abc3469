//! What a breaker says of itself: answers, transitions with the numbers that caused them, and how it stands.

use std::fmt;
use std::time::Duration;

use weir_model::units::Rounded;

use super::window::Counts;
use crate::text::Counted;
use crate::time::Nanos;

/// The states of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Calls go through.
    Closed,
    /// None does.
    Open,
    /// A few do, to see what becomes of them.
    HalfOpen,
}

/// Why a call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The breaker is open.
    Open,
    /// All probes are under way.
    HalfOpen,
    /// It was closed a moment ago, and lets calls through by and by.
    Ramp,
    /// More is asked for than is accepted, and this call was drawn.
    Throttle,
}

/// A change of a breaker, and what caused it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition {
    /// When.
    pub at: Nanos,
    /// How it was.
    pub from: Phase,
    /// How it is.
    pub to: Phase,
    /// The numbers that caused it.
    pub cause: Cause,
    /// For how long it is open, if it is.
    pub open_for: Option<Duration>,
}

/// What causes a transition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cause {
    /// The share of failures reached its end.
    FailureRatio {
        /// Failures in the window.
        failures: u64,
        /// Calls in the window.
        calls: u64,
        /// The share at which it opens.
        ratio_max: f64,
    },
    /// The share of slow calls reached its end.
    SlowRatio {
        /// Slow calls in the window.
        slow: u64,
        /// Calls in the window.
        calls: u64,
        /// The share at which it opens.
        ratio_max: f64,
    },
    /// So many calls failed in a row.
    Consecutive {
        /// How many.
        failures: u32,
    },
    /// Failures are more than chance.
    Statistical {
        /// The log-likelihood ratio.
        sum: f64,
        /// Where it opens.
        threshold: f64,
    },
    /// Its time was over, and a call came.
    Waited {
        /// How long it was open.
        open_for: Duration,
    },
    /// Probes failed.
    ProbesFailed {
        /// How many failed.
        failures: u32,
        /// How many had succeeded.
        successes: u32,
    },
    /// Probes succeeded, but took too long.
    ProbesSlow {
        /// Slow ones.
        slow: u32,
        /// All that succeeded.
        successes: u32,
    },
    /// Probes succeeded.
    ProbesSucceeded {
        /// How many.
        successes: u32,
        /// How many had failed.
        failures: u32,
    },
    /// A throttle began to refuse a share of calls worth speaking of. The breaker stays closed.
    ThrottleBegan {
        /// Calls of late.
        requests: u64,
        /// Those that were accepted.
        accepts: u64,
        /// The share that is refused.
        refusing: f64,
    },
    /// A throttle refuses next to nothing any more.
    ThrottleEnded {
        /// Calls of late.
        requests: u64,
        /// Those that were accepted.
        accepts: u64,
    },
}

/// How a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerState {
    /// Its state.
    pub phase: Phase,
    /// Its strategy, as documents name it.
    pub strategy: &'static str,
    /// What it measures; of the time since it was closed last.
    pub reading: Reading,
    /// How long it stays open from now on; zero when the next call is a probe. None when it is not open.
    pub open_left: Option<Duration>,
    /// Its probes, when it is half open.
    pub probes: Option<ProbesState>,
    /// The share of calls let through, while it was closed a moment ago.
    pub ramp_share: Option<f64>,
    /// How often in a row it opened, which doubles the time.
    pub openings: u32,
    /// How often it was opened at all.
    pub trips: u64,
    /// Calls refused at all.
    pub refused: u64,
    /// Probes of which nothing was heard in time.
    pub probes_lost: u64,
}

/// How the probes of a breaker stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbesState {
    /// Under way.
    pub under_way: u32,
    /// Succeeded.
    pub successes: u32,
    /// Failed.
    pub failures: u32,
    /// Successes that close it.
    pub needed: u32,
}

/// What a breaker measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reading {
    /// `window`.
    Window {
        /// What is in the window.
        counts: Counts,
        /// The fewest calls that say anything.
        calls_min: u32,
        /// The share of failures at which it opens.
        failure_ratio: f64,
        /// The share of slow calls at which it opens; none where no call is slow.
        slow_ratio: Option<f64>,
    },
    /// `consecutive`.
    Consecutive {
        /// Failures in a row.
        failures: u32,
        /// How many open it.
        limit: u32,
    },
    /// `statistical`.
    Statistical {
        /// The log-likelihood ratio.
        sum: f64,
        /// Where it opens.
        threshold: f64,
    },
    /// `throttle`.
    Throttle {
        /// Calls of late, refused ones included.
        requests: u64,
        /// Those that were accepted.
        accepts: u64,
        /// The share that is refused.
        refusing: f64,
        /// The fewest calls that say anything.
        calls_min: u32,
    },
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        })
    }
}

impl Why {
    /// A word for it, for logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::Ramp => "ramp",
            Self::Throttle => "throttle",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "the breaker is open",
            Self::HalfOpen => "the breaker is half open and its probes are under way",
            Self::Ramp => "the breaker was closed a moment ago and lets calls through by and by",
            Self::Throttle => "more is asked for than is accepted",
        })
    }
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.from == self.to {
            write!(f, "{}: {}", self.to, self.cause)?;
        } else {
            write!(f, "{} -> {}: {}", self.from, self.to, self.cause)?;
        }
        self.open_for.map_or(Ok(()), |open_for| write!(f, "; open for {open_for:?}"))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FailureRatio { failures, calls, ratio_max } => {
                write!(f, "{failures} of {calls} calls failed (at most {ratio_max})")
            }
            Self::SlowRatio { slow, calls, ratio_max } => {
                write!(f, "{slow} of {calls} calls were slow (at most {ratio_max})")
            }
            Self::Consecutive { failures } => write!(f, "{} in a row failed", Counted(*failures, "call")),
            Self::Statistical { sum, threshold } => {
                write!(f, "more failures than chance: {sum:.2} reached {threshold:.2}")
            }
            Self::Waited { open_for } => write!(f, "it was open for {}", Rounded(*open_for)),
            Self::ProbesFailed { failures, successes } => {
                write!(f, "{} failed, {successes} succeeded", Counted(*failures, "probe"))
            }
            Self::ProbesSlow { slow, successes } => write!(f, "{slow} of {successes} probes were slow"),
            Self::ProbesSucceeded { successes, failures } => {
                write!(f, "{} succeeded, {failures} failed", Counted(*successes, "probe"))
            }
            Self::ThrottleBegan { requests, accepts, refusing } => {
                let percent = refusing * 100.0;
                write!(f, "{accepts} of {requests} calls were accepted, {percent:.0} % are refused")
            }
            Self::ThrottleEnded { requests, accepts } => {
                write!(f, "{accepts} of {requests} calls were accepted, none is refused any more")
            }
        }
    }
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.phase, self.strategy, self.reading)?;
        match self.open_left {
            Some(Duration::ZERO) => f.write_str("; the next call is a probe")?,
            Some(left) => write!(f, "; probed in {}", Rounded(left))?,
            None => {}
        }
        if let Some(probes) = self.probes {
            let ProbesState { under_way, successes, failures, needed } = probes;
            write!(
                f,
                "; {successes} of {needed} probes succeeded, {failures} failed, {under_way} under way"
            )?;
        }
        if let Some(share) = self.ramp_share {
            write!(f, "; {:.0} % of calls let through", share * 100.0)?;
        }
        write!(f, "; opened {}, refused {}", Counted(self.trips, "time"), Counted(self.refused, "call"))
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Window { counts, calls_min, failure_ratio, slow_ratio } => {
                let Counts { calls, failures, slow } = counts;
                write!(f, "{failures} failed (opens at {failure_ratio})")?;
                if let Some(slow_ratio) = slow_ratio {
                    write!(f, " and {slow} slow (at {slow_ratio})")?;
                }
                write!(f, " of {calls} calls (at least {calls_min})")
            }
            Self::Consecutive { failures, limit } => write!(f, "{failures} of {limit} failures in a row"),
            Self::Statistical { sum, threshold } => write!(f, "{sum:.2} of {threshold:.2}"),
            Self::Throttle { requests, accepts, refusing, calls_min } => {
                let percent = refusing * 100.0;
                write!(
                    f,
                    "{accepts} of {requests} calls accepted (at least {calls_min}), {percent:.0} % refused"
                )
            }
        }
    }
}
