//! The identifiers that requests carry from hop to hop.

use std::net::SocketAddr;

use weir_model::resource::ServiceRef;
use weir_proxy::listen::Role as ListenRole;
use weir_proxy::snapshot::Role;
use weir_proxy::{AccessLogConfig, Mode, RequestIdPolicy, TracePolicy, TracingConfig};

use crate::support::{Client, Proxy, Upstream, documents, eventually};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// What the upstream sees of a request's fields, sorted.
struct Seen(String);

impl Seen {
    fn all(&self, name: &str) -> Vec<&str> {
        let of =
            |line: &'_ str| line.split_once(": ").is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
        self.0.lines().filter(|line| of(line)).filter_map(|line| Some(line.split_once(": ")?.1)).collect()
    }

    fn one(&self, name: &str) -> &str {
        let all = self.all(name);
        assert_eq!(all.len(), 1, "{name}: {}", self.0);
        all[0]
    }
}

fn ask(client: &mut Client, fields: &str) -> Seen {
    Seen(client.send(format!("GET / HTTP/1.1\r\nHost: app\r\n{fields}\r\n")).response().text())
}

fn gateway(upstream: &Upstream, request_id: RequestIdPolicy, trace_context: TracePolicy) -> Proxy {
    Proxy::gateway_with(&documents(&[upstream.addr], ""), |config| {
        config.tracing = TracingConfig { request_id, trace_context };
    })
}

fn is_uuid(id: &str) -> bool {
    id.len() == 36 && id.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && id.as_bytes()[14] == b'4'
}

#[test]
fn request_ids_by_policy() {
    let upstream = Upstream::echo();
    let proxy = gateway(&upstream, RequestIdPolicy::Keep, TracePolicy::Pass);
    let mut client = proxy.client();
    let first = ask(&mut client, "").one("x-request-id").to_owned();
    assert!(is_uuid(&first), "{first}");
    assert_ne!(ask(&mut client, "").one("x-request-id"), first);
    assert_eq!(ask(&mut client, "X-Request-Id: mine-1\r\n").one("x-request-id"), "mine-1");
    for bad in ["X-Request-Id: a b\r\n", "X-Request-Id: a\r\nX-Request-Id: b\r\n", "X-Request-Id:\r\n"] {
        assert!(is_uuid(ask(&mut client, bad).one("x-request-id")), "{bad}");
    }

    let proxy = gateway(&upstream, RequestIdPolicy::Replace, TracePolicy::Pass);
    let mut client = proxy.client();
    assert!(is_uuid(ask(&mut client, "X-Request-Id: mine-1\r\n").one("x-request-id")));

    let proxy = gateway(&upstream, RequestIdPolicy::Off, TracePolicy::Pass);
    let mut client = proxy.client();
    assert!(ask(&mut client, "").all("x-request-id").is_empty());
    assert_eq!(ask(&mut client, "X-Request-Id: a b\r\n").one("x-request-id"), "a b");
}

#[test]
fn inside_the_mesh_an_id_is_kept_even_where_gateways_replace_it() {
    let (app, any) = (Upstream::echo(), SocketAddr::from(([127, 0, 0, 1], 0)));
    let service = ServiceRef::new("default", "front");
    let mode = Mode::Sidecar { service: service.clone(), inbound: any, app: app.addr, outbound: any };
    let proxy = Proxy::start(mode, Role::Sidecar { service }, "", |config| {
        config.tracing.request_id = RequestIdPolicy::Replace;
    });
    let mut client = Client::connect(proxy.fixed(ListenRole::Inbound));
    assert_eq!(ask(&mut client, "X-Request-Id: mine-1\r\n").one("x-request-id"), "mine-1");
    assert!(is_uuid(ask(&mut client, "").one("x-request-id")));
}

#[test]
fn own_answers_carry_the_id_that_the_log_has() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    // Without an endpoint, and with a route for another host.
    let documents = documents(&[], "").replace("parentRefs:", "hostnames: [b]\n  parentRefs:");
    let documents = documents.replace("spec:\n  endpoints:", "spec: {}");
    let proxy = Proxy::gateway_with(&documents, |config| {
        config.access_log = Some(AccessLogConfig { path: Some(path.clone()), ..Default::default() });
    });
    let mut client = proxy.client();
    let kept = client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine-1\r\n\r\n").response();
    assert_eq!((kept.status, kept.field("x-request-id")), (404, Some("mine-1")));
    let made = client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").response();
    let bad = client.send("GET / HTTP/1.1\r\nHost: a\r\n b: c\r\n\r\n").response();
    let ids = [kept, made, bad].map(|answer| answer.field("x-request-id").unwrap().to_owned());
    assert!(is_uuid(&ids[1]) && is_uuid(&ids[2]), "{ids:?}");
    let logged = || std::fs::read_to_string(&path).unwrap_or_default();
    eventually("all are logged", || logged().lines().count() == 3);
    for (id, line) in ids.iter().zip(logged().lines()) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["request_id"], **id);
    }
}

