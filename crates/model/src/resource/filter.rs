//! Filters: what happens to requests and responses on the way, in the Gateway API's own words, and Weir's `Fault`.

use serde::{Deserialize, Serialize};

use crate::units::Span;

/// One filter: its type, and the settings that belong to this type. [`Filter::action`] gives the two as one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Filter {
    /// What it does.
    #[serde(rename = "type")]
    pub kind: FilterKind,
    /// For `RequestHeaderModifier`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_header_modifier: Option<HeaderModifier>,
    /// For `ResponseHeaderModifier`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_header_modifier: Option<HeaderModifier>,
    /// For `RequestRedirect`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_redirect: Option<RequestRedirect>,
    /// For `URLRewrite`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_rewrite: Option<UrlRewrite>,
    /// For `RequestMirror`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_mirror: Option<RequestMirror>,
    /// For `CORS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// For `Fault`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

/// What filters do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FilterKind {
    /// Changes header fields of requests.
    #[default]
    RequestHeaderModifier,
    /// Changes header fields of responses.
    ResponseHeaderModifier,
    /// Answers with a redirect.
    RequestRedirect,
    /// Changes the host or path that the service sees.
    #[serde(rename = "URLRewrite")]
    UrlRewrite,
    /// Sends copies of requests to another service, whose answers are thrown away.
    RequestMirror,
    /// Lets pages of other origins call.
    #[serde(rename = "CORS")]
    Cors,
    /// Delays requests or answers with errors, to see what callers make of it. Weir's own.
    Fault,
}

impl FilterKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::RequestHeaderModifier,
        Self::ResponseHeaderModifier,
        Self::RequestRedirect,
        Self::UrlRewrite,
        Self::RequestMirror,
        Self::Cors,
        Self::Fault,
    ];

    /// As written in `type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RequestHeaderModifier => "RequestHeaderModifier",
            Self::ResponseHeaderModifier => "ResponseHeaderModifier",
            Self::RequestRedirect => "RequestRedirect",
            Self::UrlRewrite => "URLRewrite",
            Self::RequestMirror => "RequestMirror",
            Self::Cors => "CORS",
            Self::Fault => "Fault",
        }
    }

    /// The field that holds the settings of this kind.
    pub const fn field(self) -> &'static str {
        match self {
            Self::RequestHeaderModifier => "requestHeaderModifier",
            Self::ResponseHeaderModifier => "responseHeaderModifier",
            Self::RequestRedirect => "requestRedirect",
            Self::UrlRewrite => "urlRewrite",
            Self::RequestMirror => "requestMirror",
            Self::Cors => "cors",
            Self::Fault => "fault",
        }
    }
}

