//! Who is called: services, and the groups of servers they consist of.

use serde::{Deserialize, Serialize};
use weir_model::resource::TrafficPolicySpec;
use weir_model::resource::rate_limit::RateLimitSpec;
use weir_model::units::Span;
use weir_model::validate::WEIGHT_MAX;

use super::bounds::{AT_ONCE_MAX, SERVERS_MAX};
use super::number::{whole, whole_if_any};
use super::random::Random;

/// A service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// What it is called.
    pub name: String,
    /// How it is called: the spec of a `TrafficPolicy`, whose `targetRefs` are not needed here. In force at every proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic_policy: Option<TrafficPolicySpec>,
    /// What it takes: specs of `RateLimit`s, whose `targetRefs` are not needed here. In force at every proxy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<RateLimitSpec>,
    /// Its servers.
    pub servers: Vec<Servers>,
}

/// Servers that are alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Servers {
    /// What the group is called; `servers` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How many at the start.
    #[serde(deserialize_with = "whole::<0, SERVERS_MAX, _>")]
    pub count: u32,
    /// How many requests each works on at once; 1 when absent.
    #[serde(
        default,
        deserialize_with = "whole_if_any::<1, AT_ONCE_MAX, _>",
        skip_serializing_if = "Option::is_none"
    )]
    pub cores: Option<u32>,
    /// How long a request takes.
    pub time: Random,
    /// How much faster than that they are; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<f64>,
    /// How much longer a request takes for each other one that is being worked on when it begins, as a share; 0 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contention: Option<f64>,
    /// Where requests wait while all cores are busy.
    #[serde(default)]
    pub queue: WaitingRoom,
    /// Their weight; 1 when absent.
    #[serde(
        default,
        deserialize_with = "whole_if_any::<0, WEIGHT_MAX, _>",
        skip_serializing_if = "Option::is_none"
    )]
    pub weight: Option<u32>,
    /// Their zones, in turn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<String>,
    /// How slow they are after a start; not at all when absent. Not for those that are there at the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold: Option<Cold>,
    /// Limits in force at each server's own sidecar: specs of `RateLimit`s.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<RateLimitSpec>,
}

/// Where requests wait.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitingRoom {
    /// How many may wait at one server; beyond, it answers 503. 10,000 when absent.
    #[serde(
        default,
        deserialize_with = "whole_if_any::<0, AT_ONCE_MAX, _>",
        skip_serializing_if = "Option::is_none"
    )]
    pub max: Option<u32>,
    /// Who is next.
    #[serde(default)]
    pub order: Order,
    /// Whether what the caller no longer waits for is thrown away when its turn comes, instead of worked on. Requests say
    /// how long they have (`x-weir-deadline`); a sidecar in front of the server heeds it.
    #[serde(default)]
    pub drop_expired: bool,
}

/// Who is next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Who came first.
    #[default]
    Fifo,
    /// Who came last.
    Lifo,
}

/// A server that was started is slow at first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cold {
    /// How many times as long a request takes at the very start.
    pub factor: f64,
    /// How long until it takes as long as it should, in a straight line.
    pub over: Span,
}
