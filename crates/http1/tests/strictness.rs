//! What a strict codec does with bad HTTP: a table by shape. A shape's number is its line in the project's list; `0` marks a
//! shape beyond the list. Anything refused here never reaches an upstream, because nothing is written before the verdict.

use weir_http1::{
    BodyDecoder, BodyError, BodyKind, ConnectionOption, FieldName, FieldSet, FieldTable, HeadWriter,
    KnownField, Limits, Method, Normalized, Parsed, PathError, RequestError, RequestHead, ResponseError,
    ResponseHead, Sent, TargetForm, Version, WriteError, normalize_path, parse_request, parse_response,
};

const LIMITS: Limits = Limits::DEFAULT;

fn request(raw: &[u8]) -> Result<(RequestHead, usize), RequestError> {
    let mut head = RequestHead::default();
    match parse_request(raw, &LIMITS, &mut head)? {
        Parsed::Complete(len) => Ok((head, len)),
        Parsed::Partial => panic!("the head is not complete: {}", raw.escape_ascii()),
    }
}

fn response(sent: Sent<'_>, raw: &[u8]) -> Result<(ResponseHead, usize), ResponseError> {
    let mut head = ResponseHead::default();
    match parse_response(raw, &LIMITS, sent, &mut head)? {
        Parsed::Complete(len) => Ok((head, len)),
        Parsed::Partial => panic!("the head is not complete: {}", raw.escape_ascii()),
    }
}

enum Verdict {
    Accept(BodyKind),
    Reject(u16),
}
use Verdict::{Accept, Reject};

