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
    /// The outcome.
    Picked(Pick),
}

impl Note {
    /// The endpoint it is about.
    pub const fn index(&self) -> usize {
        match self {
            Self::Drained { index } | Self::Stale { index, .. } => *index,
            Self::Compared { first, .. } => *first,
            Self::Picked(pick) => pick.index,
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
            Self::Only => f.write_str("the only one left"),
        }
    }
}
