//! `RateLimit`: how many requests a service, a gateway or a route takes, and which are refused first.
//!
//! A limit is a promise of one process: exact whatever the number of its workers. With `scope: global` it is one of all proxies
//! together.

use serde::{Deserialize, Serialize};

use super::key::KeyPart;
use super::traffic_policy::{PolicyTarget, StaticResponse};
use crate::units::Span;

/// The spec of a `RateLimit`. What is absent keeps its default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimitSpec {
    /// What it limits, at least one: a `Service` (the default kind), a `Gateway` (`sectionName`: one listener), an
    /// `HTTPRoute` or a `GRPCRoute` (`sectionName`: one rule). Each has a limit of its own.
    #[serde(default)]
    pub target_refs: Vec<PolicyTarget>,
    /// How it limits.
    #[serde(default)]
    pub algorithm: LimitAlgorithm,
    /// What requests are told apart by: each value has a limit of its own. One for all when empty. A request without a
    /// value for some part counts as one with an empty value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<KeyPart>,
    /// Most keys that are remembered; beyond, the one that was not seen for longest is forgotten. 10,000 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys_max: Option<u32>,
    /// The rates, for all algorithms but `concurrency` and `adaptive`. All must admit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rates: Vec<Rate>,
    /// For `leaky_bucket`, `concurrency` and `adaptive`: how requests wait for their turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Queue>,
    /// For `warm_up`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<WarmUp>,
    /// For `concurrency`: the most requests at once. For `adaptive`: the most that may be found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_max: Option<u32>,
    /// For `adaptive`: the least that may be found; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_min: Option<u32>,
    /// For `concurrency` and `adaptive`: which requests are shed first when there are too many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Over what it counts.
    #[serde(default)]
    pub scope: LimitScope,
    /// With `scope: global`: what a proxy does that has no lease on its share, because no control plane answers; `share` when
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alone: Option<WhenAlone>,
    /// What a refused request is answered with; 429 (503 for `concurrency` and `adaptive`) and a reason when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<StaticResponse>,
    /// Whether it only counts and logs what it would refuse.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
}

/// Ways of limiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitAlgorithm {
    /// A rate with bursts.
    #[default]
    TokenBucket,
    /// One after the other at even distances; who comes early waits.
    LeakyBucket,
    /// So many in the last window, estimated from two counters.
    SlidingWindow,
    /// A token bucket whose rate climbs after idleness.
    WarmUp,
    /// So many at once.
    Concurrency,
    /// As many at once as turns out to be right.
    Adaptive,
}

impl LimitAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 6] = [
        Self::TokenBucket,
        Self::LeakyBucket,
        Self::SlidingWindow,
        Self::WarmUp,
        Self::Concurrency,
        Self::Adaptive,
    ];

    /// The name as written in a document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TokenBucket => "token_bucket",
            Self::LeakyBucket => "leaky_bucket",
            Self::SlidingWindow => "sliding_window",
            Self::WarmUp => "warm_up",
            Self::Concurrency => "concurrency",
            Self::Adaptive => "adaptive",
        }
    }
}

/// So many requests in so much time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rate {
    /// How many.
    pub requests: u32,
    /// In how much time; 1 s when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per: Option<Span>,
    /// How many may come at once (`token_bucket`, `warm_up`); as many as `requests` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

/// How requests wait.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Queue {
    /// Most that wait. `leaky_bucket`: 100 when absent; `concurrency` and `adaptive`: none wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// The longest wait; 500 ms when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

/// How a rate climbs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WarmUp {
    /// From cold to the full rate; 10 s when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Span>,
    /// The rate when cold, as a share of the full one; a third when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<f64>,
}

/// How important a request is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Priority {
    /// The header field that says it.
    pub header: String,
    /// Its values, the most important first. What has none of them counts as the last.
    pub levels: Vec<String>,
}

/// What a proxy does with a limit that it shares with others while it cannot ask for its share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenAlone {
    /// It keeps to an even share: the limit divided by how many proxies there were when it last heard of it.
    #[default]
    Share,
    /// It limits nothing.
    Open,
    /// It refuses everything.
    Closed,
}

/// Over what a limit counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitScope {
    /// Over one proxy.
    #[default]
    Process,
    /// Over all proxies.
    Global,
}
