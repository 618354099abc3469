//! Retries as a service's policy has them.

use std::net::TcpListener;

use crate::support::{Gate, Proxy, Upstream, documents, eventually};

#[test]
fn without_a_budget_nothing_is_tried_again() {
    let app = Upstream::echo();
    // Nobody listens there any more.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
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
