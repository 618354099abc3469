//! Retries as a service's policy has them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{Gate, Proxy, Upstream, documents, eventually, free_port};

#[test]
fn without_a_budget_nothing_is_tried_again() {
    let app = Upstream::echo();
    // Nobody listens there.
    let gone = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let policy = |budget: &str| {
        let outlier = "outlier: {enabled: false}";
        documents(
            &[app.addr, gone],
            &format!("balance: {{policy: round_robin}}\n  {outlier}\n  retry: {{{budget}}}"),
        )
    };
    let denied = "weir_proxy_retries_denied_total{service=\"app\"} 0";
    let proxy = Proxy::gateway(&policy("budget: {ratio: 0, reserve: 0}"));
    let mut client = proxy.client();
    eventually("a request to find nobody, and to be told so", || client.get("/").status == 502);
    assert!(!proxy.text().lines().any(|line| line == denied), "{}", proxy.text());
    let proxy = Proxy::gateway(&policy("budget: {ratio: 1}"));
    let mut client = proxy.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").status, 200);
    }
    assert!(proxy.text().lines().any(|line| line == denied), "{}", proxy.text());
}

#[test]
fn each_attempt_has_its_time() {
    let gate = Gate::new();
    let opened = gate.clone();
    let app = Upstream::start(move |conn| {
        conn.request()?;
        gate.wait();
        conn.ok(b"late")
    });
    let proxy = Proxy::gateway(&documents(&[app.addr], "timeouts: {request: 1h, perTry: 100ms}"));
    assert_eq!(proxy.client().get("/").status, 504);
    opened.open();
}

/// An upstream whose first answer is this, and whose others are well.
fn first(answer: &'static str) -> Upstream {
    let answered = AtomicBool::new(false);
    Upstream::start(move |conn| {
        loop {
            conn.request()?;
            match answered.swap(true, Ordering::SeqCst) {
                false => conn.write(answer)?,
                true => conn.ok(b"well")?,
            }
        }
    })
}

const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy";

#[test]
fn statuses_are_tried_again_where_that_is_safe() {
    let app = first(BUSY);
    let proxy = Proxy::gateway(&documents(&[app.addr], "retry: {statuses: [503]}"));
    let got = proxy.client().get("/");
    assert_eq!((got.status, got.text().as_str()), (200, "well"));
    assert!(proxy.text().lines().any(|line| line == "weir_proxy_retries_total{service=\"app\"} 1"));
    // What may have had an effect is not done twice, and its answer is passed on as it is.
    let app = first(BUSY);
    let proxy = Proxy::gateway(&documents(&[app.addr], "retry: {statuses: [503]}"));
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 2\r\n\r\nhi");
    let got = client.response();
    assert_eq!((got.status, got.text().as_str()), (503, "busy"));
}

#[test]
fn servers_may_say_not_to_come_again() {
    let app = first("HTTP/1.1 503 Busy\r\nRetry-After: 3600\r\nContent-Length: 4\r\n\r\nbusy");
    let proxy = Proxy::gateway(&documents(&[app.addr], "retry: {statuses: [503]}"));
    let got = proxy.client().get("/");
    assert_eq!((got.status, got.field("retry-after")), (503, Some("3600")));
    let app = first(
        "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\ngrpc-status: 14\r\ngrpc-retry-pushback-ms: -1\r\n\r\n",
    );
    let proxy = Proxy::gateway(&documents(&[app.addr], "retry: {grpcStatuses: [UNAVAILABLE]}"));
    assert_eq!(proxy.client().get("/").field("grpc-status"), Some("14"));
}

#[test]
fn statuses_of_grpc_are_tried_again() {
    let app = first(
        "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\ngrpc-status: 14\r\n\r\n",
    );
    let proxy = Proxy::gateway(&documents(&[app.addr], "retry: {grpcStatuses: [UNAVAILABLE]}"));
    assert_eq!(proxy.client().get("/").text(), "well");
}
