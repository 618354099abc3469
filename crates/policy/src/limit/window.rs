//! The sliding window of two counters: what was admitted in the current window and in the one before it, of which as much
//! counts as the sliding window still covers, as if it had come evenly.
//!
//! No aligned window holds more than the limit, and no window at all more than twice the limit; of even arrivals no window
//! holds more than the limit.

use std::time::Duration;

use super::Quota;
use super::config::RateConfig;
use super::pace::nanos;
use crate::time::Nanos;

/// A limit per window, ready to be decided by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    length: u64,
    /// 2^64 / length, rounded down: to divide by multiplying.
    reciprocal: u64,
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
        Self { length, reciprocal, rate }
    }

    /// The number of the window that a moment is in, and how much of that is over then.
    #[inline]
    fn place(&self, now: Nanos) -> (u64, u64) {
        self.divide(now.0)
    }

    /// How many windows a number of nanoseconds is, and how many are over.
    #[inline]
    fn divide(&self, nanos: u64) -> (u64, u64) {
        // The product is less than one below the quotient, as the reciprocal is less than one below its value.
        let whole = ((u128::from(nanos) * u128::from(self.reciprocal)) >> 64) as u64;
        let over = nanos - whole * self.length;
        if over < self.length { (whole, over) } else { (whole + 1, over - self.length) }
    }

    /// How many of those admitted in the window before count while so much of the current one is left, rounded up.
    #[inline]
    fn counted(&self, before: u32, left: u64) -> u32 {
        match u64::from(before).checked_mul(left) {
            Some(product) => {
                let (whole, over) = self.divide(product);
                (whole + u64::from(over > 0)) as u32
            }
            None => self.counted_of_many(before, left),
        }
    }

    #[inline(never)]
    fn counted_of_many(&self, before: u32, left: u64) -> u32 {
        // At most `before`, as no more than a window is left.
        (u128::from(before) * u128::from(left)).div_ceil(self.length.into()) as u32
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

    /// Counts that have been rolled with one more, and how many may follow now; or how long until there may be one more.
    #[inline]
    pub(super) fn next(&self, counts: Counts, elapsed: u64) -> Result<(Counts, u32), Duration> {
        let limit = self.rate.requests.max(1);
        let left = self.length - elapsed;
        let Some(room) = limit.checked_sub(counts.current).and_then(|room| room.checked_sub(1)) else {
            // Not in this window any more; in the next, this one is the one before.
            let covered = self.covered_max(limit - 1, counts.current);
            return Err(Duration::from_nanos(left.saturating_add(self.length - covered)));
        };
        // before x left / length + current + 1 <= limit
        match room.checked_sub(self.counted(counts.before, left)) {
            Some(remaining) => Ok((Counts { current: counts.current + 1, ..counts }, remaining)),
            None => Err(Duration::from_nanos(left - self.covered_max(room, counts.before).min(left))),
        }
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
    pub(super) fn quota(&self, counts: Counts, elapsed: u64) -> Quota {
        let counted = self.counted(counts.before, self.length - elapsed);
        let remaining = self.rate.requests.saturating_sub(counted).saturating_sub(counts.current);
        let reset = match (counts.before, counts.current) {
            (0, 0) => 0,
            (_, 0) => self.length - elapsed,
            _ => return self.quota_of(remaining, elapsed),
        };
        Quota { reset: Duration::from_nanos(reset), ..self.quota_of(remaining, elapsed) }
    }

    /// What is left, of which the number of requests is known, when there was one in the current window: it counts until
    /// the end of the next one.
    #[inline]
    pub(super) fn quota_of(&self, remaining: u32, elapsed: u64) -> Quota {
        Quota {
            limit: self.rate.requests,
            window: self.rate.per,
            remaining,
            reset: Duration::from_nanos(self.length.saturating_add(self.length - elapsed)),
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
        let spent = old.counted(counts.before, old.length - elapsed);
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
        fn all_is_there_again_when_it_is_said_and_not_before(length in 2u64..1_000_000_000, elapsed: u64, before in 0u32..9, current in 0u32..9) {
            let window = Window::new(RateConfig { requests: 8, per: Duration::from_nanos(length), burst: 1 });
            let now = Nanos(length * 5 + elapsed % length);
            let counts = Counts { index: 5, before, current };
            let at = |now| {
                let (counts, elapsed) = window.rolled(counts, now);
                window.quota(counts, elapsed)
            };
            let reset = at(now).reset;
            prop_assert_eq!(at(now + reset).remaining, 8);
            if !reset.is_zero() {
                prop_assert!(at(now + (reset - Duration::from_nanos(1))).remaining < 8);
            }
        }

        #[test]
        fn moments_are_in_their_windows(length in 2u64.., at: u64, near in 0u64..4, bits in 0u32..63) {
            let length = (length >> bits).max(2);
            let window = Window::new(RateConfig { requests: 1, per: Duration::from_nanos(length), burst: 1 });
            // Anywhere, and around where a window begins.
            for now in [at, (at / length * length).saturating_add(near), (at / length * length).saturating_sub(near)] {
                prop_assert_eq!(window.place(Nanos(now)), (now / length, now % length));
            }
        }

        #[test]
        fn counts_of_the_window_before_are_rounded_up(length in 2u64.., bits in 0u32..63, before: u32, few in 0u32..33, left: u64) {
            let length = (length >> bits).max(2);
            let window = Window::new(RateConfig { requests: 1, per: Duration::from_nanos(length), burst: 1 });
            let (before, left) = (before.checked_shr(few).unwrap_or(0), left % (length + 1));
            let exact = (u128::from(before) * u128::from(left)).div_ceil(length.into());
            prop_assert_eq!(u128::from(window.counted(before, left)), exact);
        }
    }
}
