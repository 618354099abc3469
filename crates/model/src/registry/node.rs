//! Nodes: hosts that instances run on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Unique in the cluster, without regard to case.
    pub name: String,
    /// A UUID, if it has been given one.
    #[serde(default)]
    pub id: String,
    /// IPv4 or IPv6 address, or host name.
    pub address: String,
    /// Other addresses, by purpose (`lan`, `wan`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tagged_addresses: BTreeMap<String, String>,
    /// Free data.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Why it is in maintenance, if it is: all of its instances then count as critical.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<String>,
    /// Whether it is, or was, a server's own: what was registered with that server's own agent API is on it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_server: bool,
}
