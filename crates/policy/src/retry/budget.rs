//! Bounds how much load retries add: a share of the requests of the last seconds, plus a small reserve so that a quiet
//! service can retry at all (the idea of Finagle's retry budget, as a sliding window).

use std::time::Duration;

use weir_model::resource::traffic_policy::RetryBudget as Spec;

use crate::time::Nanos;

/// Parts of the window. A part is forgotten as a whole, so the window is between nine and ten tenths of its length.
const BUCKETS: usize = 10;

/// How large a budget is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetConfig {
    /// Retries allowed for each thousand requests.
    pub per_mille: u32,
    /// Retries allowed in a window whatever the requests.
    pub reserve: u32,
    /// How long requests and retries count.
    pub window: Duration,
}

impl Default for BudgetConfig {
    /// 20 % of the requests of 10 s, plus 10 a second (100 in those 10 s).
    fn default() -> Self {
        Self { per_mille: 200, reserve: 100, window: Duration::from_secs(10) }
    }
}

impl BudgetConfig {
    /// What a document says, with defaults for what it does not say; its reserve is meant per second.
    pub fn from_spec(spec: &Spec) -> Self {
        let default = Self::default();
        let window = spec.window.map_or(default.window, |span| span.0).max(Duration::from_millis(1));
        let a_second = spec.reserve.map_or(10.0, f64::from);
        // Casts of floats saturate. A share above 0 stays above 0.
        Self {
            per_mille: spec.ratio.map_or(default.per_mille, |ratio| (ratio * 1_000.0).ceil() as u32),
            reserve: (a_second * window.as_secs_f64()).round() as u32,
            window,
        }
    }

    /// The part of one of `workers` budgets that together are as large as this one. The reserve is rounded up: it
    /// must not vanish.
    #[must_use]
    pub fn divided_by(self, workers: usize) -> Self {
        let workers = u32::try_from(workers.max(1)).unwrap_or(u32::MAX);
        Self { reserve: self.reserve.div_ceil(workers), ..self }
    }
}

/// Counts requests and retries. Both calls are O(1) and do not allocate.
///
/// At any moment it grants a retry only while the retries of the last nine tenths of a window, this one included, are
/// at most `per_mille` of the requests of the last window plus `reserve`.
#[derive(Clone, Debug)]
pub struct Budget {
    config: BudgetConfig,
    bucket_nanos: u64,
    buckets: [Counts; BUCKETS],
    sum: Counts,
    /// Number of the newest bucket since the beginning of time.
    newest: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    requests: u64,
    retries: u64,
}

impl Budget {
    /// An empty budget: only the reserve can be used at first.
    pub fn new(config: BudgetConfig) -> Self {
        let window = u64::try_from(config.window.as_nanos()).unwrap_or(u64::MAX);
        Self {
            config,
            bucket_nanos: (window / BUCKETS as u64).max(1),
            buckets: [Counts::default(); BUCKETS],
            sum: Counts::default(),
            newest: 0,
        }
    }

    /// Takes another size, and goes on with what was counted: nobody gets retries again by changing the document. A window
    /// of another length begins with all that the one before it has, as if it were of its newest part.
    pub fn reconfigure(&mut self, config: BudgetConfig) {
        let before = std::mem::replace(self, Self::new(config));
        if before.bucket_nanos == self.bucket_nanos {
            *self = Self { config, ..before };
            return;
        }
        self.newest = before.newest.saturating_mul(before.bucket_nanos) / self.bucket_nanos;
        self.buckets[(self.newest % BUCKETS as u64) as usize] = before.sum;
        self.sum = before.sum;
    }

    /// Counts a request (not its retries).
    pub fn request(&mut self, now: Nanos) {
        let bucket = self.bucket(now);
        bucket.requests += 1;
        self.sum.requests += 1;
        self.check();
    }

    /// Whether one more request may be retried; if so, the retry counts from now on, its delay included.
    pub fn try_retry(&mut self, now: Nanos) -> bool {
        if self.remaining(now) == 0 {
            return false;
        }
        self.bucket(now).retries += 1;
        self.sum.retries += 1;
        self.check();
        true
    }

    /// Retries that would be granted now.
    pub fn remaining(&mut self, now: Nanos) -> u64 {
        self.bucket(now);
        self.left()
    }

    fn left(&self) -> u64 {
        let share = u128::from(self.sum.requests) * u128::from(self.config.per_mille) / 1000;
        let allowed = u64::try_from(share).unwrap_or(u64::MAX).saturating_add(u64::from(self.config.reserve));
        allowed.saturating_sub(self.sum.retries)
    }

    /// The bucket of a moment, older ones forgotten. A moment before the newest bucket counts as its beginning: clocks of
    /// several threads may differ by a little.
    fn bucket(&mut self, now: Nanos) -> &mut Counts {
        let number = (now.0 / self.bucket_nanos).max(self.newest);
        for step in 1..=(number - self.newest).min(BUCKETS as u64) {
            let old = &mut self.buckets[((self.newest + step) % BUCKETS as u64) as usize];
            self.sum.requests -= old.requests;
            self.sum.retries -= old.retries;
            *old = Counts::default();
        }
        self.newest = number;
        &mut self.buckets[(number % BUCKETS as u64) as usize]
    }

    fn check(&self) {
        debug_assert_eq!(self.sum.requests, self.buckets.iter().map(|bucket| bucket.requests).sum::<u64>());
        debug_assert_eq!(self.sum.retries, self.buckets.iter().map(|bucket| bucket.retries).sum::<u64>());
    }
}
