//! `Gateway`: where a gateway listens, in the Gateway API's own words.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Kind;

/// The spec of a `Gateway`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySpec {
    /// Which implementation serves it; any value is accepted and kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_class_name: Option<String>,
    /// Addresses to listen on; loopback when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<GatewayAddress>,
    /// The ports, at least one.
    pub listeners: Vec<Listener>,
    /// TLS settings for all of its listeners that terminate TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<GatewayTls>,
}

/// TLS settings of a gateway as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayTls {
    /// Towards clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frontend: Option<FrontendTls>,
}

/// TLS settings towards clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendTls {
    /// For every port that `perPort` does not name.
    pub default: PortTls,
    /// For single ports; each port once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub per_port: Vec<PerPortTls>,
}

/// TLS settings towards clients at one port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PerPortTls {
    /// The port.
    pub port: u16,
    /// What counts there instead of the default.
    pub tls: PortTls,
}

/// What can be set for a port's TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortTls {
    /// How clients' certificates are validated; clients are asked for none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<ClientValidation>,
}

/// How clients' certificates are validated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientValidation {
    /// The `Certificate` resources whose `caFile` holds the authorities that are trusted.
    pub ca_certificate_refs: Vec<CertificateRef>,
    /// What happens to clients without a valid certificate; `AllowValidOnly` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<ClientValidationMode>,
}

/// What happens to clients without a valid certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ClientValidationMode {
    /// They are refused.
    #[default]
    AllowValidOnly,
    /// They are served all the same: who they are is for the service to judge.
    AllowInsecureFallback,
}

/// One address of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayAddress {
    /// `IPAddress` is the only type with a meaning here.
    #[serde(rename = "type", default = "ip_address")]
    pub kind: String,
    /// An IPv4 or IPv6 address.
    pub value: String,
}

fn ip_address() -> String {
    "IPAddress".to_owned()
}

/// One port of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Name, unique within the gateway; routes refer to it as `sectionName`.
    pub name: String,
    /// Host name it serves; all when absent. May start with `*.`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// TCP port, 1 to 65535.
    pub port: u16,
    /// What is spoken on it.
    pub protocol: ListenerProtocol,
    /// TLS settings, for `HTTPS` and `TLS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// Which routes may attach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_routes: Option<AllowedRoutes>,
}

impl Listener {
    /// Whether TLS goes through it undecrypted.
    pub fn is_passthrough(&self) -> bool {
        self.protocol == ListenerProtocol::Tls
            && self.tls.as_ref().is_some_and(|tls| tls.mode() == TlsMode::Passthrough)
    }

    /// The kinds of route that fit its protocol.
    pub fn fitting_kinds(&self) -> &'static [Kind] {
        match self.protocol {
            ListenerProtocol::Http | ListenerProtocol::Https => &[Kind::HttpRoute, Kind::GrpcRoute],
            ListenerProtocol::Tcp => &[Kind::TcpRoute],
            ListenerProtocol::Tls if self.is_passthrough() => &[Kind::TlsRoute],
            ListenerProtocol::Tls => &[Kind::TlsRoute, Kind::TcpRoute],
        }
    }

    /// Whether it takes routes of a kind.
    pub fn takes(&self, kind: Kind) -> bool {
        let named = self.allowed_routes.as_ref().map_or(&[][..], |allowed| &allowed.kinds);
        let is_named = named.is_empty() || named.iter().any(|named| named.kind == kind.as_str());
        is_named && self.fitting_kinds().contains(&kind)
    }
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ListenerProtocol {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS, terminated here.
    Https,
    /// Bytes.
    Tcp,
    /// TLS, terminated or passed through.
    Tls,
}

/// TLS settings of a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerTls {
    /// `Terminate` (the default) or `Passthrough`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<TlsMode>,
    /// The `Certificate` resources to present, chosen by SNI.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificate_refs: Vec<CertificateRef>,
    /// Weir's own options, of which `weir.dev/min-version` (`1.2`, the default, or `1.3`) is known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// How clients' certificates are validated here: the older place for what the gateway's `tls` says now, and
    /// stronger than that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frontend_validation: Option<ClientValidation>,
}

/// The option that says which version of TLS a listener demands at least.
pub const MIN_VERSION_OPTION: &str = "weir.dev/min-version";

/// Versions of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    V1_2,
    /// TLS 1.3.
    V1_3,
}

impl ListenerTls {
    /// What happens to TLS: `Terminate` unless it says otherwise.
    pub fn mode(&self) -> TlsMode {
        self.mode.unwrap_or(TlsMode::Terminate)
    }

    /// The least version of TLS that is spoken, or the text that is no version.
    ///
    /// # Errors
    /// The option's value, if it is neither `1.2` nor `1.3`.
    pub fn min_version(&self) -> Result<TlsVersion, &str> {
        match self.options.get(MIN_VERSION_OPTION).map(String::as_str) {
            None | Some("1.2") => Ok(TlsVersion::V1_2),
            Some("1.3") => Ok(TlsVersion::V1_3),
            Some(other) => Err(other),
        }
    }
}

impl GatewaySpec {
    /// How clients' certificates are validated at a listener: what it says itself, else what the gateway says for its
    /// port, else for all ports.
    pub fn client_validation<'a>(&'a self, listener: &'a Listener) -> Option<&'a ClientValidation> {
        let own = listener.tls.as_ref().and_then(|tls| tls.frontend_validation.as_ref());
        own.or_else(|| {
            let frontend = self.tls.as_ref()?.frontend.as_ref()?;
            let of_port = frontend.per_port.iter().find(|per_port| per_port.port == listener.port);
            of_port.map_or(&frontend.default, |per_port| &per_port.tls).validation.as_ref()
        })
    }
}

/// What happens to TLS at a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsMode {
    /// Decrypted here.
    Terminate,
    /// Passed on as it is.
    Passthrough,
}

/// Names a `Certificate`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRef {
    /// API group, kept as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// `Certificate`, the only kind with a meaning here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The certificate's name.
    pub name: String,
    /// The certificate's namespace; the gateway's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Which routes may attach to a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AllowedRoutes {
    /// From which namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<RouteNamespaces>,
    /// Which kinds of route; all that fit the listener's protocol when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<RouteKind>,
}

/// Names a kind of route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteKind {
    /// API group; the Gateway API's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The kind, such as `HTTPRoute`.
    pub kind: String,
}

/// From which namespaces routes may attach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteNamespaces {
    /// `Same` (the default) or `All`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<FromNamespaces>,
}

/// A rule over namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromNamespaces {
    /// The gateway's own namespace.
    Same,
    /// Every namespace.
    All,
}
