//! What a subject has to do in a case, apart from how each is told to.

/// What clients speak to the subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// HTTP/1.1 in the clear.
    Http1,
    /// HTTP/1.1 over TLS 1.3.
    Tls,
    /// HTTP/2 in the clear, with prior knowledge.
    Http2,
    /// Bytes.
    Tcp,
}

/// What the subject speaks to the upstreams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Back {
    /// HTTP/1.1.
    Http1,
    /// gRPC over HTTP/2 in the clear.
    Grpc,
    /// Bytes.
    Tcp,
}

/// One case's demands on a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) front: Front,
    pub(crate) back: Back,
    /// Several rules, header filters, time limits, retries, a rate limit and a breaker.
    pub(crate) policies: bool,
    /// Requests may ask for an upgrade to WebSocket.
    pub(crate) websocket: bool,
    pub(crate) workers: usize,
}

impl Setup {
    /// HTTP/1.1 on both sides, nothing else.
    pub(crate) const PLAIN: Self =
        Self { front: Front::Http1, back: Back::Http1, policies: false, websocket: false, workers: 1 };
}

/// What the case with policies asks for; the last rule but one is for it.
pub(crate) const POLICIES_PATH: &str = "/shop/cart/items?id=7";
/// Prefixes of the rules before the one that matches.
pub(crate) const OTHER_PREFIXES: [&str; 6] =
    ["/api/v1", "/api/v2", "/static", "/shop/catalog", "/shop/payments", "/admin"];
/// The prefix of the rule that matches.
pub(crate) const POLICIES_PREFIX: &str = "/shop/cart";
/// Requests a second that the limit lets through: more than anybody gets, so that nobody is refused.
pub(crate) const RATE: u32 = 1_000_000;
/// Failures in a row that the breaker opens after, or that an upstream is taken out for.
pub(crate) const FAILURES: u32 = 20;
/// The field that the filters set on requests, and its value.
pub(crate) const REQUEST_FIELD: (&str, &str) = ("x-tenant", "bench");
/// The field that the filters set on responses, and its value.
pub(crate) const RESPONSE_FIELD: (&str, &str) = ("x-served-by", "bench");
