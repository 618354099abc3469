//! Filters and routes of gRPC by HTTP/2: the same rules, whatever the client and the service speak.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http::{HeaderMap, Request, Response};

use super::upstream::{Call, H2Upstream};
use super::{Got, connect, exchange, request, run};
use crate::filters;
use crate::support::{Proxy, Upstream, eventually, free_port};

fn ask(proxy: &Proxy, request: Request<()>, body: &[&[u8]]) -> Got {
    run(async { exchange(&connect(proxy.addr()).await, request, body, None).await.unwrap() })
}

#[test]
fn heads_are_changed_between_protocols() {
    let upstream = Upstream::start(|conn| {
        loop {
            let request = conn.request()?;
            let body = request.head.as_bytes();
            let head = format!(
                "HTTP/1.1 200 OK\r\nx-gone: 1\r\nx-set: old\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            conn.write([head.as_bytes(), body].concat())?;
        }
    });
    let rules = "[{matches: [{path: {value: /a}}], filters: [
        {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: b}], remove: [x-c]}},
        {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-set, value: new}], remove: [x-gone]}},
        {type: URLRewrite, urlRewrite: {hostname: other, path: {type: ReplacePrefixMatch, replacePrefixMatch: /z}}}],
        backendRefs: [{name: app}]}]";
    let proxy = Proxy::gateway(&filters::documents(upstream.addr, rules));
    let mut asked = request("GET", "/a/b?c");
    asked.headers_mut().insert("x-a", "old".parse().unwrap());
    asked.headers_mut().insert("x-c", "d".parse().unwrap());
    let got = ask(&proxy, asked, &[]);
    assert_eq!((got.status(), got.field("x-set"), got.field("x-gone")), (200, Some("new"), None));
    let text = got.text();
    assert!(text.starts_with("GET /z/b?c HTTP/1.1\r\nHost: other\r\n"), "{text}");
    assert!(text.contains("\r\nX-A: b\r\n") && !text.contains("x-c") && !text.contains("old"), "{text}");
}

#[test]
fn redirects_and_preflights_are_answered() {
    let rules = "[{matches: [{path: {value: /old}}], filters: [{type: RequestRedirect, requestRedirect: {
        scheme: https, path: {type: ReplaceFullPath, replaceFullPath: /new}, statusCode: 301}}]},
        {filters: [{type: CORS, cors: {allowOrigins: ['*'], allowMethods: [PUT]}}]}]";
    let proxy = Proxy::gateway(&filters::documents(([127, 0, 0, 1], 1).into(), rules));
    let got = ask(&proxy, request("GET", "/old/x"), &[]);
    assert_eq!((got.status(), got.field("location")), (301, Some("https://app/new")));
    let mut preflight = request("OPTIONS", "/");
    preflight.headers_mut().insert("origin", "https://a".parse().unwrap());
    preflight.headers_mut().insert("access-control-request-method", "PUT".parse().unwrap());
    let got = ask(&proxy, preflight, &[]);
    assert_eq!((got.status(), got.field("access-control-allow-origin")), (204, Some("*")));
    assert_eq!(got.field("access-control-allow-methods"), Some("PUT"));
}

