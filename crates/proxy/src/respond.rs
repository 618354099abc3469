//! Answers that the proxy makes itself: what went wrong, in a status, a reason word and a sentence.
//!
//! Every such answer names its reason in the field `x-weir-reason` and in a small JSON body, so that a person can tell
//! the proxy's words from the upstream's. It must not reveal addresses of upstreams to clients.

use std::sync::Arc;

use weir_http1::{RequestError, ResponseError, is_field_value, is_token, reason_phrase};
use weir_model::names::GRPC_STATUSES;
use weir_model::resource::traffic_policy::StaticResponse;

/// Why the proxy answered a request itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// The request is malformed; the status says how.
    BadRequest,
    /// The head did not arrive in time.
    SlowHead,
    /// The client stopped sending the body.
    SlowBody,
    /// No route matches.
    NoRoute,
    /// The matching rule names no service that exists.
    NoBackend,
    /// The service has no endpoint that may be chosen.
    NoEndpoint,
    /// The name is no service of the mesh.
    UnknownService,
    /// The control plane did not say in time where the service is.
    NotSubscribed,
    /// A name outside the mesh could not be resolved.
    ResolveFailed,
    /// No endpoint accepted a connection.
    ConnectFailed,
    /// The upstream closed or reset before its response.
    UpstreamReset,
    /// The upstream's response is malformed.
    UpstreamMalformed,
    /// The upstream's response head did not arrive in time.
    Timeout,
    /// A bound of the proxy is reached.
    Overloaded,
    /// The service does not speak a protocol that is served here.
    ProtocolNotServed,
    /// The connection was made for another host: its TLS was another section's.
    Misdirected,
    /// An endpoint's TLS failed, or its certificate is not to be trusted.
    UpstreamTls,
    /// The request would come back to where it came from.
    Loop,
    /// The connection does not begin with the PROXY header that it must begin with.
    BadProxyHeader,
    /// A filter redirects the request.
    Redirect,
    /// A browser asked whether it may send a request of another origin.
    Preflight,
    /// It may not.
    OriginDenied,
    /// A filter makes the request fail.
    Fault,
    /// More requests came than a limit lets through.
    Limited,
    /// More requests are under way than a limit lets be.
    Shed,
    /// A breaker lets no calls through, or not this one.
    BreakerOpen,
}

impl Reason {
    /// How many reasons there are.
    pub const COUNT: usize = Self::BreakerOpen as usize + 1;

    /// All of them, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::BadRequest,
        Self::SlowHead,
        Self::SlowBody,
        Self::NoRoute,
        Self::NoBackend,
        Self::NoEndpoint,
        Self::UnknownService,
        Self::NotSubscribed,
        Self::ResolveFailed,
        Self::ConnectFailed,
        Self::UpstreamReset,
        Self::UpstreamMalformed,
        Self::Timeout,
        Self::Overloaded,
        Self::ProtocolNotServed,
        Self::Misdirected,
        Self::UpstreamTls,
        Self::Loop,
        Self::BadProxyHeader,
        Self::Redirect,
        Self::Preflight,
        Self::OriginDenied,
        Self::Fault,
        Self::Limited,
        Self::Shed,
        Self::BreakerOpen,
    ];

    /// The word in answers, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::SlowHead => "slow_head",
            Self::SlowBody => "slow_body",
            Self::NoRoute => "no_route",
            Self::NoBackend => "no_backend",
            Self::NoEndpoint => "no_endpoint",
            Self::UnknownService => "unknown_service",
            Self::NotSubscribed => "not_subscribed",
            Self::ResolveFailed => "resolve_failed",
            Self::ConnectFailed => "connect_failed",
            Self::UpstreamReset => "upstream_reset",
            Self::UpstreamMalformed => "upstream_malformed",
            Self::Timeout => "timeout",
            Self::Overloaded => "overloaded",
            Self::ProtocolNotServed => "protocol_not_served",
            Self::Misdirected => "misdirected",
            Self::UpstreamTls => "upstream_tls",
            Self::Loop => "loop",
            Self::BadProxyHeader => "bad_proxy_header",
            Self::Redirect => "redirect",
            Self::Preflight => "preflight",
            Self::OriginDenied => "origin_denied",
            Self::Fault => "fault",
            Self::Limited => "limited",
            Self::Shed => "shed",
            Self::BreakerOpen => "breaker_open",
        }
    }

    /// Whether a word is of a limit that was kept to.
    pub(crate) fn is_of_a_limit(word: &[u8]) -> bool {
        [Self::Limited, Self::Shed].iter().any(|reason| reason.as_str().as_bytes() == word)
    }

    const fn status(self) -> u16 {
        match self {
            Self::BadRequest | Self::BadProxyHeader => 400,
            Self::SlowHead | Self::SlowBody => 408,
            Self::NoRoute | Self::UnknownService => 404,
            Self::NoBackend => 500,
            Self::NoEndpoint | Self::NotSubscribed | Self::Overloaded => 503,
            Self::ResolveFailed
            | Self::ConnectFailed
            | Self::UpstreamReset
            | Self::UpstreamMalformed
            | Self::UpstreamTls
            | Self::ProtocolNotServed => 502,
            Self::Timeout => 504,
            Self::Misdirected => 421,
            Self::Loop => 508,
            Self::Redirect => 302,
            Self::Preflight => 204,
            Self::OriginDenied => 403,
            Self::Fault | Self::Shed | Self::BreakerOpen => 503,
            Self::Limited => 429,
        }
    }
}

