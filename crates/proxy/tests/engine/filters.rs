//! Filters at work: what services and clients get.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use weir_model::ServiceRef;
use weir_proxy::Mode;
use weir_proxy::listen::Role as ListenRole;
use weir_proxy::snapshot::Role;

use crate::support::{Client, Proxy, Response, Upstream, eventually, free_port};

/// Documents of a gateway with these rules (YAML flow style), whose service `app` has one endpoint.
pub(crate) fn documents(app: SocketAddr, rules: &str) -> String {
    format!(
        "kind: Gateway
metadata: {{name: edge}}
spec:
  addresses: [{{value: 127.0.0.1}}]
  listeners: [{{name: web, port: {}, protocol: HTTP}}]
---
kind: HTTPRoute
metadata: {{name: all}}
spec:
  parentRefs: [{{name: edge}}]
  rules: {rules}
---
{}",
        free_port(),
        service("app", app)
    )
}

fn service(name: &str, addr: SocketAddr) -> String {
    format!(
        "kind: Service
apiVersion: weir.dev/v1
metadata: {{name: {name}}}
spec: {{endpoints: [{{address: \"{}\", port: {}}}]}}
",
        addr.ip(),
        addr.port()
    )
}

const TO_APP: &str = "backendRefs: [{name: app}]";

/// A rule for everything, with these filters.
fn everything(filters: &str) -> String {
    format!("[{{filters: [{filters}], {TO_APP}}}]")
}

fn ask(client: &mut Client, request_line: &str, fields: &[&str]) -> Response {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    client.send(format!("{request_line} HTTP/1.1\r\nHost: shop.example:8080\r\n{fields}\r\n"));
    client.response()
}

/// The lines of a head without the first, sorted: the order of fields with different names means nothing.
fn lines(head: &str) -> Vec<&str> {
    let lines = head.lines().skip(1).take_while(|line| !line.is_empty());
    // Drawn anew for each request.
    let mut lines: Vec<_> = lines.filter(|line| !line.starts_with("x-request-id: ")).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn fields_of_requests_are_set_added_and_removed() {
    let upstream = Upstream::echo();
    let filter = "{type: RequestHeaderModifier, requestHeaderModifier: {
        set: [{name: X-Set, value: new}], add: [{name: X-Add, value: more}], remove: [X-Gone, x-forwarded-host]}}";
    let proxy = Proxy::gateway(&documents(upstream.addr, &everything(filter)));
    let mut client = proxy.client();
    let sent = ["x-set: old", "X-SET: older", "X-Add: some", "x-gone: a", "X-GONE: b", "X-Kept: c"];
    let got = ask(&mut client, "GET /a", &sent).text();
    let expected = [
        "Host: shop.example:8080",
        "X-Add: more",
        "X-Add: some",
        "X-Kept: c",
        "X-Set: new",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-weir-attempt: 01",
        "x-weir-hops: 01",
        "x-weir-timeout: 00015000",
    ];
    assert_eq!(lines(&got), expected, "{got}");
    // The same without fields to begin with, on the same connection.
    let got = ask(&mut client, "GET /b", &[]).text();
    assert!(lines(&got).starts_with(&["Host: shop.example:8080", "X-Add: more", "X-Set: new"]), "{got}");
}

#[test]
fn identifiers_can_be_replaced_or_removed() {
    let upstream = Upstream::echo();
    let filter = "{type: RequestHeaderModifier, requestHeaderModifier: {
        set: [{name: X-Request-Id, value: mine}], remove: [traceparent]}}";
    let proxy = Proxy::gateway(&documents(upstream.addr, &everything(filter)));
    let parent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let got =
        ask(&mut proxy.client(), "GET /", &["x-request-id: theirs", parent]).text().to_ascii_lowercase();
    assert_eq!(got.matches("x-request-id").count(), 1, "{got}");
    assert!(got.contains("x-request-id: mine\r\n") && !got.contains("traceparent"), "{got}");
}

#[test]
fn fields_of_responses_are_set_added_and_removed() {
    let upstream = Upstream::start(|conn| {
        loop {
            conn.head()?;
            conn.write("HTTP/1.1 200 OK\r\nX-Set: old\r\nx-gone: 1\r\nX-Add: a\r\nx-kept: b\r\nContent-Length: 2\r\n\r\nok")?;
        }
    });
    let filter = "{type: ResponseHeaderModifier, responseHeaderModifier: {
        set: [{name: x-set, value: new}], add: [{name: x-add, value: more}], remove: [X-Gone]}}";
    let proxy = Proxy::gateway(&documents(upstream.addr, &everything(filter)));
    let mut client = proxy.client();
    for _ in 0..3 {
        let response = client.get("/");
        let expected = ["Content-Length: 2", "X-Add: a", "x-add: more", "x-kept: b", "x-set: new"];
        assert_eq!(lines(&response.head), expected);
        assert_eq!(response.text(), "ok");
    }
}

