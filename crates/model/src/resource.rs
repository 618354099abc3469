//! Declared resources: what people write in files and apply.
//!
//! Routing uses the Kubernetes Gateway API's kinds and field names, so an existing manifest can be applied as it is;
//! the other kinds are Weir's own in the same form. This module holds the shapes only; reading text is `document`'s
//! work and judging a set of resources is `validate`'s.

pub mod certificate;
pub mod filter;
pub mod gateway;
pub mod grpc_route;
pub mod http_route;
pub mod key;
pub mod listener_policy;
pub mod rate_limit;
pub mod references;
pub mod route;
pub mod service;
pub mod stream_route;
pub mod targets;
pub mod traffic_policy;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use certificate::CertificateSpec;
pub use gateway::{GatewaySpec, Listener, ListenerProtocol};
pub use grpc_route::GrpcRouteSpec;
pub use http_route::HttpRouteSpec;
pub use listener_policy::ListenerPolicySpec;
pub use rate_limit::RateLimitSpec;
pub use service::{Protocol, ServiceSpec, Told};
pub use stream_route::{TcpRouteSpec, TlsRouteSpec};
pub use traffic_policy::TrafficPolicySpec;

/// The `apiVersion` of Weir's own kinds.
pub const WEIR_API_VERSION: &str = "weir.dev/v1";
/// The `apiVersion` of the Gateway API kinds, as Weir writes it.
pub const GATEWAY_API_VERSION: &str = "gateway.networking.k8s.io/v1";
/// The namespace that is meant where none is written.
pub const DEFAULT_NAMESPACE: &str = "default";

/// The kinds of declared resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Where a gateway listens.
    Gateway,
    /// How HTTP requests find their service.
    #[serde(rename = "HTTPRoute")]
    HttpRoute,
    /// A service: its protocol, and endpoints for what does not register itself.
    Service,
    /// A certificate and its key, in files.
    Certificate,
    /// How calls to a service are balanced, timed and retried.
    TrafficPolicy,
    /// How gRPC calls find their service.
    #[serde(rename = "GRPCRoute")]
    GrpcRoute,
    /// How TLS connections find their service, by the server name they ask for.
    #[serde(rename = "TLSRoute")]
    TlsRoute,
    /// How plain connections find their service, by the port they come in at.
    #[serde(rename = "TCPRoute")]
    TcpRoute,
    /// What a gateway's listeners accept, and how much of it.
    ListenerPolicy,
    /// How many requests something takes, and which are refused.
    RateLimit,
}

impl Kind {
    /// Every kind, in the order in which they are applied and shown.
    pub const ALL: [Self; 10] = [
        Self::Service,
        Self::TrafficPolicy,
        Self::RateLimit,
        Self::Certificate,
        Self::Gateway,
        Self::ListenerPolicy,
        Self::HttpRoute,
        Self::GrpcRoute,
        Self::TlsRoute,
        Self::TcpRoute,
    ];

