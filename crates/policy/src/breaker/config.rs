//! What a breaker is told: its strategy and its times, with their defaults.

use std::time::Duration;

use weir_model::resource::traffic_policy::{Breaker as Spec, BreakerStrategy};
use weir_model::units::Span;

use crate::status::StatusSet;

/// Most calls of a window that is counted in calls: a byte each.
pub const WINDOW_CALLS_MAX: u32 = 100_000;
/// Most probes of a breaker that is half open.
pub const PROBES_MAX: u32 = 1_000;

/// How a breaker works.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerConfig {
    /// When it opens.
    pub strategy: Strategy,
    /// How long it stays open the first time; doubles each time that it opens again.
    pub open: Duration,
    /// The longest it stays open.
    pub open_max: Duration,
    /// So many successes close it when it is half open; no more probes are under way at once.
    pub probes: u32,
    /// How long it takes to let all calls through again once it is closed.
    pub ramp: Duration,
    /// When a probe that nothing was heard of gives its place to another. Longer than calls take.
    pub probe_lease: Duration,
    /// The response statuses that are failures. The breaker itself is only told that a call failed.
    pub failure_statuses: StatusSet,
    /// It only counts what it would refuse. That is up to the caller, who lets such calls through without a permit.
    pub shadow: bool,
}

/// When a breaker opens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Strategy {
    /// At a share of failures or of slow calls.
    Window(WindowConfig),
    /// After so many failures in a row.
    Consecutive {
        /// How many.
        failures: u32,
    },
    /// When failures are more than chance.
    Statistical(CusumConfig),
    /// Never: it refuses as many calls as are too many for what is accepted.
    Throttle(ThrottleConfig),
}

/// The strategy `window`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowConfig {
    /// Which calls count.
    pub span: WindowSpan,
    /// The fewest calls that say anything.
    pub calls_min: u32,
    /// It opens at this share of failures.
    pub failure_ratio: f64,
    /// It opens at this share of slow calls.
    pub slow_ratio: f64,
    /// A call that takes longer is slow; none is when absent.
    pub slow_call: Option<Duration>,
}

/// Which calls a window holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowSpan {
    /// Those of so much time, in ten parts that are forgotten one by one.
    Time(Duration),
    /// The last so many.
    Calls(u32),
}

/// The strategy `statistical`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CusumConfig {
    /// The share of failures that is normal.
    pub normal_ratio: f64,
    /// The share of failures to be found out, more than the normal one.
    pub failing_ratio: f64,
    /// Calls between false trips, on average and at least.
    pub calls_to_false_trip: u64,
}

/// The strategy `throttle`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThrottleConfig {
    /// How many times the accepted calls are let through.
    pub factor: f64,
    /// Over how much time calls count.
    pub window: Duration,
    /// The fewest calls that say anything: with fewer none is refused.
    pub calls_min: u32,
}

impl Default for BreakerConfig {
    /// `window`; open for 5 s, doubling to 60 s; 3 probes with 30 s each; a ramp of 10 s; 500, 502, 503 and 504 fail.
    fn default() -> Self {
        Self {
            strategy: Strategy::Window(WindowConfig::default()),
            open: Duration::from_secs(5),
            open_max: Duration::from_secs(60),
            probes: 3,
            ramp: Duration::from_secs(10),
            probe_lease: Duration::from_secs(30),
            failure_statuses: StatusSet::of(&[500, 502, 503, 504]),
            shadow: false,
        }
    }
}

impl Default for WindowConfig {
    /// 10 s; at least 20 calls; half of them failures, or all of them slow, if a call can be slow.
    fn default() -> Self {
        Self {
            span: WindowSpan::Time(Duration::from_secs(10)),
            calls_min: CALLS_MIN,
            failure_ratio: 0.5,
            slow_ratio: 1.0,
            slow_call: None,
        }
    }
}

impl Default for CusumConfig {
    /// 1 % is normal, 10 % is not; a false trip in a million calls, which makes the threshold 13.8.
    fn default() -> Self {
        Self { normal_ratio: 0.01, failing_ratio: 0.1, calls_to_false_trip: 1_000_000 }
    }
}

