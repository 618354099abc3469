//! Section 8: what a message may consist of, and what makes it malformed.

use weir_http2::{Code, Opened, StreamFault};

use crate::side::{Verdict::Fine, *};

const MALFORMED: Code = Code::PROTOCOL_ERROR;

/// A request's fields, and whether they are one.
fn request(fields: &[(&str, &str)]) -> Verdict {
    to_server(&frame(HEADERS, WHOLE, 1, &block(fields)))
}

fn check_requests(good: bool, rows: &[(&str, &[(&str, &str)])]) {
    for (name, fields) in rows {
        assert_eq!(request(fields), if good { Fine } else { stream(MALFORMED) }, "{name}");
    }
}

/// [`GET`] and more.
fn and<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&GET, more].concat()
}

#[test]
fn s8_1_a_message_is_heads_content_and_trailers() {
    let trailers = |flags| frame(HEADERS, END_HEADERS | flags, 1, &block(&[("grpc-status", "0")]));
    let data = frame(DATA, 0, 1, b"x");
    for (name, bytes, expect) in [
        ("trailers", [post(1, &[]), data.clone(), trailers(END_STREAM)].concat(), Fine),
        ("trailers without content", [post(1, &[]), trailers(END_STREAM)].concat(), Fine),
        ("trailers that end nothing", [post(1, &[]), data.clone(), trailers(0)].concat(), stream(MALFORMED)),
        (
            "content behind trailers",
            [post(1, &[]), trailers(END_STREAM), data].concat(),
            stream(Code::STREAM_CLOSED),
        ),
    ] {
        assert_eq!(to_server(&bytes), expect, "{name}");
    }
    let mut server = Side::greeted();
    server.take(&[post(1, &[]), frame(DATA, 0, 1, b"x"), trailers(END_STREAM)].concat());
    let (slot, _) = server.opened[0];
    assert!(server.read(slot).ends_with("\r\n\r\n1\r\nx\r\n0\r\ngrpc-status: 0\r\n\r\n"));
    assert!(server.h2.is_over(slot));
}

#[test]
fn s8_1_responses_may_have_interim_ones_before_them() {
    let (mut client, calls) = Side::calling(1);
    client.take(&respond(1, 0, &[(":status", "103"), ("link", "</a>")]));
    client.take(&respond(1, 0, &[(":status", "200"), ("content-length", "1")]));
    client.take(&frame(DATA, END_STREAM, 1, b"x"));
    let text = client.read(calls[0]);
    assert!(text.starts_with("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n"), "{text}");
    assert!(client.h2.is_over(calls[0]));
}

#[test]
fn s8_1_a_client_is_not_answered_after_its_request_was_reset() {
    // A server that has answered in full and wants no more of the request says NO_ERROR.
    let mut server = Side::greeted();
    server.take(&post(1, &[]));
    let (slot, _) = server.opened[0];
    server.h2.respond(slot, true, |block| block.status(413));
    server.h2.close(slot, Code::INTERNAL_ERROR);
    assert_eq!(server.verdict(), stream(Code::NO_ERROR));
    // And a client believes the answer.
    let (mut client, _) = Side::calling(0);
    let call = client.call(b"POST", false);
    client.take(&respond(1, END_STREAM, &[(":status", "413")]));
    client.take(&frame(RST_STREAM, 0, 1, &[0; 4]));
    assert!(client.read(call).starts_with("HTTP/1.1 413 "));
}

