//! One line of the access log: which fields there are, and how they are written.

use std::io::Write;
use std::time::SystemTime;

use weir_model::Position;

use crate::config::AccessLogFormat;
use crate::observe::ids::Trace;

macro_rules! name {
    ($name:literal) => {
        [concat!(",\"", $name, "\":"), concat!(" ", $name, "=")]
    };
}

/// What is known of a request once it is over. Empty and absent values are left out of the line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) at: SystemTime,
    pub(crate) position: Position,
    /// Where the client connected to, as the snapshot names it.
    pub(crate) listener: &'a str,
    /// Its address.
    pub(crate) client: &'a [u8],
    /// The service that calls, as its sidecar says.
    pub(crate) caller: &'a [u8],
    /// What the client speaks.
    pub(crate) protocol: &'a str,
    pub(crate) tls_version: &'a str,
    pub(crate) sni: &'a str,
    pub(crate) method: &'a [u8],
    pub(crate) host: &'a [u8],
    pub(crate) path: &'a [u8],
    pub(crate) user_agent: &'a [u8],
    pub(crate) request_id: &'a [u8],
    pub(crate) trace: Option<&'a Trace>,
    pub(crate) route: &'a str,
    pub(crate) upstream: &'a str,
    pub(crate) endpoint: &'a str,
    pub(crate) attempts: u32,
    /// What became of a second copy: `won` or `lost`; empty where there was none.
    pub(crate) hedge: &'a str,
    pub(crate) status: u16,
    /// Why the proxy answered itself, or that nobody waited for an answer; empty where the upstream's answer was passed on.
    pub(crate) reason: &'a str,
    pub(crate) fallback: Option<FellBack<'a>>,
    pub(crate) grpc_status: &'a str,
    /// The response was cut off after its head.
    pub(crate) truncated: bool,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) duration_us: u64,
    /// From the beginning of the last attempt to the response's head.
    pub(crate) upstream_us: Option<u64>,
}

/// What a breaker has given a call instead of what it was for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FellBack<'a> {
    /// `service`, `response` or `cached`.
    pub(crate) to: &'a str,
    /// The service that the call was for; empty where it went to no other.
    pub(crate) from: &'a str,
    /// The breaker, as `TrafficPolicy/cart#0`.
    pub(crate) by: &'a str,
    /// How it stood.
    pub(crate) why: &'a str,
}

impl<'a> Line<'a> {
    /// A line that says no more than when and where.
    pub(crate) fn new(at: SystemTime, position: Position, listener: &'a str, client: &'a [u8]) -> Self {
        Self {
            at,
            position,
            listener,
            client,
            caller: b"",
            protocol: "",
            tls_version: "",
            sni: "",
            method: b"",
            host: b"",
            path: b"",
            user_agent: b"",
            request_id: b"",
            trace: None,
            route: "",
            upstream: "",
            endpoint: "",
            attempts: 0,
            hedge: "",
            status: 0,
            reason: "",
            fallback: None,
            grpc_status: "",
            truncated: false,
            bytes_in: 0,
            bytes_out: 0,
            duration_us: 0,
            upstream_us: None,
        }
    }

    /// Whether it must not be left out of a sample: the proxy answered with an error, or anybody with one of a server, or
    /// the response was cut off.
    pub(crate) fn is_error(&self) -> bool {
        self.truncated
            || self.status >= 500
            || (!self.reason.is_empty() && (self.status >= 400 || self.status == 0))
    }

