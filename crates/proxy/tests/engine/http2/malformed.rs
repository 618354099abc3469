//! Requests and frames that break RFC 9113: refused, and nothing of them forwarded.

use super::raw::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, End, GET, HEADERS, PADDED, PING, RST_STREAM, Raw, SETTINGS,
    WINDOW_UPDATE, block, frame, get, post,
};
use crate::support::{Proxy, Upstream};

const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;

fn head(fields: &[(&str, &[u8])]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields))
}

/// The usual request with fields added.
fn with(more: &[(&str, &[u8])]) -> Vec<u8> {
    head(&GET.into_iter().chain(more.iter().copied()).collect::<Vec<_>>())
}

/// The usual request with one pseudo-header changed.
fn but(name: &str, value: &[u8]) -> Vec<u8> {
    head(&GET.map(|(found, before)| (found, if found == name { value } else { before })))
}

/// Shapes that end the stream, or answer it with a refusal. Nothing of them may arrive.
pub(super) fn requests() -> Vec<(&'static str, Vec<u8>)> {
    let long = vec![b'x'; 70_000];
    let mut big = vec![frame(HEADERS, END_STREAM, 1, &block(&GET))];
    big.extend(block(&[("x", &long)]).chunks(16_000).map(|part| frame(CONTINUATION, 0, 1, part)));
    big.push(frame(CONTINUATION, END_HEADERS, 1, &[]));
    let names: Vec<String> = (0..110).map(|n| format!("x-{n}")).collect();
    let many: Vec<(&str, &[u8])> = names.iter().map(|name| (&**name, &b"v"[..])).collect();
    vec![
        ("78: transfer-encoding", with(&[("transfer-encoding", b"chunked")])),
        ("78: connection", with(&[("connection", b"close")])),
        ("78: keep-alive", with(&[("keep-alive", b"1")])),
        ("78: proxy-connection", with(&[("proxy-connection", b"close")])),
        ("78: upgrade", with(&[("upgrade", b"websocket")])),
        ("78: te other than trailers", with(&[("te", b"gzip")])),
        ("79: a length without content", with(&[("content-length", b"5")])),
        (
            "79: two lengths",
            [
                post(1, &[("content-length", b"1"), ("content-length", b"2")]),
                frame(DATA, END_STREAM, 1, b"a"),
            ]
            .concat(),
        ),
        (
            "79: the same length twice",
            [
                post(1, &[("content-length", b"1"), ("content-length", b"1")]),
                frame(DATA, END_STREAM, 1, b"a"),
            ]
            .concat(),
        ),
        (
            "79: the same length twice, of a call",
            [
                post(
                    1,
                    &[
                        ("content-type", b"application/grpc"),
                        ("content-length", b"1"),
                        ("content-length", b"1"),
                    ],
                ),
                frame(DATA, END_STREAM, 1, b"a"),
            ]
            .concat(),
        ),
        (
            "79: a length with a sign",
            [post(1, &[("content-length", b"+1")]), frame(DATA, END_STREAM, 1, b"a")].concat(),
        ),
        ("80: CR", with(&[("x", b"a\rb")])),
        ("80: LF", with(&[("x", b"a\nb: c")])),
        ("80: CR LF", with(&[("x", b"a\r\nb: c")])),
        ("80: NUL", with(&[("x", b"a\0b")])),
        ("80: LF in a name", with(&[("x\ny", b"a")])),
        ("80: colon in a name", with(&[("x:y", b"a")])),
        ("80: space in a name", with(&[("x y", b"a")])),
        ("80: space before a value", with(&[("x", b" a")])),
        ("80: tab after a value", with(&[("x", b"a\t")])),
        ("80: upper case", with(&[("X-Upper", b"a")])),
        ("80: empty name", with(&[("", b"a")])),
        ("81: no method", head(&GET[1..])),
        ("81: no scheme", head(&[GET[0], GET[2], GET[3]])),
        ("81: no path", head(&GET[..3])),
        ("81: empty path", but(":path", b"")),
        ("81: repeated", with(&[(":path", b"/b")])),
        ("81: after a field", head(&[GET[0], GET[1], GET[2], ("x", b"a"), GET[3]])),
        ("81: unknown", with(&[(":nonsense", b"a")])),
        ("81: of a response", with(&[(":status", b"200")])),
        ("81: no authority and no host", head(&[GET[0], GET[1], GET[3]])),
        (
            "81: protocol that was not offered",
            head(&[(":method", b"CONNECT"), (":protocol", b"websocket"), GET[1], GET[2], GET[3]]),
        ),
        ("81: CONNECT", head(&[(":method", b"CONNECT"), GET[2]])),
        ("82: CR LF in the path", but(":path", b"/a HTTP/1.1\r\nhost: evil\r\n\r\nGET /b")),
        ("82: space in the path", but(":path", b"/a b")),
        ("82: CR LF in the method", but(":method", b"GET / HTTP/1.1\r\nx: y\r\n\r\nGET")),
        ("82: space in the method", but(":method", b"GET /x")),
        ("82: empty method", but(":method", b"")),
        ("82: path that is a URL", but(":path", b"http://evil/")),
        ("82: path without a slash", but(":path", b"a")),
        ("82: NUL in the path", but(":path", b"/a\0")),
        ("55: fragment in the path", but(":path", b"/a#b")),
        ("82: CR LF in the authority", but(":authority", b"app\r\nx: y")),
        ("82: user in the authority", but(":authority", b"user@app")),
        ("82: space in the authority", but(":authority", b"a b")),
        ("82: bad scheme", but(":scheme", b"ht tp")),
        ("83: host that differs", with(&[("host", b"evil")])),
        ("83: two hosts", with(&[("host", b"app"), ("host", b"evil")])),
        ("94: 64 KiB of fields", big.concat()),
        ("94: 100 fields", with(&many)),
    ]
}

