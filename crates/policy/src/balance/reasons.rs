//! Why an endpoint was picked, for `explain`. The hot path hands in `()` and the compiler removes all of it.

use std::fmt;

use super::{Pick, Standing, Why};

/// Takes the reasons of a pick.
pub trait Reasons {
    /// Whether reasons are kept at all.
    fn keeps(&self) -> bool;
    /// Takes one; `make` is not called if reasons are not kept.
    fn note(&mut self, make: impl FnOnce() -> Note);
}

/// Keeps nothing.
impl Reasons for () {
    fn keeps(&self) -> bool {
        false
    }

    fn note(&mut self, _: impl FnOnce() -> Note) {}
}

/// Keeps all.
impl Reasons for Vec<Note> {
    fn keeps(&self) -> bool {
        true
    }

    fn note(&mut self, make: impl FnOnce() -> Note) {
        self.push(make());
    }
}

/// One thing that mattered to a pick. Shown as a sentence about the endpoint's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// An endpoint has weight 0 and takes no part.
    Drained {
        /// The endpoint.
        index: usize,
    },
    /// An endpoint is a last choice.
    Stale {
        /// The endpoint.
        index: usize,
        /// How it stands.
        standing: Standing,
    },
    /// Two were compared.
    Compared {
        /// The one drawn first, by weight.
        first: usize,
        /// Its requests in flight.
        first_in_flight: u64,
        /// The one drawn second, evenly.
        second: usize,
        /// Its requests in flight.
        second_in_flight: u64,
    },
    /// Two were compared by what a request is expected to take.
    Costs {
        /// The one drawn first, by weight.
        first: usize,
        /// Latency times requests in flight, in microseconds.
        first_us: u64,
        /// The one drawn second, evenly.
        second: usize,
        /// The same of it.
        second_us: u64,
    },
    /// The answer of a probe that is still of use.
    Probe {
        /// The endpoint.
        index: usize,
        /// Its requests in flight, with those sent there since.
        in_flight: u32,
        /// How long it says a request would take, in microseconds.
        latency_us: u64,
        /// Whether its requests in flight are above the quantile.
        hot: bool,
    },
    /// There were too few answers of probes to go by.
    FewProbes {
        /// How many there were.
        usable: usize,
    },
    /// An endpoint that the hash led to has its share in flight already.
    Full {
        /// The endpoint.
        index: usize,
        /// Its requests in flight.
        in_flight: u32,
        /// How many it may have.
        capacity: u64,
    },
    /// The outcome.
    Picked(Pick),
}

impl Note {
    /// The endpoint it is about, if it is about one.
    pub const fn index(&self) -> Option<usize> {
        match self {
            Self::Drained { index }
            | Self::Stale { index, .. }
            | Self::Probe { index, .. }
            | Self::Full { index, .. } => Some(*index),
            Self::Compared { first, .. } | Self::Costs { first, .. } => Some(*first),
            Self::Picked(pick) => Some(pick.index),
            Self::FewProbes { .. } => None,
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drained { index } => write!(f, "endpoint {index} has weight 0"),
            Self::Stale { index, standing } => write!(f, "endpoint {index} {standing}"),
            Self::Compared { first, first_in_flight, second, second_in_flight } => write!(
                f,
                "compared endpoint {first} ({first_in_flight} in flight) with endpoint {second} ({second_in_flight} in flight)"
            ),
            Self::Costs { first, first_us, second, second_us } => write!(
                f,
                "compared endpoint {first} (expected to cost {first_us} us) with endpoint {second} (expected to cost {second_us} us)"
            ),
            Self::Probe { index, in_flight, latency_us, hot } => {
                let warmth = if *hot { "hot" } else { "cold" };
                write!(f, "endpoint {index} is {warmth}: {in_flight} in flight, {latency_us} us")
            }
            Self::FewProbes { usable } => {
                write!(f, "{usable} probes are fresh, too few to go by: two drawn by chance are compared")
            }
            Self::Full { index, in_flight, capacity } => {
                write!(f, "endpoint {index} is full: {in_flight} in flight of {capacity}")
            }
            Self::Picked(pick) => write!(f, "picked endpoint {}: {}", pick.index, pick.why),
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fresh => "is fresh",
            Self::Avoided => "failed lately and is a last choice",
            Self::Tried => "was tried by this request already",
            Self::TriedAndAvoided => "failed lately and was tried by this request already",
        })
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Turn => f.write_str("its turn"),
            Self::Drawn => f.write_str("drawn by weight"),
            Self::NotBusier { than } => write!(f, "drawn by weight, and no busier than endpoint {than}"),
            Self::LessBusy { than } => write!(f, "less busy for its weight than endpoint {than}"),
            Self::LeastBusy => f.write_str("the least busy of all for its weight"),
            Self::StandsBy => {
                f.write_str("it stands by: all that take part have failed lately, or were tried")
            }
            Self::NotSlower { than } => {
                write!(f, "drawn by weight, and not to be passed over for endpoint {than}")
            }
            Self::Quicker { than } => write!(f, "expected to answer sooner than endpoint {than}"),
            Self::QuickestCold => f.write_str("the quickest of those probed that are not hot"),
            Self::LeastHot => f.write_str("the least busy of those probed, as all are hot"),
            Self::Hash => f.write_str("where the hash leads"),
            Self::NextToHash { instead_of } => {
                write!(f, "next where the hash leads, instead of endpoint {instead_of}")
            }
            Self::Only => f.write_str("the only one left"),
        }
    }
}
