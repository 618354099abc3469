//! How an endpoint is chosen.

use serde::{Deserialize, Serialize};

use crate::resource::key::KeyPart;
use crate::units::Span;

/// How an endpoint is chosen. What is absent keeps its default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Balance {
    /// The balancer.
    #[serde(default)]
    pub policy: BalancePolicy,
    /// For `ring_hash` and `maglev`: what the hash is taken of. The first part that the request has counts; by chance if it
    /// has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hash: Vec<KeyPart>,
    /// For `ring_hash` and `maglev`: how much more than its share an endpoint may have in flight before its neighbour is
    /// taken, at least 1; 1.25 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_factor: Option<f64>,
    /// For `peak_ewma`: how fast the past is forgotten; 10 s when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decay: Option<Span>,
    /// How endpoints that are new get their share; off when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<SlowStart>,
    /// Which endpoints are near; all are alike when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locality: Option<Locality>,
    /// The share of healthy endpoints below which health is ignored; 0.5 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub panic_threshold: Option<f64>,
    /// How many endpoints each proxy keeps to; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<u32>,
}

/// The balancers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BalancePolicy {
    /// Weighted, in turn.
    RoundRobin,
    /// Weighted, by chance.
    Random,
    /// The less busy of two distinct endpoints drawn by chance.
    #[default]
    LeastRequest,
    /// The least busy of all.
    LeastConnections,
    /// The quicker of two: latency times requests in flight.
    PeakEwma,
    /// By probes of load and latency.
    Prequal,
    /// Consistent hashing on a ring.
    RingHash,
    /// Consistent hashing by a table.
    Maglev,
}

impl BalancePolicy {
    /// Every balancer.
    pub const ALL: [Self; 8] = [
        Self::RoundRobin,
        Self::Random,
        Self::LeastRequest,
        Self::LeastConnections,
        Self::PeakEwma,
        Self::Prequal,
        Self::RingHash,
        Self::Maglev,
    ];

    /// The name as written in a document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::Random => "random",
            Self::LeastRequest => "least_request",
            Self::LeastConnections => "least_connections",
            Self::PeakEwma => "peak_ewma",
            Self::Prequal => "prequal",
            Self::RingHash => "ring_hash",
            Self::Maglev => "maglev",
        }
    }
}

/// A new endpoint's share grows with its age.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlowStart {
    /// The age at which it has its full share.
    pub window: Span,
    /// The shape of the growth: 1 is a straight line, more is faster at first. 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggression: Option<f64>,
    /// The least share; 0.1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<f64>,
}

/// Which endpoints are near.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Locality {
    /// What makes an endpoint near.
    pub prefer: Nearness,
}

/// What makes an endpoint near.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Nearness {
    /// The proxy's zone, then its region.
    #[default]
    Zone,
    /// The proxy's region.
    Region,
}
