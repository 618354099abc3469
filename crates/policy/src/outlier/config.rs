//! What ejection is told, with its defaults.

use std::time::Duration;

use weir_model::resource::traffic_policy::Outlier as Spec;
use weir_model::units::Span;

/// When endpoints are ejected, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutlierConfig {
    /// Whether any is.
    pub enabled: bool,
    /// Gateway failures in a row that eject an endpoint; 0: however many.
    pub consecutive: u32,
    /// How often endpoints are compared. The caller calls [`super::Outliers::sweep`] that often.
    pub interval: Duration,
    /// The share of ejections by comparison that may be wrong, of those of each comparison and on average; 0: no
    /// comparison. As long as nothing is wrong at all, it is the chance that a comparison ejects anything.
    pub false_discovery: f64,
    /// How much worse than the others' share of failures an endpoint's must be.
    pub effect_min: f64,
    /// The fewest failures of an endpoint that is ejected by comparison.
    pub failures_min: u32,
    /// The first ejection. The second in a row is twice as long, the third three times.
    pub ejection: Duration,
    /// The longest.
    pub ejection_max: Duration,
    /// The largest share of endpoints that is ejected, rounded down: of one endpoint half is none.
    pub ejected_max: f64,
    /// When a probe that nothing was heard of is sent once more.
    pub probe_lease: Duration,
    /// It only says what it would eject.
    pub shadow: bool,
}

impl Default for OutlierConfig {
    /// 5 in a row; every 10 s: 1 % false discoveries, 5 points worse, 5 failures; 30 s to 300 s; half of the endpoints.
    fn default() -> Self {
        Self {
            enabled: true,
            consecutive: 5,
            interval: Duration::from_secs(10),
            false_discovery: 0.01,
            effect_min: 0.05,
            failures_min: 5,
            ejection: Duration::from_secs(30),
            ejection_max: Duration::from_secs(300),
            ejected_max: 0.5,
            probe_lease: Duration::from_secs(30),
            shadow: false,
        }
    }
}

impl OutlierConfig {
    /// What a document says, with defaults for what it does not say. What validation would refuse is brought into range.
    pub fn from_spec(spec: &Spec) -> Self {
        let default = Self::default();
        let ejection = span(spec.ejection, default.ejection);
        Self {
            enabled: spec.enabled.unwrap_or(default.enabled),
            consecutive: spec.consecutive.unwrap_or(default.consecutive),
            interval: span(spec.interval, default.interval),
            false_discovery: ratio(spec.false_discovery, default.false_discovery),
            effect_min: ratio(spec.effect_min, default.effect_min),
            failures_min: spec.failures_min.unwrap_or(default.failures_min),
            ejection,
            ejection_max: span(spec.ejection_max, default.ejection_max).max(ejection),
            ejected_max: ratio(spec.ejected_max, default.ejected_max),
            probe_lease: default.probe_lease,
            shadow: spec.shadow,
        }
    }
}

fn span(given: Option<Span>, default: Duration) -> Duration {
    given.map_or(default, |span| span.0).max(Duration::from_millis(1))
}

fn ratio(given: Option<f64>, default: f64) -> f64 {
    given.filter(|ratio| !ratio.is_nan()).unwrap_or(default).clamp(0.0, 1.0)
}
