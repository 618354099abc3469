//! Messages' heads and trailers: from fields as they are decoded to the HTTP/1.1 that they are read as (RFC 9113 section 8).
//!
//! What HTTP/2 forbids makes a message malformed, and is found here. Everything else is left to whoever reads, who judges what
//! is written here as strictly as any HTTP/1.1: two hosts that differ are written as two. Nothing is written that could be
//! read as more than it is: no control character, no space in a target or a method.

mod request;
mod response;

use weir_http1::{BodyKind, FieldSet, FieldTable, KnownField, is_token};

use crate::hpack::{Field, Name};

/// Fields that concern one connection (section 8.2.2). A message that has one is malformed.
const FORBIDDEN: FieldSet = FieldSet::NONE
    .with(KnownField::Connection)
    .with(KnownField::ProxyConnection)
    .with(KnownField::KeepAlive)
    .with(KnownField::TransferEncoding)
    .with(KnownField::Upgrade);

/// The message is malformed (section 8.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Where a section is written.
pub(crate) struct Text<'a> {
    pub(crate) bytes: &'a mut Vec<u8>,
    /// Of a head's fields; not of trailers.
    pub(crate) table: &'a mut FieldTable,
}

/// What a field section is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Section {
    #[default]
    Request,
    Response,
    Trailers,
}

/// Reads one field section after another, keeping its memory.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    section: Section,
    malformed: bool,
    /// A field has come, so no pseudo-header may follow.
    fields_begun: bool,
    seen: u8,
    method: Vec<u8>,
    path: Vec<u8>,
    authority: Vec<u8>,
    cookies: Vec<u8>,
    status: u16,
    length: Option<u64>,
    /// It is a call of gRPC's or of gRPC-Web's, where trailers may follow whatever the length.
    is_call: bool,
}

const METHOD: u8 = 1;
const SCHEME: u8 = 2;
const AUTHORITY: u8 = 4;
const PATH: u8 = 8;

/// A request, whose head is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// How its body is read.
    pub(crate) body: BodyKind,
    /// What it says about the length of its content.
    pub(crate) length: Option<u64>,
    pub(crate) connects: bool,
}

/// A response, whose head is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Response {
    Interim,
    Final { body: BodyKind, length: Option<u64> },
}

impl Reader {
    fn begin(&mut self, section: Section) {
        self.section = section;
        (self.malformed, self.fields_begun, self.seen) = (false, section == Section::Trailers, 0);
        (self.status, self.length, self.is_call) = (0, None, false);
        for part in [&mut self.method, &mut self.path, &mut self.authority, &mut self.cookies] {
            part.clear();
        }
    }

    /// Begins a request's head.
    pub(crate) fn begin_request(&mut self) {
        self.begin(Section::Request);
    }

    /// Begins a response's head.
    pub(crate) fn begin_response(&mut self) {
        self.begin(Section::Response);
    }

    /// Begins trailers.
    pub(crate) fn begin_trailers(&mut self) {
        self.begin(Section::Trailers);
    }

    /// Takes the next field.
    #[inline]
    pub(crate) fn field(&mut self, field: &Field<'_>, out: &mut Text<'_>) {
        let Name::Field(known) = field.id else {
            return self.pseudo(field);
        };
        if !field.valid || self.malformed {
            self.malformed = true;
            return;
        }
        if !self.fields_begun {
            self.fields_begun = true;
            self.write_start(out);
        }
        let value = field.value;
        match known {
            KnownField::Other => {}
            KnownField::ContentLength => return self.content_length(value),
            KnownField::Cookie if self.section == Section::Request => return self.cookie(value),
            KnownField::ContentType => self.is_call |= is_call(value),
            KnownField::Host if self.says_host_again(value) => return,
            KnownField::Te if value != b"trailers" => {
                self.malformed = true;
                return;
            }
            _ if FORBIDDEN.has(known) => {
                self.malformed = true;
                return;
            }
            _ => {}
        }
        self.line(known, field.name, value, out);
    }

    /// Whether a `host` says what `:authority` has said.
    fn says_host_again(&self, value: &[u8]) -> bool {
        self.section == Section::Request
            && self.seen & AUTHORITY != 0
            && self.authority.eq_ignore_ascii_case(value)
    }

