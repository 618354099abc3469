//! `ListenerPolicy`: what a gateway's listeners accept, and how much of it.

use serde::{Deserialize, Serialize};

use crate::units::{Size, Span};

/// The spec of a `ListenerPolicy`. What is absent keeps its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerPolicySpec {
    /// The gateways, or single listeners of them, that it is for; at least one. All listeners on one port share one
    /// policy, since it counts before it is known which of them a connection is for.
    pub target_refs: Vec<ListenerTargetRef>,
    /// The PROXY protocol; off when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<AcceptProxyProtocol>,
    /// Bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ListenerLimits>,
    /// Time limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<ListenerTimeouts>,
}

/// Names a gateway or one listener of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerTargetRef {
    /// API group, kept as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// `Gateway`, the only kind with a meaning here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The gateway's name, in the policy's namespace.
    pub name: String,
    /// One listener of it; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

/// Which connections begin with a PROXY header (version 1 or 2) that says who the client is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AcceptProxyProtocol {
    /// Networks (`10.0.0.0/8`, `fd00::/8`, or single addresses) whose connections must begin with one, while all others
    /// must not. All connections must when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<String>,
}

/// Bounds of a listener's port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerLimits {
    /// Most connections at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Most requests at once on one HTTP/2 connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams: Option<u32>,
    /// Largest head of a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_bytes: Option<Size>,
    /// Most header fields of a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_fields: Option<u32>,
}

/// Time limits of a listener's port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerTimeouts {
    /// For a request's head to arrive, from its first byte (or the connection's start).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Span>,
    /// How long a connection may idle between requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Span>,
    /// How long a body may stand still, in either direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Span>,
    /// For a PROXY header and the TLS handshake to be over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake: Option<Span>,
}
