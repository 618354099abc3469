//! Instances: one running copy of a service each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A host (or address) and a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Address {
    /// IPv4 or IPv6 address, or host name.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Shares of the requests by health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weights {
    /// While passing.
    pub passing: u32,
    /// While warning.
    pub warning: u32,
}

impl Default for Weights {
    fn default() -> Self {
        Self { passing: 1, warning: 1 }
    }
}

/// One running copy of a service, identified by (namespace, node, id).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// The namespace it belongs to.
    pub namespace: String,
    /// The node it runs on.
    pub node: String,
    /// Unique on its node.
    pub id: String,
    /// The service it is a copy of.
    pub service: String,
    /// Where the application listens; the node's address when empty.
    #[serde(default)]
    pub address: String,
    /// The application's port.
    #[serde(default)]
    pub port: u16,
    /// Where its sidecar listens for calls, if it has one; callers inside the mesh use this instead of the port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbound: Option<Address>,
    /// Free tags, in the order given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Free data.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Other addresses, by purpose.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tagged_addresses: BTreeMap<String, Address>,
    /// Shares of the requests.
    #[serde(default)]
    pub weights: Weights,
    /// Whether others may change the tags.
    #[serde(default)]
    pub enable_tag_override: bool,
    /// Why it is in maintenance, if it is: it then counts as critical.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<String>,
}
