//! 1xx: interim responses, Expect, and changing the protocol.

use crate::support::{Proxy, Upstream, eventually, find};

#[test]
fn interim_responses_are_passed_on() {
    let upstream = Upstream::start(|conn| {
        loop {
            conn.head()?;
            conn.write("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")?;
            conn.write("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")?;
        }
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    for _ in 0..2 {
        let first = client.get("/");
        assert_eq!((first.status, first.field("link")), (103, Some("</a>")));
        assert_eq!(client.response().status, 102);
        assert_eq!(client.response().text(), "hi");
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn expect_is_relayed() {
    let upstream = Upstream::start(|conn| {
        loop {
            let head = conn.head()?;
            assert!(head.to_lowercase().contains("\r\nexpect: 100-continue\r\n"), "{head}");
            conn.write("HTTP/1.1 100 Continue\r\n\r\n")?;
            let body = conn.exactly(5)?;
            conn.ok(&body)?;
        }
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send("PUT / HTTP/1.1\r\nHost: app\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
        assert_eq!(client.response().status, 100);
        client.send("hello");
        assert_eq!(client.response().text(), "hello");
    }
    // A client need not wait.
    client.send("PUT / HTTP/1.1\r\nHost: app\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello");
    assert_eq!(client.response().status, 100);
    assert_eq!(client.response().text(), "hello");
}

#[test]
fn an_expectation_that_is_refused_ends_the_connection() {
    let upstream = Upstream::start(|conn| {
        conn.head()?;
        conn.write("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")?;
        conn.until_closed();
        Ok(())
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    client.send("PUT / HTTP/1.1\r\nHost: app\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status, response.field("connection")), (413, Some("close")));
    client.half_close();
    assert!(client.is_closed());
}

#[test]
fn a_tunnel_opens_after_101_and_carries_both_ways() {
    let upstream = Upstream::start(|conn| {
        let head = conn.head()?.to_lowercase();
        assert!(head.contains("\r\nconnection: upgrade\r\nupgrade: websocket\r\n"), "{head}");
        assert!(head.contains("\r\nsec-websocket-key: abc\r\n"), "{head}");
        conn.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\nfirst")?;
        let ping = conn.exactly(9)?;
        assert_eq!(ping, b"GET / nor");
        conn.write("pong")?;
        conn.until_closed();
        conn.write("last")
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    client.send("GET /ws HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: abc\r\n\r\n");
    let head = client.head().unwrap();
    assert!(
        head.starts_with("HTTP/1.1 101 ") && head.to_lowercase().contains("\r\nupgrade: websocket\r\n"),
        "{head}"
    );
    assert!(head.contains("Sec-WebSocket-Accept: x"));
    assert_eq!(client.exactly(5).unwrap(), b"first");
    client.send("GET / nor");
    assert_eq!(client.exactly(4).unwrap(), b"pong");
    client.half_close();
    assert_eq!(client.until_end().unwrap(), b"last", "the other half goes on");
    eventually("the tunnel is over", || proxy.metrics().active_connections() == 0);
}

#[test]
fn without_101_there_is_no_tunnel() {
    let upstream = Upstream::start(|conn| {
        loop {
            let head = conn.head()?;
            conn.ok(head.lines().next().unwrap().as_bytes())?;
        }
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    client.send("GET /ws HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app\r\n X: y\r\n\r\n");
    assert_eq!(client.response().text(), "GET /ws HTTP/1.1");
    assert_eq!(client.response().status, 400, "what follows is a request like any other");
    assert!(find(&upstream.received(), b"smuggled").is_none());
}

#[test]
fn a_101_that_nobody_asked_for_is_refused() {
    let upstream = Upstream::start(|conn| {
        conn.head()?;
        conn.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")?;
        conn.until_closed();
        Ok(())
    });
    let proxy = Proxy::to(&[upstream.addr]);
    assert_eq!(proxy.client().get("/").status, 502);
}
