//! The sliding window of two counters: what was admitted in the current window and in the one before it, of which as much
//! counts as the sliding window still covers, as if it had come evenly.
//!
//! No aligned window holds more than the limit, and no window at all more than twice the limit; of even arrivals no window
//! holds more than the limit.

use std::time::Duration;

use super::Quota;
use super::config::RateConfig;
use super::pace::{nanos, signed};
use crate::time::Nanos;

/// A limit per window, ready to be decided by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    length: u64,
    /// 2^64 / length, rounded down: to divide by multiplying.
    reciprocal: u64,
    inverse: f64,
    pub(super) rate: RateConfig,
}

/// What was admitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Number of the current window, without its upper half.
    pub(super) index: u32,
    pub(super) before: u32,
    pub(super) current: u32,
}

impl Window {
    pub(super) fn new(rate: RateConfig) -> Self {
        let length = nanos(rate.per).max(2);
        let reciprocal = ((1 << 64) / u128::from(length)) as u64;
        Self { length, reciprocal, inverse: 1.0 / length as f64, rate }
    }

    /// The number of the window that a moment is in, and how much of that is over then.
    #[inline]
    fn place(&self, now: Nanos) -> (u64, u64) {
        // The product is less than one below the quotient, as the reciprocal is less than one below its value.
        let index = ((u128::from(now.0) * u128::from(self.reciprocal)) >> 64) as u64;
        let elapsed = now.0 - index * self.length;
        if elapsed < self.length { (index, elapsed) } else { (index + 1, elapsed - self.length) }
    }

    /// The counts as of now, and how much of the current window is over.
    #[inline]
    pub(super) fn rolled(&self, counts: Counts, now: Nanos) -> (Counts, u64) {
        let (index, elapsed) = self.place(now);
        let index = index as u32;
        match index.wrapping_sub(counts.index) {
            0 => (counts, elapsed),
            1 => (Counts { index, before: counts.current, current: 0 }, elapsed),
            // Another thread's clock was read later than this one's.
            u32::MAX => (counts, 0),
            _ => (Counts { index, before: 0, current: 0 }, elapsed),
        }
    }

    /// Counts that have been rolled with one more, or how long until there may be one more.
    #[inline]
    pub(super) fn next(&self, counts: Counts, elapsed: u64) -> Result<Counts, Duration> {
        let limit = self.rate.requests.max(1);
        let left = self.length - elapsed;
        let Some(room) = limit.checked_sub(counts.current).and_then(|room| room.checked_sub(1)) else {
            // Not in this window any more; in the next, this one is the one before.
            let covered = self.covered_max(limit - 1, counts.current);
            return Err(Duration::from_nanos(left.saturating_add(self.length - covered)));
        };
        // before x left / length + current + 1 <= limit
        let counted = u128::from(counts.before) * u128::from(left);
        if counted <= u128::from(room) * u128::from(self.length) {
            return Ok(Counts { current: counts.current + 1, ..counts });
        }
        Err(Duration::from_nanos(left - self.covered_max(room, counts.before).min(left)))
    }

    /// The longest part of a window with `count` in it that counts as at most `room`.
    fn covered_max(&self, room: u32, count: u32) -> u64 {
        if count <= room {
            return self.length;
        }
        let covered = u128::from(room) * u128::from(self.length) / u128::from(count);
        u64::try_from(covered).unwrap_or(self.length)
    }

    /// What is left, of counts that have been rolled.
    #[inline]
    pub(super) fn quota(&self, counts: Counts, elapsed: u64) -> Quota {
        self.quota_of(self.remaining(counts, elapsed), elapsed)
    }

    /// How many requests are left, of counts that have been rolled.
    #[inline]
    pub(super) fn remaining(&self, counts: Counts, elapsed: u64) -> u32 {
        let covered = signed(self.length - elapsed) as f64 * self.inverse;
        // The smallest addition makes up for what the product lost.
        let room = (f64::from(self.rate.requests) + 1e-6 - f64::from(counts.before) * covered) as i64;
        (room - i64::from(counts.current)).max(0) as u32
    }

    /// What is left, of which the number of requests is known.
    #[inline]
    pub(super) fn quota_of(&self, remaining: u32, elapsed: u64) -> Quota {
        Quota {
            limit: self.rate.requests,
            window: self.rate.per,
            remaining,
            reset: Duration::from_nanos(self.length - elapsed),
            burst: None,
        }
    }

    /// One of those admitted in a window less.
    pub(super) fn give_back(&self, counts: Counts, index: u32, now: Nanos) -> Counts {
        let (mut counts, _) = self.rolled(counts, now);
        match counts.index.wrapping_sub(index) {
            0 => counts.current = counts.current.saturating_sub(1),
            1 => counts.before = counts.before.saturating_sub(1),
            _ => {}
        }
        counts
    }

    /// Counts that are nowhere less than either.
    pub(super) fn joined(&self, a: Counts, b: Counts, now: Nanos) -> Counts {
        let ((a, _), (b, _)) = (self.rolled(a, now), self.rolled(b, now));
        Counts { index: a.index, before: a.before.max(b.before), current: a.current.max(b.current) }
    }

    /// The counts for this window of what another counted.
    pub(super) fn carried(&self, counts: Counts, old: &Self, now: Nanos) -> Counts {
        if self.length == old.length {
            return counts;
        }
        let (counts, elapsed) = old.rolled(counts, now);
        let covered = (old.length - elapsed) as f64 * old.inverse;
        let spent = (f64::from(counts.before) * covered).ceil() as u32;
        let index = self.place(now).0 as u32;
        Counts { index, before: 0, current: spent.saturating_add(counts.current) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn moments_are_in_their_windows(length in 2u64.., at: u64, near in 0u64..4, bits in 0u32..63) {
            let length = (length >> bits).max(2);
            let window = Window::new(RateConfig { requests: 1, per: Duration::from_nanos(length), burst: 1 });
            // Anywhere, and around where a window begins.
            for now in [at, (at / length * length).saturating_add(near), (at / length * length).saturating_sub(near)] {
                prop_assert_eq!(window.place(Nanos(now)), (now / length, now % length));
            }
        }
    }
}