/// What a sidecar says of a request that its application has not answered, so that the caller can try elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// Not a byte of it reached the application.
    Unsent,
    /// The application broke off before a byte of its response.
    Reset,
}

impl Unanswered {
    /// The field that says it. Believed only when it comes from a sidecar.
    pub(crate) const FIELD: &str = "x-weir-unanswered";

    const fn as_str(self) -> &'static str {
        match self {
            Self::Unsent => "unsent",
            Self::Reset => "reset",
        }
    }

    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        match value {
            b"unsent" => Some(Self::Unsent),
            b"reset" => Some(Self::Reset),
            _ => None,
        }
    }
}

/// An answer that the proxy makes itself.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) reason: Reason,
    /// What a gRPC call is told, where the other two do not say it.
    pub(crate) grpc_status: Option<u8>,
    /// For the caller's proxy; only a sidecar in front of its application says it.
    pub(crate) unanswered: Option<Unanswered>,
    /// For people; a sentence without a full stop. Without one there is no body.
    pub(crate) message: Box<str>,
    /// More lines for the head. Rare, so that a refusal stays small without.
    pub(crate) lines: Option<Box<Lines>>,
    /// When to try again, in seconds.
    pub(crate) retry_after_s: Option<u32>,
    /// The answer as a document has it, instead of status and message.
    pub(crate) written: Option<Arc<StaticAnswer>>,
}

/// An answer that stands in a document, or that was kept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StaticAnswer {
    status: u16,
    /// Whether a field of it says when to try again.
    says_when: bool,
    /// Lines of its head, each with its CR LF.
    lines: Vec<u8>,
    body: Vec<u8>,
    /// What a call of gRPC is told instead, where the document says.
    grpc_status: Option<u8>,
    grpc_message: Option<Box<str>>,
}

impl StaticAnswer {
    /// As the document has it. What cannot stand in a head was refused with the document; it is left out.
    pub(crate) fn new(response: &StaticResponse) -> Self {
        let mut lines = Vec::new();
        for field in &response.headers {
            if is_token(field.name.as_bytes()) && is_field_value(field.value.as_bytes()) {
                lines.extend_from_slice(field.name.to_ascii_lowercase().as_bytes());
                lines.extend_from_slice(b": ");
                lines.extend_from_slice(field.value.as_bytes());
                lines.extend_from_slice(b"\r\n");
            }
        }
        let body = response.body.clone().unwrap_or_default().into_bytes();
        let has_type = response.headers.iter().any(|field| field.name.eq_ignore_ascii_case("content-type"));
        if !body.is_empty() && !has_type {
            lines.extend_from_slice(b"content-type: text/plain; charset=utf-8\r\n");
        }
        let says_when = response.headers.iter().any(|field| field.name.eq_ignore_ascii_case("retry-after"));
        let call_status = response.grpc_status.as_deref();
        let number = call_status.and_then(|name| GRPC_STATUSES.iter().position(|known| *known == name));
        Self {
            status: response.status,
            says_when,
            lines,
            body,
            grpc_status: number.and_then(|number| u8::try_from(number).ok()),
            grpc_message: response.grpc_message.as_deref().map(Into::into),
        }
    }