/// A filter's type with its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action<'a> {
    /// Changes header fields of requests.
    RequestHeaders(&'a HeaderModifier),
    /// Changes header fields of responses.
    ResponseHeaders(&'a HeaderModifier),
    /// Answers with a redirect.
    Redirect(&'a RequestRedirect),
    /// Changes the host or path that the service sees.
    Rewrite(&'a UrlRewrite),
    /// Sends copies of requests to another service.
    Mirror(&'a RequestMirror),
    /// Lets pages of other origins call.
    Cors(&'a Cors),
    /// Delays requests or answers with errors.
    Fault(&'a Fault),
}

impl Filter {
    /// What it does, with the settings for it; nothing if they are missing, which validation refuses.
    pub fn action(&self) -> Option<Action<'_>> {
        Some(match self.kind {
            FilterKind::RequestHeaderModifier => {
                Action::RequestHeaders(self.request_header_modifier.as_ref()?)
            }
            FilterKind::ResponseHeaderModifier => {
                Action::ResponseHeaders(self.response_header_modifier.as_ref()?)
            }
            FilterKind::RequestRedirect => Action::Redirect(self.request_redirect.as_ref()?),
            FilterKind::UrlRewrite => Action::Rewrite(self.url_rewrite.as_ref()?),
            FilterKind::RequestMirror => Action::Mirror(self.request_mirror.as_ref()?),
            FilterKind::Cors => Action::Cors(self.cors.as_ref()?),
            FilterKind::Fault => Action::Fault(self.fault.as_ref()?),
        })
    }

    /// The kinds whose settings it carries: exactly its own, if it is valid.
    pub fn settings(&self) -> impl Iterator<Item = FilterKind> {
        let carried = [
            self.request_header_modifier.is_some(),
            self.response_header_modifier.is_some(),
            self.request_redirect.is_some(),
            self.url_rewrite.is_some(),
            self.request_mirror.is_some(),
            self.cors.is_some(),
            self.fault.is_some(),
        ];
        FilterKind::ALL.into_iter().zip(carried).filter(|(_, is_there)| *is_there).map(|(kind, _)| kind)
    }
}

/// Changes to header fields: first `remove`, then `set`, then `add`. Each name stands in one of them only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeaderModifier {
    /// Fields that replace those of the same name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<HeaderValue>,
    /// Fields that are added beside those of the same name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<HeaderValue>,
    /// Names of fields that are taken out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

/// A header field.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeaderValue {
    /// Its name, in any case.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A redirect. What is absent is the request's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestRedirect {
    /// The scheme to go to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// The host to go to, without port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The path to go to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathModifier>,
    /// The port to go to. When absent: the well-known one of `scheme`, else the listener's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// 301, 302 (the default), 303, 307 or 308.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
}

/// Schemes of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// As written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Its well-known port.
    pub const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// A change of the path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PathModifier {
    /// Which part is replaced.
    #[serde(rename = "type")]
    pub kind: PathModifierKind,
    /// The whole new path, for `ReplaceFullPath`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace_full_path: Option<String>,
    /// What stands instead of the prefix that matched, for `ReplacePrefixMatch`. Whole segments, as in `PathPrefix`: a
    /// slash at its end counts for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace_prefix_match: Option<String>,
}

/// Which part of a path is replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PathModifierKind {
    /// All of it; the query stays.
    #[default]
    ReplaceFullPath,
    /// The prefix that the rule matched; only in rules whose matches are all of `PathPrefix`.
    ReplacePrefixMatch,
}

/// What the service sees instead of what the client sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UrlRewrite {
    /// The host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathModifier>,
}

/// Copies of requests to another service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestMirror {
    /// The service that gets the copies.
    pub backend_ref: MirrorRef,
    /// How many of a hundred requests are copied; all when neither this nor `fraction` is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u32>,
    /// The same as a fraction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<Fraction>,
}

/// Names the service that gets copies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MirrorRef {
    /// API group, kept as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// `Service`, the only kind with a meaning here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The service's name.
    pub name: String,
    /// The service's namespace; the route's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Accepted for the Gateway API's sake; endpoints carry their own ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// A share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fraction {
    /// How many.
    pub numerator: u32,
    /// Of how many.
    #[serde(default = "hundred")]
    pub denominator: u32,
}

const fn hundred() -> u32 {
    100
}

impl RequestMirror {
    /// The share of requests that is copied; the denominator is at least 1 in what is valid.
    pub const fn share(&self) -> Fraction {
        match (self.fraction, self.percent) {
            (Some(fraction), _) => fraction,
            (None, Some(percent)) => Fraction { numerator: percent, denominator: 100 },
            (None, None) => Fraction { numerator: 1, denominator: 1 },
        }
    }
}

/// Which pages of other origins may call, and how (the Fetch standard's CORS protocol).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cors {
    /// Origins such as `https://shop.example`; the host may begin with `*.`, and `*` alone means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_origins: Vec<String>,
    /// Whether calls may carry cookies and other credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_credentials: Option<bool>,
    /// Methods, or `*` alone; those that need no asking (`GET`, `HEAD`, `POST`) always are allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_methods: Vec<String>,
    /// Header fields that requests may carry, or `*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_headers: Vec<String>,
    /// Header fields of responses that pages may read, or `*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expose_headers: Vec<String>,
    /// For how many seconds a browser may remember the answer; 5 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<u32>,
}

/// Faults made on purpose. Delay and abort are drawn one by one; a request can suffer both.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// Requests that have to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<FaultDelay>,
    /// Requests that are answered with an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort: Option<FaultAbort>,
}

/// Requests that have to wait.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultDelay {
    /// For how long.
    pub duration: Span,
    /// How many of a hundred requests, 0 to 100.
    #[serde(default = "all")]
    pub percentage: f64,
}

/// Requests that are answered with an error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultAbort {
    /// With which status, 200 to 599.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// With which gRPC status, 1 to 16, instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc_status: Option<u32>,
    /// How many of a hundred requests, 0 to 100.
    #[serde(default = "all")]
    pub percentage: f64,
}

const fn all() -> f64 {
    100.0
}
