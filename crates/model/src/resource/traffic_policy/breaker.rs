//! Breakers and outlier ejection: when a service, a rule or an instance is given no requests, and what happens instead.

use serde::{Deserialize, Serialize};

use crate::units::{Size, Span};

/// A circuit breaker. What is absent keeps its default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Breaker {
    /// What it breaks.
    #[serde(default)]
    pub level: BreakerLevel,
    /// When it opens.
    #[serde(default)]
    pub strategy: BreakerStrategy,
    /// The response statuses that are failures, as are connections that fail, resets and timeouts; 500, 502, 503 and 504
    /// when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_statuses: Option<Vec<u16>>,
    /// `window`: a call that takes longer is slow; none is when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_call: Option<Span>,
    /// `window` and `throttle`: over how much time calls count; 10 s, and 2 min for `throttle`, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Span>,
    /// `window`: over how many calls instead of over time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_calls: Option<u32>,
    /// `window` and `throttle`: the fewest calls that say anything; 20 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls_min: Option<u32>,
    /// `window`: it opens at this share of failures; 0.5 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_ratio: Option<f64>,
    /// `window`: it opens at this share of slow calls; 1.0 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_ratio: Option<f64>,
    /// `consecutive`: it opens after so many failures in a row; 5 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<u32>,
    /// `statistical`: the share of failures that is normal; 0.01 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normal_ratio: Option<f64>,
    /// `statistical`: the share of failures to be found out; 0.1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_ratio: Option<f64>,
    /// `statistical`: calls between false trips, on average and at least; 1,000,000 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls_to_false_trip: Option<u64>,
    /// `throttle`: how many times the accepted calls are let through; 2 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// How long it stays open the first time; 5 s when absent. Doubles each time that it opens again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<Span>,
    /// The longest it stays open; 60 s when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_max: Option<Span>,
    /// So many successes close it when half open, and no more are under way at once; 3 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probes: Option<u32>,
    /// How long it takes to let all calls through again once closed; 10 s when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp: Option<Span>,
    /// What happens to calls while it is open; 503 when absent. Not for `instance`, whose calls go to other instances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
    /// Whether it only counts and logs what it would refuse.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
}

/// What a breaker breaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BreakerLevel {
    /// All calls of the policy's target together.
    #[default]
    Service,
    /// Calls by each rule of a route on their own.
    Route,
    /// Calls to each instance on their own.
    Instance,
}

/// When a breaker opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BreakerStrategy {
    /// At a share of failures or slow calls in a sliding window.
    #[default]
    Window,
    /// After failures in a row.
    Consecutive,
    /// When failures are more than chance, with a bound on false trips.
    Statistical,
    /// Never quite: it refuses as much as is needed.
    Throttle,
}

impl BreakerLevel {
    /// The name as written in a document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Route => "route",
            Self::Instance => "instance",
        }
    }
}

impl BreakerStrategy {
    /// Every strategy.
    pub const ALL: [Self; 4] = [Self::Window, Self::Consecutive, Self::Statistical, Self::Throttle];

    /// The name as written in a document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Window => "window",
            Self::Consecutive => "consecutive",
            Self::Statistical => "statistical",
            Self::Throttle => "throttle",
        }
    }
}

/// What happens to a call that is refused; exactly one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fallback {
    /// It is answered with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<StaticResponse>,
    /// It goes to another service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<FallbackService>,
    /// It is answered with a response to the same request that was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached: Option<Cached>,
}

/// A response that stands in a document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StaticResponse {
    /// Its status.
    pub status: u16,
    /// Its header fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<ResponseField>,
    /// Its body; empty when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// What a call of gRPC is answered with instead, by name (`NOT_FOUND`); when absent, what says why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc_status: Option<String>,
    /// What goes along with that for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc_message: Option<String>,
}

/// A header field of a response.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResponseField {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// The service that a call goes to instead.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FallbackService {
    /// Its name.
    pub name: String,
    /// Its namespace; the policy's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Responses that are kept for bad times: those to GET with 200, without `Set-Cookie`, to requests without
/// `Authorization`, and not `no-store` or `private`. Calls get them that are refused, or that come to nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cached {
    /// The age at which a response is no longer used; 10 min when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_max: Option<Span>,
    /// The most bytes kept; 16 MiB when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_max: Option<Size>,
}

/// How instances that do worse than the others are left out for a while. What is absent keeps its default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outlier {
    /// Whether instances are ejected at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Ejected after so many gateway failures in a row (connections that fail, resets, 502, 503, 504); 5 when absent, 0:
    /// never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consecutive: Option<u32>,
    /// How often instances are compared; 10 s when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// The share of ejections by comparison that may be wrong; 0.01 when absent, 0: none by comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub false_discovery: Option<f64>,
    /// How much worse than the others an instance must be; 0.05 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect_min: Option<f64>,
    /// The fewest failures of an instance that is ejected by comparison; 5 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures_min: Option<u32>,
    /// The first ejection; 30 s when absent. Grows with each ejection in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ejection: Option<Span>,
    /// The longest ejection; 5 min when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ejection_max: Option<Span>,
    /// The largest share of instances that is ejected; 0.5 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ejected_max: Option<f64>,
    /// Whether it only counts and logs what it would eject.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
}
