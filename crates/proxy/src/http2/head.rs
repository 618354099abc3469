//! Heads as the engine writes them, in HTTP/1.1, in HTTP/2's form.

use std::io;

use weir_http1::{BodyKind, Field, FieldSet, FieldTable, KnownField, ResponseHead};
use weir_http2::hpack::Block;

use super::WRITTEN_HERE;
use super::fault::unfit;
use super::web::Web;

/// What is never copied into an HTTP/2 head (RFC 9113 section 8.2.2).
const CONNECTION_FIELDS: FieldSet =
    FieldSet::HOP_BY_HOP.with(KnownField::TransferEncoding).with(KnownField::Host);

/// What is not copied into trailers.
pub(super) const LATE: FieldSet = CONNECTION_FIELDS;

/// The longest name that is sent. Longer ones many peers do not read.
const NAME_BYTES_MAX: usize = u16::MAX as usize;

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

/// Whether HTTP/2 has a form for the fields of a head of so many bytes.
pub(super) fn check(table: &FieldTable, len: usize) -> io::Result<()> {
    if len > NAME_BYTES_MAX && table.iter().any(|field| field.name.len() > NAME_BYTES_MAX) {
        return Err(unfit(format!("a field's name has more than {NAME_BYTES_MAX} bytes")));
    }
    Ok(())
}

/// Writes the fields, but for those that concern one connection and those in `skip`.
#[inline]
pub(super) fn write_fields(block: &mut Block<'_>, table: &FieldTable, buf: &[u8], skip: FieldSet) {
    for Field { name, value, id, nominated } in table.iter() {
        if !skip.has(*id) && !*nominated {
            block.field(*id, name.of(buf), value.of(buf));
        }
    }
}

/// Writes the engine's response.
pub(super) fn write_response(block: &mut Block<'_>, head: &ResponseHead, buf: &[u8]) {
    let fields = head.fields();
    let grpc = fields.value(buf, KnownField::ContentType).is_some_and(is_grpc);
    // A gRPC call that is over with its head has no length either.
    let skip = if grpc { CONNECTION_FIELDS.with(KnownField::ContentLength) } else { CONNECTION_FIELDS };
    block.status(head.status());
    write_fields(block, fields, buf, skip);
}

/// The engine's request, read.
pub(super) struct Asked<'a> {
    /// Its bytes, to the end of its head.
    pub(super) head: &'a [u8],
    pub(super) method: &'a [u8],
    target: &'a [u8],
    host: &'a [u8],
    /// How the engine frames its body.
    pub(super) body: BodyKind,
}

impl<'a> Asked<'a> {
    /// Reads a request's head as the engine writes it, in origin form and with `Host`; none before it is whole.
    pub(super) fn read(buf: &'a [u8], table: &mut FieldTable) -> io::Result<Option<Self>> {
        let Some((method, target)) = words(buf) else { return Ok(None) };
        let fields_at = method.len() + target.len() + " HTTP/1.1\r\n".len() + 1;
        let Some(len) = table.parse(buf, fields_at, &WRITTEN_HERE).map_err(unfit)? else { return Ok(None) };
        Self::of(&buf[..len], (method, target), table).map(Some)
    }

    /// The same for one whose fields were noted when it was written, and that is whole.
    pub(super) fn noted(buf: &'a [u8], table: &FieldTable) -> io::Result<Self> {
        let head = buf.get(..table.written()).ok_or(io::ErrorKind::InvalidInput)?;
        Self::of(head, words(head).ok_or(io::ErrorKind::InvalidInput)?, table)
    }

    fn of(head: &'a [u8], (method, target): (&'a [u8], &'a [u8]), table: &FieldTable) -> io::Result<Self> {
        check(table, head.len())?;
        let body = if table.seen().has(KnownField::TransferEncoding) {
            BodyKind::Chunked
        } else {
            match table.value(head, KnownField::ContentLength) {
                Some(length) => BodyKind::Length(number(length).ok_or(io::ErrorKind::InvalidInput)?),
                None => BodyKind::None,
            }
        };
        let host = table.value(head, KnownField::Host).unwrap_or_default();
        Ok(Self { head, method, target, host, body })
    }

    /// Writes it. `secure` says that the connection is encrypted. A request that names no host is for `nameless`. Where
    /// there is `web`, it becomes gRPC's.
    pub(super) fn write(
        &self,
        block: &mut Block<'_>,
        table: &FieldTable,
        secure: bool,
        nameless: impl FnOnce() -> String,
        web: Option<Web>,
    ) {
        block.method(self.method);
        block.scheme(secure);
        // HTTP/1.0 asks for no host; HTTP/2 does.
        match self.host {
            b"" => block.authority(nameless().as_bytes()),
            host => block.authority(host),
        }
        match encoded(self.target) {
            Some(target) => block.path(&target),
            None => block.path(self.target),
        }
        if let Some(web) = web {
            return web.write_fields(block, table, self.head, CONNECTION_FIELDS);
        }
        write_fields(block, table, self.head, CONNECTION_FIELDS);
        if table.seen().has(KnownField::Te) {
            // The only thing that the engine says with it.
            block.field(KnownField::Te, b"te", b"trailers");
        }
    }
}

/// The method and the target of a request line that has come.
fn words(buf: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut words = buf.splitn(3, |&byte| byte == b' ');
    let (method, target) = (words.next()?, words.next()?);
    words.next().map(|_| (method, target))
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Some characters that HTTP/1.1 clients do send are not allowed by the letter: encoded they mean the same.
fn encoded(target: &[u8]) -> Option<Vec<u8>> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    if target.iter().all(|&byte| IN_TARGETS[usize::from(byte)]) {
        return None;
    }
    let mut out = Vec::with_capacity(target.len() + 16);
    for &byte in target {
        if IN_TARGETS[usize::from(byte)] {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    Some(out)
}

static IN_TARGETS: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        allowed[byte as usize] =
            !matches!(byte, b'<' | b'>' | b'`' | b'^' | b'|' | b'\\' | b'"' | b'{' | b'}');
        byte += 1;
    }
    allowed
};

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

    #[test]
    fn what_targets_must_not_have_is_encoded() {
        assert_eq!(encoded(b"/a.B/C?d=%20&e=[1]"), None);
        assert_eq!(encoded("/a|b?c={\u{e4}}".as_bytes()).unwrap(), b"/a%7Cb?c=%7B%C3%A4%7D");
    }
}
