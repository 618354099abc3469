//! Heads, from HTTP/2's form to HTTP/1.1's and back.
//!
//! What HTTP/2 itself forbids (names in upper case, connection fields, repeated pseudo-headers, control characters) the
//! `h2` crate has refused already. Everything else is left for the engine to judge, which reads what is written here as
//! strictly as it reads any HTTP/1.1: so two hosts that differ are written as two, and refused as two.

use std::io;

use bytes::Bytes;
use h2::RecvStream;
use http::header::{
    ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, DATE, HOST, HeaderMap, HeaderName, HeaderValue, SERVER,
    SET_COOKIE, TE, USER_AGENT,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri};
use weir_http1::{BodyKind, Field, FieldSet, FieldTable, KnownField, ResponseHead};

use super::WRITTEN_HERE;

use super::fault::UNFIT;

/// What is never copied into an HTTP/2 head (RFC 9113 section 8.2.2).
const CONNECTION_FIELDS: FieldSet =
    FieldSet::HOP_BY_HOP.with(KnownField::TransferEncoding).with(KnownField::Host);

/// What HPACK's table is spared: values that are never the same twice would only push others out of it, and make it long
/// to search; credentials are not to be guessed from what they compress to (RFC 7541 section 7.1).
const NEVER_INDEXED: FieldSet =
    FieldSet::NONE.with(KnownField::XRequestId).with(KnownField::Traceparent).with(KnownField::Authorization);

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Writes a client's request as HTTP/1.1. Gives how its body is framed for the engine.
pub(super) fn write_request(request: &Request<RecvStream>, ended: bool, out: &mut Vec<u8>) -> BodyKind {
    let (method, uri, fields) = (request.method(), request.uri(), request.headers());
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    let target = uri
        .path_and_query()
        .map_or(if *method == Method::OPTIONS { "*" } else { "/" }, |target| target.as_str());
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if let Some(authority) = uri.authority() {
        line(out, b"host", authority.as_str().as_bytes());
    }
    let same = |host: &HeaderValue| {
        uri.authority().is_some_and(|at| at.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes()))
    };
    let body = framing(fields, ended, false);
    let mut cookies = false;
    for (name, value) in fields {
        match *name {
            HOST if same(value) => {}
            CONTENT_LENGTH => {}
            COOKIE if cookies => {}
            COOKIE => {
                cookies = true;
                write_cookies(fields, out);
            }
            _ => line(out, name.as_str().as_bytes(), value.as_bytes()),
        }
    }
    let lengths = fields.get_all(CONTENT_LENGTH);
    match body {
        // As with hosts: the engine knows what it thinks of two.
        _ if lengths.iter().nth(1).is_some() => {
            lengths.iter().for_each(|length| line(out, b"content-length", length.as_bytes()));
        }
        // A server may ask for a length where the method suggests content (RFC 9110 section 8.6).
        BodyKind::None if matches!(*method, Method::POST | Method::PUT | Method::PATCH) => {
            announce(BodyKind::Length(0), out);
        }
        body => announce(body, out),
    }
    out.extend_from_slice(b"\r\n");
    body
}