    /// One that came from a service and was kept: lines of its head, each with its CR LF, and its body.
    pub(crate) fn kept(status: u16, lines: Vec<u8>, body: Vec<u8>) -> Self {
        Self { status, says_when: false, lines, body, grpc_status: None, grpc_message: None }
    }

    /// Its status.
    pub(crate) const fn status(&self) -> u16 {
        self.status
    }

    /// Whether all is said of when to try again: by a field of its own, or because it is no error.
    pub(crate) const fn says_when(&self) -> bool {
        self.says_when || self.status < 400
    }

    /// What a call of gRPC is told instead, by name, where the document says.
    pub(crate) fn grpc_status(&self) -> Option<&'static str> {
        GRPC_STATUSES.get(usize::from(self.grpc_status?)).copied()
    }

    /// How large it is.
    pub(crate) fn bytes(&self) -> usize {
        self.lines.len() + self.body.len()
    }
}

/// Lines of a head, each with its CR LF.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines(pub(crate) Vec<u8>);

impl Refusal {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            status: reason.status(),
            reason,
            grpc_status: None,
            unanswered: None,
            message: message.into().into(),
            lines: None,
            retry_after_s: None,
            written: None,
        }
    }

    pub(crate) fn request(fault: &RequestError) -> Self {
        Self { status: fault.status(), ..Self::new(Reason::BadRequest, fault.reason()) }
    }

    pub(crate) fn response(fault: &ResponseError) -> Self {
        Self::new(Reason::UpstreamMalformed, format!("the upstream's response is malformed: {fault}"))
    }

    /// The same, answered as a document has it if it does.
    pub(crate) fn written_as(self, written: Option<&Arc<StaticAnswer>>) -> Self {
        let status = written.map_or(self.status, |written| written.status);
        Self { status, written: written.cloned(), ..self }
    }

    /// When to try again, in a line. What a document has instead says so itself, or is no answer to come again for.
    fn retry_line(&self) -> String {
        match self.retry_after_s {
            _ if self.written.as_ref().is_some_and(|written| written.says_when()) => String::new(),
            Some(secs) => format!("retry-after: {secs}\r\n"),
            None if self.status == 503 => "retry-after: 1\r\n".to_owned(),
            None => String::new(),
        }
    }

    /// Appends the whole response to a gRPC call: what would be trailers is its head. The status of the call is in
    /// fields, so that of HTTP is always 200.
    pub(crate) fn write_grpc(
        &self,
        out: &mut Vec<u8>,
        content_type: &[u8],
        close: bool,
        request_id: &[u8],
        more: &[u8],
    ) {
        use std::io::Write;
        let unanswered = self.unanswered.map_or(String::new(), |unanswered| {
            format!("{}: {}\r\n", Unanswered::FIELD, unanswered.as_str())
        });
        let connection = if close { "connection: close\r\n" } else { "" };
        let written = self.written.as_ref();
        let status = written.and_then(|written| written.grpc_status).or(self.grpc_status);
        let message = written.and_then(|written| written.grpc_message.as_deref()).unwrap_or(&self.message);
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-type: ");
        out.extend_from_slice(content_type);
        // Writing into memory cannot fail.
        let _ = write!(
            out,
            "\r\ncontent-length: 0\r\ngrpc-status: {}\r\ngrpc-message: {}\r\nx-weir-reason: {}\r\n{}{unanswered}{connection}",
            status.unwrap_or(GrpcStatus::of(self) as u8),
            grpc_message(message),
            self.reason.as_str(),
            id_line(request_id),
        );
        out.extend_from_slice(more);
        out.extend_from_slice(b"\r\n");
    }

    /// Appends the whole response, with the request's id if it has one, for people to report. A response to HEAD has no
    /// body but its length.
    pub(crate) fn write(&self, out: &mut Vec<u8>, head_only: bool, close: bool, request_id: &[u8]) {
        self.write_with(out, head_only, close, request_id, &[]);
    }

    /// The same with more lines for the head.
    pub(crate) fn write_with(
        &self,
        out: &mut Vec<u8>,
        head_only: bool,
        close: bool,
        request_id: &[u8],
        more: &[u8],
    ) {
        use std::io::Write;
        let words = if self.written.is_some() || self.message.is_empty() {
            String::new()
        } else {
            let text = serde_json::Value::from(&*self.message);
            format!("{{\"error\":{text},\"reason\":\"{}\"}}\n", self.reason.as_str())
        };
        let body = self.written.as_ref().map_or(words.as_bytes(), |written| &written.body);
        let kind =
            if body.is_empty() || self.written.is_some() { "" } else { "content-type: application/json\r\n" };
        // These never have a body, and 204 may not even say so (RFC 9110 section 8.6).
        let length = match self.status {
            204 | 304 => String::new(),
            _ => format!("content-length: {}\r\n", body.len()),
        };
        let allow =
            if self.status == 405 { "allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n" } else { "" };
        let retry = self.retry_line();
        let unanswered = self.unanswered.map_or(String::new(), |unanswered| {
            format!("{}: {}\r\n", Unanswered::FIELD, unanswered.as_str())
        });
        let id = id_line(request_id);
        let connection = if close { "connection: close\r\n" } else { "" };
        // Writing into memory cannot fail.
        let _ = write!(
            out,
            "HTTP/1.1 {} {}\r\n{kind}{length}x-weir-reason: {}\r\n{id}{allow}{retry}{unanswered}{connection}",
            self.status,
            reason_phrase(self.status),
            self.reason.as_str(),
        );
        out.extend_from_slice(self.lines.as_ref().map_or(&[], |lines| &lines.0));
        out.extend_from_slice(self.written.as_ref().map_or(&[], |written| &written.lines));
        out.extend_from_slice(more);
        out.extend_from_slice(b"\r\n");
        if !head_only {
            out.extend_from_slice(body);
        }
    }
}

