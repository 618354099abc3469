use weir_http1::Limits;

use super::*;
use crate::hpack::{Decoder, Scratch};

/// A block without a table.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            out.push(u8::try_from(text.len()).unwrap());
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

fn read<T>(
    fields: &[(&str, &str)],
    begin: fn(&mut Reader),
    end: impl FnOnce(&mut Reader, &mut Text<'_>) -> Result<T, Malformed>,
) -> Result<(T, String), Malformed> {
    let mut reader = Reader::default();
    let (mut bytes, mut table) = (Vec::new(), FieldTable::default());
    let mut out = Text { bytes: &mut bytes, table: &mut table };
    // What an earlier section has left behind does not matter.
    reader.begin_request();
    let read = |fields: &[(&str, &str)], reader: &mut Reader, out: &mut Text<'_>| {
        let mut decoder = Decoder::new(100_000);
        decoder.decode(&block(fields), &mut Scratch::default(), |field| reader.field(&field, out)).unwrap();
    };
    read(
        &[(":method", "PUT"), (":path", "/left"), ("cookie", "left"), ("content-length", "7")],
        &mut reader,
        &mut out,
    );
    out.bytes.clear();
    out.table.begin();
    begin(&mut reader);
    read(fields, &mut reader, &mut out);
    let what = end(&mut reader, &mut out)?;
    check_table(&bytes, &table);
    Ok((what, String::from_utf8(bytes).unwrap()))
}

fn request(fields: &[(&str, &str)], ended: bool) -> Result<(Request, String), Malformed> {
    read(fields, Reader::begin_request, |reader, out| reader.end_request(ended, out))
}

fn response(fields: &[(&str, &str)], ended: bool, head_only: bool) -> Result<(Response, String), Malformed> {
    read(fields, Reader::begin_response, |reader, out| reader.end_response(ended, head_only, out))
}

/// What was noted is what parsing finds.
fn check_table(bytes: &[u8], noted: &FieldTable) {
    let mut parsed = FieldTable::default();
    let from = bytes.windows(2).position(|two| two == b"\r\n").map_or(0, |at| at + 2);
    if bytes.starts_with(b"HTTP/1.1 ") || bytes.windows(9).any(|nine| nine == b" HTTP/1.1") {
        assert_eq!(parsed.parse(bytes, from, &Limits::DEFAULT), Ok(Some(bytes.len())));
        assert_eq!(*noted, parsed, "{}", bytes.escape_ascii());
    }
}

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "app"), (":path", "/a?b")];

fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    GET.into_iter().chain(more.iter().copied()).collect()
}

fn but<'a>(name: &str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    GET.into_iter().map(|(found, before)| (found, if found == name { value } else { before })).collect()
}

#[test]
fn a_request_is_written_as_http1() {
    let check = |fields: &[(&str, &str)], ended, body, text: &str| {
        let (request, written) = request(fields, ended).unwrap();
        assert_eq!((request.body, &*written), (body, text), "{fields:?}");
    };
    check(&GET, true, BodyKind::None, "GET /a?b HTTP/1.1\r\nhost: app\r\n\r\n");
    check(
        &with(&[("cookie", "a=1"), ("x", ""), ("cookie", "b=2"), ("te", "trailers")]),
        true,
        BodyKind::None,
        "GET /a?b HTTP/1.1\r\nhost: app\r\nx: \r\nte: trailers\r\ncookie: a=1; b=2\r\n\r\n",
    );
    check(
        &with(&[("host", "APP")]),
        false,
        BodyKind::Chunked,
        "GET /a?b HTTP/1.1\r\nhost: app\r\ntransfer-encoding: chunked\r\n\r\n",
    );
    // Others are judged by who reads.
    check(
        &with(&[("host", "other"), ("content-length", "12")]),
        false,
        BodyKind::Length(12),
        "GET /a?b HTTP/1.1\r\nhost: app\r\nhost: other\r\ncontent-length: 12\r\n\r\n",
    );
    check(
        &with(&[("content-type", "application/grpc+proto"), ("content-length", "12")]),
        false,
        BodyKind::Chunked,
        "GET /a?b HTTP/1.1\r\nhost: app\r\ncontent-type: application/grpc+proto\r\ntransfer-encoding: chunked\r\n\r\n",
    );
    check(
        &but(":method", "POST"),
        true,
        BodyKind::None,
        "POST /a?b HTTP/1.1\r\nhost: app\r\ncontent-length: 0\r\n\r\n",
    );
    check(
        &[(":path", "*"), (":scheme", "http"), (":method", "OPTIONS"), ("host", "app")],
        true,
        BodyKind::None,
        "OPTIONS * HTTP/1.1\r\nhost: app\r\n\r\n",
    );
    let connect = [(":method", "CONNECT"), (":authority", "app:443")];
    assert!(request(&connect, false).unwrap().0.connects);
}

