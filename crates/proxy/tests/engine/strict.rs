//! What is not HTTP is refused, with the right status, and not a byte of it reaches the upstream.

use crate::support::{Proxy, Upstream, eventually, find};

/// Sends each on a connection of its own; expects the status and an end.
fn refused(cases: &[(&str, String, u16)]) {
    let upstream = Upstream::echo();
    let proxy = Proxy::to(&[upstream.addr]);
    for (name, request, status) in cases {
        let mut client = proxy.client();
        client.send(request);
        let response = client.response();
        assert_eq!(response.status, *status, "{name}: {response:?}");
        assert_eq!(response.field("connection"), Some("close"), "{name}");
        assert_eq!(response.field("x-weir-reason"), Some("bad_request"), "{name}");
        assert!(client.is_closed(), "{name}");
    }
    assert_eq!(String::from_utf8_lossy(&upstream.received()), "", "nothing reaches the upstream");
    assert_eq!(upstream.connections(), 0);
}

fn post(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: app\r\n{fields}\r\n\r\n")
}

fn get(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: app\r\n{fields}\r\n\r\n")
}

#[test]
fn framing() {
    let cl = |value: &str| post(&format!("Content-Length: {value}")) + "ab";
    let te = |value: &str| post(&format!("Transfer-Encoding: {value}")) + "0\r\n\r\n";
    refused(&[
        ("1 both", post("Content-Length: 5\r\nTransfer-Encoding: chunked") + "0\r\n\r\n", 400),
        ("1 both, other order", post("Transfer-Encoding: chunked\r\nContent-Length: 5") + "0\r\n\r\n", 400),
        ("2 differing", post("Content-Length: 1\r\nContent-Length: 2") + "ab", 400),
        ("3 list", cl("1, 2"), 400),
        ("4 identical", post("Content-Length: 2\r\nContent-Length: 2") + "ab", 400),
        ("5 plus", cl("+1"), 400),
        ("6 minus", cl("-1"), 400),
        ("7 hex", cl("0x10"), 400),
        ("8 underscore", cl("1_0"), 400),
        ("9 empty", cl(""), 400),
        ("10 overflow", cl("18446744073709551616"), 400),
        ("11 unknown coding", te("xchunked"), 501),
        ("12 chunked not last", te("chunked, identity"), 400),
        ("13 empty element", te(",chunked"), 400),
        ("14 twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked") + "0\r\n\r\n", 400),
        ("15 gzip", te("gzip, chunked"), 501),
        ("16 parameter", te("chunked;x"), 400),
        ("17 vertical tab", te("\u{b}chunked"), 400),
        ("18 quoted", te("\"chunked\""), 400),
        (
            "19 in 1.0",
            "POST / HTTP/1.0\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            400,
        ),
        ("22 expectation", post("Content-Length: 2\r\nExpect: magic") + "ab", 417),
    ]);
}

#[test]
fn fields() {
    let many: String = (0..101).map(|i| format!("X-{i}: 1\r\n")).collect();
    refused(&[
        ("39 bare LF", "GET / HTTP/1.1\nHost: app\n\n".into(), 400),
        ("39 bare LF after a field", "GET / HTTP/1.1\r\nHost: app\nX: y\r\n\r\n".into(), 400),
        ("40 bare CR", get("X: a\rb"), 400),
        ("41 NUL", get("X: a\0b"), 400),
        ("42 control", get("X: a\u{1}b"), 400),
        ("43 space before colon", get("X : y"), 400),
        ("44 space first", "GET / HTTP/1.1\r\n Host: app\r\n\r\n".into(), 400),
        ("45 folded", get("X: y\r\n z"), 400),
        ("46 empty name", get(": y"), 400),
        ("47 no colon", get("X y"), 400),
        ("49 too many", get(many.trim_end()), 431),
        ("49 too large", get(&format!("X: {}", "a".repeat(66_000))), 431),
    ]);
    let upstream = Upstream::echo();
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    client.send(b"GET / HTTP/1.1\r\nHost: app\r\nX\x85: y\r\n\r\n");
    assert_eq!(client.response().status, 400, "48 byte in a name");
    assert!(upstream.received().is_empty());
}

