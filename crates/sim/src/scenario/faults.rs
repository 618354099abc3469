//! What goes wrong, and what people do.

use serde::{Deserialize, Serialize};
use weir_model::units::Span;

use super::bounds::SERVERS_MAX;
use super::number::{whole, whole_if_any};
use super::random::Random;

/// Something that happens to servers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// When.
    pub at: Span,
    /// How long; for good when absent.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Span>,
    /// To which servers; all when absent.
    #[serde(default)]
    pub servers: Selector,
    /// For `partition` and `delay`: as seen by which groups of clients; all when empty. For `controlPlaneGone`: whose proxies cannot
    /// reach it; nobody can when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<String>,
    /// What happens to them.
    #[serde(rename = "do")]
    pub action: Action,
}

/// What happens to servers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// They do nothing, and go on afterwards where they were: a long collection of garbage, a frozen machine.
    Pause,
    /// What they begin takes this many times as long.
    Slow(f64),
    /// They answer with errors.
    Fail(Failing),
    /// They die: connections are reset, new ones refused. They come back empty.
    Kill,
    /// They are taken out with notice: they get nothing new, and finish what they have.
    Drain,
    /// Nothing gets through to them or back.
    Partition,
    /// Messages to and from them take this much longer.
    Delay(Random),
    /// More of the group are started.
    Add(Added),
    /// One after the other is taken out, replaced by a new one, and put back.
    Restart(Restart),
    /// Nothing happens to servers, but proxies hear nothing from the control plane: no shares of limits, no news of servers.
    ControlPlaneGone,
}

/// Errors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failing {
    /// The share of requests that get one.
    pub ratio: f64,
    /// Its status; 500 when absent.
    #[serde(
        default,
        deserialize_with = "whole_if_any::<400, 599, _>",
        skip_serializing_if = "Option::is_none"
    )]
    pub status: Option<u32>,
    /// How long it takes to fail; as long as to succeed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Random>,
}

/// More servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Added {
    /// How many.
    #[serde(deserialize_with = "whole::<1, SERVERS_MAX, _>")]
    pub count: u32,
}

/// A rolling upgrade.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restart {
    /// From one server's turn to the next's.
    pub every: Span,
    /// How long it is drained before it is stopped; stopped at once, without notice, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Span>,
    /// How long it is down.
    pub down: Span,
}

/// Some servers. All that is said must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// Those of this service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Those of this group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Those in this zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Of these, so many.
    #[serde(
        default,
        deserialize_with = "whole_if_any::<1, SERVERS_MAX, _>",
        skip_serializing_if = "Option::is_none"
    )]
    pub count: Option<u32>,
    /// Of these, this share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// The first ones to leave out, before `count` and `share`; 0 when absent.
    #[serde(
        default,
        deserialize_with = "whole_if_any::<0, SERVERS_MAX, _>",
        skip_serializing_if = "Option::is_none"
    )]
    pub skip: Option<u32>,
}