#[test]
fn s8_1_1_content_is_as_long_as_announced() {
    let announced = |length, content: &[u8]| {
        [post(1, &[("content-length", length)]), frame(DATA, END_STREAM, 1, content)].concat()
    };
    for (length, content, expect) in [
        ("3", &b"abc"[..], Fine),
        ("0", b"", Fine),
        ("2", b"abc", stream(MALFORMED)),
        ("4", b"abc", stream(MALFORMED)),
        ("+3", b"abc", stream(MALFORMED)),
        ("3, 3", b"abc", stream(MALFORMED)),
        ("", b"abc", stream(MALFORMED)),
        ("18446744073709551619", b"abc", stream(MALFORMED)),
    ] {
        assert_eq!(to_server(&announced(length, content)), expect, "{length:?}");
    }
    assert_eq!(request(&and(&[("content-length", "0")])), Fine);
    assert_eq!(request(&and(&[("content-length", "1")])), stream(MALFORMED), "and it has ended");
    let trailed =
        [post(1, &[("content-length", "2")]), frame(DATA, 0, 1, b"x"), frame(HEADERS, WHOLE, 1, &[])];
    assert_eq!(to_server(&trailed.concat()), stream(MALFORMED), "trailers too early");
    let early = [post(1, &[("content-length", "2")]), frame(DATA, 0, 1, b"xyz")].concat();
    assert_eq!(to_server(&early), stream(MALFORMED), "known before the end");
}

#[test]
fn s8_1_1_a_response_to_head_has_a_length_and_no_content() {
    let (mut client, _) = Side::calling(0);
    let call = client.call(b"HEAD", true);
    client.take(&respond(1, END_STREAM, &[(":status", "200"), ("content-length", "100")]));
    assert_eq!(client.read(call), "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n");
    assert!(client.h2.is_over(call));
    let (mut client, calls) = Side::calling(1);
    client.take(&respond(1, END_STREAM, &[(":status", "304"), ("content-length", "100")]));
    assert!(client.h2.fault(calls[0]).is_none());
}

#[test]
fn s8_2_names_are_in_lower_case() {
    check_requests(
        false,
        &[
            ("a capital", &and(&[("X-a", "b")])),
            ("the last one", &and(&[("x-A", "b")])),
            ("a known name", &and(&[("Te", "trailers")])),
            ("a pseudo-header", &[(":Method", "GET"), SCHEME, AUTHORITY, PATH]),
        ],
    );
}

#[test]
fn s8_2_1_names_and_values_have_no_other_bytes() {
    for byte in 0..=127u8 {
        let name = String::from_utf8(vec![b'a', byte]).unwrap();
        let good = byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte);
        assert_eq!(request(&and(&[(&name, "b")])) == Fine, good, "a name with {byte}");
        let value = String::from_utf8(vec![b'a', byte, b'b']).unwrap();
        let good = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        assert_eq!(request(&and(&[("a", &value)])) == Fine, good, "a value with {byte}");
    }
    check_requests(
        false,
        &[
            ("an empty name", &and(&[("", "b")])),
            ("a name above ASCII", &and(&[("\u{e9}", "b")])),
            ("a space in front", &and(&[("a", " b")])),
            ("a tab behind", &and(&[("a", "b\t")])),
            ("a space alone", &and(&[("a", " ")])),
            ("a colon", &and(&[("a:b", "c")])),
        ],
    );
    check_requests(
        true,
        &[("an empty value", &and(&[("a", "")])), ("above ASCII", &and(&[("a", "\u{e9}")]))],
    );
}

#[test]
fn s8_2_2_fields_of_a_connection() {
    check_requests(
        false,
        &[
            ("connection", &and(&[("connection", "close")])),
            ("an empty one", &and(&[("connection", "")])),
            ("proxy-connection", &and(&[("proxy-connection", "close")])),
            ("keep-alive", &and(&[("keep-alive", "timeout=5")])),
            ("transfer-encoding", &and(&[("transfer-encoding", "chunked")])),
            ("upgrade", &and(&[("upgrade", "websocket")])),
            ("te: gzip", &and(&[("te", "gzip")])),
            ("te: trailers and more", &and(&[("te", "trailers, gzip")])),
        ],
    );
    check_requests(true, &[("te: trailers", &and(&[("te", "trailers")]))]);
    for field in ["connection", "keep-alive", "transfer-encoding", "upgrade", "proxy-connection"] {
        let (mut client, calls) = Side::calling(1);
        client.take(&respond(1, END_STREAM, &[(":status", "200"), (field, "x")]));
        assert_eq!(client.verdict(), stream(MALFORMED), "{field}");
        assert_eq!(client.h2.fault(calls[0]), Some(StreamFault::Broken(MALFORMED)), "{field}");
    }
}

