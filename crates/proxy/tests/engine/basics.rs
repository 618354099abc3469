//! Requests and responses of every framing, on kept connections.

use crate::support::{Gate, Proxy, Upstream, eventually, find};

#[test]
fn requests_go_through_and_connections_are_kept_on_both_sides() {
    let upstream = Upstream::echo();
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    for i in 0..5 {
        let response = client.get(&format!("/a/{i}?q=1"));
        assert_eq!(response.status, 200, "{response:?}");
        assert!(
            response.text().starts_with(&format!("GET /a/{i}?q=1 HTTP/1.1\r\nHost: app\r\n")),
            "{}",
            response.text()
        );
        assert!(response.field("connection").is_none());
    }
    assert_eq!(upstream.connections(), 1);
    assert_eq!(proxy.metrics().requests(), 5);
    eventually("one pooled connection", || proxy.metrics().pooled_connections() == 1);
}

#[test]
fn requests_sent_ahead_are_answered_in_order() {
    let upstream = Upstream::echo();
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    let mut all = String::new();
    for i in 0..50 {
        all += &format!("POST /{i} HTTP/1.1\r\nHost: app\r\nContent-Length: 3\r\n\r\nabc");
        all += &format!("GET /g{i} HTTP/1.1\r\nHost: app\r\n\r\n");
    }
    client.send(&all);
    for i in 0..50 {
        let response = client.response();
        assert!(response.text().starts_with(&format!("POST /{i} ")), "{}", response.text());
        assert!(response.text().ends_with("\r\n\r\nabc"));
        assert!(client.response().text().starts_with(&format!("GET /g{i} ")));
    }
}