#[test]
fn request_lines_and_hosts() {
    let line = |line: &str| format!("{line}\r\nHost: app\r\n\r\n");
    refused(&[
        ("50 double space", line("GET  / HTTP/1.1"), 400),
        ("51 tab", line("GET\t/ HTTP/1.1"), 400),
        ("52 version", line("GET / HTTP/1.32"), 400),
        ("52 version two", line("GET / HTTP/2.0"), 505),
        ("53 simple request", "GET /\r\n\r\n".into(), 400),
        ("54 method", line("G@T / HTTP/1.1"), 400),
        ("55 fragment", line("GET /a#b HTTP/1.1"), 400),
        ("56 not ASCII", line("GET /\u{e9} HTTP/1.1"), 400),
        ("57 long", line(&format!("GET /{} HTTP/1.1", "a".repeat(9000))), 414),
        ("58 CONNECT", "CONNECT app:80 HTTP/1.1\r\nHost: app:80\r\n\r\n".into(), 405),
        ("58 TRACE", line("TRACE / HTTP/1.1"), 405),
        ("59 no Host", "GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("60 two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".into(), 400),
        ("61 bad Host", "GET / HTTP/1.1\r\nHost: a/b@c\r\n\r\n".into(), 400),
        ("67 NUL in path", line("GET /a%00b HTTP/1.1"), 400),
        ("half an escape", line("GET /a%2 HTTP/1.1"), 400),
    ]);
}

/// A fault in a body: whatever was forwarded before, the upstream must never take the message for complete.
#[test]
fn chunks() {
    let upstream = Upstream::echo();
    let proxy = Proxy::to(&[upstream.addr]);
    let long_extension = format!("1;{}\r\na\r\n0\r\n\r\n", "e".repeat(16 * 1024));
    let long_trailer = format!("1\r\na\r\n0\r\nX: {}\r\n\r\n", "x".repeat(16 * 1024));
    let many_trailers = format!("1\r\na\r\n0\r\n{}\r\n", "X: y\r\n".repeat(101));
    for (name, body) in [
        ("25 hex prefix", "0x1\r\na\r\n0\r\n\r\n"),
        ("26 plus", "+1\r\na\r\n0\r\n\r\n"),
        ("27 underscore", "1_0\r\naaaaaaaaaaaaaaaa\r\n0\r\n\r\n"),
        ("28 overflow", "10000000000000000\r\na\r\n0\r\n\r\n"),
        ("29 empty size", "\r\na\r\n0\r\n\r\n"),
        ("30 leading space", " 1\r\na\r\n0\r\n\r\n"),
        ("31 LF in extension", "1;a\n\r\na\r\n0\r\n\r\n"),
        ("32 CR in extension", "1;a\rb\r\na\r\n0\r\n\r\n"),
        ("33 LF after size", "1\na\r\n0\r\n\r\n"),
        ("34 LF after data", "1\r\na\n0\r\n\r\n"),
        ("35 excess data", "1\r\nab\r\n0\r\n\r\n"),
        ("36 long extension", &long_extension),
        ("bad trailer", "1\r\na\r\n0\r\nX y\r\n\r\n"),
        ("49 long trailer", &long_trailer),
        ("49 many trailers", &many_trailers),
    ] {
        for late in [false, true] {
            let mut client = proxy.client();
            let head = post("Transfer-Encoding: chunked");
            if late {
                // First a good chunk on its own, which is forwarded.
                client.send(head + "4\r\ngood\r\n");
                eventually("the good part is there", || find(&upstream.received(), b"good\r\n").is_some());
                let _ = client.try_send(body);
            } else {
                client.send(head + body);
            }
            let response = client.response();
            let status = if name.starts_with("49") { 431 } else { 400 };
            assert_eq!(response.status, status, "{name}, late {late}: {response:?}");
            assert_eq!(response.field("connection"), Some("close"), "{name}");
            assert!(client.is_closed(), "{name}");
            assert!(find(&upstream.received(), b"\r\n0\r\n").is_none(), "{name}: looks complete");
        }
    }
    assert_eq!(proxy.metrics().pooled_connections(), 0, "none of these connections is used again");
}

#[test]
fn a_million_tiny_chunks_are_bounded_work() {
    let upstream = Upstream::echo();
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    let count = 200_000;
    client.send(post("Transfer-Encoding: chunked"));
    let chunks = "1\r\na\r\n".repeat(1000);
    for _ in 0..count / 1000 {
        client.send(&chunks);
    }
    client.send("0\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status, 200);
    assert_eq!(response.body.iter().rev().take_while(|&&b| b == b'a').count(), count);
}

#[test]
fn a_get_with_a_body_is_framed() {
    let upstream = Upstream::echo();
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    client.send(get("Content-Length: 4") + "GET " + &get("X-Second: 1"));
    let first = client.response().text();
    assert!(first.contains("Content-Length: 4\r\n") && first.ends_with("\r\n\r\nGET "), "{first}");
    assert!(client.response().text().contains("X-Second: 1"));
}

#[test]
fn a_refusal_of_head_has_no_body_however_broken_the_head() {
    let upstream = Upstream::echo();
    let proxy = Proxy::to(&[upstream.addr]);
    for (rest, status) in
        [("Content-Length: +1\r\n\r\n".to_owned(), 400), (format!("X: {}\r\n\r\n", "x".repeat(70_000)), 431)]
    {
        let mut client = proxy.client();
        client.send(format!("HEAD / HTTP/1.1\r\nHost: app\r\n{rest}"));
        assert_eq!(client.response_to_head().status, status);
        assert!(client.is_closed(), "nothing follows the head of {status}");
    }
    let mut client = proxy.client();
    client.send("HEAD /%00 HTTP/1.1\r\nHost: app\r\n\r\n");
    assert_eq!(client.response_to_head().status, 400);
    assert!(client.is_closed());
}