#[test]
fn s8_2_3_cookies_become_one() {
    let mut server = Side::greeted();
    let fields = and(&[("cookie", "a=b"), ("x", "y"), ("cookie", "c=d"), ("cookie", "e=f")]);
    server.take(&frame(HEADERS, WHOLE, 1, &block(&fields)));
    let (slot, _) = server.opened[0];
    let text = server.read(slot);
    assert!(text.contains("\r\ncookie: a=b; c=d; e=f\r\n") && text.matches("cookie").count() == 1, "{text}");
}

#[test]
fn s8_3_pseudo_headers() {
    let fields = |order: [(&'static str, &'static str); 5]| order;
    check_requests(
        false,
        &[
            ("behind a field", &fields([METHOD, SCHEME, AUTHORITY, ("a", "b"), PATH])),
            ("unknown", &fields([METHOD, SCHEME, AUTHORITY, PATH, (":unknown", "a")])),
            ("of a response", &fields([METHOD, SCHEME, AUTHORITY, PATH, (":status", "200")])),
            ("of an extension", &fields([("x", "y"), SCHEME, AUTHORITY, PATH, (":protocol", "websocket")])),
            ("a method twice", &fields([METHOD, METHOD, SCHEME, AUTHORITY, PATH])),
            ("a scheme twice", &fields([METHOD, SCHEME, SCHEME, AUTHORITY, PATH])),
            ("an authority twice", &fields([METHOD, SCHEME, AUTHORITY, AUTHORITY, PATH])),
            ("a path twice", &fields([METHOD, SCHEME, AUTHORITY, PATH, PATH])),
            ("nothing but a colon", &fields([METHOD, SCHEME, AUTHORITY, PATH, (":", "a")])),
        ],
    );
    check_requests(true, &[("in any order", &[PATH, AUTHORITY, SCHEME, METHOD, ("a", "b")])]);
    let in_trailers = [post(1, &[]), frame(HEADERS, WHOLE, 1, &block(&[(":status", "200")]))].concat();
    assert_eq!(to_server(&in_trailers), stream(MALFORMED));
}

#[test]
fn s8_3_1_what_a_request_must_have() {
    check_requests(
        false,
        &[
            ("no method", &[SCHEME, AUTHORITY, PATH]),
            ("no scheme", &[METHOD, AUTHORITY, PATH]),
            ("no path", &[METHOD, SCHEME, AUTHORITY]),
            ("nothing at all", &[]),
            ("only fields", &[("a", "b")]),
            ("an empty path", &[METHOD, SCHEME, AUTHORITY, (":path", "")]),
            ("a path that is none", &[METHOD, SCHEME, AUTHORITY, (":path", "a")]),
            ("a whole URI", &[METHOD, SCHEME, AUTHORITY, (":path", "http://app/")]),
            ("* but not OPTIONS", &[METHOD, SCHEME, AUTHORITY, (":path", "*")]),
            ("a fragment", &[METHOD, SCHEME, AUTHORITY, (":path", "/a#b")]),
            ("a space in the path", &[METHOD, SCHEME, AUTHORITY, (":path", "/a b")]),
            ("a line end in the path", &[METHOD, SCHEME, AUTHORITY, (":path", "/a\r\nb")]),
            ("an empty method", &[(":method", ""), SCHEME, AUTHORITY, PATH]),
            ("a space in the method", &[(":method", "GET /"), SCHEME, AUTHORITY, PATH]),
            ("an empty scheme", &[METHOD, (":scheme", ""), AUTHORITY, PATH]),
            ("a scheme that is none", &[METHOD, (":scheme", "ht tp"), AUTHORITY, PATH]),
        ],
    );
    check_requests(
        true,
        &[
            ("no authority", &[METHOD, SCHEME, PATH, ("host", "app")]),
            ("OPTIONS *", &[(":method", "OPTIONS"), SCHEME, AUTHORITY, (":path", "*")]),
            ("a query", &[METHOD, SCHEME, AUTHORITY, (":path", "/a?b=/c?d")]),
            ("a method of one's own", &[(":method", "PURGE"), SCHEME, AUTHORITY, PATH]),
        ],
    );
}

