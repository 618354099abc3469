//! What `weir get` shows: views of the catalog for people and programs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_model::registry::{Check, Health, Instance};
use weir_model::units::Span;
use weir_model::{Position, Resource, ResourceId, Revision};

/// A service, whether it registers itself, is declared, or both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it speaks.
    pub protocol: String,
    /// Who says so, as `Service/web`, `config entry service-defaults/web` or an instance; none where nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol_from: Option<String>,
    /// The config entries that say how its calls go and what it speaks, as `service-router/web`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config_entries: Vec<String>,
    /// How its instances are.
    pub instances: HealthCounts,
    /// Endpoints that are declared instead of registered.
    pub static_endpoints: usize,
    /// Whether a `Service` document exists.
    pub declared: bool,
    /// The tags of its instances.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// How many are how well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCounts {
    /// Passing.
    pub passing: usize,
    /// Warning.
    pub warning: usize,
    /// Critical.
    pub critical: usize,
}

impl HealthCounts {
    /// Counts one.
    pub const fn add(&mut self, health: Health) {
        match health {
            Health::Passing => self.passing += 1,
            Health::Warning => self.warning += 1,
            Health::Critical => self.critical += 1,
        }
    }

    /// All of them.
    pub const fn total(&self) -> usize {
        self.passing + self.warning + self.critical
    }
}

/// An instance with its checks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceView {
    /// The worst of its checks, its node's, and maintenance.
    pub health: Health,
    /// What was registered.
    pub instance: Instance,
    /// Its checks and its node's.
    pub checks: Vec<Check>,
    /// For how long its node's agent has been silent, where it is taken to be gone: what its checks say is as old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_silent_ms: Option<u64>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// The worst of its own checks; critical in maintenance.
    pub health: Health,
    /// How its instances are.
    pub instances: HealthCounts,
    /// Whether it is heard from.
    pub heartbeats: Heartbeats,
}

/// Whether a node is heard from: by the TTL checks on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Heartbeats {
    /// It has no TTL checks.
    None,
    /// It is.
    Heard,
    /// All are overdue, and it is taken to be gone.
    Silent,
    /// All are overdue, and so are those of most nodes: that is not believed (self-preservation).
    Doubted,
}

impl Heartbeats {
    /// The word as tables show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Heard => "heard",
            Self::Silent => "silent",
            Self::Doubted => "silent, not believed",
        }
    }
}

/// A proxy that is connected to this server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyView {
    /// Its id.
    pub id: String,
    /// `gateway` or `sidecar`.
    pub role: String,
    /// Its namespace.
    pub namespace: String,
    /// The service it stands in front of, for a sidecar.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service: String,
    /// The gateways it serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<String>,
    /// Where it runs.
    pub node: String,
    /// Of its binary.
    pub version: String,
    /// `HOST:PORT` of its admin listener, empty if none.
    pub admin: String,
    /// How long it has been connected, in milliseconds.
    pub connected_ms: u64,
    /// What was sent to it last.
    pub sent: Position,
    /// What it acknowledged last, whole or but for `rejections`.
    pub applied: Position,
    /// Whether it has nothing outstanding: everything that concerns it up to `current` is acknowledged.
    pub in_sync: bool,
    /// Up to where the server has looked for changes that concern it.
    pub current: Position,
    /// How many services it is subscribed to.
    pub subscriptions: usize,
    /// What it refused, and why; the old version of each stays in force there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejections: Vec<RejectionView>,
}

/// A resource that a proxy refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectionView {
    /// The resource, as `Kind/name`.
    pub resource: String,
    /// The field.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

/// One rule of a route, as a line of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteView {
    /// The route.
    pub route: ResourceId,
    /// The gateways or services it belongs to.
    pub parents: Vec<String>,
    /// Host names; all when empty.
    pub hostnames: Vec<String>,
    /// The rule's name, or its number from 0.
    pub rule: String,
    /// Conditions, any of which suffices, as `GET /path header=value`.
    pub matches: Vec<String>,
    /// Services and their weights.
    pub backends: Vec<(String, u32)>,
    /// Whether the route is made of config entries; else it is a document.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub made: bool,
    /// The config entries by which the rule leads where it does, as `service-router/web`. Of a document: those by which it goes on
    /// from the services that it names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config_entries: Vec<String>,
}

/// A declared resource and when it last changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResourceView {
    /// The store's revision at which it last changed.
    pub revision: Revision,
    /// The document.
    pub resource: Resource,
}

/// One entry of the history of declared resources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSetView {
    /// Its number; they rise by one.
    pub number: u64,
    /// When it was made, in milliseconds since 1970.
    pub time_ms: u64,
    /// Who or what made it.
    pub author: String,
    /// What it said about itself.
    pub message: String,
    /// How many resources it put and deleted.
    #[serde(default)]
    pub counts: BTreeMap<String, usize>,
    /// Whether it is the one in force.
    pub head: bool,
}

/// A session of Consul's API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionView {
    /// Its namespace.
    pub namespace: String,
    /// Its id.
    pub id: String,
    /// Its name for people; may be empty.
    pub name: String,
    /// The node that it ends with.
    pub node: String,
    /// How long it lives at least after a renewal; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// How long it lives still if it is not renewed, in milliseconds, where the server that answers watches over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_ms: Option<u64>,
    /// The keys that it holds.
    pub keys: u64,
}

/// A server that shares its store with others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaView {
    /// Its name, new at each start.
    pub id: String,
    /// Where the others reach its HTTP API.
    pub http: String,
    /// Where proxies reach it.
    pub grpc: String,
    /// Its version.
    pub version: String,
    /// Whether it is the one that answers.
    pub answers: bool,
}