/// Statuses of gRPC (grpc/grpc, doc/statuscodes.md), as far as the proxy gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GrpcStatus {
    /// Nothing better is known.
    Unknown = 2,
    /// The call's deadline has passed.
    DeadlineExceeded = 4,
    /// The caller may not.
    PermissionDenied = 7,
    /// A limit was met.
    ResourceExhausted = 8,
    /// Nobody serves the method.
    Unimplemented = 12,
    /// The request is malformed.
    Internal = 13,
    /// It may be tried again.
    Unavailable = 14,
    /// Nobody knows who the caller is.
    Unauthenticated = 16,
}

impl GrpcStatus {
    /// As gRPC's own clients read an HTTP status (doc/http-grpc-status-mapping.md), but that a limit is told from an
    /// upstream that is gone, and a deadline from both.
    fn of(refusal: &Refusal) -> Self {
        match (refusal.reason, refusal.status) {
            (Reason::Timeout, _) => Self::DeadlineExceeded,
            // As the Gateway API has it (`GRPCRouteRule.backendRefs`).
            (Reason::NoBackend, _) => Self::Unavailable,
            // Whatever the status of an answer that a document has.
            (Reason::BreakerOpen, _) => Self::Unavailable,
            (Reason::Limited | Reason::Shed, _) => Self::ResourceExhausted,
            (_, 400) => Self::Internal,
            (_, 401) => Self::Unauthenticated,
            (_, 403) => Self::PermissionDenied,
            (_, 404) => Self::Unimplemented,
            (_, 429) => Self::ResourceExhausted,
            (_, 502..=504) => Self::Unavailable,
            _ => Self::Unknown,
        }
    }
}

/// The field with a request's id, if it has one.
fn id_line(request_id: &[u8]) -> String {
    match std::str::from_utf8(request_id) {
        Ok(id) if !id.is_empty() => format!("x-request-id: {id}\r\n"),
        _ => String::new(),
    }
}

