//! Retries and hedging.

use serde::{Deserialize, Serialize};

use crate::units::Span;

/// Retries of calls. What is absent keeps its default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// How often a call may be tried again after its first attempt; 0 turns retries off, 1 when absent.
    #[serde(default = "attempts")]
    pub attempts: u32,
    /// Response statuses upon which a call that may be repeated is tried again; none when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<u16>,
    /// The same for gRPC's, by name (`UNAVAILABLE`), where the response has nothing but a status.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grpc_statuses: Vec<String>,
    /// Delays before retries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// How much load retries may add.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<RetryBudget>,
}

const fn attempts() -> u32 {
    1
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: attempts(),
            statuses: Vec::new(),
            grpc_statuses: Vec::new(),
            backoff: None,
            budget: None,
        }
    }
}

/// Delays: evenly between zero and an end that doubles with each retry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backoff {
    /// The first end; 25 ms when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Span>,
    /// The last end; 250 ms when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Span>,
}

/// How many retries there may be, of all calls to a service together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryBudget {
    /// As a share of the calls of the last `window`; 0.2 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// A second, whatever the calls; 10 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserve: Option<u32>,
    /// 10 s when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Span>,
}

/// A second request for calls that take long: the first answer wins. For calls that may be repeated, and counted in the
/// retry budget. Exactly one of `delay` and `percentile`, unless it is turned off.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hedge {
    /// Whether there are any; `false` turns off what a policy farther from the call asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// How long the first request is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span>,
    /// The same as a percentile of the calls of late, between 0.5 and 0.999.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percentile: Option<f64>,
}

impl Hedge {
    /// Whether it asks for second requests.
    pub fn is_on(&self) -> bool {
        self.enabled.unwrap_or(true)
    }
}