#[test]
fn answers_of_the_proxy_itself_get_the_rules_fields_too() {
    let filter = "{type: ResponseHeaderModifier, responseHeaderModifier: {
        set: [{name: strict-transport-security, value: max-age=1}, {name: content-type, value: other}]}}";
    let rules = format!("[{{filters: [{filter}]}}]");
    let proxy = Proxy::gateway(&documents(([127, 0, 0, 1], 1).into(), &rules));
    let response = proxy.client().get("/");
    assert_eq!(response.status, 500);
    assert_eq!(response.field("strict-transport-security"), Some("max-age=1"));
    assert_eq!(response.field("content-type"), Some("application/json"));
}

#[test]
fn a_services_own_filters_come_after_the_rules() {
    let upstream = Upstream::echo();
    let modifier = |ops: &str| format!("{{type: RequestHeaderModifier, requestHeaderModifier: {{{ops}}}}}");
    let of_rule = modifier("set: [{name: x-a, value: rule}, {name: x-b, value: rule}]");
    let of_service = modifier("set: [{name: x-a, value: service}], remove: [x-b]");
    let rules = format!("[{{filters: [{of_rule}], backendRefs: [{{name: app, filters: [{of_service}]}}]}}]");
    let proxy = Proxy::gateway(&documents(upstream.addr, &rules));
    let got = ask(&mut proxy.client(), "GET /", &["X-B: client"]).text();
    assert!(got.contains("\r\nx-a: service\r\n") && !got.to_ascii_lowercase().contains("x-b"), "{got}");
}

#[test]
fn hosts_and_paths_are_rewritten() {
    let upstream = Upstream::echo();
    let rule = |path: &str, rewrite: &str| {
        format!(
            "{{matches: [{{path: {{value: {path}}}}}], filters: [{{type: URLRewrite, urlRewrite: {{{rewrite}}}}}], {TO_APP}}}"
        )
    };
    let rules = [
        rule("/prefix/one", "path: {type: ReplacePrefixMatch, replacePrefixMatch: /one}"),
        rule("/strip-prefix", "path: {type: ReplacePrefixMatch, replacePrefixMatch: /}"),
        rule("/full/one", "path: {type: ReplaceFullPath, replaceFullPath: /one}"),
        rule("/host", "hostname: one.example.org"),
    ];
    let proxy = Proxy::gateway(&documents(upstream.addr, &format!("[{}]", rules.join(", "))));
    let mut client = proxy.client();
    let mut check = |target: &str, line: &str, host: &str| {
        let got = ask(&mut client, &format!("GET {target}"), &[]).text();
        let expected = format!("GET {line} HTTP/1.1\r\nHost: {host}\r\n");
        assert!(got.starts_with(&expected), "{target}: {got}");
        // The client's own host is passed on beside it.
        assert!(got.contains("\r\nx-forwarded-host: shop.example:8080\r\n"), "{got}");
    };
    check("/prefix/one/two", "/one/two", "shop.example:8080");
    check("/prefix/one/two?a=/prefix/one", "/one/two?a=/prefix/one", "shop.example:8080");
    check("/prefix/one", "/one", "shop.example:8080");
    check("/prefix/one/", "/one/", "shop.example:8080");
    check("/strip-prefix/three", "/three", "shop.example:8080");
    check("/strip-prefix", "/", "shop.example:8080");
    check("/full/one/two?q=1", "/one?q=1", "shop.example:8080");
    check("/host/a", "/host/a", "one.example.org");
    // What is rewritten is the normalised path: no dot segment gets past the prefix.
    check("/x/../strip-prefix/%61/../b", "/b", "shop.example:8080");
}