/// Documents of a gateway with a `GRPCRoute` of these rules, and services by name.
fn grpc_documents(rules: &str, services: &[(&str, SocketAddr)]) -> String {
    let mut documents = format!(
        "kind: Gateway
metadata: {{name: edge}}
spec:
  addresses: [{{value: 127.0.0.1}}]
  listeners: [{{name: web, port: {}, protocol: HTTP}}]
---
kind: GRPCRoute
metadata: {{name: calls}}
spec:
  parentRefs: [{{name: edge}}]
  rules: {rules}
",
        free_port()
    );
    for (name, addr) in services {
        documents += &format!(
            "---
kind: Service
apiVersion: weir.dev/v1
metadata: {{name: {name}}}
spec: {{protocol: grpc, endpoints: [{{address: \"{}\", port: {}}}]}}
",
            addr.ip(),
            addr.port()
        );
    }
    documents
}

/// Answers each call with its name and what it saw.
fn named(name: &'static str, seen: &Arc<Mutex<Vec<HeaderMap>>>) -> H2Upstream {
    let seen = seen.clone();
    H2Upstream::start(move |mut call: Call| {
        seen.lock().unwrap().push(call.request.headers().clone());
        async move {
            while let Some(Ok(piece)) = call.request.body_mut().data().await {
                let _ = call.request.body_mut().flow_control().release_capacity(piece.len());
            }
            let head = Response::builder()
                .header("content-type", "application/grpc")
                .header("x-who", name)
                .body(())
                .unwrap();
            let mut stream = call.respond.send_response(head, false).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            stream.send_trailers(trailers).unwrap();
        }
    })
}

fn call(path: &str) -> Request<()> {
    let mut call = request("POST", path);
    call.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    call.headers_mut().insert("te", "trailers".parse().unwrap());
    call
}

/// The status of a call, wherever it stands.
fn grpc_status(got: &Got) -> Option<&str> {
    let trailers = got.trailers.as_ref().and_then(|trailers| trailers.get("grpc-status"));
    trailers.map(|value| value.to_str().unwrap()).or_else(|| got.field("grpc-status"))
}

#[test]
fn calls_are_routed_by_service_and_method() {
    let seen = Arc::default();
    let (one, two) = (named("one", &seen), named("two", &seen));
    let rules = "[{matches: [{method: {service: shop.Cart, method: Add}}], backendRefs: [{name: one}]},
        {matches: [{method: {service: shop.Cart}}], backendRefs: [{name: two}]},
        {matches: [{method: {type: RegularExpression, service: 'fail[.].*'}}],
         filters: [{type: Fault, fault: {abort: {grpcStatus: 8}}}], backendRefs: [{name: two}]},
        {matches: [{method: {method: Nobody}}]}]";
    let proxy = Proxy::gateway(&grpc_documents(rules, &[("one", one.addr), ("two", two.addr)]));
    let check = |path: &str, who: Option<&str>, status: &str| {
        let got = ask(&proxy, call(path), &[&[0, 0, 0, 0, 0]]);
        assert_eq!((got.status(), got.field("x-who"), grpc_status(&got)), (200, who, Some(status)), "{path}");
    };
    check("/shop.Cart/Add", Some("one"), "0");
    check("/shop.Cart/Remove", Some("two"), "0");
    // Nobody serves it: UNIMPLEMENTED. A rule without services: UNAVAILABLE. As the Gateway API says.
    check("/shop.Other/Add", None, "12");
    check("/shop.Other/Nobody", None, "14");
    check("/fail.Now/Add", None, "8");
    // What is no call finds no route here.
    assert_eq!(ask(&proxy, request("POST", "/shop.Cart/Add"), &[b"x"]).status(), 404);
}

#[test]
fn calls_are_copied() {
    let (seen, copied) = (Arc::default(), Arc::default());
    let (app, shadow) = (named("app", &seen), named("shadow", &copied));
    let rules = "[{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: shadow}}},
        {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-a, value: b}]}}],
        backendRefs: [{name: app}]}]";
    let proxy = Proxy::gateway(&grpc_documents(rules, &[("app", app.addr), ("shadow", shadow.addr)]));
    let mut with_timeout = call("/a.B/C");
    with_timeout.headers_mut().insert("grpc-timeout", "5S".parse().unwrap());
    let got = ask(&proxy, with_timeout, &[&[0, 0, 0, 0, 2], b"ab"]);
    assert_eq!((got.field("x-who"), grpc_status(&got)), (Some("app"), Some("0")));
    eventually("the copy arrives", || copied.lock().unwrap().len() == 1);
    let copy = copied.lock().unwrap()[0].clone();
    assert_eq!((&copy["x-weir-mirrored"], &copy["x-a"]), (&"1".parse().unwrap(), &"b".parse().unwrap()));
    assert!(copy.contains_key("grpc-timeout"), "{copy:?}");
    let first = seen.lock().unwrap()[0].clone();
    assert!(!first.contains_key("x-weir-mirrored"));
    let told = ["grpc-timeout", "x-weir-timeout", "x-weir-attempt"].map(|name| first[name].to_str().unwrap());
    assert!(told[0].ends_with('u') && told[1].starts_with("0000") && told[2] == "01", "{told:?}");
    eventually("the copy is over", || proxy.text().contains("weir_proxy_mirrored_total 1"));
    assert!(proxy.text().contains("weir_proxy_mirrors_lost_total{reason=\"failed\"} 0"), "{}", proxy.text());
}