/// Percent-encodes a message as gRPC has it in a field (doc/PROTOCOL-HTTP2.md, "Percent-Byte-Encoded").
fn grpc_message(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            _ => {
                let _ = std::fmt::Write::write_fmt(&mut out, format_args!("%{byte:02X}"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_its_own_phrase_or_none() {
        let check = |status: u16, expected: &str| {
            let mut out = Vec::new();
            let response = serde_json::from_value(serde_json::json!({"status": status})).unwrap();
            let written = StaticAnswer::new(&response);
            Refusal::new(Reason::BreakerOpen, "")
                .written_as(Some(&Arc::new(written)))
                .write(&mut out, false, true, b"abc");
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text.lines().next(), Some(expected));
        };
        check(201, "HTTP/1.1 201 Created");
        check(511, "HTTP/1.1 511 Network Authentication Required");
        check(418, "HTTP/1.1 418 ");
        check(599, "HTTP/1.1 599 ");
    }

    #[test]
    fn a_refusal_is_a_whole_response_with_its_reason() {
        let mut out = Vec::new();
        Refusal::new(Reason::NoRoute, "no route for \"a\r\nb\"").write(&mut out, false, true, b"abc");
        let text = String::from_utf8(out).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{head}");
        assert!(
            head.contains("\r\nx-weir-reason: no_route\r\n") && head.ends_with("connection: close"),
            "{head}"
        );
        assert!(head.contains("\r\nx-request-id: abc\r\n"), "{head}");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())));
        let json: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(json["reason"], "no_route");
        assert_eq!(json["error"], "no route for \"a\r\nb\"");
    }

    #[test]
    fn a_refusal_of_head_has_no_body() {
        let mut out = Vec::new();
        Refusal::new(Reason::Timeout, "x").write(&mut out, true, false, b"");
        assert!(out.ends_with(b"\r\n\r\n"));
        assert!(!String::from_utf8(out).unwrap().contains("connection"));
    }

    #[test]
    fn a_refusal_of_a_call_is_in_its_fields() {
        let mut out = Vec::new();
        Refusal::new(Reason::NoEndpoint, "no \"é\"\r\n 100%").write_grpc(
            &mut out,
            b"application/grpc+proto",
            false,
            b"",
            b"",
        );
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "HTTP/1.1 200 OK\r\ncontent-type: application/grpc+proto\r\ncontent-length: 0\r\ngrpc-status: 14\r\n\
             grpc-message: no \"%C3%A9\"%0D%0A 100%25\r\nx-weir-reason: no_endpoint\r\n\r\n"
        );
        for (reason, status, grpc) in [
            (Reason::BadRequest, 400, 13),
            (Reason::BadRequest, 401, 16),
            (Reason::BadRequest, 403, 7),
            (Reason::NoRoute, 404, 12),
            (Reason::Overloaded, 429, 8),
            (Reason::ConnectFailed, 502, 14),
            (Reason::Overloaded, 503, 14),
            (Reason::ConnectFailed, 504, 14),
            (Reason::Timeout, 504, 4),
            (Reason::NoBackend, 500, 14),
            (Reason::BadRequest, 431, 2),
        ] {
            let refusal = Refusal { status, ..Refusal::new(reason, "x") };
            assert_eq!(GrpcStatus::of(&refusal) as u8, grpc, "{reason:?} {status}");
        }
    }

    #[test]
    fn an_answer_without_words_has_no_body_and_may_have_lines() {
        let text = |status: u16| {
            let mut refusal = Refusal { status, ..Refusal::new(Reason::Redirect, "") };
            refusal.lines = Some(Box::new(Lines(b"location: /x\r\n".to_vec())));
            let mut out = Vec::new();
            refusal.write(&mut out, false, false, b"");
            String::from_utf8(out).unwrap()
        };
        let expected = "HTTP/1.1 301 Moved Permanently\r\ncontent-length: 0\r\nx-weir-reason: redirect\r\nlocation: /x\r\n\r\n";
        assert_eq!(text(301), expected);
        assert!(!text(204).contains("content-length"), "{}", text(204));
    }

    #[test]
    fn reasons_are_numbered_in_order() {
        for (i, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i);
        }
    }
}
