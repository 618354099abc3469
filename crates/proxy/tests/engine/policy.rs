//! What a listener's policy bounds.

use crate::support::{Client, Proxy, Upstream, documents, eventually};

/// Everything goes to one service, under a policy.
fn bounded(upstream: &Upstream, policy: &str) -> String {
    under(&documents(&[upstream.addr], ""), policy)
}

fn under(documents: &str, policy: &str) -> String {
    format!(
        "{documents}\n---\nkind: ListenerPolicy\nmetadata: {{name: p}}\nspec: {{targetRefs: [{{name: edge}}], {policy}}}\n"
    )
}

#[test]
fn heads_are_bounded_in_size_and_number_of_fields() {
    let upstream = Upstream::echo();
    let plain = documents(&[upstream.addr], "");
    let mut proxy = Proxy::gateway(&under(&plain, "limits: {headBytes: 1KiB, headFields: 8}"));
    let with = |fields: &str| format!("GET / HTTP/1.1\r\nHost: app\r\n{fields}\r\n");
    let status = |proxy: &Proxy, fields: &str| {
        let mut client = proxy.client();
        client.send(with(fields));
        client.response().status
    };
    let large = format!("X-A: {}\r\n", "a".repeat(1000));
    let many: String = (0..8).map(|i| format!("X-{i}: a\r\n")).collect();
    assert_eq!([status(&proxy, ""), status(&proxy, &large), status(&proxy, &many)], [200, 431, 431]);
    // What a policy says no more holds no more.
    proxy.publish(&plain);
    eventually("the proxy's own bounds", || status(&proxy, &large) == 200);
    assert_eq!(status(&proxy, &many), 200);
}

#[test]
fn a_head_must_arrive_in_time() {
    let upstream = Upstream::echo();
    let proxy = Proxy::gateway(&bounded(&upstream, "timeouts: {head: 1s, idle: 2s}"));
    let mut slow = proxy.client();
    slow.send("GET / HTTP/1.1\r\nHo");
    assert_eq!(slow.response().status, 408);
    let mut idle = proxy.client();
    assert_eq!(idle.get("/").status, 200);
    assert!(idle.is_closed(), "an idle connection is closed");
}

#[test]
fn connections_are_bounded_and_their_places_given_back() {
    let upstream = Upstream::echo();
    let proxy = Proxy::gateway_with(&bounded(&upstream, "limits: {connections: 3}"), |config| {
        // The bound is the listener's, however many workers share its connections.
        config.workers = 2;
    });
    let mut clients: Vec<Client> = (0..3).map(|_| proxy.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").status, 200);
    }
    let mut refused = proxy.client();
    assert_eq!(refused.response().status, 503);
    clients.pop();
    eventually("a place is free again", || {
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
        client.response().status == 200
    });
}