impl Default for ThrottleConfig {
    /// Twice what is accepted, over 2 min; at least 20 calls. The formula alone would refuse half of all calls after a first
    /// one that failed.
    fn default() -> Self {
        Self { factor: 2.0, window: Duration::from_secs(120), calls_min: CALLS_MIN }
    }
}

/// The fewest calls that say anything, when the document does not say how many.
const CALLS_MIN: u32 = 20;
/// Failures in a row, when the document does not say how many.
const CONSECUTIVE: u32 = 5;
/// The smallest share: one of nothing would open at once.
const RATIO_MIN: f64 = 1e-6;

impl BreakerConfig {
    /// What a document says, with defaults for what it does not say. What validation would refuse is brought into range.
    pub fn from_spec(spec: &Spec) -> Self {
        let default = Self::default();
        let open = span(spec.open, default.open);
        Self {
            strategy: Strategy::from_spec(spec),
            open,
            open_max: span(spec.open_max, default.open_max).max(open),
            probes: spec.probes.unwrap_or(default.probes).clamp(1, PROBES_MAX),
            ramp: spec.ramp.map_or(default.ramp, |ramp| ramp.0),
            probe_lease: default.probe_lease,
            failure_statuses: spec
                .failure_statuses
                .as_deref()
                .map_or(default.failure_statuses, StatusSet::of),
            shadow: spec.shadow,
        }
    }
}

impl Strategy {
    fn from_spec(spec: &Spec) -> Self {
        match spec.strategy {
            BreakerStrategy::Window => Self::Window(WindowConfig::from_spec(spec)),
            BreakerStrategy::Consecutive => {
                Self::Consecutive { failures: spec.failures.unwrap_or(CONSECUTIVE).max(1) }
            }
            BreakerStrategy::Statistical => Self::Statistical(CusumConfig::from_spec(spec)),
            BreakerStrategy::Throttle => Self::Throttle(ThrottleConfig {
                factor: spec.factor.unwrap_or(ThrottleConfig::default().factor).max(1.0),
                window: span(spec.window, ThrottleConfig::default().window),
                calls_min: spec.calls_min.unwrap_or(CALLS_MIN).max(1),
            }),
        }
    }

    /// Whether it is the same strategy, whatever its numbers.
    pub fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// Its name in documents.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Window(_) => "window",
            Self::Consecutive { .. } => "consecutive",
            Self::Statistical(_) => "statistical",
            Self::Throttle(_) => "throttle",
        }
    }
}

impl WindowConfig {
    fn from_spec(spec: &Spec) -> Self {
        let default = Self::default();
        let time = span(spec.window, Duration::from_secs(10));
        let (span, most) = match spec.window_calls {
            Some(calls) => {
                let calls = calls.clamp(1, WINDOW_CALLS_MAX);
                (WindowSpan::Calls(calls), calls)
            }
            None => (WindowSpan::Time(time), u32::MAX),
        };
        Self {
            span,
            calls_min: spec.calls_min.unwrap_or(default.calls_min).clamp(1, most),
            failure_ratio: ratio(spec.failure_ratio, default.failure_ratio),
            slow_ratio: ratio(spec.slow_ratio, default.slow_ratio),
            slow_call: spec.slow_call.map(|limit| limit.0),
        }
    }
}

impl CusumConfig {
    fn from_spec(spec: &Spec) -> Self {
        let default = Self::default();
        let normal = ratio(spec.normal_ratio, default.normal_ratio).min(1.0 - RATIO_MIN);
        let failing = ratio(spec.failing_ratio, default.failing_ratio).min(1.0 - RATIO_MIN);
        Self {
            normal_ratio: normal,
            failing_ratio: if failing > normal { failing } else { f64::midpoint(normal, 1.0) },
            calls_to_false_trip: spec.calls_to_false_trip.unwrap_or(default.calls_to_false_trip).max(2),
        }
    }
}

/// A length of time that is not nothing.
fn span(given: Option<Span>, default: Duration) -> Duration {
    given.map_or(default, |span| span.0).max(Duration::from_millis(1))
}

fn ratio(given: Option<f64>, default: f64) -> f64 {
    given.filter(|ratio| !ratio.is_nan()).unwrap_or(default).clamp(RATIO_MIN, 1.0)
}