    fn pseudo(&mut self, field: &Field<'_>) {
        let (bit, section) = match field.id {
            Name::Method => (METHOD, Section::Request),
            Name::Scheme => (SCHEME, Section::Request),
            Name::Authority => (AUTHORITY, Section::Request),
            Name::Path => (PATH, Section::Request),
            Name::Status => (1, Section::Response),
            // Nobody was told that it may be used (RFC 8441 section 3).
            Name::Protocol | Name::Field(_) => (u8::MAX, Section::Trailers),
        };
        if !field.valid || self.fields_begun || self.section != section || self.seen & bit != 0 {
            self.malformed = true;
            return;
        }
        self.seen |= bit;
        let value = field.value;
        match field.id {
            Name::Method => self.method.extend_from_slice(value),
            Name::Scheme => self.malformed |= !is_scheme(value),
            Name::Authority => self.authority.extend_from_slice(value),
            Name::Path => self.path.extend_from_slice(value),
            _ => match status(value) {
                Some(status) => self.status = status,
                None => self.malformed = true,
            },
        }
    }

    fn write_start(&mut self, out: &mut Text<'_>) {
        match self.section {
            Section::Request => self.write_request_start(out),
            Section::Response => self.write_response_start(out),
            Section::Trailers => {}
        }
    }

    fn content_length(&mut self, value: &[u8]) {
        if self.section == Section::Trailers {
            // It may not stand there (RFC 9110 section 6.5.1), and nothing is lost with it.
            return;
        }
        match number(value) {
            Some(length) if self.length.is_none() => self.length = Some(length),
            _ => self.malformed = true,
        }
    }

    /// Clients send each cookie in a field of its own (section 8.2.3); they become one.
    fn cookie(&mut self, value: &[u8]) {
        if !self.cookies.is_empty() {
            self.cookies.extend_from_slice(b"; ");
        }
        self.cookies.extend_from_slice(value);
    }

    /// Ends the trailers.
    pub(crate) fn end_trailers(&mut self) -> Result<(), Malformed> {
        if self.malformed { Err(Malformed) } else { Ok(()) }
    }

    /// Appends how the body is framed, and the empty line.
    fn end(&self, body: BodyKind, out: &mut Text<'_>) {
        match body {
            BodyKind::Length(length) => self.announce_length(length, out),
            BodyKind::Chunked => {
                self.line(KnownField::TransferEncoding, b"transfer-encoding", b"chunked", out);
            }
            BodyKind::None | BodyKind::UntilClose => {}
        }
        out.table.write_end(out.bytes);
    }

    /// Appends a line.
    #[inline]
    fn line(&self, id: KnownField, name: &[u8], value: &[u8], out: &mut Text<'_>) {
        if self.section != Section::Trailers {
            return out.table.write(out.bytes, id, name, value);
        }
        for part in [name, b": ", value, b"\r\n"] {
            out.bytes.extend_from_slice(part);
        }
    }

    fn announce_length(&self, length: u64, out: &mut Text<'_>) {
        let digits = Digits::of(length);
        self.line(KnownField::ContentLength, b"content-length", digits.as_bytes(), out);
    }
}

/// A number as it is written.
struct Digits([u8; 20], usize);

impl Digits {
    fn of(number: u64) -> Self {
        let (mut digits, mut at, mut left) = ([0; 20], 20, number);
        loop {
            at -= 1;
            digits[at] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                return Self(digits, at);
            }
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.0[self.1..]
    }
}

/// How much content there is, in digits and nothing else.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    digits
        .iter()
        .try_fold(0u64, |sum, &byte| byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0')))
}

/// Three digits.
fn status(value: &[u8]) -> Option<u16> {
    let digits: [u8; 3] = value.try_into().ok()?;
    let valid = digits.iter().all(u8::is_ascii_digit) && digits[0] != b'0';
    valid.then(|| digits.iter().fold(0, |sum, &byte| sum * 10 + u16::from(byte - b'0')))
}

/// RFC 3986 section 3.1.
fn is_scheme(value: &[u8]) -> bool {
    if value == b"http" || value == b"https" {
        return true;
    }
    value.first().is_some_and(u8::is_ascii_alphabetic)
        && value.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

/// Whether a content type is one of gRPC's or of gRPC-Web's.
fn is_call(content_type: &[u8]) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    content_type.get(..TYPE.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(TYPE))
        && matches!(content_type.get(TYPE.len()), None | Some(b'+' | b';' | b' ' | b'-'))
}

#[cfg(test)]
mod tests;