#[test]
fn s8_3_1_an_authority_stands_for_the_host() {
    let text = |fields: &[(&str, &str)]| {
        let mut server = Side::greeted();
        server.take(&frame(HEADERS, WHOLE, 1, &block(fields)));
        let (slot, _) = server.opened[0];
        server.read(slot)
    };
    assert_eq!(text(&GET), "GET / HTTP/1.1\r\nhost: app\r\n\r\n");
    assert_eq!(text(&and(&[("host", "APP")])).matches("host:").count(), 1, "said twice");
    assert_eq!(text(&[METHOD, SCHEME, PATH, ("host", "app")]), "GET / HTTP/1.1\r\nhost: app\r\n\r\n");
    // Two that differ are left for the reader to refuse.
    assert_eq!(text(&and(&[("host", "other")])).matches("host:").count(), 2);
}

#[test]
fn s8_3_2_what_a_response_must_have() {
    for (name, fields) in [
        ("no status", &[("a", "b")][..]),
        ("nothing", &[]),
        ("two", &[(":status", "200"), (":status", "200")]),
        ("behind a field", &[("a", "b"), (":status", "200")]),
        ("a request's", &[(":status", "200"), (":path", "/")]),
        ("letters", &[(":status", "2o0")]),
        ("two digits", &[(":status", "20")]),
        ("four", &[(":status", "2000")]),
        ("words", &[(":status", "200 OK")]),
        ("switching protocols", &[(":status", "101")]),
    ] {
        assert_eq!(to_client(&respond(1, END_STREAM, fields)), stream(MALFORMED), "{name}");
    }
    assert_eq!(
        to_client(&respond(1, END_STREAM, &[(":status", "103")])),
        stream(MALFORMED),
        "that ends nothing"
    );
    assert_eq!(to_client(&frame(DATA, 0, 1, b"x")), stream(MALFORMED), "content without a head");
    assert_eq!(to_client(&respond(1, END_STREAM, &[(":status", "999")])), Fine);
}

#[test]
fn s8_5_what_connect_must_have() {
    let connect = (":method", "CONNECT");
    check_requests(
        false,
        &[
            ("a scheme", &[connect, SCHEME, (":authority", "app:443")]),
            ("a path", &[connect, PATH, (":authority", "app:443")]),
            ("no authority", &[connect]),
            ("an empty one", &[connect, (":authority", "")]),
        ],
    );
    check_requests(true, &[("what it must", &[connect, (":authority", "app:443")])]);
}

/// Section 10.5.1: a head that is too large, in fields or in bytes.
#[test]
fn s10_5_1_large_heads() {
    let large: Vec<u8> = [block(&GET), block(&[("a", &"x".repeat(100))]).repeat(130)].concat();
    assert!(large.len() < 16_384);
    let mut server = Side::greeted();
    server.take(&frame(HEADERS, WHOLE, 1, &large));
    assert_eq!(server.opened[0].1, Opened::TooLarge);
    // References of one byte to a large entry.
    let bomb = [&[0x40, 1, b'a', 0x7f, 0x81, 0x1e][..], &[b'v'; 4000 - 32], &[0xbe; 500]].concat();
    server.take(&frame(HEADERS, WHOLE, 3, &[&block(&GET)[..], &bomb].concat()));
    assert_eq!(server.opened[1].1, Opened::TooLarge);
    assert_eq!(server.verdict(), Fine);
    server.take(&get(5));
    assert_eq!(server.opened[2].1, Opened::Request, "and the connection goes on");
}
