//! How a limit is set, with every default stated once, and how it is read from a `RateLimit`.

use std::time::Duration;

use weir_model::resource::key::KeyPart;
use weir_model::resource::rate_limit::{LimitAlgorithm, LimitScope, RateLimitSpec, WhenAlone};

use crate::quota::Alone;

/// Most rates of one rule.
pub const RATES_MAX: usize = 4;

/// Most levels of importance.
pub const LEVELS_MAX: usize = 32;

/// A limit.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitConfig {
    /// How it limits.
    pub algorithm: Algorithm,
    /// What requests are told apart by; one limit for all when empty. Only compared: the key itself comes with a request.
    pub key: Vec<KeyPart>,
    /// Most keys that are remembered.
    pub keys_max: u32,
    /// Whether it only says what it would do. Nothing waits for such a limit.
    pub shadow: bool,
    /// For a limit that is shared with other processes: what this one does without a lease. Token buckets only;
    /// others are not shared.
    pub global: Option<Alone>,
}

/// A way of limiting, and its numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Algorithm {
    /// Rates with bursts (GCRA, ITU-T I.371); all must admit.
    TokenBucket(Vec<RateConfig>),
    /// One after the other at even distances.
    LeakyBucket {
        /// All keep their distance. Bursts are not looked at.
        rates: Vec<RateConfig>,
        /// How long, and how many, may wait for their turn.
        queue: QueueConfig,
    },
    /// So many in the last window, estimated from two counters; all must admit. Bursts are not looked at.
    SlidingWindow(Vec<RateConfig>),
    /// Token buckets whose rate climbs after idleness.
    WarmUp {
        /// When warm; all must admit.
        rates: Vec<RateConfig>,
        /// How they climb.
        warm_up: WarmUpConfig,
    },
    /// So many at once.
    Concurrency {
        /// Most in flight.
        max: u32,
        /// Who waits, and who is shed.
        gate: GateConfig,
    },
    /// As many at once as turns out to be right.
    Adaptive {
        /// How it is found out.
        adaptive: AdaptiveConfig,
        /// Who waits, and who is shed.
        gate: GateConfig,
    },
}

/// So many requests in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateConfig {
    /// How many, at least 1.
    pub requests: u32,
    /// In how much time.
    pub per: Duration,
    /// How many may come at once, at least 1.
    pub burst: u32,
}

impl RateConfig {
    /// How many may come at once, where that is not as many as in the time of the rate.
    #[inline]
    pub(super) const fn other_burst(&self) -> Option<u32> {
        if self.burst == self.requests { None } else { Some(self.burst) }
    }

    /// So many in a second, and as many at once.
    pub const fn per_second(requests: u32) -> Self {
        Self { requests, per: Duration::from_secs(1), burst: requests }
    }
}

/// How requests wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// Most that wait.
    pub max: u32,
    /// The longest wait: for a turn of a leaky bucket; for a place while the queue was empty within this time.
    pub timeout: Duration,
    /// The longest wait for a place while the queue has not been empty for `timeout` (CoDel; Facebook, "Fail at Scale",
    /// 2015).
    pub timeout_backlog: Duration,
}

impl QueueConfig {
    /// What waits for a turn of a leaky bucket: 100, for 500 ms.
    pub const LEAKY: Self =
        Self { max: 100, timeout: Duration::from_millis(500), timeout_backlog: Duration::from_millis(500) };

    /// What waits for a place: nobody. If somebody may: 100 ms, or 5 ms in a backlog.
    pub const GATE: Self =
        Self { max: 0, timeout: Duration::from_millis(100), timeout_backlog: Duration::from_millis(5) };
}

/// How a rate climbs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WarmUpConfig {
    /// How long it takes from cold to the full rate when all of it is used.
    pub over: Duration,
    /// The rate when cold, as a share of the full one, above 0 and at most 1.
    pub from: f64,
}

impl Default for WarmUpConfig {
    /// From a third, over 10 s.
    fn default() -> Self {
        Self { over: Duration::from_secs(10), from: 1.0 / 3.0 }
    }
}

/// Who waits for a place, and who is shed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateConfig {
    /// How requests wait.
    pub queue: QueueConfig,
    /// How many levels of importance there are; 1 when all requests are alike.
    pub levels: u8,
}

impl Default for GateConfig {
    fn default() -> Self {
        Self { queue: QueueConfig::GATE, levels: 1 }
    }
}

/// Bounds of a limit that is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveConfig {
    /// The least.
    pub min: u32,
    /// The most.
    pub max: u32,
    /// Where the search begins.
    pub initial: u32,
}

impl Default for AdaptiveConfig {
    /// From 1 to 1000, beginning at 20.
    fn default() -> Self {
        Self { min: 1, max: 1000, initial: 20 }
    }
}

impl Default for LimitConfig {
    /// A token bucket of 100 requests a second for all, 10,000 keys if there are any.
    fn default() -> Self {
        Self {
            algorithm: Algorithm::TokenBucket(vec![RateConfig::per_second(100)]),
            key: Vec::new(),
            keys_max: 10_000,
            shadow: false,
            global: None,
        }
    }
}

impl LimitConfig {
    /// Reads a spec and fills in what is absent. What a valid spec cannot hold is brought into range.
    pub fn from_spec(spec: &RateLimitSpec) -> Self {
        let default = Self::default();
        Self {
            algorithm: Algorithm::from_spec(spec),
            key: spec.key.clone(),
            keys_max: spec.keys_max.unwrap_or(default.keys_max).max(1),
            shadow: spec.shadow,
            global: global(spec),
        }
    }

