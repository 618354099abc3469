//! The generic cell rate algorithm (ITU-T I.371, annex A, in its virtual scheduling form), on one word.
//!
//! An admission takes a *slot*: a stretch of length T = 1/rate on a line that begins where the last slot ended or now,
//! whichever is later. The word is where the last slot ended (the theoretical arrival time). A token bucket admits while the
//! slot ends at most burst x T from now; a leaky bucket lets the request wait until its slot begins. Slots never overlap and
//! none begins before its request came: so no window of length t holds more than t/T + burst of them, which is the bound.
//!
//! **Giving a slot back** must not break that. The last slot is rolled back: the word is what it was before. Another is
//! kept ([`Returned`]) for a request that comes before it would have begun, and is lost when it begins: moving the later
//! slots forward instead would let some begin before their requests came. (At one instant nothing is ever lost.)

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Quota;
use super::config::RateConfig;
use crate::time::Nanos;

/// A rate, ready to be decided by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// T: the length of a slot in nanoseconds, rounded up, so that the rate is never more than was asked for.
    pub(super) interval: u64,
    /// How far from now a slot may end, in nanoseconds.
    pub(super) depth: u64,
    /// The length of a slot while the bucket is cold; T if it does not warm up.
    pub(super) cold: u64,
    /// 2^64 / T, rounded down and at most 2^64 - 1: to divide by multiplying.
    pub(super) reciprocal: u64,
    /// One over T.
    pub(super) inverse: f64,
    /// The rate as it was given.
    pub(super) rate: RateConfig,
}

/// A slot that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Pace {
    /// A token bucket's: bursts are as deep as they may be.
    pub(super) fn bucket(rate: RateConfig) -> Self {
        let interval = interval(rate);
        Self::new(rate, interval, interval.saturating_mul(u64::from(rate.burst.max(1))))
    }

    /// A leaky bucket's: a slot begins at most `wait` from now.
    pub(super) fn leaky(rate: RateConfig, wait: Duration, queue_max: u32) -> Self {
        let interval = interval(rate);
        let wait = nanos(wait).min(interval.saturating_mul(u64::from(queue_max)));
        // It has no bursts.
        let rate = RateConfig { burst: rate.requests, ..rate };
        Self::new(rate, interval, wait.saturating_add(interval))
    }

    fn new(rate: RateConfig, interval: u64, depth: u64) -> Self {
        let reciprocal = u64::try_from((1 << 64) / u128::from(interval)).unwrap_or(u64::MAX);
        Self { interval, depth, cold: interval, reciprocal, inverse: 1.0 / interval as f64, rate }
    }

    /// The next slot, or how long until there is one.
    #[inline]
    pub(super) fn next(&self, tat: u64, now: Nanos) -> Result<Slot, Duration> {
        self.next_of(tat, now, self.interval, self.depth)
    }

    /// The same for a slot of another length and depth (a bucket that is not warm).
    #[inline]
    pub(super) fn next_of(&self, tat: u64, now: Nanos, length: u64, depth: u64) -> Result<Slot, Duration> {
        let start = tat.max(now.0);
        let end = start.saturating_add(length);
        match (end - now.0).checked_sub(depth) {
            None | Some(0) => Ok(Slot { start, end }),
            Some(early) => Err(Duration::from_nanos(early)),
        }
    }

    /// What is left when the last slot ends at `tat`.
    #[inline]
    pub(super) fn quota(&self, tat: u64, now: Nanos) -> Quota {
        self.quota_of(self.remaining(tat, now), tat, now)
    }

    /// How many requests are left when the last slot ends at `tat`.
    #[inline]
    pub(super) fn remaining(&self, tat: u64, now: Nanos) -> u32 {
        let debt = tat.saturating_sub(now.0);
        self.slots_in(self.depth.saturating_sub(debt)).min(u32::MAX.into()) as u32
    }

    /// What is left, of which the number of requests is known.
    #[inline]
    pub(super) fn quota_of(&self, remaining: u32, tat: u64, now: Nanos) -> Quota {
        Quota {
            limit: self.rate.requests,
            window: self.rate.per,
            remaining,
            reset: Duration::from_nanos(tat.saturating_sub(now.0)),
            burst: self.rate.other_burst(),
        }
    }

    /// How many slots fit into a length.
    #[inline]
    fn slots_in(&self, length: u64) -> u64 {
        // The product is less than one below the quotient, as the reciprocal is at most one below its value.
        let count = ((u128::from(length) * u128::from(self.reciprocal)) >> 64) as u64;
        count + u64::from(length - count * self.interval >= self.interval)
    }

    /// Where the last slot would have ended, had as many been taken at this pace as were at the other.
    pub(super) fn carried(&self, tat: u64, old: &Self, now: Nanos) -> u64 {
        let Some(debt) = tat.checked_sub(now.0) else { return tat };
        let debt = u128::from(debt) * u128::from(self.interval) / u128::from(old.interval);
        now.0.saturating_add(u64::try_from(debt).unwrap_or(u64::MAX).min(self.depth))
    }

    /// The same of turns: those that were given stay where they are, and the next one keeps its distance from the last.
    pub(super) fn carried_turn(&self, tat: u64, old: &Self, now: Nanos) -> u64 {
        if tat <= now.0 {
            return tat;
        }
        tat.saturating_sub(old.interval).saturating_add(self.interval)
    }
}

