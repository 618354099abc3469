//! What happens next: events by time, and those of one moment in the order in which they were planned.
//!
//! ```text
//! push -> wheel of buckets (unsorted) -> the current bucket, sorted once -> pop
//!      \-> late: into the current bucket          far: beyond the wheel
//! ```
//!
//! A calendar queue (Brown, "Calendar Queues", 1988) whose buckets are sorted when their time comes. The width of a bucket
//! follows the number of events in it. That width decides how fast this is, never the order: that is by time and number
//! alone.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Buckets of the wheel; a power of two.
const BUCKETS: usize = 4096;
/// Buckets drained between two looks at the width.
const REVIEW: u32 = 512;
/// Events in a bucket, on average, above which it is made narrower, and below which wider.
const CROWDED: u64 = 192;
const SPARSE: u64 = 3;
/// Widths, as powers of two of nanoseconds: 1 us to 17 s.
const SHIFT_MIN: u32 = 6;
const SHIFT_MAX: u32 = 34;

/// An event and when it happens.
#[derive(Clone, Copy, Debug)]
struct Entry<T> {
    at: u64,
    number: u64,
    what: T,
}

impl<T> Entry<T> {
    #[inline]
    const fn key(&self) -> (u64, u64) {
        (self.at, self.number)
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// Events to come.
#[derive(Debug)]
pub struct Queue<T> {
    /// The current bucket, the next event last.
    current: Vec<Entry<T>>,
    /// Events planned into the current bucket after it was sorted.
    late: BinaryHeap<Reverse<Entry<T>>>,
    wheel: Vec<Vec<Entry<T>>>,
    /// One bit for each bucket of the wheel that holds something.
    filled: [u64; BUCKETS / 64],
    /// Events beyond the wheel.
    far: BinaryHeap<Reverse<Entry<T>>>,
    /// Width of a bucket, as a power of two.
    shift: u32,
    /// Number of the current bucket since the beginning of time.
    cursor: u64,
    planned: u64,
    len: usize,
    drained_buckets: u32,
    drained_events: u64,
}

impl<T: Copy> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Copy> Queue<T> {
    /// Nothing to come.
    pub fn new() -> Self {
        Self {
            current: Vec::new(),
            late: BinaryHeap::new(),
            wheel: std::iter::repeat_with(Vec::new).take(BUCKETS).collect(),
            filled: [0; BUCKETS / 64],
            far: BinaryHeap::new(),
            shift: 18,
            cursor: 0,
            planned: 0,
            len: 0,
            drained_buckets: 0,
            drained_events: 0,
        }
    }

    /// How many events are to come.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is to come.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Plans an event, in nanoseconds. One planned for a moment that has passed happens next.
    #[inline]
    pub fn push(&mut self, at: u64, what: T) {
        let entry = Entry { at, number: self.planned, what };
        self.planned += 1;
        self.len += 1;
        self.place(entry);
    }

    #[inline]
    fn place(&mut self, entry: Entry<T>) {
        let bucket = entry.at >> self.shift;
        if bucket <= self.cursor {
            self.late.push(Reverse(entry));
        } else if bucket - self.cursor < BUCKETS as u64 {
            let slot = bucket as usize % BUCKETS;
            self.filled[slot / 64] |= 1 << (slot % 64);
            self.wheel[slot].push(entry);
        } else {
            self.far.push(Reverse(entry));
        }
    }

    /// The next event and when it happens.
    #[inline]
    pub fn pop(&mut self) -> Option<(u64, T)> {
        loop {
            let entry = match (self.current.last(), self.late.peek()) {
                (Some(next), Some(Reverse(late))) if late < next => self.late.pop().map(|Reverse(e)| e),
                (Some(_), _) => self.current.pop(),
                (None, Some(_)) => self.late.pop().map(|Reverse(e)| e),
                (None, None) => {
                    if !self.advance() {
                        return None;
                    }
                    continue;
                }
            };
            self.len -= 1;
            return entry.map(|entry| (entry.at, entry.what));
        }
    }

    /// Makes the next bucket that holds something the current one.
    fn advance(&mut self) -> bool {
        self.review();
        // A wider current bucket may have taken events in.
        if !self.late.is_empty() {
            return true;
        }
        let in_wheel = self.next_filled();
        let beyond = self.far.peek().map(|Reverse(entry)| entry.at >> self.shift);
        let Some(bucket) = in_wheel.into_iter().chain(beyond).min() else { return false };
        self.cursor = bucket;
        if in_wheel == Some(bucket) {
            let slot = bucket as usize % BUCKETS;
            self.filled[slot / 64] &= !(1 << (slot % 64));
            // The emptied vector goes to the wheel, so that its memory is used again.
            std::mem::swap(&mut self.current, &mut self.wheel[slot]);
        }
        while let Some(Reverse(entry)) = self.far.peek()
            && entry.at >> self.shift <= bucket
        {
            self.current.extend(self.far.pop().map(|Reverse(entry)| entry));
        }
        self.current.sort_unstable_by(|a, b| b.cmp(a));
        self.drained_buckets += 1;
        self.drained_events += self.current.len() as u64;
        true
    }

    /// The number of the first bucket after the current one that holds something.
    fn next_filled(&self) -> Option<u64> {
        let start = (self.cursor + 1) as usize % BUCKETS;
        let words = self.filled.len();
        for step in 0..=words {
            let word = (start / 64 + step) % words;
            let mut bits = self.filled[word];
            if step == 0 {
                bits &= u64::MAX << (start % 64);
            } else if step == words {
                bits &= !(u64::MAX << (start % 64));
            }
            if bits != 0 {
                let slot = word * 64 + bits.trailing_zeros() as usize;
                return Some(self.cursor + 1 + ((slot + BUCKETS - start) % BUCKETS) as u64);
            }
        }
        None
    }

    /// Makes buckets narrower where they are crowded, wider where they are nearly empty.
    fn review(&mut self) {
        if self.drained_buckets < REVIEW {
            return;
        }
        let mean = self.drained_events / u64::from(self.drained_buckets);
        (self.drained_buckets, self.drained_events) = (0, 0);
        if mean > CROWDED && self.shift > SHIFT_MIN {
            self.resize(self.shift - 2);
        } else if mean < SPARSE && self.shift < SHIFT_MAX {
            self.resize(self.shift + 2);
        }
    }

    fn resize(&mut self, shift: u32) {
        debug_assert!(self.current.is_empty() && self.late.is_empty());
        let mut all: Vec<Entry<T>> = Vec::with_capacity(self.len);
        for bucket in &mut self.wheel {
            all.append(bucket);
        }
        all.extend(self.far.drain().map(|Reverse(entry)| entry));
        self.filled = [0; BUCKETS / 64];
        // The last moment of the bucket that was left: nothing that is planned lies before it.
        let passed = ((self.cursor + 1) << self.shift) - 1;
        self.shift = shift;
        self.cursor = passed >> shift;
        for entry in all {
            self.place(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is planned when, it happens in the order of time, and in the order of planning within a moment.
        #[test]
        fn happens_in_order(
            steps in prop::collection::vec((0u64..4, 0u32..40, 1u64..1000), 1..3000),
        ) {
            let mut queue = Queue::new();
            let mut model = std::collections::BTreeMap::new();
            let (mut now, mut number) = (0u64, 0u64);
            for (pops, scale, spread) in steps {
                let at = now + ((spread << scale) >> 8);
                queue.push(at, number);
                model.insert((at, number), ());
                number += 1;
                for _ in 0..pops {
                    let expected = model.pop_first().map(|((at, number), ())| (at, number));
                    let got = queue.pop();
                    prop_assert_eq!(got, expected);
                    now = got.map_or(now, |(at, _)| at);
                }
                prop_assert_eq!(queue.len(), model.len());
            }
            while let Some(((at, number), ())) = model.pop_first() {
                prop_assert_eq!(queue.pop(), Some((at, number)));
            }
            prop_assert_eq!(queue.pop(), None);
        }
    }

    /// Crowded and sparse times in turn, so that the width changes both ways.
    #[test]
    fn keeps_order_while_its_width_changes() {
        let mut queue = Queue::new();
        let mut last = 0;
        let mut state = 7u64;
        for round in 0..400_000u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let scale = if (round / 100_000).is_multiple_of(2) { 20 } else { 36 };
            queue.push(last + (state >> (64 - scale)), round);
            if queue.len() > 10_000 {
                let (at, _) = queue.pop().unwrap();
                assert!(at >= last);
                last = at;
            }
        }
        assert_ne!(queue.shift, 18);
    }
}