#[test]
fn malformed_requests_are_refused_and_not_forwarded() {
    let upstream = Upstream::echo();
    let proxy = Proxy::to(&[upstream.addr]);
    for (name, bytes) in requests() {
        let mut raw = Raw::connect(&proxy);
        raw.send(&bytes);
        let end = raw.end_of(1);
        assert!(matches!(end, End::Whole | End::Reset(PROTOCOL_ERROR) | End::GoAway(_)), "{name}: {end:?}");
        let received = String::from_utf8_lossy(&upstream.received()).into_owned();
        assert!(received.is_empty(), "{name} was forwarded: {received}");
        if !matches!(end, End::GoAway(_)) {
            // The connection is none the worse.
            raw.send(frame(PING, 0, 0, b"are you?"));
            assert_eq!(raw.until(PING).unwrap().payload, b"are you?", "{name}");
        }
    }
    assert_eq!(proxy.client().get("/").status, 200);
}

/// What ends the connection, and with which errors it may.
pub(super) fn frames() -> Vec<(&'static str, Vec<u8>, &'static [u32])> {
    let overflow = 0x7fff_ffffu32.to_be_bytes();
    vec![
        (
            "87: an index that is not there",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0xff, 0x07]),
            &[9],
        ),
        (
            "87: a string that is longer than its block",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0, 100, b'x']),
            &[9],
        ),
        (
            "87: a table larger than allowed",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x3f, 0xff, 0xff, 0x7f]),
            &[9],
        ),
        ("93: WINDOW_UPDATE of nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), &[PROTOCOL_ERROR]),
        (
            "93: a window that overflows",
            [frame(WINDOW_UPDATE, 0, 0, &overflow), frame(WINDOW_UPDATE, 0, 0, &overflow)].concat(),
            &[FLOW_CONTROL_ERROR],
        ),
        (
            "93: an initial window that overflows",
            frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]),
            &[PROTOCOL_ERROR, FLOW_CONTROL_ERROR],
        ),
        (
            "94: a frame that is too large",
            [post(1, &[]), frame(DATA, 0, 1, &[0; 16_385])].concat(),
            &[FRAME_SIZE_ERROR],
        ),
        ("94: SETTINGS of a wrong size", frame(SETTINGS, 0, 0, &[0; 5]), &[FRAME_SIZE_ERROR]),
        ("94: PING of a wrong size", frame(PING, 0, 0, &[0; 7]), &[FRAME_SIZE_ERROR]),
        (
            "94: RST_STREAM of a wrong size",
            [get(1), frame(RST_STREAM, 0, 1, &[0; 3])].concat(),
            &[FRAME_SIZE_ERROR],
        ),
        ("94: WINDOW_UPDATE of a wrong size", frame(WINDOW_UPDATE, 0, 0, &[0; 5]), &[FRAME_SIZE_ERROR]),
        ("95: an even stream", get(2), &[PROTOCOL_ERROR]),
        (
            "95: HEADERS on the connection",
            frame(HEADERS, END_HEADERS | END_STREAM, 0, &block(&GET)),
            &[PROTOCOL_ERROR],
        ),
        ("95: DATA on the connection", frame(DATA, END_STREAM, 0, b"x"), &[PROTOCOL_ERROR]),
        ("95: DATA on an idle stream", frame(DATA, END_STREAM, 99, b"x"), &[PROTOCOL_ERROR]),
        ("95: RST_STREAM on an idle stream", frame(RST_STREAM, 0, 99, &[0; 4]), &[PROTOCOL_ERROR]),
        ("95: a stream that goes backwards", [get(5), get(3)].concat(), &[5]),
        ("95: SETTINGS on a stream", frame(SETTINGS, 0, 1, &[]), &[PROTOCOL_ERROR]),
        ("95: PING on a stream", frame(PING, 0, 1, &[0; 8]), &[PROTOCOL_ERROR]),
        ("95: CONTINUATION of nothing", frame(CONTINUATION, END_HEADERS, 1, &block(&GET)), &[PROTOCOL_ERROR]),
        (
            "95: a header block that is interrupted",
            [frame(HEADERS, END_STREAM, 1, &block(&GET)), frame(PING, 0, 0, &[0; 8])].concat(),
            &[PROTOCOL_ERROR],
        ),
        (
            "95: a header block that goes on elsewhere",
            [frame(HEADERS, END_STREAM, 1, &block(&GET)), frame(CONTINUATION, END_HEADERS, 3, &[])].concat(),
            &[PROTOCOL_ERROR],
        ),
        ("95: a promise from a client", frame(5, END_HEADERS, 1, &[0, 0, 0, 2]), &[PROTOCOL_ERROR]),
        (
            "96: more padding than there is",
            [post(1, &[]), frame(DATA, PADDED | END_STREAM, 1, &[9, b'x'])].concat(),
            &[PROTOCOL_ERROR],
        ),
        (
            "96: padded HEADERS without the length",
            frame(HEADERS, PADDED | END_HEADERS | END_STREAM, 1, &[]),
            &[PROTOCOL_ERROR, FRAME_SIZE_ERROR],
        ),
        ("a preface without SETTINGS", frame(PING, 0, 0, &[0; 8]), &[]),
    ]
}