/// A length in nanoseconds as a number with a sign, which is converted to floating point in one step.
#[inline]
pub(super) fn signed(length: u64) -> i64 {
    length.min(i64::MAX as u64) as i64
}

fn interval(rate: RateConfig) -> u64 {
    nanos(rate.per).div_ceil(u64::from(rate.requests.max(1))).max(1)
}

pub(super) fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

/// Most slots that are kept for others. Only what was given back in between, and has not begun yet, is there.
pub(super) const RETURNED_MAX: usize = 128;

/// Slots that were given back, but were not the last ones, until they begin.
#[derive(Debug, Default)]
pub(super) struct Returned {
    slots: Vec<ReturnedSlot>,
}

#[derive(Clone, Copy, Debug)]
struct ReturnedSlot {
    /// Whose it is: key and rate.
    of: (u64, u8),
    start: u64,
}

impl Returned {
    /// Keeps a slot unless it has begun; lost if too many are kept.
    pub(super) fn keep(&mut self, of: (u64, u8), start: u64, now: Nanos) {
        self.drop_begun(now);
        if start >= now.0 && self.slots.len() < RETURNED_MAX {
            self.slots.push(ReturnedSlot { of, start });
        }
    }

    /// Drops those that have begun.
    pub(super) fn drop_begun(&mut self, now: Nanos) {
        self.slots.retain(|slot| slot.start >= now.0);
    }

    /// Where the first that has not begun begins.
    #[inline]
    pub(super) fn find(&self, of: (u64, u8), now: Nanos) -> Option<u64> {
        let ours = self.slots.iter().filter(|slot| slot.of == of && slot.start >= now.0);
        ours.map(|slot| slot.start).min()
    }

    /// Gives out what was found.
    pub(super) fn take(&mut self, start: u64, of: (u64, u8)) {
        if let Some(at) = self.slots.iter().position(|slot| slot.of == of && slot.start == start) {
            self.slots.swap_remove(at);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn clear(&mut self) {
        self.slots.clear();
    }
}

/// One rate for everybody: the word, and what was given back. Any number of threads, no lock unless something was.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    tat: AtomicU64,
    returned_len: AtomicU32,
    /// Its state has gone over to another.
    is_over: AtomicBool,
    returned: Mutex<Returned>,
}

/// Of whom the one bucket's slots are.
const ALL: (u64, u8) = (0, 0);

impl Bucket {
    /// The slot that was taken, or how long until there is one.
    #[inline]
    pub(super) fn take(&self, pace: &Pace, now: Nanos) -> Result<Slot, Duration> {
        // Relaxed throughout: the word is all there is to agree on.
        if self.returned_len.load(Ordering::Relaxed) > 0
            && let Some(slot) = self.reuse(pace, now)
        {
            return Ok(slot);
        }
        let mut tat = self.tat.load(Ordering::Relaxed);
        loop {
            let slot = pace.next(tat, now)?;
            match self.tat.compare_exchange_weak(tat, slot.end, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(slot),
                Err(other) => tat = other,
            }
        }
    }

    #[cold]
    fn reuse(&self, pace: &Pace, now: Nanos) -> Option<Slot> {
        let mut returned = self.lock();
        let start = returned.find(ALL, now)?;
        returned.take(start, ALL);
        self.note_len(&returned);
        Some(Slot { start, end: start.saturating_add(pace.interval) })
    }

    /// Gives a slot back.
    pub(super) fn give_back(&self, Slot { start, end }: Slot, now: Nanos) {
        if self.tat.compare_exchange(end, start, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            return;
        }
        let mut returned = self.lock();
        if self.is_over() {
            return;
        }
        returned.keep(ALL, start, now);
        self.note_len(&returned);
    }

    /// Begins where the last slot of another ended.
    pub(super) fn begin(&self, tat: u64) {
        self.tat.store(tat, Ordering::Relaxed);
    }

    /// Gives out nothing any more, as if the last slot never ended. Where it did.
    pub(super) fn end(&self) -> u64 {
        let mut returned = self.lock();
        returned.clear();
        self.note_len(&returned);
        self.is_over.store(true, Ordering::Relaxed);
        // Who finds this finds what was stored before.
        self.tat.swap(u64::MAX, Ordering::AcqRel)
    }

    /// Whether its state has gone over to another, which one that was refused asks.
    pub(super) fn is_over(&self) -> bool {
        fence(Ordering::Acquire);
        self.is_over.load(Ordering::Relaxed)
    }

    pub(super) fn tat(&self) -> u64 {
        self.tat.load(Ordering::Relaxed)
    }

    fn note_len(&self, returned: &Returned) {
        self.returned_len.store(returned.len() as u32, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Returned> {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn as_many_slots_fit_as_the_quotient_says(interval in 1u64.., bits in 0u32..64, length: u64, near in 0u64..3) {
            let interval = (interval >> bits).max(1);
            let rate = RateConfig { requests: 1, per: Duration::from_nanos(interval), burst: 1 };
            let pace = Pace::bucket(rate);
            // Anywhere, and around where a slot more fits.
            let whole = length / interval * interval;
            for length in [length, whole.saturating_add(near), whole.saturating_sub(near)] {
                prop_assert_eq!(pace.slots_in(length), length / interval);
            }
        }
    }
}
