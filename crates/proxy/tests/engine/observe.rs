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
