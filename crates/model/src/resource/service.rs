//! `Service`: a service's protocol, and endpoints for what does not register itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The spec of a `Service`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec {
    /// What its instances speak.
    #[serde(default)]
    pub protocol: Protocol,
    /// Free data about the service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Endpoints besides those that register; never checked, always taken as passing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<StaticEndpoint>,
}

/// What a service speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http,
    /// HTTP/2 without TLS negotiation.
    Http2,
    /// gRPC.
    Grpc,
    /// Bytes.
    Tcp,
}

/// An endpoint written down instead of registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StaticEndpoint {
    /// IPv4 or IPv6 address, or a host name to resolve.
    pub address: String,
    /// TCP port, 1 to 65535.
    pub port: u16,
    /// Share of the requests relative to its siblings; 0 drains it.
    #[serde(default = "default_weight")]
    pub weight: u32,
}

const fn default_weight() -> u32 {
    1
}
