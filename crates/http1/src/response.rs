//! Response heads of upstreams. The framing depends on the request that was sent (RFC 9112 section 6.3).

use crate::body::BodyKind;
use crate::connection::{Options, options, single_protocol};
use crate::error::{FieldError, ResponseError};
use crate::fields::FieldTable;
use crate::framing;
use crate::limits::Limits;
use crate::request::Method;
use crate::resume::Resume;
use crate::scan::find_value_end;
use crate::span::{Parsed, Span, Version};

/// What was sent, as far as it decides how the response is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent<'a> {
    /// The request's method.
    pub method: Method,
    /// The protocol of the `Upgrade` field that was forwarded, if one was.
    pub upgrade: Option<&'a [u8]>,
}

/// How a response is sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayFraming {
    /// What the head announces: give it to [`crate::HeadWriter::framing`].
    pub head: BodyKind,
    /// How the body is encoded: give it to [`crate::BodyEncoder::new`].
    pub body: BodyKind,
}

/// A parsed response head. Reuse it, as [`crate::RequestHead`]; call [`Self::begin_exchange`] for each request.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    version: Version,
    status: u16,
    reason: Span,
    fields: FieldTable,
    body: BodyKind,
    content_length: Option<u64>,
    keep_alive: bool,
    interim_seen: u16,
    resume: Resume,
}

/// Parses the response head at the beginning of `buf`.
///
/// After a complete head with [`ResponseHead::is_interim`] the final one follows: pass the interim on (or drop it for an
/// HTTP/1.0 client) and call again with the bytes after it.
///
/// # Errors
/// The client gets 502 and the upstream's connection is closed.
pub fn parse_response(
    buf: &[u8],
    limits: &Limits,
    sent: Sent<'_>,
    head: &mut ResponseHead,
) -> Result<Parsed, ResponseError> {
    parse_head(buf, limits, sent, head, false)
}

/// The same for a head that was written line by line, whole, and whose table was put into [`ResponseHead::table`]: its fields
/// are not parsed again.
///
/// # Errors
/// As [`parse_response`].
pub fn parse_noted_response(
    buf: &[u8],
    limits: &Limits,
    sent: Sent<'_>,
    head: &mut ResponseHead,
) -> Result<Parsed, ResponseError> {
    parse_head(buf, limits, sent, head, true)
}

#[inline(always)]
fn parse_head(
    buf: &[u8],
    limits: &Limits,
    sent: Sent<'_>,
    head: &mut ResponseHead,
    noted: bool,
) -> Result<Parsed, ResponseError> {
    if !head.resume.is_due(buf) && buf.len() < limits.head_window() {
        return Ok(Parsed::Partial);
    }
    let window = &buf[..buf.len().min(limits.head_window())];
    let verdict = match head.parse(window, limits, sent, noted) {
        Ok(Some(len)) => Ok(Parsed::Complete(len)),
        Ok(None) if window.len() == limits.head_window() => Err(ResponseError::HeadTooLarge(window.len())),
        Ok(None) => {
            head.resume.note_partial(buf.len());
            return Ok(Parsed::Partial);
        }
        Err(fault) => Err(fault),
    };
    head.resume.reset();
    verdict
}

impl ResponseHead {
    /// Prepares for the response to a new request: the count of interim responses begins again.
    pub fn begin_exchange(&mut self) {
        self.interim_seen = 0;
        self.resume.reset();
    }

    /// Where the table of a head is put for [`parse_noted_response`].
    pub fn table(&mut self) -> &mut FieldTable {
        &mut self.fields
    }

    #[inline(always)]
    fn parse(
        &mut self,
        buf: &[u8],
        limits: &Limits,
        sent: Sent<'_>,
        noted: bool,
    ) -> Result<Option<usize>, ResponseError> {
        let Some(fields_at) = self.status_line(buf)? else { return Ok(None) };
        let fields = &mut self.fields;
        let end =
            if noted { fields.take(buf, fields_at, limits) } else { fields.parse(buf, fields_at, limits) };
        let Some(end) = end? else { return Ok(None) };
        let options = options(buf, &mut self.fields, limits)?;
        self.keep_alive = options.persists(self.version);
        if self.status < 200 {
            self.interim(buf, limits, sent, options)?;
        } else {
            self.final_framing(buf, sent)?;
        }
        Ok(Some(end))
    }

    #[inline(always)]
    fn status_line(&mut self, buf: &[u8]) -> Result<Option<usize>, ResponseError> {
        if buf.starts_with(b"HTTP/1.1 200 OK\r\n") {
            (self.version, self.status, self.reason) = (Version::Http11, 200, Span::new(13, 15));
            return Ok(Some(17));
        }
        self.other_status_line(buf)
    }

    fn other_status_line(&mut self, buf: &[u8]) -> Result<Option<usize>, ResponseError> {
        let Some(line) = buf.first_chunk::<13>() else { return short_line(buf) };
        self.version = match line {
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1', b' ', ..] => Version::Http11,
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0', b' ', ..] => Version::Http10,
            _ => return Err(ResponseError::BadVersion),
        };
        let digits = [line[9], line[10], line[11]].map(|b| u16::from(b.wrapping_sub(b'0')));
        if digits.iter().any(|&digit| digit > 9) || digits[0] == 0 {
            return Err(ResponseError::BadStatus);
        }
        self.status = digits[0] * 100 + digits[1] * 10 + digits[2];
        // Many servers leave out the space before an empty reason phrase; nothing else can be meant.
        let reason_at = match line[12] {
            b' ' => 13,
            b'\r' => 12,
            b'\n' => return Err(FieldError::BareLf.into()),
            _ => return Err(ResponseError::BadStatus),
        };
        let stop = find_value_end(buf, reason_at);
        self.reason = Span::new(reason_at, stop);
        match (buf.get(stop), buf.get(stop + 1)) {
            (Some(b'\r'), Some(b'\n')) => Ok(Some(stop + 2)),
            (None, _) | (Some(b'\r'), None) => Ok(None),
            (Some(b'\r'), Some(_)) => Err(FieldError::BareCr.into()),
            (Some(b'\n'), _) => Err(FieldError::BareLf.into()),
            (Some(&byte), _) => Err(ResponseError::ReasonByte(byte)),
        }
    }

