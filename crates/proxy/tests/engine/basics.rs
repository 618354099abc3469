//! Requests and responses of every framing, on kept connections.

use crate::support::{Proxy, Upstream, eventually};

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
