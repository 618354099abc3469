//! `TrafficPolicy`: how calls to a service are balanced, timed, retried and broken off, at the caller.

mod balance;
mod breaker;
mod retry;

use serde::{Deserialize, Serialize};

pub use balance::*;
pub use breaker::*;
pub use retry::*;

use super::gateway::CertificateRef;
use crate::units::Span;

/// The spec of a `TrafficPolicy`. One for a route has `timeouts.request`, `timeouts.perTry`, `retry`, `hedge` and
/// `breakers` only; what it says counts before what the service's says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficPolicySpec {
    /// What it is for, at least one: a `Service` (the default kind), an `HTTPRoute` or a `GRPCRoute` (`sectionName`: one
    /// rule of it).
    #[serde(default)]
    pub target_refs: Vec<PolicyTarget>,
    /// How an endpoint is chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<Balance>,
    /// Time limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    /// Retries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Second requests for calls that take long; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedge: Option<Hedge>,
    /// Circuit breakers; all must let a call through.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub breakers: Vec<Breaker>,
    /// Ejection of instances that do worse than the others; on with its defaults when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier: Option<Outlier>,
    /// TLS to the service's instances; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// The PROXY header that each connection to the service's instances begins with; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocolVersion>,
    /// Bounds on connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<Connection>,
}

/// TLS to the instances of a service. An empty one (`tls: {}`) means TLS with the authorities that the proxy's host
/// trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamTls {
    /// The name that the certificate must be for, which is also sent as SNI. When absent: the host name of an endpoint
    /// that is written as one, else the service's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// The `Certificate` resources whose `caFile` holds the authorities that are trusted; those of the host when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ca_refs: Vec<CertificateRef>,
    /// The `Certificate` resource that is presented; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_ref: Option<CertificateRef>,
    /// Whether any certificate is taken for good: for trying things out only.
    #[serde(default, skip_serializing_if = "is_false")]
    pub insecure_skip_verify: bool,
}

/// serde wants a reference.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// Versions of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocolVersion {
    /// The line of text.
    V1,
    /// The binary header.
    V2,
}

/// Bounds on connections to the instances of a service. What is absent keeps its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// Most requests at once on one HTTP/2 connection; the instance's own limit counts too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams_max: Option<u32>,
    /// Most HTTP/2 connections of one worker of a proxy to one instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections_max: Option<u32>,
}

/// Names what a policy is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyTarget {
    /// API group, kept as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The kind; `Service` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The name, in the policy's namespace.
    pub name: String,
    /// A part of it: a listener of a gateway, a named rule of a route; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

/// Time limits of calls to a service. What is absent keeps its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// To establish a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect: Option<Span>,
    /// From the request's arrival to the response head. `0s` means no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Span>,
    /// The same for one attempt; off when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_try: Option<Span>,
    /// How long a pooled connection may idle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Span>,
}
