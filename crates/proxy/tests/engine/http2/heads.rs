//! Heads as large as they may be, on their way through HTTP/2: what the proxy adds to them must not make them too large.

use http::{HeaderMap, HeaderName, Request};

use super::upstream::{H2Upstream, h2_documents};
use super::{connect, exchange, request, run};
use crate::filters;
use crate::support::{Proxy, Upstream, eventually};

/// A request that has so many fields with its host, and so many bytes.
fn head(fields: usize, bytes: usize) -> String {
    let many: String = (0..fields - 2).map(|i| format!("X-{i}: 1\r\n")).collect();
    let rest = format!("GET / HTTP/1.1\r\nHost: app\r\n{many}Y: \r\n\r\n").len();
    let y = "y".repeat(bytes.saturating_sub(rest));
    format!("GET / HTTP/1.1\r\nHost: app\r\n{many}Y: {y}\r\n\r\n")
}

/// Whether an instance was held to have failed.
fn has_blamed(proxy: &Proxy) -> bool {
    let text = proxy.text();
    let count = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    ["upstream_resets", "upstream_connect_failures", "retries"]
        .iter()
        .any(|name| !count(&format!("weir_proxy_{name}_total{{")).ends_with(" 0"))
}

/// Fields that the proxy adds: where the request comes from, its id, how many proxies it has passed, how long it is waited for,
/// and which attempt it is.
const ADDED: usize = 7;

#[test]
fn every_head_that_a_listener_accepts_reaches_an_upstream_of_http2() {
    let upstream = H2Upstream::echo();
    let plain = h2_documents(&[upstream.addr], "");
    let policy = "\n---\nkind: ListenerPolicy\nmetadata: {name: p}\nspec: {targetRefs: [{name: edge}], limits: {headFields: 1024, headBytes: 128KiB}}\n";
    for (documents, fields_max, bytes_max) in
        [(plain.clone(), 100, 64 * 1024), (plain + policy, 1024, 128 * 1024)]
    {
        let proxy = Proxy::gateway(&documents);
        let statuses = |fields: usize, bytes: usize| {
            let mut client = proxy.client();
            let got = client.send(head(fields, bytes)).response();
            if got.status == 200 {
                let text = got.text();
                assert_eq!(text.matches("\nx-").count(), fields - 2 + ADDED, "{text}");
            }
            got.status
        };
        for fields in fields_max - 12..=fields_max {
            assert_eq!(statuses(fields, 0), 200, "{fields} fields");
        }
        assert_eq!(statuses(fields_max + 1, 0), 431);
        for bytes in [bytes_max - 400, bytes_max - 100, bytes_max - 1, bytes_max] {
            assert_eq!(statuses(10, bytes), 200, "{bytes} bytes");
            assert_eq!(statuses(fields_max, bytes), 200, "{bytes} bytes of all fields");
        }
        assert_eq!(statuses(10, bytes_max + 1), 431);
        assert!(!has_blamed(&proxy), "{}", proxy.text());
    }
}

#[test]
fn a_policys_larger_heads_come_by_http2_as_well() {
    let upstream = H2Upstream::echo();
    let policy = "\n---\nkind: ListenerPolicy\nmetadata: {name: p}\nspec: {targetRefs: [{name: edge}], limits: {headFields: 1024, headBytes: 128KiB}}\n";
    let proxy = Proxy::gateway(&(h2_documents(&[upstream.addr], "") + policy));
    let got = run(async {
        let requests = connect(proxy.addr()).await;
        let mut asks: Request<()> = request("GET", "/");
        for i in 0..120 {
            let name = HeaderName::from_bytes(format!("x-{i}").as_bytes()).unwrap();
            asks.headers_mut().insert(name, "v".repeat(1000).parse().unwrap());
        }
        exchange(&requests, asks, &[], None).await.unwrap()
    });
    assert_eq!((got.status(), got.text().matches(&"v".repeat(1000)).count()), (200, 120));
}

#[test]
fn a_response_may_have_as_many_fields_as_before_its_filters() {
    let upstream = Upstream::start(|conn| {
        loop {
            conn.request()?;
            let many: String = (0..99).map(|i| format!("X-{i}: 1\r\n")).collect();
            conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{many}\r\nok"))?;
        }
    });
    let rules = "[{filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {
        add: [{name: y-0, value: a}, {name: y-1, value: a}, {name: y-2, value: a}]}}], backendRefs: [{name: app}]}]";
    let proxy = Proxy::gateway(&filters::documents(upstream.addr, rules));
    let got =
        run(async { exchange(&connect(proxy.addr()).await, request("GET", "/"), &[], None).await.unwrap() });
    let named = |headers: &HeaderMap, begin: &str| {
        headers.keys().filter(|name| name.as_str().starts_with(begin)).count()
    };
    let headers = got.head.headers();
    assert_eq!((got.text().as_str(), named(headers, "x-"), named(headers, "y-")), ("ok", 99, 3));
}

#[test]
fn what_has_no_form_in_http2_is_the_clients_fault() {
    let upstream = H2Upstream::echo();
    let policy = "\n---\nkind: ListenerPolicy\nmetadata: {name: p}\nspec: {targetRefs: [{name: edge}], limits: {headBytes: 128KiB}}\n";
    let proxy = Proxy::gateway(&(h2_documents(&[upstream.addr], "") + policy));
    for call in ["", "Content-Type: application/grpc\r\n"] {
        let name = "x".repeat(70_000);
        let got =
            proxy.client().send(format!("GET / HTTP/1.1\r\nHost: app\r\n{call}{name}: 1\r\n\r\n")).response();
        assert_eq!(got.field("x-weir-reason"), Some("bad_request"), "{got:?}");
        match call {
            "" => assert_eq!(got.status, 400),
            _ => assert_eq!((got.status, got.field("grpc-status")), (200, Some("13"))),
        }
    }
    eventually("nothing is under way", || proxy.metrics().active_connections() == 0);
    assert!(!has_blamed(&proxy), "{}", proxy.text());
    assert_eq!(proxy.client().get("/").status, 200);
}