#[test]
fn trace_context_passes_untouched_unless_told() {
    let upstream = Upstream::echo();
    let proxy = gateway(&upstream, RequestIdPolicy::Keep, TracePolicy::Pass);
    let mut client = proxy.client();
    let fields = format!("traceparent: 00-{TRACE}-{SPAN}-01\r\ntracestate: a=b\r\nb3: {TRACE}-{SPAN}-1\r\n");
    let seen = ask(&mut client, &fields);
    assert_eq!(seen.one("traceparent"), format!("00-{TRACE}-{SPAN}-01"));
    assert_eq!((seen.one("tracestate"), seen.one("b3")), ("a=b", &*format!("{TRACE}-{SPAN}-1")));
    assert_eq!(ask(&mut client, "traceparent: nonsense\r\n").one("traceparent"), "nonsense");
    assert!(ask(&mut client, "").all("traceparent").is_empty());
}

/// The trace and the caller's span of a `traceparent`.
fn parts(traceparent: &str) -> (&str, &str) {
    let parts: Vec<&str> = traceparent.split('-').collect();
    assert_eq!((parts.len(), parts[0], parts[3]), (4, "00", "01"), "{traceparent}");
    (parts[1], parts[2])
}

#[test]
fn joining_puts_the_own_span_between() {
    let upstream = Upstream::echo();
    let proxy = gateway(&upstream, RequestIdPolicy::Off, TracePolicy::Join);
    let mut client = proxy.client();
    let seen = ask(&mut client, &format!("traceparent: 00-{TRACE}-{SPAN}-01\r\ntracestate: a=b\r\n"));
    let (trace, first) = parts(seen.one("traceparent"));
    assert_eq!((trace, seen.one("tracestate")), (TRACE, "a=b"));
    assert_ne!(first, SPAN);
    let again = ask(&mut client, &format!("traceparent: 00-{TRACE}-{SPAN}-01\r\n"));
    assert_ne!(parts(again.one("traceparent")).1, first, "each request has a span of its own");

    // All that came get the same span.
    let all = format!(
        "traceparent: 00-{TRACE}-{SPAN}-01\r\nb3: {TRACE}-{SPAN}-1\r\nX-B3-TraceId: {TRACE}\r\nX-B3-SpanId: {SPAN}\r\n\
         X-B3-ParentSpanId: 1111111111111111\r\nX-B3-Sampled: 1\r\n"
    );
    let seen = ask(&mut client, &all);
    let (_, span) = parts(seen.one("traceparent"));
    assert_eq!(seen.one("b3"), format!("{TRACE}-{span}-1-{SPAN}"));
    assert_eq!((seen.one("x-b3-traceid"), seen.one("x-b3-spanid")), (TRACE, span));
    assert_eq!((seen.one("x-b3-parentspanid"), seen.one("x-b3-sampled")), (SPAN, "1"));

    // B3 alone stays alone, and what is no context is not touched.
    let seen = ask(&mut client, &format!("b3: {TRACE}-{SPAN}-1\r\n"));
    assert!(seen.one("b3").starts_with(TRACE) && seen.one("b3").ends_with(&format!("-1-{SPAN}")));
    assert!(seen.all("traceparent").is_empty());
    assert_eq!(ask(&mut client, "traceparent: nonsense\r\n").one("traceparent"), "nonsense");
    assert_eq!(ask(&mut client, "b3: 0\r\n").one("b3"), "0");
    assert!(ask(&mut client, "").all("traceparent").is_empty());
}

#[test]
fn a_trace_begins_where_there_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let upstream = Upstream::echo();
    let proxy = Proxy::gateway_with(&documents(&[upstream.addr], ""), |config| {
        config.tracing.trace_context = TracePolicy::Start;
        config.access_log = Some(AccessLogConfig { path: Some(path.clone()), ..Default::default() });
    });
    let mut client = proxy.client();
    let begun = ask(&mut client, "traceparent: nonsense\r\ntracestate: a=b\r\n");
    assert!(begun.all("tracestate").is_empty(), "it belonged to what could not be read");
    let joined = ask(&mut client, &format!("traceparent: 00-{TRACE}-{SPAN}-01\r\n"));
    assert_eq!(ask(&mut client, "b3: 0\r\n").all("traceparent").len(), 0, "the caller wants none");
    let logged = || std::fs::read_to_string(&path).unwrap_or_default();
    eventually("all are logged", || logged().lines().count() == 3);
    let lines: Vec<serde_json::Value> =
        logged().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (trace, span) = parts(begun.one("traceparent"));
    assert_eq!((&lines[0]["trace_id"], &lines[0]["span_id"]), (&trace.into(), &span.into()));
    assert!(lines[0].get("parent_span_id").is_none());
    let (_, span) = parts(joined.one("traceparent"));
    assert_eq!((&lines[1]["trace_id"], &lines[1]["span_id"]), (&TRACE.into(), &span.into()));
    assert_eq!(lines[1]["parent_span_id"], SPAN);
    assert!(lines[2].get("trace_id").is_none());
}