    /// The name as written in a document's `kind`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "Gateway",
            Self::HttpRoute => "HTTPRoute",
            Self::Service => "Service",
            Self::Certificate => "Certificate",
            Self::TrafficPolicy => "TrafficPolicy",
            Self::GrpcRoute => "GRPCRoute",
            Self::TlsRoute => "TLSRoute",
            Self::TcpRoute => "TCPRoute",
            Self::ListenerPolicy => "ListenerPolicy",
            Self::RateLimit => "RateLimit",
        }
    }

    /// Whether it is a kind of route: something with `parentRefs`, `rules` and `backendRefs`.
    pub const fn is_route(self) -> bool {
        matches!(self, Self::HttpRoute | Self::GrpcRoute | Self::TlsRoute | Self::TcpRoute)
    }

    /// The `apiVersion` that Weir writes for this kind.
    pub const fn api_version(self) -> &'static str {
        match self {
            Self::Gateway | Self::HttpRoute | Self::GrpcRoute | Self::TlsRoute | Self::TcpRoute => {
                GATEWAY_API_VERSION
            }
            Self::Service
            | Self::Certificate
            | Self::TrafficPolicy
            | Self::ListenerPolicy
            | Self::RateLimit => WEIR_API_VERSION,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A kind that Weir does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown kind `{0}`")]
pub struct UnknownKind(pub String);

impl FromStr for Kind {
    type Err = UnknownKind;

    /// Accepts the kind in any case, singular or plural (`httproute`, `HTTPRoutes`), as operators type it.
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let folded = text.to_ascii_lowercase();
        let singular = folded.strip_suffix('s');
        let policies = folded.strip_suffix("ies").map(|stem| format!("{stem}y"));
        Self::ALL
            .into_iter()
            .find(|kind| {
                let name = kind.as_str().to_ascii_lowercase();
                [Some(&*folded), singular, policies.as_deref()].contains(&Some(&*name))
            })
            .ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// What identifies a declared resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResourceId {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name, unique within kind and namespace.
    pub name: String,
}

impl ResourceId {
    /// An identity from its parts.
    pub fn new(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ResourceId {
    /// `Kind/name`, or `Kind/namespace/name` outside the default namespace.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace == DEFAULT_NAMESPACE {
            write!(f, "{}/{}", self.kind, self.name)
        } else {
            write!(f, "{}/{}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// The name of a service within the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name: a DNS label for services that are routed to; registered names may be freer.
    pub name: String,
}

impl ServiceRef {
    /// A service in a namespace.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The name in the certificates of its instances, where nothing says another: its own; for a subset of a service, or one
    /// that fails over, which only proxies know as `_SUBSET.SERVICE`, that of the service.
    pub fn certified_name(&self) -> &str {
        let derived = self.name.strip_prefix('_').and_then(|rest| rest.split_once('.'));
        derived.map_or(&*self.name, |(_, service)| service)
    }
}

impl fmt::Display for ServiceRef {
    /// `name`, or `namespace/name` outside the default namespace.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace == DEFAULT_NAMESPACE {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// Labels and other data about a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The resource's name.
    pub name: String,
    /// The resource's namespace.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Free labels, to select by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Free remarks, not selected by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

fn default_namespace() -> String {
    DEFAULT_NAMESPACE.to_owned()
}

/// One declared resource. Serialises to the document it was read from: `apiVersion`, `kind`, `metadata`, `spec`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawResource", into = "RawResource")]
pub struct Resource {
    /// Name, namespace, labels.
    pub metadata: Metadata,
    /// What it says, by kind.
    pub spec: Spec,
}

/// What a resource says.
#[derive(Clone, Debug, PartialEq)]
pub enum Spec {
    /// A `Gateway`.
    Gateway(GatewaySpec),
    /// An `HTTPRoute`.
    HttpRoute(HttpRouteSpec),
    /// A `Service`.
    Service(ServiceSpec),
    /// A `Certificate`.
    Certificate(CertificateSpec),
    /// A `TrafficPolicy`; boxed, since it is much larger than the others and much rarer than services.
    TrafficPolicy(Box<TrafficPolicySpec>),
    /// A `GRPCRoute`.
    GrpcRoute(GrpcRouteSpec),
    /// A `TLSRoute`.
    TlsRoute(TlsRouteSpec),
    /// A `TCPRoute`.
    TcpRoute(TcpRouteSpec),
    /// A `ListenerPolicy`.
    ListenerPolicy(ListenerPolicySpec),
    /// A `RateLimit`.
    RateLimit(RateLimitSpec),
}

impl Resource {
    /// Its kind.
    pub const fn kind(&self) -> Kind {
        match self.spec {
            Spec::Gateway(_) => Kind::Gateway,
            Spec::HttpRoute(_) => Kind::HttpRoute,
            Spec::Service(_) => Kind::Service,
            Spec::Certificate(_) => Kind::Certificate,
            Spec::TrafficPolicy(_) => Kind::TrafficPolicy,
            Spec::GrpcRoute(_) => Kind::GrpcRoute,
            Spec::TlsRoute(_) => Kind::TlsRoute,
            Spec::TcpRoute(_) => Kind::TcpRoute,
            Spec::ListenerPolicy(_) => Kind::ListenerPolicy,
            Spec::RateLimit(_) => Kind::RateLimit,
        }
    }

    /// Its identity.
    pub fn id(&self) -> ResourceId {
        ResourceId::new(self.kind(), self.metadata.namespace.clone(), self.metadata.name.clone())
    }
}

/// The stored and shown form of a resource.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawResource {
    api_version: String,
    kind: Kind,
    metadata: Metadata,
    spec: serde_json::Value,
}

impl TryFrom<RawResource> for Resource {
    type Error = serde_json::Error;

    fn try_from(raw: RawResource) -> Result<Self, serde_json::Error> {
        let spec = match raw.kind {
            Kind::Gateway => Spec::Gateway(serde_json::from_value(raw.spec)?),
            Kind::HttpRoute => Spec::HttpRoute(serde_json::from_value(raw.spec)?),
            Kind::Service => Spec::Service(serde_json::from_value(raw.spec)?),
            Kind::Certificate => Spec::Certificate(serde_json::from_value(raw.spec)?),
            Kind::TrafficPolicy => Spec::TrafficPolicy(serde_json::from_value(raw.spec)?),
            Kind::GrpcRoute => Spec::GrpcRoute(serde_json::from_value(raw.spec)?),
            Kind::TlsRoute => Spec::TlsRoute(serde_json::from_value(raw.spec)?),
            Kind::TcpRoute => Spec::TcpRoute(serde_json::from_value(raw.spec)?),
            Kind::ListenerPolicy => Spec::ListenerPolicy(serde_json::from_value(raw.spec)?),
            Kind::RateLimit => Spec::RateLimit(serde_json::from_value(raw.spec)?),
        };
        Ok(Self { metadata: raw.metadata, spec })
    }
}

impl From<Resource> for RawResource {
    fn from(resource: Resource) -> Self {
        let kind = resource.kind();
        // The specs are plain structs with string keys: turning them into a JSON value cannot fail.
        let value = |result: Result<serde_json::Value, serde_json::Error>| result.unwrap_or_default();
        let spec = match resource.spec {
            Spec::Gateway(spec) => value(serde_json::to_value(spec)),
            Spec::HttpRoute(spec) => value(serde_json::to_value(spec)),
            Spec::Service(spec) => value(serde_json::to_value(spec)),
            Spec::Certificate(spec) => value(serde_json::to_value(spec)),
            Spec::TrafficPolicy(spec) => value(serde_json::to_value(spec)),
            Spec::GrpcRoute(spec) => value(serde_json::to_value(spec)),
            Spec::TlsRoute(spec) => value(serde_json::to_value(spec)),
            Spec::TcpRoute(spec) => value(serde_json::to_value(spec)),
            Spec::ListenerPolicy(spec) => value(serde_json::to_value(spec)),
            Spec::RateLimit(spec) => value(serde_json::to_value(spec)),
        };
        Self { api_version: kind.api_version().to_owned(), kind, metadata: resource.metadata, spec }
    }
}

#[cfg(test)]
mod tests {
    use super::ServiceRef;

    #[test]
    fn a_subset_has_the_certificates_of_its_service() {
        let certified = |name: &str| ServiceRef::new("default", name).certified_name().to_owned();
        assert_eq!(certified("web"), "web");
        assert_eq!(certified("_v1.web"), "web");
        assert_eq!(certified("_failover_.web.internal"), "web.internal");
        assert_eq!(certified("my_web"), "my_web");
    }
}