    /// Appends the line, with its end.
    pub(super) fn write(&self, format: AccessLogFormat, out: &mut Vec<u8>) {
        let json = format == AccessLogFormat::Json;
        let since = self.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // The names' own lengths, and room for usual values.
        out.reserve(1024);
        out.extend_from_slice(if json { b"{\"time_ms\":" } else { b"time_ms=" });
        push_decimal(out, since.as_secs() * 1000 + u64::from(since.subsec_millis()));
        let mut fields = Fields { out, json };
        fields.position(name!("position"), self.position);
        fields.word(name!("listener"), self.listener.as_bytes());
        fields.word(name!("client"), self.client);
        fields.text(name!("caller"), self.caller);
        fields.word(name!("protocol"), self.protocol.as_bytes());
        fields.word(name!("tls_version"), self.tls_version.as_bytes());
        fields.text(name!("sni"), self.sni.as_bytes());
        fields.text(name!("method"), self.method);
        fields.text(name!("host"), self.host);
        fields.text(name!("path"), self.path);
        fields.text(name!("user_agent"), self.user_agent);
        fields.text(name!("request_id"), self.request_id);
        if let Some(trace) = self.trace {
            fields.word(name!("trace_id"), &trace.trace_id);
            fields.word(name!("span_id"), trace.span.as_ref().map_or(&[], |id| id));
            fields.word(name!("parent_span_id"), trace.parent.as_ref().map_or(&[], |id| id));
        }
        fields.text(name!("route"), self.route.as_bytes());
        fields.text(name!("upstream"), self.upstream.as_bytes());
        fields.text(name!("endpoint"), self.endpoint.as_bytes());
        fields.number(name!("attempts"), self.attempts.into());
        fields.word(name!("hedge"), self.hedge.as_bytes());
        fields.number(name!("status"), self.status.into());
        fields.word(name!("reason"), self.reason.as_bytes());
        if let Some(FellBack { to, from, by, why }) = self.fallback {
            fields.word(name!("fallback"), to.as_bytes());
            fields.text(name!("fallback_from"), from.as_bytes());
            fields.text(name!("fallback_by"), by.as_bytes());
            fields.word(name!("fallback_why"), why.as_bytes());
        }
        fields.word(name!("grpc_status"), self.grpc_status.as_bytes());
        if self.truncated {
            fields.name(name!("truncated"));
            fields.out.extend_from_slice(b"true");
        }
        fields.number(name!("bytes_in"), self.bytes_in);
        fields.number(name!("bytes_out"), self.bytes_out);
        fields.number(name!("duration_us"), self.duration_us);
        if let Some(upstream_us) = self.upstream_us {
            fields.number(name!("upstream_us"), upstream_us);
        }
        fields.end();
    }
}

/// A field's name with what stands before and behind it, in JSON and in text.
type Name = [&'static str; 2];

/// Writes fields behind the first in either format.
struct Fields<'o> {
    out: &'o mut Vec<u8>,
    json: bool,
}

impl Fields<'_> {
    #[inline]
    fn name(&mut self, [json, text]: Name) {
        self.out.extend_from_slice(if self.json { json } else { text }.as_bytes());
    }

    fn number(&mut self, name: Name, value: u64) {
        self.name(name);
        push_decimal(self.out, value);
    }

    fn position(&mut self, name: Name, position: Position) {
        self.name(name);
        if self.json {
            self.out.push(b'"');
        }
        push_decimal(self.out, position.epoch);
        self.out.push(b'.');
        push_decimal(self.out, position.revision);
        if self.json {
            self.out.push(b'"');
        }
    }

    /// A value that needs no escape; nothing for an empty one.
    #[inline]
    fn word(&mut self, name: Name, value: &[u8]) {
        if value.is_empty() {
            return;
        }
        self.name(name);
        if self.json {
            self.out.push(b'"');
        }
        self.out.extend_from_slice(value);
        if self.json {
            self.out.push(b'"');
        }
    }

    /// A value that may hold anything; nothing for an empty one.
    fn text(&mut self, name: Name, value: &[u8]) {
        // Looks at every byte, so that the compiler can look at many at once.
        let fits = |fits: bool, &b: &u8| fits & (b.wrapping_sub(0x20) < 0x5f) & (b != b'"') & (b != b'\\');
        let is_plain = value.iter().fold(true, fits);
        if is_plain && (self.json || !value.iter().any(|b| matches!(b, b' ' | b'='))) {
            return self.word(name, value);
        }
        self.name(name);
        quoted(self.out, value);
    }

    fn end(self) {
        self.out.extend_from_slice(if self.json { b"}\n" } else { b"\n" });
    }
}

