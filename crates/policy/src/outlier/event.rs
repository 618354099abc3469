//! What ejection says: who was ejected, spared or let back in, with the numbers that caused it.

use std::fmt;
use std::time::Duration;

use weir_model::units::Rounded;

use super::Sample;
use crate::time::Nanos;

/// Something that happened to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OutlierEvent {
    /// It is given no requests for a while; with `shadow` it only would be.
    Ejected {
        /// The endpoint.
        key: u64,
        /// Why.
        cause: EjectionCause,
        /// For how long.
        length: Duration,
        /// How many ejections in a row this makes.
        in_a_row: u32,
        /// It was not really ejected.
        shadow: bool,
    },
    /// It would be ejected, but enough others are.
    Spared {
        /// The endpoint.
        key: u64,
        /// Why it would be.
        cause: EjectionCause,
        /// Endpoints that are ejected.
        ejected: usize,
        /// All endpoints.
        endpoints: usize,
        /// How many of them may be ejected.
        most: usize,
    },
    /// It failed too often in a row, but so do the others.
    Alike {
        /// The endpoint.
        key: u64,
        /// How often.
        failures: u32,
        /// The share of the others' calls that fail, 0 to 1.
        failing: f64,
    },
    /// Its probe succeeded.
    Returned {
        /// The endpoint.
        key: u64,
        /// How long it was away.
        away: Duration,
    },
}

/// Why an endpoint is ejected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EjectionCause {
    /// So many gateway failures in a row.
    Consecutive {
        /// How many.
        failures: u32,
    },
    /// It did worse than the others since the last comparison.
    Worse {
        /// Its calls.
        own: Sample,
        /// Those of the others together.
        others: Sample,
        /// The natural logarithm of the probability of that if it were no worse.
        ln_p: f64,
    },
    /// The request that was to show that it is well again failed.
    Probe,
}

/// How an endpoint stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is given requests.
    In,
    /// It is not, until then; afterwards the next request is its probe.
    Ejected {
        /// When its time is over.
        until: Nanos,
    },
    /// A probe is under way.
    Probing {
        /// When another is sent if nothing was heard of it.
        until: Nanos,
    },
}

/// What is known of one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointState {
    /// How it stands.
    pub standing: Standing,
    /// How many ejections in a row it had.
    pub in_a_row: u32,
    /// Calls from the last but one comparison to the last.
    pub last: Sample,
}

impl OutlierEvent {
    /// The endpoint that it happened to.
    pub const fn key(&self) -> u64 {
        match self {
            Self::Ejected { key, .. }
            | Self::Spared { key, .. }
            | Self::Alike { key, .. }
            | Self::Returned { key, .. } => *key,
        }
    }
}

impl fmt::Display for OutlierEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ejected { cause, length, in_a_row, shadow, .. } => {
                let verb = if *shadow { "would be ejected" } else { "ejected" };
                write!(f, "{verb} for {length:?} ({in_a_row} in a row): {cause}")
            }
            Self::Spared { cause, ejected, endpoints, most, .. } => {
                write!(
                    f,
                    "not ejected, as {ejected} of {endpoints} endpoints are, and {most} may be: {cause}"
                )
            }
            Self::Alike { failures, failing, .. } => write!(
                f,
                "not ejected after {failures} gateway failures in a row: of the others' calls {:.0} % fail as well",
                failing * 100.0
            ),
            Self::Returned { away, .. } => write!(f, "its probe succeeded: back after {}", Rounded(*away)),
        }
    }
}

impl fmt::Display for EjectionCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Consecutive { failures } => write!(f, "{failures} gateway failures in a row"),
            Self::Worse { own, others, ln_p } => {
                let p = 10f64.powf(ln_p / std::f64::consts::LN_10);
                write!(f, "{} of {} calls failed, ", own.failures, own.calls)?;
                write!(f, "{} of {} with the others (p = {p:.1e})", others.failures, others.calls)
            }
            Self::Probe => f.write_str("its probe failed"),
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::In => "in",
            Self::Ejected { .. } => "ejected",
            Self::Probing { .. } => "probed",
        })
    }
}
