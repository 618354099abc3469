//! What can be seen of requests afterwards.

use weir_proxy::{AccessLogConfig, AccessLogFormat};

use crate::support::{Proxy, Upstream, documents, eventually};

#[test]
fn every_request_is_logged_with_its_position_and_its_way() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let upstream = Upstream::echo();
    let proxy = Proxy::gateway_with(&documents(&[upstream.addr], ""), |config| {
        config.access_log = Some(AccessLogConfig {
            path: Some(path.clone()),
            format: AccessLogFormat::Json,
            ..Default::default()
        });
    });
    let mut client = proxy.client();
    client.send("GET /a?b=c HTTP/1.1\r\nHost: app\r\nUser-Agent: test/1\r\n\r\n").response();
    client.send("GET /x HTTP/1.1\r\nHost: app\r\n y: z\r\n\r\n");
    let refused = client.response();
    let lines = || std::fs::read_to_string(&path).unwrap_or_default();
    eventually("a line is written", || lines().contains("/a?b=c"));
    let line: serde_json::Value = serde_json::from_str(lines().lines().next().unwrap()).unwrap();
    assert_eq!(line["position"], "0.1");
    assert_eq!(line["method"], "GET");
    assert_eq!(line["host"], "app");
    assert_eq!(line["protocol"], "HTTP/1.1");
    assert_eq!(line["user_agent"], "test/1");
    assert_eq!(line["listener"].as_str().map(|listener| listener.starts_with("127.0.0.1:")), Some(true));
    let (whole, upstream) = (line["duration_us"].as_u64().unwrap(), line["upstream_us"].as_u64().unwrap());
    assert!(0 < upstream && upstream <= whole, "{line}");
    assert_eq!(line["route"], "HTTPRoute/all#0");
    assert_eq!(line["upstream"], "app");
    assert_eq!(line["status"], 200);
    assert_eq!(line["attempts"], 1);
    assert_eq!(line["client"], "127.0.0.1");
    assert!(line["endpoint"].is_string());
    assert!(line["bytes_out"].as_u64().unwrap() > 50);
    eventually("what was no request is logged, too", || lines().lines().count() == 2);
    let line: serde_json::Value = serde_json::from_str(lines().lines().nth(1).unwrap()).unwrap();
    assert_eq!((&line["status"], &line["reason"]), (&400.into(), &"bad_request".into()));
    assert!(line["bytes_out"].as_u64().unwrap() > refused.body.len() as u64, "head and body: {line}");
}

