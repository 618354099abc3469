//! What a policy tells requests apart by: the key of a limit, or what a consistent hash is taken of.

use serde::{Deserialize, Serialize};

/// One part of a key. A key of several parts is all of their values together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyPart {
    /// What of the request.
    #[serde(rename = "type")]
    pub kind: KeyKind,
    /// The name of the field, cookie or parameter; for those only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KeyKind {
    /// A header field's value.
    Header,
    /// A cookie's value.
    Cookie,
    /// A query parameter's value, the first one if it is repeated.
    Query,
    /// The path, without the query.
    Path,
    /// The host that was asked for.
    Host,
    /// The method.
    Method,
    /// The client's address, without its port.
    SourceAddress,
    /// The service that calls, as its sidecar says.
    Caller,
    /// The rule of a route that the request goes by.
    Route,
}

impl KeyKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Header,
        Self::Cookie,
        Self::Query,
        Self::Path,
        Self::Host,
        Self::Method,
        Self::SourceAddress,
        Self::Caller,
        Self::Route,
    ];

    /// The name as written in a document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Cookie => "cookie",
            Self::Query => "query",
            Self::Path => "path",
            Self::Host => "host",
            Self::Method => "method",
            Self::SourceAddress => "sourceAddress",
            Self::Caller => "caller",
            Self::Route => "route",
        }
    }

    /// Whether it needs a name.
    pub const fn is_named(self) -> bool {
        matches!(self, Self::Header | Self::Cookie | Self::Query)
    }
}