#[test]
fn what_http2_forbids_is_malformed() {
    let mut all = vec![
        but(":path", ""),
        but(":path", "a"),
        but(":path", "*"),
        but(":path", "/a b"),
        but(":path", "/a\tb"),
        but(":path", "/a#b"),
        but(":path", "/\r\nx: y"),
        but(":method", ""),
        but(":method", "GET /"),
        but(":scheme", ""),
        but(":scheme", "ht tp"),
        but(":authority", "a\r\nx: y"),
        with(&[(":path", "/")]),
        with(&[(":nonsense", "1")]),
        with(&[(":status", "200")]),
        with(&[(":protocol", "websocket")]),
        with(&[("", "a")]),
        with(&[("x y", "a")]),
        with(&[("X", "a")]),
        with(&[("x", " a")]),
        with(&[("x", "a\0")]),
        with(&[("te", "gzip")]),
        with(&[("content-length", "1"), ("content-length", "1")]),
        with(&[("content-length", "+1")]),
        with(&[("content-length", "")]),
        with(&[("content-length", "99999999999999999999")]),
        vec![GET[0], GET[1], GET[2], ("x", "a"), GET[3]],
        vec![(":method", "CONNECT"), (":authority", "app:443"), (":path", "/")],
        vec![(":method", "CONNECT")],
    ];
    all.extend((0..4).filter(|missing| *missing != 2).map(|missing| {
        let mut fields = GET.to_vec();
        fields.remove(missing);
        fields
    }));
    for name in ["connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"] {
        all.push(with(&[(name, "x")]));
    }
    for fields in all {
        assert_eq!(request(&fields, false).map(|(_, text)| text), Err(Malformed), "{fields:?}");
    }
    assert_eq!(request(&with(&[("content-length", "1")]), true).map(drop), Err(Malformed));
    assert!(request(&with(&[("content-length", "0")]), true).is_ok());
}

#[test]
fn a_response_is_written_as_http1() {
    let check = |fields: &[(&str, &str)], (ended, head_only), expected: Response, text: &str| {
        let (response, written) = response(fields, ended, head_only).unwrap();
        assert_eq!((response, &*written), (expected, text), "{fields:?}");
    };
    let body = |body, length| Response::Final { body, length };
    check(
        &[(":status", "200"), ("server", "x")],
        (false, false),
        body(BodyKind::Chunked, None),
        "HTTP/1.1 200 OK\r\nserver: x\r\ntransfer-encoding: chunked\r\n\r\n",
    );
    check(
        &[(":status", "404")],
        (true, false),
        body(BodyKind::Length(0), None),
        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
    );
    check(
        &[(":status", "299"), ("content-length", "3")],
        (false, false),
        body(BodyKind::Length(3), Some(3)),
        "HTTP/1.1 299 \r\ncontent-length: 3\r\n\r\n",
    );
    check(
        &[(":status", "200"), ("content-length", "3")],
        (true, true),
        body(BodyKind::None, None),
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n",
    );
    check(
        &[(":status", "204")],
        (false, false),
        body(BodyKind::None, None),
        "HTTP/1.1 204 No Content\r\n\r\n",
    );
    check(
        &[(":status", "103"), ("link", "</a>")],
        (false, false),
        Response::Interim,
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n",
    );
    for bad in [
        &[("a", "b")][..],
        &[(":status", "20")],
        &[(":status", "099")],
        &[(":status", "101")],
        &[(":status", "200"), (":path", "/")],
    ] {
        assert_eq!(response(bad, false, false).map(drop), Err(Malformed), "{bad:?}");
    }
    assert_eq!(response(&[(":status", "100")], true, false).map(drop), Err(Malformed));
    assert_eq!(
        response(&[(":status", "200"), ("content-length", "3")], true, false).map(drop),
        Err(Malformed)
    );
}

#[test]
fn trailers_are_lines() {
    let trailers = |fields: &[(&str, &str)]| {
        read(fields, Reader::begin_trailers, |reader, _| reader.end_trailers()).map(|(_, text)| text)
    };
    assert_eq!(trailers(&[("grpc-status", "0"), ("content-length", "5")]).unwrap(), "grpc-status: 0\r\n");
    for bad in [(":status", "200"), ("connection", "x"), ("A", "b"), (":path", "/")] {
        assert_eq!(trailers(&[bad]), Err(Malformed), "{bad:?}");
    }
}

#[test]
fn lengths_are_written_as_they_are() {
    for length in [0, 9, 10, 12345, u64::MAX] {
        assert_eq!(Digits::of(length).as_bytes(), length.to_string().as_bytes());
    }
}
