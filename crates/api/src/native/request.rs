//! What clients send.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_model::registry::{Address, Weights};
use weir_model::units::Span;

/// Several texts that are applied as one change set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// The texts, in order.
    pub sources: Vec<SourceText>,
}

/// One text with the name under which errors refer to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceText {
    /// A file name, or `stdin`.
    pub name: String,
    /// YAML (one or more documents) or JSON.
    pub text: String,
}

/// Registers one instance with its checks, replacing what was registered under the same identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterInstance {
    /// The service it is a copy of.
    pub service: String,
    /// Where the application listens; the node's address when empty.
    #[serde(default)]
    pub address: String,
    /// The application's port.
    pub port: u16,
    /// Where its sidecar listens for calls, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbound: Option<Address>,
    /// Free tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Free data; `protocol` and `version` are understood.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Shares of the requests.
    #[serde(default)]
    pub weights: Weights,
    /// How its health is found out; without checks it counts as passing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckInput>,
}

/// One check of an instance. Exactly one of `http`, `tcp` and `ttl` says what is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckInput {
    /// Unique on its node; derived from the instance's id when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A URL to get: 2xx passes, 429 warns, everything else is critical.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// `HOST:PORT` to connect to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<String>,
    /// The instance reports itself, at least this often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// Time between two runs; 10 s when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// How long one run may take; 10 s when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How long it may be critical before its instance is deregistered; never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deregister_after: Option<Span>,
}

/// A sign of life of a TTL check that came to another replica than the one that judges it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatInput {
    /// The check's namespace.
    pub namespace: String,
    /// Its node.
    pub node: String,
    /// Its id.
    pub check: String,
    /// What it says, if that is not what is committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// What a proxy could use of a limit that it shares with others, when another replica than the proxy's keeps the book.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseInput {
    /// The limit's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The target, as proxies name it.
    pub target: String,
    /// The proxy's id.
    pub holder: String,
    /// How much of the limit it could use, in millionths.
    pub wanted: u32,
    /// The number of the lease that it goes by; 0: none.
    pub lease: u64,
}