#[test]
fn redirects_are_answered_by_the_proxy() {
    let rules = "[{matches: [{path: {value: /old}}], filters: [{type: RequestRedirect, requestRedirect: {
        scheme: https, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}, statusCode: 308}}]},
        {filters: [{type: RequestRedirect, requestRedirect: {hostname: other.example}}]}]";
    let proxy = Proxy::gateway(&documents(([127, 0, 0, 1], 1).into(), rules));
    let mut client = proxy.client();
    let request = "POST /old/a?b=c HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 3\r\n\r\nabc";
    let response = client.send(request).response();
    assert_eq!((response.status, response.field("location")), (308, Some("https://shop.example/new/a?b=c")));
    assert_eq!(
        (response.field("content-length"), response.field("x-weir-reason")),
        (Some("0"), Some("redirect"))
    );
    let response = ask(&mut client, "GET /x", &[]);
    let port = proxy.addr().port();
    let location = format!("http://other.example:{port}/x");
    assert_eq!((response.status, response.field("location")), (302, Some(&*location)));
    client.send("HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response_to_head().status, 302);
}

const CORS: &str = "{type: CORS, cors: {allowOrigins: ['https://www.foo.com', 'https://*.bar.com'], allowMethods: [GET, PUT],
    allowHeaders: [x-header-1], exposeHeaders: [x-header-3], allowCredentials: true, maxAge: 3600}}";

