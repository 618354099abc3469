//! Times, counted by how long they were.

pub(super) use weir_api::report::{BOUNDS_NS, BUCKETS};

use super::counters::Counter;

/// The same as seconds, as Prometheus shows them.
pub(super) const BOUNDS_S: [&str; BOUNDS_NS.len()] = [
    "0.0001", "0.0002", "0.0005", "0.001", "0.002", "0.005", "0.01", "0.02", "0.05", "0.1", "0.2", "0.5",
    "1", "2", "5", "10", "20", "50",
];

/// Where to begin looking for the bucket of a number, by the number of its bits.
static FIRST: [u8; 65] = {
    let mut first = [0; 65];
    let mut bits = 0;
    while bits <= 64 {
        let least: u64 = if bits == 0 { 0 } else { 1 << (bits - 1) };
        let mut at = 0;
        while at < BOUNDS_NS.len() && BOUNDS_NS[at] < least {
            at += 1;
        }
        first[bits] = at as u8;
        bits += 1;
    }
    first
};

/// How many times fell into each bucket.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    counts: [Counter; BUCKETS],
    sum_ns: Counter,
}

impl Histogram {
    /// Counts a time. The logarithm leads to the bucket or to one of its two neighbours: no search, no division.
    #[inline]
    pub(crate) fn observe(&self, ns: u64) {
        let mut at = usize::from(FIRST[64 - ns.leading_zeros() as usize]);
        while at < BOUNDS_NS.len() && ns > BOUNDS_NS[at] {
            at += 1;
        }
        self.counts[at].add(1);
        self.sum_ns.add(ns);
    }
}

/// Several workers' histograms together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) counts: [u64; BUCKETS],
    pub(super) sum_ns: u64,
}

impl Sum {
    pub(super) fn add(&mut self, histogram: &Histogram) {
        for (sum, counter) in self.counts.iter_mut().zip(&histogram.counts) {
            *sum = sum.wrapping_add(counter.get());
        }
        self.sum_ns = self.sum_ns.wrapping_add(histogram.sum_ns.get());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.counts.iter().all(|&count| count == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(ns: u64) -> usize {
        let histogram = Histogram::default();
        histogram.observe(ns);
        histogram.counts.iter().position(|count| count.get() == 1).unwrap()
    }

    #[test]
    fn a_time_falls_into_the_first_bucket_that_holds_it() {
        let linear = |ns| BOUNDS_NS.iter().position(|&bound| ns <= bound).unwrap_or(BOUNDS_NS.len());
        let around = BOUNDS_NS.into_iter().flat_map(|bound| [bound - 1, bound, bound + 1]);
        let powers = (0..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, (1 << bit) + 1]);
        for ns in around.chain(powers).chain([0, u64::MAX]) {
            assert_eq!(bucket(ns), linear(ns), "{ns}");
        }
    }

    #[test]
    fn bounds_are_what_they_are_called() {
        for (ns, s) in BOUNDS_NS.into_iter().zip(BOUNDS_S) {
            assert_eq!((s.parse::<f64>().unwrap() * 1e9).round() as u64, ns, "{s}");
        }
    }

    #[test]
    fn workers_are_added_up() {
        let (a, b) = (Histogram::default(), Histogram::default());
        a.observe(150_000);
        b.observe(150_000);
        b.observe(60_000_000_000);
        let mut sum = Sum::default();
        assert!(sum.is_empty());
        sum.add(&a);
        sum.add(&b);
        assert_eq!((sum.counts[1], sum.counts[18], sum.sum_ns), (2, 1, 60_000_300_000));
    }
}