#[test]
fn frames_that_break_the_rules_end_the_connection() {
    let upstream = Upstream::echo();
    let proxy = Proxy::to(&[upstream.addr]);
    for (name, bytes, codes) in frames() {
        if codes.is_empty() {
            continue;
        }
        let mut raw = Raw::connect(&proxy);
        raw.send(&bytes);
        // Stream 99 is nobody's, so only what ends the connection ends this.
        let end = loop {
            match raw.end_of(1001) {
                End::GoAway(NO_ERROR) => {}
                end => break end,
            }
        };
        let told = matches!(end, End::GoAway(code) if codes.contains(&code) || (code == PROTOCOL_ERROR && codes != [FRAME_SIZE_ERROR]));
        assert!(told || end == End::Closed, "{name}: {end:?}");
    }
    assert_eq!(proxy.client().get("/").status, 200);
}

#[test]
fn content_that_differs_from_its_length_is_never_a_whole_request() {
    // 79, in pieces: the upstream must not take what came for all there is.
    for pieces in [
        vec![frame(DATA, END_STREAM, 1, b"abc")],
        vec![frame(DATA, 0, 1, b"abcde"), frame(DATA, END_STREAM, 1, b"f")],
        vec![frame(DATA, 0, 1, b"ab"), frame(DATA, 0, 1, b"cdefgh")],
        vec![frame(DATA, 0, 1, b"ab"), frame(DATA, END_STREAM, 1, b"")],
    ] {
        let upstream = Upstream::echo();
        let proxy = Proxy::to(&[upstream.addr]);
        let mut raw = Raw::connect(&proxy);
        raw.send(post(1, &[("content-length", b"5")]));
        for piece in &pieces {
            raw.send(piece);
        }
        let end = raw.end_of(1);
        assert!(
            matches!(end, End::Reset(PROTOCOL_ERROR) | End::GoAway(PROTOCOL_ERROR)),
            "{pieces:?}: {end:?}"
        );
        let received = upstream.received();
        let body = crate::support::find(&received, b"\r\n\r\n").map_or(0, |at| received.len() - at - 4);
        assert!(body < 5, "{pieces:?}: {}", String::from_utf8_lossy(&received));
    }
    // The same for a length of nothing.
    let upstream = Upstream::echo();
    let proxy = Proxy::to(&[upstream.addr]);
    let mut raw = Raw::connect(&proxy);
    raw.send([post(1, &[("content-length", b"0")]), frame(DATA, END_STREAM, 1, b"x")].concat());
    let end = raw.end_of(1);
    assert!(matches!(end, End::Reset(PROTOCOL_ERROR) | End::GoAway(PROTOCOL_ERROR)), "{end:?}");
    assert!(upstream.received().is_empty());
}
