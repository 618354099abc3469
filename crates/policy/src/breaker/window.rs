//! Counts of late: in parts of time, or of the last calls.

use std::ops::{AddAssign, SubAssign};
use std::time::Duration;

use crate::time::Nanos;

/// Parts of a window of time. A part is forgotten as a whole, so that the window is between nine and ten tenths of its
/// length.
const PARTS: u64 = 10;

/// Calls and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub calls: u64,
    /// Those that failed.
    pub failures: u64,
    /// Those that took too long; a call can be both.
    pub slow: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.failures += other.failures;
        self.slow += other.slow;
    }
}

impl SubAssign for Counts {
    fn sub_assign(&mut self, other: Self) {
        self.calls -= other.calls;
        self.failures -= other.failures;
        self.slow -= other.slow;
    }
}

/// The counts of the last so much time.
#[derive(Clone, Debug)]
pub(super) struct TimeWindow {
    part_nanos: u64,
    parts: [Counts; PARTS as usize],
    sum: Counts,
    /// The newest part's number since the beginning of time.
    newest: u64,
}

impl TimeWindow {
    pub(super) fn new(length: Duration) -> Self {
        let length = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        Self {
            part_nanos: (length / PARTS).max(1),
            parts: [Counts::default(); PARTS as usize],
            sum: Counts::default(),
            newest: 0,
        }
    }

    /// The same counts in a window of another length, as far as they are recent enough for it.
    pub(super) fn resized(&self, length: Duration) -> Self {
        let mut new = Self::new(length);
        if new.part_nanos == self.part_nanos {
            return self.clone();
        }
        for number in (self.newest + 1).saturating_sub(PARTS)..=self.newest {
            let counts = self.parts[(number % PARTS) as usize];
            let began = Nanos(number.saturating_mul(self.part_nanos));
            new.advance(began);
            *new.newest_part() += counts;
            new.sum += counts;
        }
        new
    }

    /// Forgets what is too old. A moment before the newest part counts as that part: the clocks of several threads may
    /// differ by a little.
    pub(super) fn advance(&mut self, now: Nanos) {
        let number = (now.0 / self.part_nanos).max(self.newest);
        for step in 1..=(number - self.newest).min(PARTS) {
            let old = &mut self.parts[((self.newest + step) % PARTS) as usize];
            self.sum -= std::mem::take(old);
        }
        self.newest = number;
        debug_assert_eq!(
            self.sum,
            self.parts.iter().fold(Counts::default(), |mut sum, part| {
                sum += *part;
                sum
            })
        );
    }

    /// Counts calls at the moment of the last [`Self::advance`].
    pub(super) fn add(&mut self, counts: Counts) {
        *self.newest_part() += counts;
        self.sum += counts;
    }

    pub(super) const fn sum(&self) -> Counts {
        self.sum
    }

    /// When the newest part ends.
    pub(super) const fn turn(&self) -> Nanos {
        Nanos(self.newest.saturating_add(1).saturating_mul(self.part_nanos))
    }

    pub(super) fn clear(&mut self) {
        self.parts = [Counts::default(); PARTS as usize];
        self.sum = Counts::default();
    }

    const fn newest_part(&mut self) -> &mut Counts {
        &mut self.parts[(self.newest % PARTS) as usize]
    }
}

/// What became of the last calls, one by one.
#[derive(Clone, Debug)]
pub(super) struct CallWindow {
    /// What each was, the oldest at `next` once it is full.
    calls: Box<[u8]>,
    filled: usize,
    next: usize,
    sum: Counts,
}

const FAILED: u8 = 1;
const SLOW: u8 = 2;

impl CallWindow {
    pub(super) fn new(calls: u32) -> Self {
        let calls = vec![0; calls.max(1) as usize].into_boxed_slice();
        Self { calls, filled: 0, next: 0, sum: Counts::default() }
    }

    /// The newest of the same calls in a window for another number of them.
    pub(super) fn resized(&self, calls: u32) -> Self {
        let mut new = Self::new(calls);
        let length = self.calls.len();
        let oldest = (self.next + length - self.filled) % length;
        for i in 0..self.filled {
            new.push(self.calls[(oldest + i) % length]);
        }
        new
    }

    pub(super) fn add(&mut self, failed: bool, slow: bool) {
        self.push(if failed { FAILED } else { 0 } | if slow { SLOW } else { 0 });
    }

    /// So many calls with which all was well.
    pub(super) fn add_good(&mut self, calls: u64) {
        let length = self.calls.len();
        if calls >= length as u64 {
            self.calls.fill(0);
            self.filled = length;
            self.sum = Counts { calls: length as u64, ..Counts::default() };
            return;
        }
        (0..calls).for_each(|_| self.push(0));
    }

    pub(super) const fn sum(&self) -> Counts {
        self.sum
    }

    pub(super) fn clear(&mut self) {
        (self.filled, self.next, self.sum) = (0, 0, Counts::default());
    }

    fn push(&mut self, call: u8) {
        let counts = |call: u8| Counts {
            calls: 1,
            failures: u64::from(call & FAILED != 0),
            slow: u64::from(call & SLOW != 0),
        };
        let old = std::mem::replace(&mut self.calls[self.next], call);
        if self.filled == self.calls.len() {
            self.sum -= counts(old);
        } else {
            self.filled += 1;
        }
        self.sum += counts(call);
        self.next = (self.next + 1) % self.calls.len();
    }
}
