//! Times by how long they were, in buckets that are the same everywhere, so that those of several proxies add up.

use serde::{Deserialize, Serialize};

/// Upper bounds of the buckets, in nanoseconds: 1, 2 and 5 of each decade, so that a bucket is about twice as wide as the
/// one before. Longer times fall into one more bucket.
pub const BOUNDS_NS: [u64; 18] = {
    let mut bounds = [0; 18];
    let mut i = 0;
    let mut decade = 100_000;
    while i < bounds.len() {
        bounds[i] = decade * [1, 2, 5][i % 3];
        if i % 3 == 2 {
            decade *= 10;
        }
        i += 1;
    }
    bounds
};

/// Buckets of a histogram.
pub const BUCKETS: usize = BOUNDS_NS.len() + 1;

/// How many times fell into each bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Histogram {
    /// By bucket, as [`BOUNDS_NS`] has them, from the first; those behind the last one that is not empty may be missing.
    pub counts: Vec<u64>,
}

impl Histogram {
    /// Of counts by bucket.
    pub fn of(counts: &[u64; BUCKETS]) -> Self {
        let used = counts.iter().rposition(|&count| count > 0).map_or(0, |last| last + 1);
        Self { counts: counts[..used].to_vec() }
    }

    /// All times.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Adds another's. What is beyond the last bucket belongs to another form and is left out.
    pub fn add(&mut self, other: &Self) {
        let used = other.counts.len().min(BUCKETS);
        if self.counts.len() < used {
            self.counts.resize(used, 0);
        }
        for (sum, count) in self.counts.iter_mut().zip(&other.counts[..used]) {
            *sum = sum.saturating_add(*count);
        }
    }

    /// What has come since `base`, which must be earlier.
    #[must_use]
    pub fn since(&self, base: &Self) -> Self {
        let before = base.counts.iter().copied().chain(std::iter::repeat(0));
        Self {
            counts: self
                .counts
                .iter()
                .zip(before)
                .map(|(count, before)| count.saturating_sub(before))
                .collect(),
        }
    }

    /// The time that a share of all do not exceed, in milliseconds; drawn evenly within its bucket. In the last bucket,
    /// which has no end, its beginning. None where there is nothing.
    pub fn quantile_ms(&self, share: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = share.clamp(0.0, 1.0) * count as f64;
        let mut below = 0.0;
        for (bucket, &held) in self.counts.iter().enumerate().take(BUCKETS).filter(|(_, held)| **held > 0) {
            let held = held as f64;
            if below + held >= rank {
                let from = bucket.checked_sub(1).map_or(0, |before| BOUNDS_NS[before]) as f64;
                let to = BOUNDS_NS.get(bucket).map_or(from, |&to| to as f64);
                return Some((from + (to - from) * ((rank - below) / held).max(0.0)) / 1e6);
            }
            below += held;
        }
        BOUNDS_NS.last().map(|&last| last as f64 / 1e6)
    }
}