#[test]
fn preflights_are_answered_by_the_proxy() {
    let upstream = Upstream::echo();
    let proxy = Proxy::gateway(&documents(upstream.addr, &everything(CORS)));
    let mut client = proxy.client();
    let mut preflight = |origin: &str| {
        let origin = format!("Origin: {origin}");
        ask(&mut client, "OPTIONS /a", &[&origin, "Access-Control-Request-Method: PUT"])
    };
    let allowed = preflight("https://a.bar.com");
    assert_eq!(allowed.status, 204);
    for (name, value) in [
        ("access-control-allow-origin", "https://a.bar.com"),
        ("access-control-allow-methods", "GET, PUT"),
        ("access-control-allow-headers", "x-header-1"),
        ("access-control-expose-headers", "x-header-3"),
        ("access-control-allow-credentials", "true"),
        ("access-control-max-age", "3600"),
        ("vary", "Origin"),
    ] {
        assert_eq!(allowed.field(name), Some(value), "{name}");
    }
    assert_eq!(allowed.field("content-length"), None);
    let denied = preflight("https://foobar.com");
    assert_eq!((denied.status, denied.field("access-control-allow-origin")), (403, None));
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn preflights_find_the_rule_of_the_method_that_they_ask_about() {
    let rules = format!(
        "[{{matches: [{{method: PUT}}], filters: [{CORS}], {TO_APP}}}, {{matches: [{{method: POST}}], {TO_APP}}}]"
    );
    let proxy = Proxy::gateway(&documents(([127, 0, 0, 1], 1).into(), &rules));
    let mut client = proxy.client();
    let mut preflight = |method: &str| {
        let asks = format!("Access-Control-Request-Method: {method}");
        ask(&mut client, "OPTIONS /a", &["Origin: https://www.foo.com", &asks]).status
    };
    assert_eq!(preflight("PUT"), 204);
    // Nobody answers for it.
    assert_eq!(preflight("POST"), 404);
}

#[test]
fn a_delay_ends_with_the_proxy() {
    let upstream = Upstream::echo();
    let fault = everything("{type: Fault, fault: {delay: {duration: 1h}}}");
    let proxy = Proxy::gateway(&documents(upstream.addr, &fault));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    eventually("it waits", || proxy.text().contains("weir_proxy_faults_delayed_total 1"));
    let drained = std::thread::spawn(move || proxy.drain());
    assert_eq!(client.response().status, 200);
    assert!(drained.join().unwrap());
}

#[test]
fn a_services_own_redirect_counts_for_its_share() {
    let upstream = Upstream::echo();
    let redirect = "{type: RequestRedirect, requestRedirect: {hostname: new.example, port: 80}}";
    let rules = format!("[{{backendRefs: [{{name: app}}, {{name: app, filters: [{redirect}]}}]}}]");
    let proxy = Proxy::gateway(&documents(upstream.addr, &rules));
    let mut client = proxy.client();
    let mut statuses: Vec<u16> = (0..200).map(|_| client.get("/").status).collect();
    statuses.sort_unstable();
    statuses.dedup();
    assert_eq!(statuses, [200, 302]);
}

#[test]
fn responses_say_who_may_read_them() {
    let upstream = Upstream::start(|conn| {
        loop {
            conn.head()?;
            conn.write("HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Max-Age: 9\r\nContent-Length: 0\r\n\r\n")?;
        }
    });
    let proxy = Proxy::gateway(&documents(upstream.addr, &everything(CORS)));
    let mut client = proxy.client();
    let told = |response: &Response| {
        let fields: Vec<_> = lines(&response.head)
            .into_iter()
            .filter(|line| line.to_ascii_lowercase().starts_with("access"))
            .map(str::to_owned)
            .collect();
        fields
    };
    let response = ask(&mut client, "GET /", &["Origin: https://www.foo.com"]);
    let expected = [
        "access-control-allow-credentials: true",
        "access-control-allow-origin: https://www.foo.com",
        "access-control-expose-headers: x-header-3",
    ];
    assert_eq!((response.status, told(&response)), (200, expected.map(str::to_owned).to_vec()));
    // The next one on this connection comes from nowhere special; nothing is left over from the one before.
    for fields in [&[][..], &["Origin: https://foobar.com"]] {
        let response = ask(&mut client, "GET /", fields);
        assert_eq!((response.status, told(&response)), (200, vec![]), "{response:?}");
    }
    // A question that is no preflight is the service's.
    assert_eq!(ask(&mut client, "OPTIONS /", &["Origin: https://www.foo.com"]).status, 200);
}

#[test]
fn errors_of_the_proxy_can_be_read_by_pages_that_may() {
    let proxy = Proxy::gateway(&documents(([127, 0, 0, 1], 1).into(), &everything(CORS)));
    let response = ask(&mut proxy.client(), "GET /", &["Origin: https://www.foo.com"]);
    assert_eq!(response.status, 502);
    assert_eq!(response.field("access-control-allow-origin"), Some("https://www.foo.com"));
}

#[test]
fn requests_fail_on_purpose() {
    let upstream = Upstream::echo();
    let fault = |abort: &str| everything(&format!("{{type: Fault, fault: {{abort: {{{abort}}}}}}}"));
    let check = |abort: &str| {
        let proxy = Proxy::gateway(&documents(upstream.addr, &fault(abort)));
        let mut client = proxy.client();
        let first = client.get("/");
        let second = client.get("/");
        assert_eq!(first.status, second.status);
        first
    };
    let response = check("status: 418");
    assert_eq!((response.status, response.field("x-weir-reason")), (418, Some("fault")));
    assert_eq!(check("status: 204").field("content-length"), None);
    let response = check("grpcStatus: 14");
    assert_eq!((response.status, response.field("grpc-status")), (200, Some("14")));
    assert_eq!(response.field("content-type"), Some("application/grpc"));
    assert_eq!(upstream.connections(), 0);
    assert_eq!(check("status: 503, percentage: 0").status, 200);
}

#[test]
fn a_share_of_requests_fails_on_purpose() {
    let upstream = Upstream::echo();
    let fault = everything("{type: Fault, fault: {abort: {status: 500, percentage: 30}}}");
    let proxy = Proxy::gateway(&documents(upstream.addr, &fault));
    let mut client = proxy.client();
    let failed = (0..1000).filter(|_| client.get("/").status == 500).count();
    // 300 are expected; seven standard deviations are 101.
    assert!((199..=401).contains(&failed), "{failed}");
}

#[test]
fn requests_wait_on_purpose() {
    let upstream = Upstream::echo();
    let fault = everything("{type: Fault, fault: {delay: {duration: 200ms}}}");
    let proxy = Proxy::gateway(&documents(upstream.addr, &fault));
    let began = Instant::now();
    assert_eq!(proxy.client().get("/").status, 200);
    assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
    eventually("it is counted", || proxy.text().contains("weir_proxy_faults_delayed_total 1"));
}

#[test]
fn expressions_route_requests() {
    let upstream = Upstream::echo();
    let rules = format!(
        "[{{matches: [{{path: {{type: RegularExpression, value: '/items/[0-9]+'}},
            headers: [{{type: RegularExpression, name: X-Version, value: 'v[12]'}}]}}], {TO_APP}}}]"
    );
    let proxy = Proxy::gateway(&documents(upstream.addr, &rules));
    let mut client = proxy.client();
    let mut status = |path: &str, field: &str| ask(&mut client, &format!("GET {path}"), &[field]).status;
    assert_eq!(status("/items/42", "x-version: v1"), 200);
    assert_eq!(status("/items/42?q=/x", "x-version: v2"), 200);
    assert_eq!(status("/items/42", "x-version: v3"), 404);
    assert_eq!(status("/items/x", "x-version: v1"), 404);
}

