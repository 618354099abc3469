//! A quantile of latencies of late, in bounded memory.

use std::time::Duration;

use crate::time::Nanos;

/// Parts of each doubling: a quantile is at most a sixteenth too long.
const PARTS: u64 = 16;
/// The bits of a part's number.
const PART_BITS: u32 = PARTS.trailing_zeros();
/// Latencies count in units of 2^10 ns.
const UNIT_BITS: u32 = 10;
/// The doubling of the longest latencies that are told apart: 2^31 units are 37 min.
const DOUBLING_MAX: u32 = 30;
/// All parts of all doublings; those below the first one are a unit each.
const BUCKETS: usize = ((DOUBLING_MAX - PART_BITS + 2) as u64 * PARTS) as usize;

/// Latencies of the last one to two windows, sorted into buckets. About 3.5 KiB, whatever is recorded.
#[derive(Clone, Debug)]
pub struct LatencyQuantile {
    window: Duration,
    began: Nanos,
    now: Box<Counts>,
    before: Box<Counts>,
}

#[derive(Clone, Debug)]
struct Counts {
    buckets: [u32; BUCKETS],
    total: u64,
}

impl LatencyQuantile {
    /// Knows nothing. What is recorded counts for at least one window and at most two.
    pub fn new(window: Duration) -> Self {
        Self { window, began: Nanos(0), now: Counts::none(), before: Counts::none() }
    }

    /// Takes note of a latency. O(1).
    pub fn record(&mut self, latency: Duration, now: Nanos) {
        self.turn(now);
        let bucket = &mut self.now.buckets[bucket(latency)];
        *bucket = bucket.saturating_add(1);
        self.now.total += 1;
    }

    /// How many latencies count now.
    pub fn count(&mut self, now: Nanos) -> u64 {
        self.turn(now);
        self.now.total + self.before.total
    }

    /// The latency that a share of calls does not exceed, at most a sixteenth (and a microsecond) too long; none if
    /// nothing is known. It looks through all buckets.
    pub fn quantile(&mut self, share: f64, now: Nanos) -> Option<Duration> {
        let total = self.count(now);
        if total == 0 {
            return None;
        }
        let rank = (share.clamp(0.0, 1.0) * total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let pairs = self.now.buckets.iter().zip(&self.before.buckets);
        let found = pairs.map(|(now, before)| u64::from(*now) + u64::from(*before)).position(|count| {
            seen += count;
            seen >= rank
        });
        // A full bucket may have counted too little: then it is the last one.
        Some(end(found.unwrap_or(BUCKETS - 1)))
    }

    fn turn(&mut self, now: Nanos) {
        let passed = now.since(self.began);
        if passed < self.window {
            return;
        }
        std::mem::swap(&mut self.now, &mut self.before);
        self.now.clear();
        if passed >= self.window.saturating_mul(2) {
            self.before.clear();
        }
        self.began = now;
    }
}

impl Counts {
    fn none() -> Box<Self> {
        Box::new(Self { buckets: [0; BUCKETS], total: 0 })
    }

    fn clear(&mut self) {
        self.buckets.fill(0);
        self.total = 0;
    }
}

fn bucket(latency: Duration) -> usize {
    let units = u64::try_from(latency.as_nanos() >> UNIT_BITS).unwrap_or(u64::MAX);
    if units < PARTS {
        return units as usize;
    }
    let doubling = units.ilog2().min(DOUBLING_MAX);
    let part = (units >> (doubling - PART_BITS)).min(2 * PARTS - 1) - PARTS;
    (u64::from(doubling - PART_BITS + 1) * PARTS + part) as usize
}

/// The upper end of a bucket.
fn end(bucket: usize) -> Duration {
    let (doubling, part) = (bucket as u64 / PARTS, bucket as u64 % PARTS);
    let units = if doubling == 0 { part + 1 } else { (PARTS + part + 1) << (doubling - 1) };
    Duration::from_nanos(units << UNIT_BITS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_follow_each_other() {
        for index in 0..BUCKETS {
            let last = end(index) - Duration::from_nanos(1);
            assert_eq!(bucket(last), index);
            assert_eq!(bucket(end(index)), (index + 1).min(BUCKETS - 1));
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
        assert_eq!(bucket(Duration::ZERO), 0);
    }

    #[test]
    fn it_forgets() {
        let mut quantile = LatencyQuantile::new(Duration::from_secs(30));
        let at = |secs: u64| Nanos::from_secs(1_000 + secs);
        (0..100).for_each(|_| quantile.record(Duration::from_millis(500), at(0)));
        (0..100).for_each(|_| quantile.record(Duration::from_millis(5), at(31)));
        assert!(quantile.quantile(0.9, at(31)).unwrap() > Duration::from_millis(499));
        assert!(quantile.quantile(0.9, at(62)).unwrap() < Duration::from_millis(6));
        assert_eq!(quantile.count(at(62)), 100);
        assert_eq!(quantile.quantile(0.9, at(200)), None);
    }

    proptest! {
        /// Against a sorted list.
        #[test]
        fn it_is_near_the_truth(
            micros in prop::collection::vec(1u64..3_000_000, 1..300),
            share in 0.0f64..=1.0,
        ) {
            let mut quantile = LatencyQuantile::new(Duration::from_secs(30));
            let now = Nanos::from_secs(5);
            micros.iter().for_each(|micros| quantile.record(Duration::from_micros(*micros), now));
            let mut sorted = micros.clone();
            sorted.sort_unstable();
            let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
            let truth = sorted[rank - 1] as f64 * 1e-6;
            let found = quantile.quantile(share, now).unwrap().as_secs_f64();
            prop_assert!(found > truth && found <= truth * (1.0 + 1.0 / 16.0) + 2e-6, "{found} {truth}");
        }
    }
}