/// Appends decimal digits.
fn push_decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends a string of JSON (RFC 8259 section 7). What is no UTF-8 becomes U+FFFD.
fn quoted(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'"');
    for chunk in value.utf8_chunks() {
        let bytes = chunk.valid().as_bytes();
        let mut from = 0;
        for (at, &byte) in bytes.iter().enumerate() {
            // So that a terminal, too, sees nothing but text.
            if byte >= 0x20 && byte != b'"' && byte != b'\\' && byte != 0x7f {
                continue;
            }
            out.extend_from_slice(&bytes[from..at]);
            from = at + 1;
            if byte == b'"' || byte == b'\\' {
                out.extend_from_slice(&[b'\\', byte]);
            } else {
                let _ = write!(out, "\\u{byte:04x}");
            }
        }
        out.extend_from_slice(&bytes[from..]);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::respond::Reason;

    pub(in crate::observe::access_log) fn line() -> Line<'static> {
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_795_155_192_111);
        Line {
            protocol: "HTTP/1.1",
            method: b"GET",
            host: b"shop",
            path: b"/a\"b\\\x7f\xff",
            user_agent: b"curl/8 (x=y)",
            request_id: b"abc",
            route: "HTTPRoute/shop#0",
            upstream: "cart",
            attempts: 2,
            status: 502,
            reason: Reason::UpstreamReset.as_str(),
            bytes_in: 10,
            bytes_out: 20,
            duration_us: 30,
            upstream_us: Some(25),
            ..Line::new(at, Position::new(1, 42), "127.0.0.1:80", b"127.0.0.2")
        }
    }

    #[test]
    fn a_json_line_is_json() {
        let mut out = Vec::new();
        line().write(AccessLogFormat::Json, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with("}\n") && text.lines().count() == 1, "{text}");
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["time_ms"], 1_795_155_192_111_u64);
        assert_eq!(json["position"], "1.42");
        assert_eq!(json["path"], "/a\"b\\\u{7f}\u{fffd}");
        assert_eq!(json["user_agent"], "curl/8 (x=y)");
        assert_eq!(json["reason"], "upstream_reset");
        assert_eq!(json["upstream_us"], 25);
        for absent in ["endpoint", "trace_id", "sni", "truncated"] {
            assert!(json.get(absent).is_none(), "{absent}");
        }
    }

    #[test]
    fn a_text_line_is_words() {
        let mut out = Vec::new();
        Line { truncated: true, ..line() }.write(AccessLogFormat::Text, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "time_ms=1795155192111 position=1.42 listener=127.0.0.1:80 client=127.0.0.2 protocol=HTTP/1.1 method=GET \
             host=shop path=\"/a\\\"b\\\\\\u007f\u{fffd}\" user_agent=\"curl/8 (x=y)\" request_id=abc \
             route=HTTPRoute/shop#0 upstream=cart attempts=2 status=502 reason=upstream_reset truncated=true \
             bytes_in=10 bytes_out=20 duration_us=30 upstream_us=25\n"
        );
    }

    #[test]
    fn a_trace_is_shown_as_far_as_it_is_known() {
        let trace = Trace::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        let mut out = Vec::new();
        Line { trace: Some(&trace), ..line() }.write(AccessLogFormat::Json, &mut out);
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(json["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(json["parent_span_id"], "00f067aa0ba902b7");
        assert!(json.get("span_id").is_none());
    }

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 7, 10, 99, 100, 1_795_155_192_111, u64::MAX] {
            let mut out = Vec::new();
            push_decimal(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
    }

    #[test]
    fn empty_and_odd_words() {
        let mut out = Vec::new();
        Line { path: b"/a=b", host: b"a b", ..line() }.write(AccessLogFormat::Text, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(" host=\"a b\" path=\"/a=b\" "), "{text}");
    }

    #[test]
    fn what_counts_as_an_error() {
        let ok = Line { status: 200, reason: "", ..line() };
        assert!(!ok.is_error());
        assert!(!Line { status: 404, ..ok }.is_error(), "an application may say so");
        assert!(Line { status: 404, reason: Reason::NoRoute.as_str(), ..ok }.is_error());
        assert!(
            Line { status: 0, reason: Reason::NoRoute.as_str(), ..ok }.is_error(),
            "a connection has no status"
        );
        assert!(Line { status: 500, ..ok }.is_error());
        assert!(Line { truncated: true, ..ok }.is_error());
    }
}