#[test]
fn a_request_that_comes_while_the_response_streams_arrives_whole() {
    let gate = Gate::new();
    let next_is_sent = gate.clone();
    let upstream = Upstream::start(move |conn| {
        loop {
            let head = conn.head()?;
            if head.starts_with("GET /first ") {
                conn.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")?;
                next_is_sent.wait();
                conn.write("67890")?;
            } else {
                conn.ok(head.as_bytes())?;
            }
        }
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    for _ in 0..3 {
        client.send("GET /first HTTP/1.1\r\nHost: app\r\n\r\n");
        client.head().unwrap();
        assert_eq!(client.exactly(5).unwrap(), b"12345");
        client.send("GET /second HTTP/1.1\r\nHost: app\r\n\r\n");
        gate.open();
        assert_eq!(client.exactly(5).unwrap(), b"67890");
        assert!(client.response().text().starts_with("GET /second "));
    }
}

#[test]
fn a_head_that_drips_in_is_served() {
    let upstream = Upstream::echo();
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    for byte in b"GET /drip HTTP/1.1\r\nHost: app\r\nX-A: b\r\n\r\n" {
        client.send([*byte]);
    }
    assert!(client.response().text().starts_with("GET /drip "));
    assert_eq!(client.get("/next").status, 200);
}

#[test]
fn chunked_bodies_and_trailers_go_both_ways() {
    let upstream = Upstream::start(|conn| {
        loop {
            let request = conn.request()?;
            assert_eq!(request.body, b"hello world");
            assert!(request.raw_body.ends_with(b"0\r\nX-Sum: 1\r\n\r\n"), "{:?}", request.raw_body);
            conn.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Out\r\n\r\n")?;
            conn.write("3;ext=1\r\nabc\r\n")?;
            conn.write("2\r\nde\r\n0\r\nX-Out: 2\r\nContent-Length: 5\r\n\r\n")?;
        }
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send("POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n");
        client.send("5\r\nhello\r\n");
        client.send("6;a=b\r\n world\r\n0\r\nX-Sum: 1\r\nHost: evil\r\n\r\n");
        let response = client.response();
        assert_eq!(response.body, b"abcde");
        assert_eq!(response.trailers, ["X-Out: 2"], "and none that may not stand there");
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn responses_without_a_body() {
    let upstream = Upstream::start(|conn| {
        loop {
            let head = conn.head()?;
            if head.starts_with("HEAD") {
                conn.write("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")?;
            } else if head.contains("/204") {
                conn.write("HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n")?;
            } else {
                conn.write("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 77\r\n\r\n")?;
            }
        }
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nHost: app\r\n\r\n");
        assert_eq!(client.response_to_head().field("content-length"), Some("1000"));
        let no_content = client.get("/204");
        assert_eq!((no_content.status, no_content.field("content-length")), (204, None));
        let unchanged = client.get("/304");
        assert_eq!((unchanged.status, unchanged.field("content-length")), (304, Some("77")));
    }
    assert_eq!(upstream.connections(), 1, "none of them costs the connection");
}

#[test]
fn old_clients_are_served() {
    let upstream = Upstream::start(|conn| {
        loop {
            let head = conn.head()?;
            if head.contains("/chunked") {
                conn.write("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")?;
            } else {
                conn.ok(head.as_bytes())?;
            }
        }
    });
    let proxy = Proxy::to(&[upstream.addr]);

    let mut closing = proxy.client();
    closing.send("GET / HTTP/1.0\r\n\r\n");
    let response = closing.response();
    assert!(response.text().starts_with("GET / HTTP/1.1\r\nHost: "), "{}", response.text());
    assert_eq!(response.field("connection"), Some("close"));
    assert!(closing.is_closed());

    let mut kept = proxy.client();
    for _ in 0..2 {
        kept.send("GET / HTTP/1.0\r\nHost: app\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(kept.response().field("connection"), Some("keep-alive"));
    }
    kept.send("GET /chunked HTTP/1.0\r\nHost: app\r\nConnection: keep-alive\r\n\r\n");
    let response = kept.response();
    assert_eq!((response.status, response.text().as_str()), (200, "hi"), "{response:?}");
    assert_eq!(response.field("transfer-encoding"), None);
    assert!(kept.is_closed(), "only the end of the connection tells where the body ends");
}

#[test]
fn a_client_that_says_close_is_closed() {
    let upstream = Upstream::echo();
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n");
    let response = client.response();
    assert_eq!(response.field("connection"), Some("close"));
    assert!(
        !response.text().to_lowercase().contains("connection:"),
        "the upstream's connection is another matter"
    );
    assert!(client.is_closed());
    assert_eq!(proxy.client().get("/").status, 200);
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn an_upstream_that_says_close_is_not_used_again() {
    let upstream = Upstream::start(|conn| {
        conn.head()?;
        conn.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")?;
        conn.until_closed();
        Ok(())
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    for _ in 0..3 {
        let response = client.get("/");
        assert_eq!((response.text().as_str(), response.field("connection")), ("hi", None));
    }
    assert_eq!(upstream.connections(), 3);
    assert_eq!(proxy.metrics().pooled_connections(), 0);
}

#[test]
fn a_body_that_lasts_until_close_reaches_a_new_client_chunked() {
    let upstream = Upstream::start(|conn| {
        conn.head()?;
        conn.write("HTTP/1.1 200 OK\r\n\r\n")?;
        conn.write("some ")?;
        conn.write("text")
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    for _ in 0..2 {
        let response = client.get("/");
        assert_eq!(response.field("transfer-encoding"), Some("chunked"));
        assert_eq!(response.text(), "some text");
    }
}

#[test]
fn what_concerns_one_connection_is_not_forwarded() {
    let upstream = Upstream::echo();
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    client.send(
        "GET / HTTP/1.1\r\nHost: app\r\nConnection: keep-alive, X-Mine, Authorization\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: keep-alive\r\nTE: gzip\r\nX-Mine: 1\r\nAuthorization: Basic x\r\nX-Kept: 1\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: AAA\r\nTransfer_Encoding: chunked\r\n\r\n",
    );
    let seen = client.response().text().to_lowercase();
    for gone in ["connection", "keep-alive", "te:", "x-mine", "upgrade", "http2", "transfer"] {
        assert!(!seen.contains(gone), "{gone} in {seen}");
    }
    for kept in ["authorization: basic x", "x-kept: 1"] {
        assert!(seen.contains(kept), "{kept} in {seen}");
    }
}

#[test]
fn the_gateway_believes_no_client_about_where_it_comes_from() {
    let upstream = Upstream::echo();
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    client.send(
        "GET / HTTP/1.1\r\nHost: app:80\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\
         X-Forwarded-Port: 1\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Weir-Identity: admin\r\nX_Forwarded_For: 6.6.6.6\r\n\r\n",
    );
    let seen = client.response().text().to_lowercase();
    for line in
        ["host: app:80", "x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http", "x-forwarded-host: app:80"]
    {
        assert!(seen.contains(&format!("\r\n{line}\r\n")), "{line} in {seen}");
    }
    for gone in ["6.6.6.6", "evil", "x-weir-identity", "x-forwarded-port", "https"] {
        assert!(!seen.contains(gone), "{gone} in {seen}");
    }
}

#[test]
fn the_target_wins_over_host_and_paths_are_normalised_once() {
    let upstream = Upstream::echo();
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    for (target, sent) in [
        ("http://other:81/x?y=%2e", "GET /x?y=%2e HTTP/1.1\r\nHost: other:81\r\n"),
        ("/a/../b//c/./d?e=../f", "GET /b/c/d?e=../f HTTP/1.1\r\nHost: app\r\n"),
        ("/a/%2e%2E/b", "GET /b HTTP/1.1\r\nHost: app\r\n"),
        ("/.;/x", "GET /x HTTP/1.1\r\nHost: app\r\n"),
        ("/a%2fb%5cc", "GET /a%2fb%5cc HTTP/1.1\r\nHost: app\r\n"),
    ] {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: app\r\n\r\n"));
        let seen = client.response().text();
        assert!(seen.starts_with(sent), "{target}: {seen}");
    }
}

#[test]
fn te_trailers_is_passed_on() {
    let upstream = Upstream::echo();
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    let seen = client.response().text().to_lowercase();
    assert!(seen.contains("\r\nte: trailers\r\n") && seen.contains("\r\nconnection: te\r\n"), "{seen}");
}

#[test]
fn routes_decide_and_refusals_keep_the_connection() {
    let (cart, rest) = (Upstream::echo(), Upstream::echo());
    let proxy = Proxy::gateway(&format!(
        "kind: Gateway
metadata: {{name: edge}}
spec: {{addresses: [{{value: 127.0.0.1}}], listeners: [{{name: web, port: {}, protocol: HTTP}}]}}
---
kind: HTTPRoute
metadata: {{name: shop}}
spec:
  parentRefs: [{{name: edge}}]
  hostnames: [shop]
  rules:
  - {{matches: [{{path: {{value: /cart}}}}], backendRefs: [{{name: cart}}]}}
  - {{matches: [{{headers: [{{name: X-Beta, value: yes}}]}}], backendRefs: [{{name: rest}}]}}
  - {{matches: [{{path: {{value: /none}}}}], backendRefs: [{{name: nobody}}]}}
  - {{matches: [{{path: {{value: /empty}}}}], backendRefs: [{{name: empty}}]}}
---
kind: Service
apiVersion: weir.dev/v1
metadata: {{name: cart}}
spec: {{endpoints: [{{address: 127.0.0.1, port: {}}}]}}
---
kind: Service
apiVersion: weir.dev/v1
metadata: {{name: rest}}
spec: {{endpoints: [{{address: 127.0.0.1, port: {}}}]}}
---
kind: Service
apiVersion: weir.dev/v1
metadata: {{name: empty}}
spec: {{}}
",
        crate::support::free_port(),
        cart.addr.port(),
        rest.addr.port()
    ));
    let mut client = proxy.client();
    let mut ask = |head: &str| client.send(format!("{head}\r\n\r\n")).response();
    assert_eq!(ask("GET /cart/1 HTTP/1.1\r\nHost: shop").status, 200);
    assert_eq!(ask("GET /x HTTP/1.1\r\nHost: SHOP:8080\r\nx-beta: yes").status, 200);
    for (head, status, reason) in [
        ("GET /x HTTP/1.1\r\nHost: shop", 404, "no_route"),
        ("GET /cart HTTP/1.1\r\nHost: other", 404, "no_route"),
        ("GET /none HTTP/1.1\r\nHost: shop", 500, "no_backend"),
        ("GET /empty HTTP/1.1\r\nHost: shop", 503, "no_endpoint"),
    ] {
        let response = ask(head);
        assert_eq!((response.status, response.field("x-weir-reason")), (status, Some(reason)), "{head}");
        assert!(response.text().contains(&format!("\"reason\":\"{reason}\"")), "{}", response.text());
        assert!(response.field("connection").is_none());
    }
    assert_eq!(ask("GET /cart HTTP/1.1\r\nHost: shop").status, 200, "the connection lives on");
    assert!(find(&cart.received(), b"GET /cart/1").is_some() && find(&rest.received(), b"GET /x").is_some());
}