#[test]
fn requests_are_counted_by_upstream_and_class() {
    let upstream = Upstream::start(|conn| {
        loop {
            let head = conn.head()?;
            let status = if head.contains("/bad") { "500 Oops" } else { "200 OK" };
            conn.write(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"))?;
        }
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    client.get("/");
    client.get("/");
    client.get("/bad");
    // The answer is written before the upstream's connection is put back.
    eventually("the connection is back in its pool", || proxy.metrics().pooled_connections() == 1);
    eventually("the requests are over", || !proxy.text().contains("weir_proxy_requests_active 1"));
    let text = proxy.text();
    let of_app = "service=\"app\",route=\"HTTPRoute/all#0\"";
    for line in [
        "weir_proxy_epoch 0",
        "weir_proxy_revision 1",
        "weir_proxy_workers_alive 1",
        "weir_proxy_requests_active 0",
        "weir_proxy_pool_idle 1",
        "weir_proxy_pool_hits_total 2",
        &format!("weir_proxy_requests_total{{{of_app},class=\"2xx\",decision=\"forwarded\"}} 2"),
        &format!("weir_proxy_requests_total{{{of_app},class=\"5xx\",decision=\"forwarded\"}} 1"),
        "weir_proxy_upstream_connects_total{service=\"app\"} 1",
        "weir_proxy_request_duration_seconds_count{service=\"app\"} 3",
        "weir_proxy_upstream_duration_seconds_count{service=\"app\"} 3",
        "weir_proxy_endpoints{service=\"app\",state=\"available\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
}

/// A gateway that logs to a file in a directory.
pub(crate) fn logging(
    dir: &tempfile::TempDir,
    documents: &str,
) -> (Proxy, impl Fn() -> Vec<serde_json::Value> + use<>) {
    let path = dir.path().join("access.log");
    let lines = {
        let path = path.clone();
        move || {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>()
        }
    };
    let proxy = Proxy::gateway_with(documents, |config| {
        config.access_log = Some(AccessLogConfig { path: Some(path), ..Default::default() });
    });
    (proxy, lines)
}

fn has(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
}

#[test]
fn streams_are_requests_of_one_connection() {
    let (dir, upstream) = (tempfile::tempdir().unwrap(), Upstream::echo());
    let (proxy, lines) = logging(&dir, &documents(&[upstream.addr], ""));
    let listener = proxy.named_addr();
    crate::http2::run(async {
        let requests = crate::http2::connect(proxy.addr()).await;
        for path in ["/a", "/b"] {
            let request = crate::http2::request("GET", path);
            assert_eq!(crate::http2::exchange(&requests, request, &[], None).await.unwrap().status(), 200);
        }
        has(
            &proxy.text(),
            &format!(
                "weir_proxy_connections_active{{listener=\"{listener}\",role=\"gateway\",protocol=\"h2\"}} 1"
            ),
        );
    });
    eventually("both are logged", || lines().len() == 2);
    assert!(lines().iter().all(|line| line["protocol"] == "HTTP/2"), "{:?}", lines());
    let mut client = proxy.client();
    client.get("/c");
    eventually("the connection is closed", || {
        proxy.text().contains(&format!(
            "weir_proxy_connections_active{{listener=\"{listener}\",role=\"gateway\",protocol=\"h2\"}} 0"
        ))
    });
    let text = proxy.text();
    for (protocol, count) in [("h1", 1), ("h2", 1)] {
        let of = format!("listener=\"{listener}\",role=\"gateway\",protocol=\"{protocol}\"");
        has(&text, &format!("weir_proxy_connections_total{{{of}}} {count}"));
    }
    has(&text, "weir_proxy_http2_streams_total 2");
    has(&text, "weir_proxy_http2_streams_active 0");
}

#[test]
fn what_tls_has_settled_is_logged_and_counted() {
    use crate::tls::{Authority, secure_documents};

    let (dir, upstream) = (tempfile::tempdir().unwrap(), Upstream::echo());
    let authority = Authority::new();
    authority.write("app", &["app"]);
    let (proxy, lines) = logging(&dir, &secure_documents(&authority, &[("", &["app"])], &[upstream.addr]));
    let mut client = authority.trusting().connect(proxy.addr(), "app").unwrap();
    assert_eq!(client.get("/").status, 200);
    eventually("it is logged", || lines().len() == 1);
    let line = &lines()[0];
    assert_eq!((&line["tls_version"], &line["sni"]), (&"1.3".into(), &"app".into()), "{line}");
    has(
        &proxy.text(),
        "weir_proxy_tls_handshakes_total{side=\"client\",version=\"1.3\",resumed=\"false\"} 1",
    );
}

#[test]
fn what_nobody_waits_for_is_told_apart() {
    let gate = crate::support::Gate::new();
    let opened = gate.clone();
    let upstream = Upstream::start(move |conn| {
        conn.head()?;
        opened.wait();
        Ok(())
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    eventually("it is under way", || proxy.text().contains("weir_proxy_requests_active 1"));
    drop(client);
    eventually("it is given up", || proxy.text().contains("weir_proxy_requests_active 0"));
    gate.open();
    let of = "service=\"app\",route=\"HTTPRoute/all#0\",class=\"4xx\",decision=\"client_gone\"";
    let line = format!("weir_proxy_requests_total{{{of}}} 1");
    eventually("it is counted", || proxy.text().lines().any(|found| found == line));
}

/// The only line of the log, once it is there.
fn only(lines: &impl Fn() -> Vec<serde_json::Value>) -> serde_json::Value {
    eventually("it is logged", || lines().len() == 1);
    lines().remove(0)
}

#[test]
fn that_a_client_left_is_logged_wherever_its_request_was() {
    let gate = crate::support::Gate::new();
    let under_way = || {
        let opened = gate.clone();
        Upstream::start(move |conn| {
            conn.head()?;
            opened.wait();
            Ok(())
        })
    };
    let left_with = |line: &serde_json::Value, upstream: &str| {
        assert_eq!((&line["status"], &line["reason"]), (&0.into(), &"client_gone".into()), "{line}");
        assert_eq!((&line["upstream"], line.get("truncated")), (&upstream.into(), None), "{line}");
    };
    // While the service is waited for, and while the body is sent.
    for sent in [
        "GET / HTTP/1.1\r\nHost: app\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 9\r\n\r\nhalf",
    ] {
        let (dir, upstream) = (tempfile::tempdir().unwrap(), under_way());
        let (proxy, lines) = logging(&dir, &documents(&[upstream.addr], ""));
        let mut client = proxy.client();
        client.send(sent);
        eventually("it is under way", || upstream.connections() == 1);
        socket2::SockRef::from(&client.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(client);
        let line = only(&lines);
        left_with(&line, "app");
        assert_eq!(line["attempts"], 1, "{line}");
    }
    // While it waits for its place.
    let (dir, upstream) = (tempfile::tempdir().unwrap(), under_way());
    let limit = "---\nkind: RateLimit\nmetadata: {name: app}\nspec: {targetRefs: [{name: app}], \
                 algorithm: concurrency, concurrencyMax: 1, queue: {max: 1, timeout: 1m}}\n";
    let (proxy, lines) = logging(&dir, &(documents(&[upstream.addr], "") + limit));
    let (mut first, mut second) = (proxy.client(), proxy.client());
    first.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    eventually("the first is under way", || upstream.connections() == 1);
    second.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    let waits = "weir_proxy_limit_waited_total{limit=\"RateLimit/app\",target=\"Service/app\"} 1";
    eventually("the second waits", || proxy.text().lines().any(|line| line == waits));
    socket2::SockRef::from(&second.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(second);
    let line = only(&lines);
    left_with(&line, "app");
    assert_eq!((&line["attempts"], line.get("endpoint")), (&0.into(), None), "{line}");
    // Within a response: it has the status that the client has seen.
    let (dir, upstream) = (
        tempfile::tempdir().unwrap(),
        Upstream::start(|conn| {
            conn.head()?;
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")?;
            conn.until_closed();
            Ok(())
        }),
    );
    let (proxy, lines) = logging(&dir, &documents(&[upstream.addr], ""));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n").head().unwrap();
    socket2::SockRef::from(&client.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(client);
    let line = only(&lines);
    assert_eq!((&line["status"], &line["reason"]), (&200.into(), &"client_gone".into()), "{line}");
    assert_eq!(line["truncated"], true, "{line}");
    gate.open();
}

#[test]
fn calls_of_grpc_are_counted_by_their_status() {
    let upstream = Upstream::start(|conn| {
        loop {
            let head = conn.head()?;
            let kind = "HTTP/1.1 200 OK\r\nContent-Type: application/grpc+proto\r\n";
            conn.write(if head.contains("/at-once") {
                format!("{kind}grpc-status: 5\r\nContent-Length: 0\r\n\r\n")
            } else if head.contains("/never") {
                format!("{kind}Content-Length: 2\r\n\r\nab")
            } else {
                format!("{kind}Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\ngrpc-status: 14\r\n\r\n")
            })?;
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let (proxy, lines) = logging(&dir, &documents(&[upstream.addr], ""));
    let mut client = proxy.client();
    for path in ["/", "/at-once", "/never", "/"] {
        client.get(path);
    }
    eventually("all are logged", || lines().len() == 4);
    for (code, count) in [("UNAVAILABLE", 2), ("NOT_FOUND", 1), ("MISSING", 1)] {
        has(
            &proxy.text(),
            &format!("weir_proxy_grpc_responses_total{{service=\"app\",code=\"{code}\"}} {count}"),
        );
    }
    let codes: Vec<_> = lines().iter().map(|line| line["grpc_status"].clone()).collect();
    assert_eq!(codes, ["UNAVAILABLE", "NOT_FOUND", "MISSING", "UNAVAILABLE"]);
}