/// Clients send each cookie in a field of its own (RFC 9113 section 8.2.3).
fn write_cookies(fields: &HeaderMap, out: &mut Vec<u8>) {
    out.extend_from_slice(b"cookie: ");
    for (index, crumb) in fields.get_all(COOKIE).iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b"; ");
        }
        out.extend_from_slice(crumb.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes an upstream's response as HTTP/1.1. `bodiless` says that the request or the status forbids content. Gives how
/// its body is framed for the engine.
pub(super) fn write_response<B>(
    response: &Response<B>,
    ended: bool,
    bodiless: bool,
    out: &mut Vec<u8>,
) -> BodyKind {
    write_status(response.status(), out);
    let fields = response.headers();
    for (name, value) in fields {
        if *name != CONTENT_LENGTH {
            line(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    if bodiless {
        // What a response to HEAD announces is not what it has.
        if let Some(length) = fields.get(CONTENT_LENGTH) {
            line(out, b"content-length", length.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        return BodyKind::None;
    }
    let body = match framing(fields, ended, true) {
        BodyKind::None => BodyKind::Length(0),
        body => body,
    };
    announce(body, out);
    out.extend_from_slice(b"\r\n");
    body
}

/// Writes an interim response.
pub(super) fn write_interim(response: &Response<()>, out: &mut Vec<u8>) {
    write_status(response.status(), out);
    for (name, value) in response.headers() {
        line(out, name.as_str().as_bytes(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

fn write_status(status: StatusCode, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// How a message's body is framed in HTTP/1.1. Chunked where trailers may follow, which a length leaves no room for.
fn framing(fields: &HeaderMap, ended: bool, response: bool) -> BodyKind {
    let length = fields.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    match length {
        _ if ended && !response => length.map_or(BodyKind::None, |_| BodyKind::Length(0)),
        _ if ended => BodyKind::None,
        Some(length) if !is_call(fields) => BodyKind::Length(length),
        _ => BodyKind::Chunked,
    }
}

fn is_call(fields: &HeaderMap) -> bool {
    let content_type = fields.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    is_grpc(content_type) || is_grpc_web(content_type)
}

fn announce(body: BodyKind, out: &mut Vec<u8>) {
    match body {
        BodyKind::Length(length) => line(out, b"content-length", length.to_string().as_bytes()),
        BodyKind::Chunked => line(out, b"transfer-encoding", b"chunked"),
        BodyKind::None | BodyKind::UntilClose => {}
    }
}

/// Writes the trailers, and the empty line, that end a chunked body.
pub(super) fn write_trailers(trailers: &HeaderMap, out: &mut Vec<u8>) {
    for (name, value) in trailers {
        line(out, name.as_str().as_bytes(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

#[inline]
fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Whether a content type is one of gRPC's. Not gRPC-Web's.
pub(crate) fn is_grpc(content_type: &[u8]) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    content_type.get(..TYPE.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(TYPE))
        && matches!(content_type.get(TYPE.len()), None | Some(b'+' | b';' | b' '))
}

/// Whether it is one of gRPC-Web's.
pub(crate) fn is_grpc_web(content_type: &[u8]) -> bool {
    const TYPE: &[u8] = b"application/grpc-web";
    content_type.get(..TYPE.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(TYPE))
        && matches!(content_type.get(TYPE.len()), None | Some(b'+' | b'-' | b';' | b' '))
}

/// The engine's response as HTTP/2 has it.
pub(crate) fn response(head: &ResponseHead, buf: &[u8]) -> io::Result<Response<()>> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status()).map_err(invalid)?;
    let grpc = head.fields().value(buf, KnownField::ContentType).is_some_and(is_grpc);
    // A gRPC call that is over with its head has no length either.
    let skip = if grpc { CONNECTION_FIELDS.with(KnownField::ContentLength) } else { CONNECTION_FIELDS };
    *response.headers_mut() = fields(head.fields(), buf, skip)?;
    Ok(response)
}

/// The engine's request as HTTP/2 has it.
pub(super) struct Asked {
    pub(super) request: Request<()>,
    /// How the engine frames its body.
    pub(super) body: BodyKind,
    /// Where its head ends.
    pub(super) len: usize,
}

/// Reads a request's head as the engine writes it, in origin form and with `Host`; none before it is whole. `secure` says
/// that the connection is encrypted. A request that names no host is for `nameless`.
pub(super) fn request(
    buf: &[u8],
    table: &mut FieldTable,
    secure: bool,
    nameless: impl FnOnce() -> String,
) -> io::Result<Option<Asked>> {
    let mut words = buf.splitn(3, |&byte| byte == b' ');
    let (Some(method), Some(target), Some(_)) = (words.next(), words.next(), words.next()) else {
        return Ok(None);
    };
    let fields_at = method.len() + target.len() + " HTTP/1.1\r\n".len() + 1;
    let Some(len) = table.parse(buf, fields_at, &WRITTEN_HERE).map_err(invalid)? else { return Ok(None) };
    let buf = &buf[..len];
    let host = table.value(buf, KnownField::Host).unwrap_or_default();
    // HTTP/1.0 asks for no host; HTTP/2 does.
    let host = if host.is_empty() { Authority::try_from(nameless()) } else { Authority::try_from(host) };
    let path = match PathAndQuery::from_maybe_shared(Bytes::copy_from_slice(target)) {
        Ok(path) => path,
        // Some characters that HTTP/1.1 clients do send are not allowed by the letter: encoded they mean the same.
        Err(_) => PathAndQuery::try_from(encoded(target)).map_err(invalid)?,
    };
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(if secure { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = Some(host.map_err(invalid)?);
    uri.path_and_query = Some(path);
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(method).map_err(invalid)?;
    *request.uri_mut() = Uri::from_parts(uri).map_err(invalid)?;
    *request.headers_mut() = fields(table, buf, CONNECTION_FIELDS)?;
    if table.seen().has(KnownField::Te) {
        // The only thing that the engine says with it.
        request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
    }
    let body = if table.seen().has(KnownField::TransferEncoding) {
        BodyKind::Chunked
    } else {
        match table.value(buf, KnownField::ContentLength) {
            Some(length) => BodyKind::Length(number(length).ok_or(io::ErrorKind::InvalidInput)?),
            None => BodyKind::None,
        }
    };
    Ok(Some(Asked { request, body, len }))
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn encoded(target: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(target.len() + 16);
    for &byte in target {
        match byte {
            b'<' | b'>' | b'`' | b'^' | b'|' | b'\\' | b'"' | b'{' | b'}' | 0x80.. => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => out.push(byte),
        }
    }
    out
}

fn fields(table: &FieldTable, buf: &[u8], skip: FieldSet) -> io::Result<HeaderMap> {
    let mut map = HeaderMap::with_capacity(table.len());
    for Field { name, value, id, nominated } in table.iter() {
        if skip.has(*id) || *nominated {
            continue;
        }
        let name = match id {
            // Most heads have these: no need to look them up.
            KnownField::ContentType => CONTENT_TYPE,
            KnownField::ContentLength => CONTENT_LENGTH,
            KnownField::Date => DATE,
            KnownField::Server => SERVER,
            KnownField::SetCookie => SET_COOKIE,
            KnownField::Accept => ACCEPT,
            KnownField::UserAgent => USER_AGENT,
            KnownField::XForwardedFor => X_FORWARDED_FOR,
            KnownField::XForwardedProto => X_FORWARDED_PROTO,
            KnownField::XForwardedHost => X_FORWARDED_HOST,
            KnownField::XRequestId => X_REQUEST_ID,
            KnownField::Traceparent => TRACEPARENT,
            _ => HeaderName::from_bytes(name.of(buf)).map_err(invalid)?,
        };
        let mut value = HeaderValue::from_bytes(value.of(buf)).map_err(invalid)?;
        value.set_sensitive(NEVER_INDEXED.has(*id));
        map.append(name, value);
    }
    Ok(map)
}

/// Trailers, as the engine writes them, as HTTP/2 has them.
pub(super) fn trailers(section: &[u8]) -> io::Result<HeaderMap> {
    const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
    let mut map = HeaderMap::with_capacity(2);
    let lines = section.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    for line in lines.filter(|line| !line.is_empty()) {
        let colon = line.iter().position(|&byte| byte == b':').ok_or(io::ErrorKind::InvalidInput)?;
        let name = match &line[..colon] {
            b"grpc-status" => GRPC_STATUS,
            name => HeaderName::from_bytes(name).map_err(invalid)?,
        };
        map.append(name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).map_err(invalid)?);
    }
    Ok(map)
}

/// Whether a value begins or ends with white space, which HTTP/1.1 strips and HTTP/2 forbids (RFC 9113 section 8.2.1).
pub(super) fn is_padded(value: &[u8]) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_space(value.first()) || is_space(value.last())
}

/// What HTTP/1.1 allows and HTTP/2 does not.
pub(super) fn invalid(fault: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(UNFIT, fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_told_from_what_only_begins_alike() {
        for yes in ["application/grpc", "application/grpc+proto", "application/grpc;v=1", "Application/gRPC"]
        {
            assert!(is_grpc(yes.as_bytes()), "{yes}");
        }
        for no in ["application/grpc-web", "application/grpc-web+proto", "application/grp", "", "text/plain"]
        {
            assert!(!is_grpc(no.as_bytes()), "{no}");
        }
        for (web, content_type) in [
            (true, "application/grpc-web"),
            (true, "application/grpc-web+proto"),
            (true, "application/grpc-web-text"),
            (true, "application/grpc-web-text+proto"),
            (false, "application/grpc-webs"),
            (false, "application/grpc"),
        ] {
            assert_eq!(is_grpc_web(content_type.as_bytes()), web, "{content_type}");
        }
    }
}