/// (shape, field lines, verdict) of `POST / HTTP/1.1` with a good `Host`.
const FRAMING: &[(u32, &str, Verdict)] = &[
    (0, "", Accept(BodyKind::None)),
    (0, "Content-Length: 0\r\n", Accept(BodyKind::Length(0))),
    (0, "content-length:5\t\r\n", Accept(BodyKind::Length(5))),
    (0, "Content-Length: 18446744073709551615\r\n", Accept(BodyKind::Length(u64::MAX))),
    (0, "Transfer-Encoding: Chunked\r\n", Accept(BodyKind::Chunked)),
    (1, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Reject(400)),
    (1, "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Reject(400)),
    (1, "Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n", Reject(400)),
    (2, "Content-Length: 5\r\nContent-Length: 6\r\n", Reject(400)),
    (3, "Content-Length: 1, 2\r\n", Reject(400)),
    (4, "Content-Length: 5\r\nContent-Length: 5\r\n", Reject(400)),
    (4, "Content-Length: 5, 5\r\n", Reject(400)),
    (5, "Content-Length: +1\r\n", Reject(400)),
    (6, "Content-Length: -1\r\n", Reject(400)),
    (7, "Content-Length: 0x10\r\n", Reject(400)),
    (8, "Content-Length: 1_0\r\n", Reject(400)),
    (0, "Content-Length: 1 0\r\n", Reject(400)),
    (0, "Content-Length: 1.0\r\n", Reject(400)),
    (0, "Content-Length: \u{0661}\r\n", Reject(400)),
    (9, "Content-Length:\r\n", Reject(400)),
    (9, "Content-Length: \t \r\n", Reject(400)),
    (10, "Content-Length: 18446744073709551616\r\n", Reject(400)),
    (10, "Content-Length: 99999999999999999999999999\r\n", Reject(400)),
    (11, "Transfer-Encoding: xchunked\r\n", Reject(501)),
    (11, "Transfer-Encoding: chunkedx\r\n", Reject(501)),
    (11, "Transfer-Encoding: identity\r\n", Reject(501)),
    (12, "Transfer-Encoding: chunked, identity\r\n", Reject(400)),
    (0, "Transfer-Encoding: gzip, identity\r\n", Reject(400)),
    (13, "Transfer-Encoding: ,chunked\r\n", Reject(400)),
    (13, "Transfer-Encoding: chunked,\r\n", Reject(400)),
    (14, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Reject(400)),
    (14, "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", Reject(400)),
    (14, "Transfer-Encoding: chunked, chunked\r\n", Reject(400)),
    (15, "Transfer-Encoding: gzip, chunked\r\n", Reject(501)),
    (16, "Transfer-Encoding: chunked;x\r\n", Reject(400)),
    (17, "Transfer-Encoding: \x0bchunked\r\n", Reject(400)),
    (17, "Transfer-Encoding: \x0cchunked\r\n", Reject(400)),
    (18, "Transfer-Encoding: \"chunked\"\r\n", Reject(400)),
    (18, "Transfer-Encoding: 'chunked'\r\n", Reject(501)),
    (0, "Transfer-Encoding:\r\n", Reject(400)),
    (0, "Transfer-Encoding: chunked\u{a0}\r\n", Reject(400)),
    (20, "Transfer_Encoding: chunked\r\n", Accept(BodyKind::None)),
    (20, "Content_Length: 5\r\n", Accept(BodyKind::None)),
    (0, "Transfer-Encodin: chunked\r\nTransfer--Encoding: chunked\r\n", Accept(BodyKind::None)),
    (22, "Expect: 200-ok\r\n", Reject(417)),
    (22, "Expect: 100-continue, x\r\n", Reject(417)),
    (22, "Expect: 100-continue\r\nExpect: x\r\n", Reject(417)),
    (22, "Expect:\r\n", Reject(417)),
    (22, "Expect: 100-Continue\r\nContent-Length: 3\r\n", Accept(BodyKind::Length(3))),
    // Fields.
    (39, "A: b\nC: d\r\n", Reject(400)),
    (39, "A: b\n", Reject(400)),
    (39, "A\n: b\r\n", Reject(400)),
    (40, "A: b\rc\r\n", Reject(400)),
    (40, "A: b\r\rC: d\r\n", Reject(400)),
    (40, "A\r: b\r\n", Reject(400)),
    (40, "\rA: b\r\n", Reject(400)),
    (41, "A: b\0c\r\n", Reject(400)),
    (41, "A\0: b\r\n", Reject(400)),
    (42, "A: b\x01\r\n", Reject(400)),
    (42, "A: \x7f\r\n", Reject(400)),
    (42, "A: \x1b[0m\r\n", Reject(400)),
    (0, "A: b\tc \u{e9}\r\n", Accept(BodyKind::None)),
    (0, "A:\r\nB:  \r\n", Accept(BodyKind::None)),
    (43, "Name : x\r\n", Reject(400)),
    (43, "Name\t: x\r\n", Reject(400)),
    (43, "Content-Length : 5\r\n", Reject(400)),
    (44, " A: b\r\n", Reject(400)),
    (44, "\tA: b\r\n", Reject(400)),
    (45, "A: b\r\n c\r\n", Reject(400)),
    (45, "A: b\r\n\tc: d\r\n", Reject(400)),
    (45, "Transfer-Encoding:\r\n chunked\r\n", Reject(400)),
    (46, ": b\r\n", Reject(400)),
    (46, ":\r\n", Reject(400)),
    (47, "Name\r\n", Reject(400)),
    (47, "Name x\r\n", Reject(400)),
    (0, "Na(me: x\r\n", Reject(400)),
    (0, "Na\u{e9}me: x\r\n", Reject(400)),
    (0, "Connection: a b\r\n", Reject(400)),
    (0, "Connection: ,close,\r\n", Accept(BodyKind::None)),
    (60, "Host: a\r\n", Reject(400)),
    (60, "host: b\r\n", Reject(400)),
];

#[test]
fn field_lines() {
    for (shape, lines, verdict) in FRAMING {
        // 44 is about the first field, the others also hold behind one.
        for (before, after) in [("", "Host: a\r\n"), ("Host: a\r\n", "")] {
            let raw = format!("POST / HTTP/1.1\r\n{before}{lines}{after}\r\n");
            let found = request(raw.as_bytes());
            match verdict {
                Accept(kind) => {
                    let (head, len) = found.unwrap_or_else(|e| panic!("{shape} {lines:?}: {e}"));
                    assert_eq!((head.body(), len), (*kind, raw.len()), "{shape} {lines:?}");
                }
                Reject(status) => {
                    let fault = found.err().unwrap_or_else(|| panic!("{shape} {lines:?}: accepted"));
                    assert_eq!(fault.status(), *status, "{shape} {lines:?}: {fault}");
                    assert!(!fault.reason().is_empty() && !fault.code().is_empty());
                }
            }
        }
    }
}

#[test]
fn bytes_that_are_not_utf8() {
    for (shape, line, status) in [
        (48, &b"Na\x85me: x\r\n"[..], Some(400)),
        (48, b"\x85: x\r\n", Some(400)),
        (17, b"Transfer-Encoding: \x85chunked\r\n", Some(400)),
        (17, b"Transfer-Encoding: chunked\xa0\r\n", Some(400)),
        (0, b"A: \x85\xff\r\n", None),
    ] {
        let raw = [b"GET / HTTP/1.1\r\nHost: a\r\n", line, b"\r\n"].concat();
        assert_eq!(request(&raw).err().map(|e| e.status()), status, "{shape} {}", line.escape_ascii());
    }
}

/// (shape, whole head, verdict).
const HEADS: &[(u32, &str, Verdict)] = &[
    (0, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", Accept(BodyKind::None)),
    (0, "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Accept(BodyKind::None)),
    (0, "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (0, "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (19, "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Reject(400)),
    (21, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", Accept(BodyKind::Length(5))),
    (21, "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Accept(BodyKind::Chunked)),
    (39, "GET / HTTP/1.1\nHost: a\n\n", Reject(400)),
    (39, "GET / HTTP/1.1\r\nHost: a\r\n\n", Reject(400)),
    (40, "GET / HTTP/1.1\rHost: a\r\n\r\n", Reject(400)),
    (40, "GET / HTTP/1.1\r\nHost: a\r\n\rGET", Reject(400)),
    (41, "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (50, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (50, "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (50, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Reject(400)),
    (50, " GET / HTTP/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (51, "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (51, "GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (51, "GET / HTTP/1.1\t\r\nHost: a\r\n\r\n", Reject(400)),
    (0, "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (52, "GET / HTTP/1.32\r\nHost: a\r\n\r\n", Reject(400)),
    (52, "GET / HTTP/1.\r\nHost: a\r\n\r\n", Reject(400)),
    (52, "GET / HTTP/11\r\nHost: a\r\n\r\n", Reject(400)),
    (52, "GET / http/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (52, "GET / HTTP/01.1\r\nHost: a\r\n\r\n", Reject(400)),
    (52, "GET / HTP/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (0, "GET / HTTP/1.2\r\nHost: a\r\n\r\n", Reject(505)),
    (0, "GET / HTTP/2.0\r\nHost: a\r\n\r\n", Reject(505)),
    (0, "GET / HTTP/0.9\r\nHost: a\r\n\r\n", Reject(505)),
    (0, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Reject(505)),
    (53, "GET /\r\n", Reject(400)),
    (53, "GET /\n", Reject(400)),
    (53, "GET\r\n", Reject(400)),
    (53, "GET \r\n", Reject(400)),
    (54, "G(T / HTTP/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (54, "G\u{e9}T / HTTP/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (54, "/ HTTP/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (54, "GET: / HTTP/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (54, "AMETHODTHATISMUCHLONGERTHANANYKNOWN / HTTP/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (0, "PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n", Accept(BodyKind::None)),
    (55, "GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (55, "GET # HTTP/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (56, "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (56, "GET /a\x7f HTTP/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (0, "GET a HTTP/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (0, "GET * HTTP/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (0, "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (0, "GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (0, "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (0, "GET http:/a HTTP/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (0, "GET ?a HTTP/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (0, "CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (0, "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (0, "CONNECT http://a:1/ HTTP/1.1\r\nHost: a\r\n\r\n", Reject(400)),
    (59, "GET / HTTP/1.1\r\n\r\n", Reject(400)),
    (59, "GET http://a/ HTTP/1.1\r\n\r\n", Reject(400)),
    (0, "GET / HTTP/1.0\r\n\r\n", Accept(BodyKind::None)),
    (60, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Reject(400)),
    (60, "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", Reject(400)),
    (61, "GET / HTTP/1.1\r\nHost: a/b@c\r\n\r\n", Reject(400)),
    (61, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Reject(400)),
    (61, "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", Reject(400)),
    (61, "GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", Reject(400)),
    (61, "GET / HTTP/1.1\r\nHost: a#\r\n\r\n", Reject(400)),
    (61, "GET / HTTP/1.1\r\nHost:\r\n\r\n", Reject(400)),
    (61, "GET http://b/ HTTP/1.1\r\nHost: a/b@c\r\n\r\n", Reject(400)),
];

#[test]
fn whole_heads() {
    for (shape, raw, verdict) in HEADS {
        match (verdict, request(raw.as_bytes())) {
            (Accept(kind), Ok((head, len))) => {
                assert_eq!((head.body(), len), (*kind, raw.len()), "{shape} {raw:?}");
            }
            (Reject(status), Err(fault)) => assert_eq!(fault.status(), *status, "{shape} {raw:?}: {fault}"),
            (_, found) => panic!("{shape} {raw:?}: {found:?}"),
        }
    }
}

#[test]
fn shape_49_too_many_or_too_large_fields() {
    let head = |lines: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes();
    assert!(request(&head(&"A: b\r\n".repeat(99))).is_ok());
    let fault = request(&head(&"A: b\r\n".repeat(100))).err();
    assert_eq!(fault.map(|e| e.status()), Some(431));

    let empty = head("A: \r\n").len();
    let exact = head(&format!("A: {}\r\n", "x".repeat(64 * 1024 - empty)));
    assert_eq!(exact.len(), 64 * 1024);
    assert_eq!(request(&exact).map(|(_, len)| len), Ok(64 * 1024));
    let above = head(&format!("A: {}\r\n", "x".repeat(64 * 1024 - empty + 1)));
    assert_eq!(request(&above).err().map(|e| e.status()), Some(431));
    // The verdict falls at the limit, not when (if ever) the end arrives, and also when the bytes drip in.
    let mut parser = RequestHead::default();
    for end in 0..64 * 1024 {
        assert_eq!(parse_request(&above[..end], &LIMITS, &mut parser), Ok(Parsed::Partial));
    }
    let fault = parse_request(&above[..64 * 1024], &LIMITS, &mut parser).err();
    assert_eq!(fault.map(|e| e.status()), Some(431));
}

#[test]
fn shape_57_long_targets() {
    let head = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(len - 1)).into_bytes();
    assert!(request(&head(8 * 1024)).is_ok());
    assert_eq!(request(&head(8 * 1024 + 1)).err().map(|e| e.status()), Some(414));
    let unfinished = [b"GET /", &[b'x'; 10_000][..]].concat();
    assert_eq!(request(&unfinished).err().map(|e| e.status()), Some(414));
}

#[test]
fn shape_58_connect_and_trace() {
    let (connect, _) = request(b"CONNECT a.b:443 HTTP/1.1\r\nHost: a.b:443\r\n\r\n").unwrap();
    assert_eq!(connect.check_method(false).map_err(|e| e.status()), Err(405));
    assert_eq!(connect.check_method(true), Ok(()));
    assert_eq!(connect.target_form(), TargetForm::Authority);
    let (trace, _) = request(b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(trace.check_method(true).map_err(|e| e.status()), Err(405));
}

#[test]
fn shape_62_the_target_wins_over_host() {
    let raw = b"GET HTTP://real:81?q=/x HTTP/1.1\r\nHost: forged\r\n\r\n";
    let (head, _) = request(raw).unwrap();
    assert_eq!(head.host(raw), Some(&b"real:81"[..]));
    assert_eq!(head.authority(raw).and_then(|a| a.port), Some(81));
    assert_eq!((head.path(raw), head.query(raw)), (&b"/"[..], &b"?q=/x"[..]));
    assert_eq!(head.target_form(), TargetForm::Absolute);
    let written = forward(raw, &head);
    assert_eq!(written, "GET /?q=/x HTTP/1.1\r\nHost: real:81\r\n\r\n");

    let raw = b"OPTIONS https://real HTTP/1.1\r\nHost: forged\r\n\r\n";
    let (head, _) = request(raw).unwrap();
    assert_eq!((head.target_form(), head.path(raw)), (TargetForm::Asterisk, &b"*"[..]));
    assert_eq!(head.host(raw), Some(&b"real"[..]));
}

#[test]
fn shapes_64_to_67_paths() {
    for (shape, path, expected) in [
        (64, "/a/../admin", Ok("/admin")),
        (64, "/a/%2e%2e/admin", Ok("/admin")),
        (64, "/a/.%2E/admin", Ok("/admin")),
        (64, "/../../etc", Ok("/etc")),
        (65, "//admin", Ok("/admin")),
        (65, "/a//b", Ok("/a/b")),
        (65, "/.;/admin", Ok("/admin")),
        (65, "/a/..;/admin", Ok("/admin")),
        (66, "/a%2fb", Ok("/a%2fb")),
        (66, "/a%5Cb", Ok("/a%5Cb")),
        (66, "/a/..%2fb", Ok("/a/..%2fb")),
        (66, "/a\\b", Err(PathError::Backslash)),
        (67, "/a%00b", Err(PathError::Nul)),
        (67, "/%00", Err(PathError::Nul)),
    ] {
        let mut out = Vec::new();
        let found = normalize_path(path.as_bytes(), &mut out).map(|verdict| match verdict {
            Normalized::Unchanged => path.as_bytes().to_vec(),
            Normalized::Changed => out,
        });
        assert_eq!(found, expected.map(|p| p.as_bytes().to_vec()), "{shape} {path}");
        if let Err(fault) = found {
            assert_eq!(RequestError::from(fault).status(), 400);
        }
    }
}

fn forward(raw: &[u8], head: &RequestHead) -> String {
    let mut out = Vec::new();
    let mut writer =
        HeadWriter::request(&mut out, head.method_bytes(raw), head.path(raw), head.query(raw)).unwrap();
    writer.host(head.host(raw).unwrap_or_default()).unwrap();
    writer.copy(raw, head.fields(), FieldSet::FORWARDING).framing(head.body());
    if head.te_trailers() {
        writer.field(FieldName::from_static("te"), b"trailers").unwrap();
    }
    if let Some(protocol) = head.upgrade(raw) {
        writer.connection(ConnectionOption::Upgrade(protocol)).unwrap();
    }
    writer.finish();
    String::from_utf8(out).unwrap()
}

/// (shape, field lines that come in, field lines that go out) of a GET.
const HOPS: &[(u32, &str, &str)] = &[
    (0, "A: 1\r\nB:2 \r\na: 3\r\n", "A: 1\r\nB:2 \r\na: 3\r\n"),
    (0, "A: 1\r\nConnection: a, close, X\r\nB: 2\r\nx: 3\r\nC: 4\r\n", "B: 2\r\nC: 4\r\n"),
    (0, "Connection: b\r\nB: 2\r\nConnection: A\r\na: 1\r\n", ""),
    (68, "Connection: Authorization\r\nAuthorization: x\r\n", "Authorization: x\r\n"),
    (68, "Cookie: x\r\nConnection: cookie, host\r\n", "Cookie: x\r\n"),
    (68, "Connection: content-length\r\nContent-Length: 5\r\n", "Content-Length: 5\r\n"),
    (68, "Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\n"),
    (69, "Keep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip\r\nProxy-Authorization: x\r\n", ""),
    (69, "TE: gzip;q=1, trailers\r\nConnection: te\r\n", "te: trailers\r\n"),
    (70, "Connection: upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n", ""),
    (70, "Connection: upgrade\r\nUpgrade: websocket, h2c\r\n", ""),
    (70, "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n", ""),
    (70, "Connection: upgrade\r\nUpgrade: H2C\r\nContent-Length: 5\r\n", "Content-Length: 5\r\n"),
    (0, "Upgrade: websocket\r\n", ""),
    (0, "Connection: Upgrade\r\nUpgrade: websocket\r\n", "Connection: upgrade\r\nUpgrade: websocket\r\n"),
    (0, "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n", "Content-Length: 5\r\n"),
    (
        72,
        "X-Forwarded-For: 1\r\nX-Forwarded-Client-Cert: 1\r\nX-Weir-Identity: 1\r\nForwarded: a\r\nX-Real-IP: 1\r\n",
        "",
    ),
    (72, "X_Forwarded_For: 1\r\nx_weir_identity: 1\r\nX-Forwarded_Proto: h\r\n", ""),
    (20, "Transfer_Encoding: chunked\r\nContent_Length: 4\r\n", ""),
];

#[test]
fn hop_by_hop_fields() {
    for (shape, lines, expected) in HOPS {
        let raw = format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        let (head, _) = request(raw.as_bytes()).unwrap_or_else(|e| panic!("{shape} {lines:?}: {e}"));
        let expected = format!("GET / HTTP/1.1\r\nHost: h\r\n{expected}\r\n");
        assert_eq!(forward(raw.as_bytes(), &head), expected, "{shape} {lines:?}");
    }
    let forged = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: x-forwarded-for, x-weir-a\r\nX-Forwarded-For: 1\r\nX-Weir-A: 2\r\n\r\n";
    let (head, _) = request(forged).unwrap();
    assert!(head.fields().iter().all(|field| !field.nominated), "68");
}

#[test]
fn connection_options_are_bounded() {
    let head = |count: usize| {
        format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: {}\r\n\r\n", vec!["a"; count].join(","))
    };
    assert!(request(head(32).as_bytes()).is_ok());
    assert_eq!(request(head(33).as_bytes()).err().map(|e| e.status()), Some(400));
}

#[test]
fn persistence() {
    for (version, line, keeps) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: keep-alive, Close\r\n", false),
        ("1.1", "Proxy-Connection: close\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive\r\nConnection: close\r\n", false),
    ] {
        let raw = format!("GET / HTTP/{version}\r\nHost: a\r\n{line}\r\n");
        let (head, _) = request(raw.as_bytes()).unwrap();
        assert_eq!(head.keep_alive(), keeps, "request {version} {line:?}");
        let raw = format!("HTTP/{version} 200 OK\r\nContent-Length: 0\r\n{line}\r\n");
        let (head, _) = response(Sent::default(), raw.as_bytes()).unwrap();
        assert_eq!(head.keep_alive(), keeps, "response {version} {line:?}");
    }
}

#[test]
fn shape_22_expectations() {
    for (version, line, waits) in [
        ("1.1", "Content-Length: 5\r\n", true),
        ("1.1", "Transfer-Encoding: chunked\r\n", true),
        ("1.1", "", false),
        ("1.1", "Content-Length: 0\r\n", false),
        ("1.0", "Content-Length: 5\r\n", false),
    ] {
        let raw = format!("PUT / HTTP/{version}\r\nHost: a\r\nExpect: 100-continue\r\n{line}\r\n");
        assert_eq!(request(raw.as_bytes()).unwrap().0.expect_continue(), waits, "{version} {line:?}");
    }
}

#[test]
fn faults_name_the_field() {
    for (lines, word) in [
        ("My-Field: a\0\r\n", "My-Field"),
        ("My-Field : a\r\n", "My-Field"),
        ("Content-Length: x\r\n", "content-length"),
        ("Transfer-Encoding: x\r\n", "transfer-encoding"),
        ("Expect: x\r\n", "expect"),
        ("Host: b\r\n", "host"),
    ] {
        let raw = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let reason = request(raw.as_bytes()).err().map(|e| e.reason()).unwrap_or_default();
        assert!(reason.contains(word), "{lines:?}: {reason}");
    }
}

/// Reads a chunked body to its end, the whole input in one call per step.
fn read(kind: BodyKind, raw: &[u8]) -> Result<(Vec<u8>, usize, BodyDecoder), BodyError> {
    let mut decoder = BodyDecoder::new(kind, &LIMITS);
    let mut buf = raw.to_vec();
    let (mut content, mut pos) = (Vec::new(), 0);
    loop {
        let step = decoder.decode(&mut buf[pos..])?;
        content.extend_from_slice(&buf[pos..][step.data]);
        pos += step.consumed;
        if step.done {
            return Ok((content, pos, decoder));
        }
        if step.consumed == 0 {
            decoder.end_of_input()?;
            return Ok((content, pos, decoder));
        }
    }
}

const CHUNKED: &[(u32, &str, Result<&str, &str>)] = &[
    (0, "0\r\n\r\n", Ok("")),
    (0, "3\r\nabc\r\n0\r\n\r\n", Ok("abc")),
    (0, "3;a=b;c=\"d\te\"\r\nabc\r\n00A;\r\n0123456789\r\n000\r\n\r\n", Ok("abc0123456789")),
    (24, "3\r\nab", Err("incomplete")),
    (24, "3\r\nabc\r\n", Err("incomplete")),
    (24, "3\r\nabc\r\n0\r\n", Err("incomplete")),
    (24, "3\r\nabc\r\n0\r\nA: b\r\n", Err("incomplete")),
    (25, "0x1\r\na\r\n0\r\n\r\n", Err("chunk")),
    (26, "+1\r\na\r\n0\r\n\r\n", Err("chunk")),
    (26, "-1\r\na\r\n0\r\n\r\n", Err("chunk")),
    (27, "1_0\r\na\r\n0\r\n\r\n", Err("chunk")),
    (28, "10000000000000000\r\na\r\n0\r\n\r\n", Err("chunk")),
    (28, "00000000000000001\r\na\r\n0\r\n\r\n", Err("chunk")),
    (28, "fffffffffffffffff\r\na\r\n0\r\n\r\n", Err("chunk")),
    (28, "ffffffffffffffff\r\na\r\n0\r\n\r\n", Err("chunk")),
    (29, "\r\na\r\n0\r\n\r\n", Err("chunk")),
    (29, ";x\r\na\r\n0\r\n\r\n", Err("chunk")),
    (30, " 1\r\na\r\n0\r\n\r\n", Err("chunk")),
    (30, "1 \r\na\r\n0\r\n\r\n", Err("chunk")),
    (30, "1 ;a\r\na\r\n0\r\n\r\n", Err("chunk")),
    (31, "1;a\na\r\n0\r\n\r\n", Err("chunk")),
    (32, "1;a\rb\r\na\r\n0\r\n\r\n", Err("chunk")),
    (0, "1;a\0\r\na\r\n0\r\n\r\n", Err("chunk")),
    (33, "1\na\r\n0\r\n\r\n", Err("chunk")),
    (33, "1\r\na\r\n0\n\r\n", Err("chunk")),
    (34, "1\r\na\n0\r\n\r\n", Err("chunk")),
    (35, "1\r\nab\r\n0\r\n\r\n", Err("chunk")),
    (35, "1\r\na0\r\n\r\n", Err("chunk")),
    (0, "1\r\na\r\n0\r\n\n", Err("trailers")),
    (0, "1\r\na\r\n0\r\n\rx", Err("trailers")),
    (0, "0\r\nA: b\n\r\n", Err("trailers")),
    (0, "0\r\nA : b\r\n\r\n", Err("trailers")),
    (0, "0\r\nA: b\r\n c\r\n\r\n", Err("trailers")),
    (0, "0\r\nA\r\n\r\n", Err("trailers")),
    (0, "0\r\nA: \0\r\n\r\n", Err("trailers")),
];

#[test]
fn chunked_bodies() {
    for (shape, raw, expected) in CHUNKED {
        let found = read(BodyKind::Chunked, raw.as_bytes());
        let shown = match (shape, &found) {
            // A size of 2^64 - 1 is legal; that much cannot follow.
            (28, Err(BodyError::Incomplete | BodyError::ChunkEnd(_)))
                if raw.starts_with("ffffffffffffffff\r") =>
            {
                continue;
            }
            (_, Ok((content, used, _))) => {
                assert_eq!(*used, raw.len(), "{shape} {raw:?}");
                Ok(std::str::from_utf8(content).unwrap())
            }
            (_, Err(fault)) => Err(fault.code()),
        };
        assert_eq!(shown, *expected, "{shape} {raw:?}");
    }
    let (content, used, _) = read(BodyKind::Chunked, b"1\r\na\r\n0\r\n\r\nGET / HTTP").unwrap();
    assert_eq!((content, used), (b"a".to_vec(), 11), "what follows is the next message");
}

#[test]
fn shape_24_lengths_and_end_of_input() {
    assert_eq!(read(BodyKind::Length(3), b"abcdef").map(|(c, used, _)| (c, used)), Ok((b"abc".to_vec(), 3)));
    assert_eq!(read(BodyKind::Length(3), b"ab").err(), Some(BodyError::Incomplete));
    assert_eq!(read(BodyKind::Length(0), b"ab").map(|(c, used, _)| (c, used)), Ok((Vec::new(), 0)));
    assert_eq!(read(BodyKind::UntilClose, b"ab").map(|(c, used, _)| (c, used)), Ok((b"ab".to_vec(), 2)));
    let mut failed = BodyDecoder::new(BodyKind::Chunked, &LIMITS);
    assert!(failed.decode(&mut b"x".to_vec()).is_err());
    assert!(failed.decode(&mut b"0\r\n\r\n".to_vec()).is_err(), "a fault is final");
    assert!(failed.end_of_input().is_err() && !failed.is_done());
}

#[test]
fn shape_36_extensions_are_bounded() {
    let long = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(16 * 1024));
    assert_eq!(read(BodyKind::Chunked, long.as_bytes()).err(), Some(BodyError::ChunkExtensionsTooLong(4096)));
    let many = "1;xxxxxxxxxx\r\na\r\n".repeat(500);
    assert_eq!(read(BodyKind::Chunked, many.as_bytes()).err(), Some(BodyError::ChunkExtensionsTooLong(4096)));
}

#[test]
fn shape_37_tiny_chunks_come_out_together() {
    let mut buf = "1\r\na\r\n".repeat(1_000_000).into_bytes();
    buf.extend_from_slice(b"0\r\n\r\n");
    let mut decoder = BodyDecoder::new(BodyKind::Chunked, &LIMITS);
    let step = decoder.decode(&mut buf).unwrap();
    assert!(step.done, "one call, hence one span to write, whatever the number of chunks");
    assert_eq!((step.consumed, step.data.len()), (6_000_005, 1_000_000));
    assert!(buf[step.data].iter().all(|&b| b == b'a'));
}

#[test]
fn shape_38_trailers() {
    let raw = "1\r\na\r\n0\r\nContent-Length: 5\r\nX-Sum: 1\r\nTransfer-Encoding: chunked\r\nHost: x\r\nAuthorization: x\r\n\
               Set-Cookie: x\r\nX-Forwarded-For: x\r\nx-weir-a: x\r\nContent_Length: 1\r\nCache-Control: x\r\nConnection: x\r\nGrpc-Status:0\r\n\r\n";
    let (_, _, decoder) = read(BodyKind::Chunked, raw.as_bytes()).unwrap();
    let kept: Vec<_> = decoder.trailers().into_iter().flat_map(|trailers| trailers.iter()).collect();
    assert_eq!(kept, [(&b"X-Sum"[..], &b"1"[..]), (b"Grpc-Status", b"0")]);
    let mut out = Vec::new();
    weir_http1::BodyEncoder::new(BodyKind::Chunked).finish(decoder.trailers(), &mut out).unwrap();
    assert_eq!(out, b"0\r\nX-Sum: 1\r\nGrpc-Status: 0\r\n\r\n");

    let (_, _, decoder) = read(BodyKind::Chunked, b"0\r\nHost: x\r\n\r\n").unwrap();
    assert!(decoder.trailers().is_none());
    let large = format!("0\r\nA: {}\r\n\r\n", "x".repeat(8 * 1024));
    assert_eq!(read(BodyKind::Chunked, large.as_bytes()).err(), Some(BodyError::TrailersTooLarge(8 * 1024)));
    let many = format!("0\r\n{}\r\n", "A: x\r\n".repeat(101));
    assert_eq!(read(BodyKind::Chunked, many.as_bytes()).err().map(|e| e.status()), Some(431));
}

#[test]
fn trailers_are_of_one_body_only() {
    let (_, _, mut decoder) = read(BodyKind::Chunked, b"0\r\nGrpc-Status: 5\r\n\r\n").unwrap();
    assert!(decoder.trailers().is_some());
    for kind in [BodyKind::Length(2), BodyKind::None, BodyKind::UntilClose] {
        decoder.reset(BodyKind::Chunked, &LIMITS);
        assert!(decoder.decode(&mut b"0\r\nGrpc-Status: 5\r\n\r\n".to_vec()).unwrap().done);
        decoder.reset(kind, &LIMITS);
        let _ = decoder.decode(&mut b"ab".to_vec()).unwrap();
        decoder.end_of_input().unwrap();
        assert!(decoder.trailers().is_none(), "{kind:?}");
    }
}

const GET: Sent<'static> = Sent { method: Method::Get, upgrade: None };
const HEAD: Sent<'static> = Sent { method: Method::Head, upgrade: None };
const WEBSOCKET: Sent<'static> = Sent { method: Method::Get, upgrade: Some(b"websocket") };
const CONNECT: Sent<'static> = Sent { method: Method::Connect, upgrade: None };

/// (shape, what was sent, response head, framing or the fault's code).
const RESPONSES: &[(u32, Sent<'static>, &str, Result<BodyKind, &str>)] = &[
    (0, GET, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Ok(BodyKind::Length(5))),
    (0, GET, "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n", Ok(BodyKind::Chunked)),
    (0, GET, "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n", Ok(BodyKind::Length(5))),
    (0, GET, "HTTP/1.1 999 Odd\treason \r\n\r\n", Ok(BodyKind::UntilClose)),
    (0, GET, "HTTP/1.0 200 OK\r\n\r\n", Ok(BodyKind::UntilClose)),
    (0, HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Ok(BodyKind::None)),
    (0, HEAD, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Ok(BodyKind::None)),
    (0, HEAD, "HTTP/1.1 200 OK\r\n\r\n", Ok(BodyKind::None)),
    (0, GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Ok(BodyKind::None)),
    (0, GET, "HTTP/1.1 204 No Content\r\n\r\n", Ok(BodyKind::None)),
    (0, GET, "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", Ok(BodyKind::None)),
    (0, GET, "HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n", Ok(BodyKind::Length(0))),
    (0, CONNECT, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Ok(BodyKind::None)),
    (0, CONNECT, "HTTP/1.1 403 No\r\nContent-Length: 5\r\n\r\n", Ok(BodyKind::Length(5))),
    (
        73,
        GET,
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        Err("length_and_encoding"),
    ),
    (
        73,
        HEAD,
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        Err("length_and_encoding"),
    ),
    (
        73,
        GET,
        "HTTP/1.1 304 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        Err("length_and_encoding"),
    ),
    (2, GET, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", Err("content_length")),
    (5, GET, "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n", Err("content_length")),
    (10, GET, "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n", Err("content_length")),
    (15, GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Err("transfer_encoding")),
    (19, GET, "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Err("transfer_encoding")),
    (74, GET, "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", Err("line_end")),
    (74, GET, "HTTP/1.1 200 OK\r\nA: b\nc: d\r\n\r\n", Err("line_end")),
    (74, GET, "HTTP/1.1 200 OK\r\nA: \0\r\n\r\n", Err("field_value")),
    (74, GET, "HTTP/1.1 200 O\0K\r\n\r\n", Err("status_line")),
    (74, GET, "HTTP/1.1 200 OK\nA: b\r\n\r\n", Err("line_end")),
    (45, GET, "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", Err("fold")),
    (76, GET, "HTTP/1.1 100 Continue\r\n\r\n", Ok(BodyKind::None)),
    (
        0,
        GET,
        "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        Err("unexpected_upgrade"),
    ),
    (
        0,
        WEBSOCKET,
        "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\n",
        Ok(BodyKind::None),
    ),
    (0, WEBSOCKET, "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n", Err("unexpected_upgrade")),
    (0, WEBSOCKET, "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\n\r\n", Err("unexpected_upgrade")),
    (
        0,
        WEBSOCKET,
        "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        Err("unexpected_upgrade"),
    ),
    (71, WEBSOCKET, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Ok(BodyKind::Length(5))),
    (77, GET, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", Err("body_not_allowed")),
    (77, GET, "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", Err("body_not_allowed")),
    (77, GET, "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n", Err("body_not_allowed")),
    (0, GET, "HTTP/1.1 099 OK\r\n\r\n", Err("status_line")),
    (0, GET, "HTTP/1.1 20 OK\r\n\r\n", Err("status_line")),
    (0, GET, "HTTP/1.1 2000 OK\r\n\r\n", Err("status_line")),
    (0, GET, "HTTP/1.1  200 OK\r\n\r\n", Err("status_line")),
    (0, GET, "HTTP/1.2 200 OK\r\n\r\n", Err("status_line")),
    (0, GET, "HTTP/2 200 OK\r\n\r\n", Err("status_line")),
    (0, GET, "ICY 200 OK\r\n\r\n", Err("status_line")),
    (0, GET, "\r\nHTTP/1.1 200 OK\r\n\r\n", Err("status_line")),
    (0, GET, "hello\n", Err("status_line")),
    (0, GET, "HTTP/1.1\r\n", Err("status_line")),
];

#[test]
fn response_heads() {
    for (shape, sent, raw, expected) in RESPONSES {
        let found = response(*sent, raw.as_bytes());
        if let Err(fault) = &found {
            assert_eq!(fault.status(), 502);
            assert!(!fault.reason().is_empty());
        }
        assert_eq!(found.map(|(head, _)| head.body()).map_err(|e| e.code()), *expected, "{shape} {raw:?}");
    }
}

#[test]
fn shape_75_and_77_bytes_after_a_response() {
    for (sent, raw) in [
        (GET, "HTTP/1.1 204 No Content\r\n\r\n"),
        (GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
        (HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
    ] {
        let (head, len) = response(sent, raw.as_bytes()).unwrap();
        assert_eq!(len, raw.len());
        assert_eq!(head.check_rest(b""), Ok(()));
        assert_eq!(head.check_rest(b"hello"), Err(ResponseError::BytesAfterMessage), "{raw:?}");
    }
    let (head, _) = response(GET, b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
    assert_eq!(head.check_rest(b"HTTP/1.1 200 OK"), Ok(()));
    let (content, used, decoder) = read(BodyKind::Length(2), b"okHTTP/1.1 200 OK").unwrap();
    assert_eq!(
        (content.len(), used, decoder.is_done()),
        (2, 2, true),
        "the caller sees that bytes are left over"
    );
}

#[test]
fn shape_76_endless_interim_responses() {
    let raw = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let mut head = ResponseHead::default();
    for round in 0..2 {
        head.begin_exchange();
        for _ in 0..16 {
            assert_eq!(
                parse_response(raw, &LIMITS, GET, &mut head),
                Ok(Parsed::Complete(raw.len())),
                "{round}"
            );
            assert!(head.is_interim());
        }
        let fault = parse_response(raw, &LIMITS, GET, &mut head).err();
        assert_eq!(fault, Some(ResponseError::TooManyInterim(16)));
    }
}

#[test]
fn responses_are_framed_for_the_client() {
    for (sent, raw, client, head, body) in [
        (GET, "200 OK\r\nContent-Length: 5", Version::Http11, BodyKind::Length(5), BodyKind::Length(5)),
        (GET, "200 OK\r\nContent-Length: 5", Version::Http10, BodyKind::Length(5), BodyKind::Length(5)),
        (GET, "200 OK\r\nTransfer-Encoding: chunked", Version::Http11, BodyKind::Chunked, BodyKind::Chunked),
        (
            GET,
            "200 OK\r\nTransfer-Encoding: chunked",
            Version::Http10,
            BodyKind::UntilClose,
            BodyKind::UntilClose,
        ),
        (GET, "200 OK\r\nA: b", Version::Http11, BodyKind::Chunked, BodyKind::Chunked),
        (HEAD, "200 OK\r\nContent-Length: 5", Version::Http11, BodyKind::Length(5), BodyKind::None),
        (GET, "304 OK\r\nContent-Length: 5", Version::Http11, BodyKind::Length(5), BodyKind::None),
        (GET, "204 OK\r\nContent-Length: 0", Version::Http11, BodyKind::None, BodyKind::None),
    ] {
        let text = format!("HTTP/1.1 {raw}\r\n\r\n");
        let relay = response(sent, text.as_bytes()).unwrap().0.relay(client);
        assert_eq!((relay.head, relay.body), (head, body), "{raw}");
    }
}

#[test]
fn writers_cannot_split_a_message() {
    let mut out = b"before".to_vec();
    for (method, path, query) in [
        (&b"G T"[..], &b"/"[..], &b""[..]),
        (b"", b"/", b""),
        (b"GET", b"/ HTTP/1.1\r\nA: b", b""),
        (b"GET", b"", b""),
        (b"GET", b"a", b""),
        (b"GET", b"/", b"a"),
        (b"GET", b"/", b"?\n"),
        (b"GET", b"/", b"?#"),
        (b"GET\r\n", b"/", b""),
    ] {
        assert!(HeadWriter::request(&mut out, method, path, query).is_err());
    }
    assert_eq!(HeadWriter::response(&mut out, 99, b"").err(), Some(WriteError::Status));
    assert_eq!(HeadWriter::response(&mut out, 200, b"a\r\nb").err(), Some(WriteError::Reason));
    let mut writer = HeadWriter::response(&mut out, 200, b"OK").unwrap();
    for value in [&b"a\r\nb: c"[..], b"\0", b"\n", b"\x7f"] {
        assert_eq!(writer.field(FieldName::from_static("a"), value).err(), Some(WriteError::Value));
        assert!(writer.host(value).is_err());
        assert!(writer.connection(ConnectionOption::Upgrade(value)).is_err());
    }
    assert!(
        FieldName::new(b"a:b").is_none() && FieldName::new(b"").is_none() && FieldName::new(b"a\n").is_none()
    );
    drop(writer);
    assert_eq!(out, b"before", "an unfinished head is taken back");
}

#[test]
fn a_response_is_written() {
    let raw = b"HTTP/1.1 200 Fine\r\nServer: s\r\nConnection: close, x-a\r\nX-A: 1\r\nContent-Length: 007\r\nDate: d\r\n\r\n";
    let (head, _) = response(GET, raw).unwrap();
    assert!(!head.keep_alive());
    let mut out = Vec::new();
    let mut writer = HeadWriter::response(&mut out, head.status(), head.reason(raw)).unwrap();
    writer.copy(raw, head.fields(), FieldSet::NONE.with(KnownField::Server));
    writer.copy_where(raw, head.fields(), FieldSet::NONE, |name, _| name == b"Server");
    writer.framing(head.relay(Version::Http11).head).number(FieldName::from_static("age"), 0);
    writer.finish();
    let expected = "HTTP/1.1 200 Fine\r\nDate: d\r\nServer: s\r\nContent-Length: 7\r\nage: 0\r\n\r\n";
    assert_eq!(String::from_utf8_lossy(&out), expected);
}

#[test]
fn fields_are_found_by_name() {
    let raw = b"GET / HTTP/1.1\r\nHost: a\r\nX-Id: 1\r\naccept: x\r\nx-ID: 2\r\nAccept: y\r\n\r\n";
    let (head, _) = request(raw).unwrap();
    let fields: &FieldTable = head.fields();
    assert_eq!(fields.named(raw, b"x-id").collect::<Vec<_>>(), [b"1", b"2"]);
    assert_eq!(fields.values(raw, KnownField::Accept).collect::<Vec<_>>(), [b"x", b"y"]);
    assert_eq!(fields.value(raw, KnownField::Accept), Some(&b"x"[..]));
    assert_eq!(fields.value(raw, KnownField::Cookie), None);
    assert!(fields.repeated().has(KnownField::Accept) && !fields.repeated().has(KnownField::Host));
}