    /// Whether each key has a limit of its own.
    pub fn is_keyed(&self) -> bool {
        !self.key.is_empty()
    }

    /// Whether it has one state, and is this process's alone.
    pub(super) fn is_of_one(&self) -> bool {
        !self.is_keyed() && self.global.is_none()
    }
}

fn global(spec: &RateLimitSpec) -> Option<Alone> {
    let is_shared = spec.scope == LimitScope::Global && spec.algorithm == LimitAlgorithm::TokenBucket;
    is_shared.then(|| match spec.alone.unwrap_or_default() {
        WhenAlone::Share => Alone::Share,
        WhenAlone::Open => Alone::Open,
        WhenAlone::Closed => Alone::Closed,
    })
}

impl Algorithm {
    fn from_spec(spec: &RateLimitSpec) -> Self {
        let gate = GateConfig { queue: gate_queue(spec), levels: levels(spec) };
        match spec.algorithm {
            LimitAlgorithm::TokenBucket => Self::TokenBucket(rates(spec)),
            LimitAlgorithm::LeakyBucket => Self::LeakyBucket { rates: rates(spec), queue: leaky_queue(spec) },
            LimitAlgorithm::SlidingWindow => Self::SlidingWindow(rates(spec)),
            LimitAlgorithm::WarmUp => Self::WarmUp { rates: rates(spec), warm_up: warm_up(spec) },
            LimitAlgorithm::Concurrency => {
                Self::Concurrency { max: spec.concurrency_max.unwrap_or(u32::MAX).max(1), gate }
            }
            LimitAlgorithm::Adaptive => Self::Adaptive { adaptive: adaptive(spec), gate },
        }
    }

    /// Its name, as documents have it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::TokenBucket(_) => "token_bucket",
            Self::LeakyBucket { .. } => "leaky_bucket",
            Self::SlidingWindow(_) => "sliding_window",
            Self::WarmUp { .. } => "warm_up",
            Self::Concurrency { .. } => "concurrency",
            Self::Adaptive { .. } => "adaptive",
        }
    }

    /// Its rates; none of an algorithm that bounds what is in flight.
    pub fn rates(&self) -> &[RateConfig] {
        match self {
            Self::TokenBucket(rates)
            | Self::LeakyBucket { rates, .. }
            | Self::SlidingWindow(rates)
            | Self::WarmUp { rates, .. } => rates,
            Self::Concurrency { .. } | Self::Adaptive { .. } => &[],
        }
    }
}

/// At least one and at most [`RATES_MAX`].
fn rates(spec: &RateLimitSpec) -> Vec<RateConfig> {
    let mut rates: Vec<RateConfig> = spec
        .rates
        .iter()
        .take(RATES_MAX)
        .map(|rate| {
            let requests = rate.requests.max(1);
            let per = rate.per.map_or(Duration::from_secs(1), |span| span.0).max(Duration::from_micros(1));
            RateConfig { requests, per, burst: rate.burst.unwrap_or(requests).max(1) }
        })
        .collect();
    if rates.is_empty() {
        rates.push(RateConfig::per_second(100));
    }
    rates
}

fn leaky_queue(spec: &RateLimitSpec) -> QueueConfig {
    let queue = spec.queue.as_ref();
    let timeout = queue.and_then(|queue| queue.timeout).map_or(QueueConfig::LEAKY.timeout, |span| span.0);
    QueueConfig {
        max: queue.and_then(|queue| queue.max).unwrap_or(QueueConfig::LEAKY.max),
        timeout,
        timeout_backlog: timeout,
    }
}

/// A timeout that is asked for is the longest wait. Under a limit that is found out it holds while there is no backlog; in one, a
/// twentieth of it, as with the defaults: long waits there mean that the upstream has too much to do.
fn gate_queue(spec: &RateLimitSpec) -> QueueConfig {
    let queue = spec.queue.as_ref();
    let timeout = queue.and_then(|queue| queue.timeout).map_or(QueueConfig::GATE.timeout, |span| span.0);
    let is_asked_for = queue.is_some_and(|queue| queue.timeout.is_some());
    let is_plain = is_asked_for && spec.algorithm == LimitAlgorithm::Concurrency;
    QueueConfig {
        max: queue.and_then(|queue| queue.max).unwrap_or(QueueConfig::GATE.max),
        timeout,
        timeout_backlog: if is_plain { timeout } else { timeout / 20 },
    }
}

fn warm_up(spec: &RateLimitSpec) -> WarmUpConfig {
    let default = WarmUpConfig::default();
    let Some(warm_up) = &spec.warm_up else { return default };
    let from = warm_up.from.filter(|from| from.is_finite()).unwrap_or(default.from);
    WarmUpConfig {
        over: warm_up.over.map_or(default.over, |span| span.0).max(Duration::from_millis(1)),
        from: from.clamp(0.001, 1.0),
    }
}

fn adaptive(spec: &RateLimitSpec) -> AdaptiveConfig {
    let default = AdaptiveConfig::default();
    let max = spec.concurrency_max.unwrap_or(default.max).max(1);
    let min = spec.concurrency_min.unwrap_or(default.min).clamp(1, max);
    AdaptiveConfig { min, max, initial: default.initial.clamp(min, max) }
}

fn levels(spec: &RateLimitSpec) -> u8 {
    let levels = spec.priority.as_ref().map_or(1, |priority| priority.levels.len());
    u8::try_from(levels.clamp(1, LEVELS_MAX)).unwrap_or(1)
}
