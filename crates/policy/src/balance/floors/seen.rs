//! What a look at the endpoints or groups of one group finds.

use std::sync::atomic::Ordering;

use rand::{Rng, RngExt};

use super::{FAN, Group, NOBODY};

/// The least of several loads or floors.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) least: u64,
    /// The weights of those that have it, and one of these, drawn by weight.
    pub(super) equals: u64,
    pub(super) at: usize,
}

impl Seen {
    #[inline]
    pub(super) fn of(loads: &[u64; FAN], weight: impl Fn(usize) -> u64, rng: &mut impl Rng) -> Self {
        let least = least(loads);
        let alike = (0..FAN).fold(0u32, |alike, at| alike | u32::from(loads[at] == least) << at);
        let first = alike.trailing_zeros() as usize;
        if alike & (alike - 1) == 0 || least == NOBODY {
            return Self { least, equals: weight(first), at: first };
        }
        let (mut ends, mut equals) = ([0; FAN], 0);
        for (at, end) in ends.iter_mut().enumerate() {
            equals += if loads[at] == least { weight(at) } else { 0 };
            *end = equals;
        }
        let drawn = rng.random_range(0..equals.max(1));
        // As many end before it: without a branch that nobody could predict.
        let at: usize = ends.iter().map(|end| usize::from(*end <= drawn)).sum();
        Self { least, equals, at: if at < FAN { at } else { first } }
    }
}

#[inline]
pub(super) fn least(loads: &[u64; FAN]) -> u64 {
    loads.iter().copied().fold(NOBODY, u64::min)
}

#[inline]
pub(super) fn floors(groups: &[Group; FAN]) -> [u64; FAN] {
    groups.each_ref().map(|group| group.floor.load(Ordering::SeqCst))
}
