//! Latencies, counted: percentiles within 0.8 %, the mean exactly.

/// Bits of a value that are kept: 128 steps for each doubling.
const BITS: u32 = 7;
const STEPS: usize = 1 << BITS;
/// Up to 2^46 ns, 19 hours; longer ones count as that.
const DOUBLINGS: usize = 40;

/// Counts of values in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Box<[u64]>,
    count: u64,
    sum: u128,
    max: u64,
    /// The highest index that was counted, so that an almost empty one is cleared quickly.
    top: usize,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; STEPS * DOUBLINGS].into(), count: 0, sum: 0, max: 0, top: 0 }
    }
}

#[inline]
fn index(value: u64) -> usize {
    let high = 63 - (value | 1).leading_zeros();
    if high < BITS {
        return value as usize;
    }
    let shift = high - BITS;
    let index = (shift as usize + 1) * STEPS + ((value >> shift) as usize & (STEPS - 1));
    index.min(STEPS * DOUBLINGS - 1)
}

/// The middle of what is counted at an index.
fn value(index: usize) -> u64 {
    if index < STEPS {
        return index as u64;
    }
    let shift = index / STEPS - 1;
    let low = ((STEPS + index % STEPS) as u64) << shift;
    low + ((1u64 << shift) >> 1)
}

impl Histogram {
    /// Counts a value.
    #[inline]
    pub(crate) fn add(&mut self, value: u64) {
        let index = index(value);
        self.counts[index] += 1;
        self.count += 1;
        self.sum += u128::from(value);
        self.max = self.max.max(value);
        self.top = self.top.max(index);
    }

    /// Counts all that another one counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts[..=other.top]) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
        self.top = self.top.max(other.top);
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.counts[..=self.top].fill(0);
        (self.count, self.sum, self.max, self.top) = (0, 0, 0, 0);
    }

    /// How many values were counted.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// The largest value.
    pub(crate) const fn max(&self) -> u64 {
        self.max
    }

    /// The mean; 0 of nothing.
    pub(crate) fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum as f64 / self.count as f64 }
    }

    /// The value below which a share of all lies (nearest rank); 0 of nothing.
    pub(crate) fn percentile(&self, share: f64) -> u64 {
        let rank = ((share * self.count as f64).ceil() as u64).clamp(1, self.count.max(1));
        if rank == self.count {
            return self.max;
        }
        let mut below = 0;
        for (index, count) in self.counts[..=self.top].iter().enumerate() {
            below += count;
            if below >= rank {
                return value(index).min(self.max);
            }
        }
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_near_and_means_exact() {
        let mut histogram = Histogram::default();
        for value in 1..=100_000u64 {
            histogram.add(value * 1000);
        }
        for (share, exact) in [(0.5, 50e6), (0.9, 90e6), (0.99, 99e6), (0.999, 99.9e6)] {
            let got = histogram.percentile(share) as f64;
            assert!((got / exact - 1.0).abs() < 0.008, "{share}: {got}");
        }
        assert_eq!(
            (histogram.max(), histogram.mean(), histogram.percentile(1.0)),
            (100_000_000, 50_000_500.0, 100_000_000)
        );
        let mut both = histogram.clone();
        both.merge(&histogram);
        assert_eq!((both.count(), both.percentile(0.5)), (200_000, histogram.percentile(0.5)));
        both.clear();
        assert_eq!((both.count(), both.percentile(0.5), both.mean()), (0, 0, 0.0));
    }

    #[test]
    fn every_value_has_a_place_near_it() {
        for shift in 0..64 {
            for offset in [0, 1, 5] {
                let exact = (1u64 << shift) + offset;
                let near = value(index(exact));
                let off = near.abs_diff(exact) as f64 / exact as f64;
                assert!(off < 0.008 || exact >= 1 << 46, "{exact}: {near}");
            }
        }
    }
}
