//! The shapes: what is refused, what is rewritten, what an upstream must not answer. Numbers are those of the list in the
//! project's notes on strict proxies (1 to 77, HTTP/1).

/// A shape that is refused.
pub(crate) struct Shape {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) status: u16,
}

fn shape(name: &str, bytes: impl Into<Vec<u8>>, status: u16) -> Shape {
    Shape { name: name.to_owned(), bytes: bytes.into(), status }
}

fn with(method: &str, fields: &str, body: &str) -> String {
    format!("{method} /x HTTP/1.1\r\nHost: app\r\n{fields}\r\n{body}")
}

fn line(line: &str) -> String {
    format!("{line}\r\nHost: app\r\n\r\n")
}

/// Heads that are no request, or not one that may be served.
pub(crate) fn refused() -> Vec<Shape> {
    let next = "GET /smuggled HTTP/1.1\r\nHost: app\r\n\r\n";
    let length = |value: &str| with("POST", &format!("Content-Length: {value}\r\n"), "ab");
    let coding = |value: &str| with("POST", &format!("Transfer-Encoding: {value}\r\n"), "0\r\n\r\n") + next;
    let field = |field: &str| with("GET", &format!("{field}\r\n"), next);
    let many: String = (0..101).map(|i| format!("X-{i}: 1\r\n")).collect();
    let both = "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n";
    let mut shapes = vec![
        shape("1 length and coding", with("POST", both, "0\r\n\r\n") + next, 400),
        shape("2 differing lengths", with("POST", "Content-Length: 1\r\nContent-Length: 2\r\n", "ab"), 400),
        shape("4 identical lengths", with("POST", "Content-Length: 2\r\nContent-Length: 2\r\n", "ab"), 400),
        shape(
            "14 coding twice",
            with("POST", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"),
            400,
        ),
        shape("19 coding in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        shape("22 expectation", with("POST", "Expect: magic\r\nContent-Length: 2\r\n", "ab"), 417),
        shape("39 bare LF", "GET / HTTP/1.1\nHost: app\n\n", 400),
        shape("39 bare LF in fields", "GET / HTTP/1.1\r\nHost: app\nX: y\r\n\r\n", 400),
        shape("44 space first", "GET / HTTP/1.1\r\n Host: app\r\n\r\n", 400),
        shape("48 byte in a name", b"GET / HTTP/1.1\r\nHost: app\r\nX\x85: y\r\n\r\n".as_slice(), 400),
        shape("49 too many fields", with("GET", &many, ""), 431),
        shape("49 too large", with("GET", &format!("X: {}\r\n", "a".repeat(66_000)), ""), 431),
        shape("53 simple request", "GET /\r\n\r\n", 400),
        shape("57 long target", line(&format!("GET /{} HTTP/1.1", "a".repeat(9000))), 414),
        shape("58 CONNECT", "CONNECT app:80 HTTP/1.1\r\nHost: app:80\r\n\r\n", 405),
        shape("59 no Host", "GET / HTTP/1.1\r\n\r\n", 400),
        shape("60 two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        shape("61 bad Host", "GET / HTTP/1.1\r\nHost: a/b@c\r\n\r\n", 400),
    ];
    for value in ["1, 2", "+1", "-1", "0x10", "1_0", "", "18446744073709551616", "2 2", "2;", "\u{661}"] {
        shapes.push(shape(&format!("3, 5 to 10: length {value:?}"), length(value), 400));
    }
    for value in [
        "chunked, identity",
        ",chunked",
        "chunked,",
        "chunked;x",
        "\u{b}chunked",
        "\"chunked\"",
        "chunked chunked",
    ] {
        shapes.push(shape(&format!("12 to 18: coding {value:?}"), coding(value), 400));
    }
    for value in ["xchunked", "gzip, chunked", "identity"] {
        shapes.push(shape(&format!("11, 15: coding {value:?}"), coding(value), 501));
    }
    for bad in [
        "X: a\rb",
        "X: a\0b",
        "X: a\u{1}b",
        "X: a\u{7f}",
        "X : y",
        "X: y\r\n z",
        ": y",
        "X y",
        "X\t: y",
        "Content-Length : 5",
    ] {
        shapes.push(shape(&format!("40 to 47: field {bad:?}"), field(bad), 400));
    }
    for (bad, status) in [
        ("GET  / HTTP/1.1", 400),
        ("GET\t/ HTTP/1.1", 400),
        ("GET / HTTP/1.32", 400),
        ("GET / HTTP/1.2", 505),
        ("GET / http/1.1", 400),
        ("G@T / HTTP/1.1", 400),
        ("GET /a#b HTTP/1.1", 400),
        ("GET /\u{e9} HTTP/1.1", 400),
        ("GET /a b HTTP/1.1", 400),
        ("TRACE / HTTP/1.1", 405),
        ("GET /a%00b HTTP/1.1", 400),
        ("GET /a\\b HTTP/1.1", 400),
        ("GET /a%2 HTTP/1.1", 400),
        ("GET x HTTP/1.1", 400),
        ("GET * HTTP/1.1", 400),
        ("GET ftp://app/ HTTP/1.1", 400),
        ("GET http://u@app/ HTTP/1.1", 400),
    ] {
        shapes.push(shape(&format!("50 to 67: line {bad:?}"), line(bad), status));
    }
    shapes
}

/// Bodies that turn out to be bad, 25 to 37, and trailers that are.
pub(crate) fn bad_bodies() -> Vec<Shape> {
    let bodies = [
        "0x1\r\na\r\n0\r\n\r\n",
        "+1\r\na\r\n0\r\n\r\n",
        "1_0\r\naaaaaaaaaaaaaaaa\r\n0\r\n\r\n",
        "10000000000000000\r\na\r\n0\r\n\r\n",
        "\r\na\r\n0\r\n\r\n",
        " 1\r\na\r\n0\r\n\r\n",
        "1 \r\na\r\n0\r\n\r\n",
        "1;a\n\r\na\r\n0\r\n\r\n",
        "1;a\rb\r\na\r\n0\r\n\r\n",
        "1\na\r\n0\r\n\r\n",
        "1\r\na\n0\r\n\r\n",
        "1\r\nab\r\n0\r\n\r\n",
        "1\r\na\r\n0\r\nX y\r\n\r\n",
        "1\r\na\r\n0\r\nX: a\nb\r\n\r\n",
        "1\r\na\r\n0\r\n X: a\r\n\r\n",
        "4\r\ngood\r\n1\r\nab\r\n0\r\n\r\n",
        "-1\r\na\r\n0\r\n\r\n",
    ];
    let chunked = |body: &str| with("POST", "Transfer-Encoding: chunked\r\n", body);
    let mut shapes: Vec<_> =
        bodies.iter().map(|body| shape(&format!("body {body:?}"), chunked(body), 400)).collect();
    shapes.push(shape(
        "36 extension",
        chunked(&format!("1;{}\r\na\r\n0\r\n\r\n", "e".repeat(16 * 1024))),
        400,
    ));
    shapes
}

type Rewritten =
    (&'static str, Vec<u8>, &'static str, &'static str, &'static [&'static str], &'static [&'static str]);

/// What is served, but not as it came: name, bytes, target, host, lines that must be there, fields that must not.
pub(crate) fn rewritten() -> Vec<Rewritten> {
    let get = |target: &str, fields: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: app\r\n{fields}\r\n").into_bytes()
    };
    vec![
        (
            "20 look-alike",
            get("/a", "Transfer_Encoding: chunked\r\n"),
            "/a",
            "app",
            &[],
            &["Transfer_Encoding"],
        ),
        (
            "62 absolute",
            get("http://other:81/p?q=1", ""),
            "/p?q=1",
            "other:81",
            &["x-forwarded-host: other:81"],
            &[],
        ),
        ("64 dots", get("/a/%2e%2E/../b/./c", ""), "/b/c", "app", &[], &[]),
        ("65 slashes", get("//a//.;/b", ""), "/a/b", "app", &[], &[]),
        ("66 encoded slash", get("/a%2fb/..%5c", ""), "/a%2fb/..%5c", "app", &[], &[]),
        (
            "68 to 70 hop by hop",
            get(
                "/h",
                "Connection: Authorization, X-Hop, keep-alive, HTTP2-Settings, Upgrade\r\nX-Hop: 1\r\nAuthorization: b\r\n\
                 Keep-Alive: 1\r\nProxy-Connection: 1\r\nTE: gzip, trailers\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n",
            ),
            "/h",
            "app",
            &["Authorization: b", "te: trailers"],
            &["X-Hop", "Keep-Alive", "Proxy-Connection", "Upgrade", "HTTP2-Settings", "TE"],
        ),
        (
            "72 forged",
            get(
                "/f",
                "X-Forwarded-For: 6.6.6.6\r\nx_forwarded_for: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\
                 X-Forwarded-Proto: https\r\nX-Forwarded-Prefix: /x\r\nX-Weir-Service: admin\r\n",
            ),
            "/f",
            "app",
            &["x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http", "x-forwarded-host: app"],
            &[
                "X-Forwarded-For",
                "x_forwarded_for",
                "Forwarded",
                "X-Real-IP",
                "X-Forwarded-Prefix",
                "X-Weir-Service",
            ],
        ),
    ]
}

/// 73 to 77: what an upstream answers that is no response.
pub(crate) const RESPONSES: [(&str, &str); 9] = [
    ("73", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("74 CR", "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n"),
    ("74 LF", "HTTP/1.1 200 OK\r\nX: a\nb: c\r\nContent-Length: 0\r\n\r\n"),
    ("74 DEL", "HTTP/1.1 200 OK\r\nX: a\u{7f}b\r\nContent-Length: 0\r\n\r\n"),
    ("75", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
    ("77 204", "HTTP/1.1 204 None\r\nContent-Length: 4\r\n\r\nevil"),
    ("77 304", "HTTP/1.1 304 None\r\nContent-Length: 4\r\n\r\nevil"),
    ("101 unasked", "HTTP/1.1 101 Now\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nevil"),
    ("not HTTP", "SSH-2.0-evil\r\n\r\n"),
];

/// Responses that mutations begin with: those that are bad, and more that are well.
pub(crate) fn responses() -> Vec<Vec<u8>> {
    const WELL: [&str; 8] = [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;x=y\r\nyou\r\n0\r\nX-T: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nuntil close",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 204 None\r\nX-A: b\r\n\r\n",
        "HTTP/1.1 304 Same\r\nContent-Length: 9\r\nConnection: close, X-A\r\nX-A: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 36\r\n\r\nHTTP/1.1 200 OK\r\nX-Split: evil\r\n\r\n..",
    ];
    let well = WELL.iter().flat_map(|text| std::iter::repeat_n(text.as_bytes().to_vec(), 8));
    well.chain(RESPONSES.iter().map(|(_, text)| text.as_bytes().to_vec())).collect()
}

/// Requests that are well, to be spoilt.
const GOOD: [&str; 11] = [
    "GET /a/b?c=d HTTP/1.1\r\nHost: app\r\nX-A: b\r\n\r\n",
    "POST /p HTTP/1.1\r\nHost: app\r\nContent-Length: 11\r\n\r\nhello world",
    "POST /p HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-T: 1\r\n\r\n",
    "PUT /t HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nContent-Length: 3\r\nHost: e\r\n\r\n",
    "GET /g HTTP/1.1\r\nHost: app\r\nContent-Length: 4\r\n\r\nGET ",
    "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "GET /w HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "PUT /e HTTP/1.1\r\nHost: app\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    "OPTIONS * HTTP/1.1\r\nHost: app\r\n\r\n",
    "HEAD /h HTTP/1.1\r\nHost: app\r\n\r\nGET /second HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n",
    "POST /p HTTP/1.1\r\nHost: app\r\nContent-Length: 5\r\n\r\nGET /POST /q HTTP/1.1\r\nHost: app\r\nContent-Length: 0\r\n\r\n",
];

/// Everything that mutations begin with; the huge ones only cost time.
pub(crate) fn all() -> Vec<Vec<u8>> {
    let bad = refused().into_iter().chain(bad_bodies()).map(|shape| shape.bytes);
    let good = GOOD.iter().flat_map(|text| std::iter::repeat_n(text.as_bytes().to_vec(), 15));
    let served = rewritten().into_iter().map(|shape| shape.1);
    good.chain(served).chain(bad.filter(|bytes| bytes.len() < 4096)).collect()
}

/// What is put into them.
pub(crate) const PIECES: [&[u8]; 30] = [
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"\0",
    b":",
    b",",
    b";",
    b"0",
    b"1",
    b"+",
    b"-",
    b"_",
    b"0x",
    b"\x0b",
    b"\x7f",
    b"\x85",
    b"\xa0",
    b"chunked",
    b"Content-Length: 3\r\n",
    b"Content-Length:\x0b3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"Connection: close, content-length, transfer-encoding\r\n",
    b"Host: evil\r\n",
    b"\r\n\r\n",
    b"GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n",
    b"0\r\n\r\n",
    b"/../",
];