/// Documents of a gateway that sends everything to `app`, and copies to `shadow`.
fn mirrored(app: SocketAddr, shadow: SocketAddr, share: &str) -> String {
    let filter = format!("{{type: RequestMirror, requestMirror: {{backendRef: {{name: shadow}}{share}}}}}");
    format!("{}---\n{}", documents(app, &everything(&filter)), service("shadow", shadow))
}

/// The requests that an upstream has got.
fn received(upstream: &Upstream) -> String {
    String::from_utf8_lossy(&upstream.received()).into_owned()
}

#[test]
fn requests_are_copied_with_their_bodies() {
    let (app, shadow) = (Upstream::echo(), Upstream::echo());
    let proxy = Proxy::gateway(&mirrored(app.addr, shadow.addr, ""));
    let mut client = proxy.client();
    let body = "x".repeat(40_000);
    let requests = [
        "GET /a?b=c HTTP/1.1\r\nHost: shop\r\nX-A: 1\r\n\r\n".to_owned(),
        format!("POST /b HTTP/1.1\r\nHost: shop\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        "POST /c HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            .to_owned(),
    ];
    for (i, request) in requests.iter().enumerate() {
        let response = client.send(request).response();
        assert_eq!(response.status, 200);
        // The service itself does not see the mark.
        assert!(!response.text().contains("x-weir-mirrored"), "{}", response.text());
        let count = i + 1;
        eventually("the copy arrives", || {
            received(&shadow).matches("\r\nx-weir-mirrored: 1\r\n\r\n").count() == count
        });
    }
    // The same but for the mark; not always in the same order among copies, so one after the other above.
    let expected = received(&app);
    eventually("all of it arrives", || received(&shadow).replace("x-weir-mirrored: 1\r\n", "") == expected);
    // Copies use connections again, as any request does.
    assert_eq!(shadow.connections(), 1);
    let metrics = proxy.text();
    assert!(metrics.contains("weir_proxy_mirrored_total 3"), "{metrics}");
}

#[test]
fn copies_neither_delay_nor_break_anything() {
    let app = Upstream::echo();
    // Takes requests and never answers.
    let silent = Upstream::start(|conn| {
        conn.until_closed();
        Ok(())
    });
    let proxy = Proxy::gateway(&mirrored(app.addr, silent.addr, ""));
    let mut client = proxy.client();
    for _ in 0..300 {
        assert_eq!(client.get("/").status, 200);
    }
    let metrics = proxy.text();
    assert!(metrics.contains("weir_proxy_mirrored_total 256"), "{metrics}");
    assert!(metrics.contains("weir_proxy_mirrors_lost_total{reason=\"overloaded\"} 44"), "{metrics}");
    let proxy = Proxy::gateway(&mirrored(app.addr, ([127, 0, 0, 1], 1).into(), ""));
    assert_eq!(proxy.client().get("/").status, 200);
    eventually("it is counted", || {
        proxy.text().contains("weir_proxy_mirrors_lost_total{reason=\"failed\"} 1")
    });
}

#[test]
fn what_is_too_large_is_not_copied() {
    let (app, shadow) = (Upstream::echo(), Upstream::echo());
    let proxy = Proxy::gateway(&mirrored(app.addr, shadow.addr, ""));
    let body = "x".repeat(100_000);
    let request = format!("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    assert_eq!(proxy.client().send(request).response().status, 200);
    eventually("it is counted", || {
        proxy.text().contains("weir_proxy_mirrors_lost_total{reason=\"too_large\"} 1")
    });
    assert_eq!(shadow.connections(), 0);
}

#[test]
fn a_share_of_requests_is_copied() {
    let (app, shadow) = (Upstream::echo(), Upstream::echo());
    let proxy =
        Proxy::gateway(&mirrored(app.addr, shadow.addr, ", fraction: {numerator: 1, denominator: 4}"));
    let mut client = proxy.client();
    for _ in 0..1000 {
        assert_eq!(client.get("/").status, 200);
    }
    let copied = || received(&shadow).matches("x-weir-mirrored").count();
    // 250 are expected; seven standard deviations are 96.
    eventually("copies arrive", || copied() >= 154);
    assert!(copied() <= 346, "{}", copied());
}

#[test]
fn several_services_get_copies_and_what_does_not_exist_gets_none() {
    let (app, shadow) = (Upstream::echo(), Upstream::echo());
    let mirror =
        |name: &str| format!("{{type: RequestMirror, requestMirror: {{backendRef: {{name: {name}}}}}}}");
    let filters = [mirror("shadow"), mirror("gone"), mirror("app")].join(", ");
    let documents =
        format!("{}---\n{}", documents(app.addr, &everything(&filters)), service("shadow", shadow.addr));
    let proxy = Proxy::gateway(&documents);
    assert_eq!(proxy.client().get("/").status, 200);
    eventually("one copy arrives", || received(&shadow).contains("x-weir-mirrored"));
    eventually("so does the other", || received(&app).matches("GET / ").count() == 2);
}

#[test]
fn copies_are_made_though_the_service_cannot_be_reached() {
    let shadow = Upstream::echo();
    let proxy = Proxy::gateway(&mirrored(([127, 0, 0, 1], 1).into(), shadow.addr, ""));
    assert_eq!(proxy.client().get("/").status, 502);
    eventually("the copy arrives", || received(&shadow).contains("x-weir-mirrored"));
}

#[test]
fn calls_inside_the_mesh_go_through_the_filters_of_the_service() {
    let (cart, shadow) = (Upstream::echo(), Upstream::echo());
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let front = ServiceRef::new("default", "front");
    let mode = Mode::Sidecar { service: front.clone(), inbound: any, app: any, outbound: any };
    let documents = format!(
        "kind: HTTPRoute
metadata: {{name: cart}}
spec:
  parentRefs: [{{kind: Service, group: \"\", name: cart}}]
  rules:
  - matches: [{{path: {{value: /old}}}}]
    filters: [{{type: RequestRedirect, requestRedirect: {{path: {{type: ReplaceFullPath, replaceFullPath: /new}}}}}}]
  - filters:
    - {{type: RequestHeaderModifier, requestHeaderModifier: {{set: [{{name: X-A, value: b}}]}}}}
    - {{type: URLRewrite, urlRewrite: {{path: {{type: ReplacePrefixMatch, replacePrefixMatch: /v2}}}}}}
    - {{type: RequestMirror, requestMirror: {{backendRef: {{name: shadow}}}}}}
    backendRefs: [{{name: cart}}]
---
{}---
{}",
        service("cart", cart.addr),
        service("shadow", shadow.addr)
    );
    let proxy = Proxy::start(mode, Role::Sidecar { service: front }, &documents, |_| {});
    let mut client = Client::connect(proxy.fixed(ListenRole::Outbound));
    let got = client.send("GET /x HTTP/1.1\r\nHost: cart:9000\r\n\r\n").response().text();
    assert!(
        got.starts_with("GET /v2/x HTTP/1.1\r\nHost: cart:9000\r\n") && got.contains("\r\nX-A: b\r\n"),
        "{got}"
    );
    eventually("the copy arrives", || received(&shadow).contains("x-weir-mirrored"));
    // The name is what counts inside the mesh, with the port that the application gave.
    let redirected = client.send("GET /old HTTP/1.1\r\nHost: cart:9000\r\n\r\n").response();
    assert_eq!((redirected.status, redirected.field("location")), (302, Some("http://cart:9000/new")));
}