    fn interim(
        &mut self,
        buf: &[u8],
        limits: &Limits,
        sent: Sent<'_>,
        options: Options,
    ) -> Result<(), ResponseError> {
        self.body = BodyKind::None;
        self.content_length = None;
        let announced = framing::announced(buf, &self.fields, self.version)?;
        if announced.is_some_and(|kind| kind != BodyKind::Length(0)) {
            return Err(ResponseError::BodyNotAllowed(self.status));
        }
        if self.status == 101 {
            let agreed = single_protocol(buf, &self.fields).zip(sent.upgrade);
            let matches = agreed.is_some_and(|(given, asked)| given.eq_ignore_ascii_case(asked));
            return if matches && options.upgrade { Ok(()) } else { Err(ResponseError::UnexpectedUpgrade) };
        }
        if self.interim_seen >= limits.interim_responses_max {
            return Err(ResponseError::TooManyInterim(limits.interim_responses_max));
        }
        self.interim_seen += 1;
        Ok(())
    }

    #[inline(always)]
    fn final_framing(&mut self, buf: &[u8], sent: Sent<'_>) -> Result<(), ResponseError> {
        let announced = framing::announced(buf, &self.fields, self.version)?;
        self.content_length = match announced {
            Some(BodyKind::Length(length)) => Some(length),
            _ => None,
        };
        self.body = if self.status == 204 {
            if announced.is_some_and(|kind| kind != BodyKind::Length(0)) {
                return Err(ResponseError::BodyNotAllowed(204));
            }
            self.content_length = None;
            BodyKind::None
        } else if sent.method == Method::Head || self.status == 304 {
            BodyKind::None
        } else if sent.method == Method::Connect && self.status < 300 {
            self.content_length = None;
            BodyKind::None
        } else {
            announced.unwrap_or(BodyKind::UntilClose)
        };
        self.keep_alive &= self.body != BodyKind::UntilClose;
        Ok(())
    }

    /// The status, 100 to 999.
    #[inline]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The reason phrase as it was sent; may be empty.
    #[inline]
    pub fn reason<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        self.reason.of(buf)
    }

    /// The version of the response.
    #[inline]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The fields.
    #[inline]
    pub fn fields(&self) -> &FieldTable {
        &self.fields
    }

    /// Whether another head follows: a 1xx status other than 101.
    #[inline]
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// Whether the upstream agreed to change the protocol: from here on the bytes are a tunnel, both ways.
    #[inline]
    pub fn is_upgrade(&self) -> bool {
        self.status == 101
    }

    /// How the body that follows is framed.
    #[inline]
    pub fn body(&self) -> BodyKind {
        self.body
    }

    /// The announced length, which a response to HEAD and a 304 carry without a body.
    #[inline]
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// Whether the connection may be used again once the body is read to its end and nothing follows it.
    #[inline]
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Refuses bytes that follow the head of a response that has no body (RFC 9112 section 6.3). `rest` is what was read
    /// after the head. For other responses look at what [`crate::BodyDecoder`] leaves over.
    ///
    /// # Errors
    /// [`ResponseError::BytesAfterMessage`].
    pub fn check_rest(&self, rest: &[u8]) -> Result<(), ResponseError> {
        let bodiless = !self.is_interim() && !self.is_upgrade() && self.body == BodyKind::None;
        if bodiless && !rest.is_empty() { Err(ResponseError::BytesAfterMessage) } else { Ok(()) }
    }

    /// How to frame this response for a client of this version. A body of unknown length goes out chunked, or to an
    /// HTTP/1.0 client until close (then the client's connection cannot be kept).
    #[inline]
    pub fn relay(&self, client: Version) -> RelayFraming {
        let unknown = if client == Version::Http11 { BodyKind::Chunked } else { BodyKind::UntilClose };
        match (self.body, self.content_length) {
            (BodyKind::None, Some(length)) => {
                RelayFraming { head: BodyKind::Length(length), body: BodyKind::None }
            }
            (BodyKind::None, None) => RelayFraming { head: BodyKind::None, body: BodyKind::None },
            (BodyKind::Length(length), _) => {
                RelayFraming { head: BodyKind::Length(length), body: BodyKind::Length(length) }
            }
            (BodyKind::Chunked | BodyKind::UntilClose, _) => RelayFraming { head: unknown, body: unknown },
        }
    }
}

/// A status line that is not all there yet, judged by what is.
#[cold]
fn short_line(buf: &[u8]) -> Result<Option<usize>, ResponseError> {
    for (i, &byte) in buf.iter().enumerate() {
        let fits = match i {
            0..=6 | 8 => b"HTTP/1.\0 "[i] == byte,
            7 => matches!(byte, b'0' | b'1'),
            9 => (b'1'..=b'9').contains(&byte),
            10 | 11 => byte.is_ascii_digit(),
            _ => true,
        };
        if !fits {
            return Err(if i < 9 { ResponseError::BadVersion } else { ResponseError::BadStatus });
        }
    }
    Ok(None)
}
