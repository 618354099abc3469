//! Request heads: parsed once into offsets, with everything that decides routing and framing derived.

use crate::body::BodyKind;
use crate::connection::{lists, options, single_protocol};
use crate::error::{FieldError, RequestError};
use crate::fields::FieldTable;
use crate::framing;
use crate::known::{FieldSet, KnownField};
use crate::limits::Limits;
use crate::resume::Resume;
use crate::scan::{find_target_end, find_target_mark, find_token_end};
use crate::span::{Parsed, Span, Version};
use crate::target::{self, Authority, Target, TargetForm, authority_parts};

/// A request method (RFC 9110 section 9). Names are case-sensitive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// GET
    #[default]
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
    /// OPTIONS
    Options,
    /// PATCH
    Patch,
    /// CONNECT
    Connect,
    /// TRACE
    Trace,
    /// Any other token; [`RequestHead::method_bytes`] has it.
    Other,
}

impl Method {
    /// The method of this name.
    pub fn from_bytes(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            b"PATCH" => Self::Patch,
            b"CONNECT" => Self::Connect,
            b"TRACE" => Self::Trace,
            _ => Self::Other,
        }
    }

    /// Whether a request may be sent again after a failure (RFC 9110 section 9.2.2).
    pub fn is_idempotent(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Put | Self::Delete | Self::Options | Self::Trace)
    }
}

/// A parsed request head. Reuse it: it keeps its storage. It holds offsets, not bytes: the accessors that take `buf` want
/// the slice that was parsed.
///
/// After [`Parsed::Partial`] it remembers how far that head was looked at. One that is shared by connections must be
/// [`Self::reset`] before another connection's bytes; a connection whose head is partial then needs one of its own.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    method: Method,
    method_span: Span,
    target_span: Span,
    target: Target,
    /// With its `?`; empty without a query.
    query: Span,
    version: Version,
    fields: FieldTable,
    host: Option<Host>,
    body: BodyKind,
    keep_alive: bool,
    expect_continue: bool,
    upgrade: Option<Span>,
    te_trailers: bool,
    resume: Resume,
}

/// The host that a request is for, taken apart once.
#[derive(Clone, Copy, Debug)]
struct Host {
    whole: Span,
    name_len: u32,
    port: Option<u16>,
}

impl Host {
    #[inline(always)]
    fn parse(buf: &[u8], whole: Span) -> Option<Self> {
        let (name_len, port) = authority_parts(whole.of(buf))?;
        Some(Self { whole, name_len: name_len as u32, port })
    }
}

/// Parses the request head at the beginning of `buf`.
///
/// On [`Parsed::Partial`] read more and call again with the same `head` and all bytes of the head; the work of repeated
/// calls stays linear in the size of the head. On [`Parsed::Complete`] `head` is filled and ready for the next call.
///
/// # Errors
/// The request must be answered with [`RequestError::status`] and the connection closed.
pub fn parse_request(buf: &[u8], limits: &Limits, head: &mut RequestHead) -> Result<Parsed, RequestError> {
    parse_head(buf, limits, head, false)
}

/// The same for a head that was written line by line, whole, and whose table was put into [`RequestHead::table`]: its fields
/// are not parsed again.
///
/// # Errors
/// As [`parse_request`].
pub fn parse_noted_request(
    buf: &[u8],
    limits: &Limits,
    head: &mut RequestHead,
) -> Result<Parsed, RequestError> {
    parse_head(buf, limits, head, true)
}

#[inline(always)]
fn parse_head(
    buf: &[u8],
    limits: &Limits,
    head: &mut RequestHead,
    noted: bool,
) -> Result<Parsed, RequestError> {
    if !head.resume.is_due(buf) && buf.len() < limits.head_window() {
        return Ok(Parsed::Partial);
    }
    let window = &buf[..buf.len().min(limits.head_window())];
    let verdict = match head.parse(window, limits, noted) {
        Ok(Some(len)) => Ok(Parsed::Complete(len)),
        Ok(None) if window.len() == limits.head_window() => Err(RequestError::HeadTooLarge(window.len())),
        Ok(None) => {
            head.resume.note_partial(buf.len());
            return Ok(Parsed::Partial);
        }
        Err(fault) => Err(fault),
    };
    head.resume.reset();
    verdict
}

impl RequestHead {
    /// Forgets a head that was begun and will not be continued.
    pub fn reset(&mut self) {
        self.resume.reset();
    }

    /// Where the table of a head is put for [`parse_noted_request`].
    pub fn table(&mut self) -> &mut FieldTable {
        &mut self.fields
    }

    #[inline(always)]
    fn parse(&mut self, buf: &[u8], limits: &Limits, noted: bool) -> Result<Option<usize>, RequestError> {
        let Some(fields_at) = self.request_line(buf, limits)? else { return Ok(None) };
        let fields = &mut self.fields;
        let end =
            if noted { fields.take(buf, fields_at, limits) } else { fields.parse(buf, fields_at, limits) };
        let Some(end) = end? else { return Ok(None) };
        self.target = target::parse(buf, self.target_span, self.query.start as usize, self.method)?;
        self.check_host(buf)?;
        self.derive(buf, limits)?;
        Ok(Some(end))
    }

    #[inline(always)]
    fn request_line(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<usize>, RequestError> {
        // RFC 9112 section 2.2: one empty line before the request line is ignored.
        let start = if buf.first() == Some(&b'\r') {
            match buf.get(1) {
                None => return Ok(None),
                Some(b'\n') => 2,
                Some(_) => return Err(FieldError::BareCr.into()),
            }
        } else {
            0
        };
        let method_end = if buf[start..].starts_with(b"GET ") {
            self.method = Method::Get;
            start + 3
        } else {
            let Some(end) = self.other_method(buf, start, limits)? else { return Ok(None) };
            end
        };
        self.method_span = Span::new(start, method_end);

        let target_at = method_end + 1;
        let query_at = find_target_mark(buf, target_at);
        let target_end =
            if buf.get(query_at) == Some(&b'?') { find_target_end(buf, query_at + 1) } else { query_at };
        if target_end - target_at > limits.target_bytes_max {
            return Err(RequestError::TargetTooLong(limits.target_bytes_max));
        }
        match buf.get(target_end) {
            None => return Ok(None),
            Some(b' ') if target_end > target_at => {}
            Some(&byte) => return Err(target_fault(byte, target_end == target_at)),
        }
        self.target_span = Span::new(target_at, target_end);
        self.query = Span::new(query_at, target_end);
        self.parse_version(buf, target_end + 1)
    }

    #[inline(never)]
    fn other_method(
        &mut self,
        buf: &[u8],
        start: usize,
        limits: &Limits,
    ) -> Result<Option<usize>, RequestError> {
        let end = find_token_end(buf, start);
        if end - start > limits.method_bytes_max {
            return Err(RequestError::BadMethod);
        }
        match buf.get(end) {
            None => Ok(None),
            Some(b' ') if end > start => {
                self.method = Method::from_bytes(&buf[start..end]);
                Ok(Some(end))
            }
            Some(_) => Err(RequestError::BadMethod),
        }
    }

    #[inline(always)]
    fn parse_version(&mut self, buf: &[u8], at: usize) -> Result<Option<usize>, RequestError> {
        let Some(text) = buf[at..].first_chunk::<10>() else { return short_version(&buf[at..]) };
        self.version = match text {
            b"HTTP/1.1\r\n" => Version::Http11,
            b"HTTP/1.0\r\n" => Version::Http10,
            _ => return short_version(text),
        };
        Ok(Some(at + 10))
    }

    /// RFC 9112 section 3.2: exactly one valid `Host` in HTTP/1.1; a host in the target wins over it.
    #[inline(always)]
    fn check_host(&mut self, buf: &[u8]) -> Result<(), RequestError> {
        if self.fields.repeated().has(KnownField::Host) {
            return Err(RequestError::RepeatedHost);
        }
        self.host = match self.fields.get(KnownField::Host) {
            Some(field) => Some(Host::parse(buf, field.value).ok_or(RequestError::BadHost)?),
            None if self.version == Version::Http11 => return Err(RequestError::MissingHost),
            None => None,
        };
        if !self.target.authority.is_empty() {
            self.host = Host::parse(buf, self.target.authority);
        }
        Ok(())
    }

    #[inline(always)]
    fn derive(&mut self, buf: &[u8], limits: &Limits) -> Result<(), RequestError> {
        const DECIDING: FieldSet = FieldSet::FRAMING
            .with(KnownField::Connection)
            .with(KnownField::Expect)
            .with(KnownField::Upgrade)
            .with(KnownField::Te);
        self.body = BodyKind::None;
        self.keep_alive = self.version == Version::Http11;
        self.expect_continue = false;
        self.upgrade = None;
        self.te_trailers = false;
        if self.fields.seen().intersects(DECIDING) { self.derive_more(buf, limits) } else { Ok(()) }
    }

    fn derive_more(&mut self, buf: &[u8], limits: &Limits) -> Result<(), RequestError> {
        self.body = framing::announced(buf, &self.fields, self.version)?.unwrap_or(BodyKind::None);
        let options = options(buf, &mut self.fields, limits)?;
        self.keep_alive = options.persists(self.version);
        let seen = self.fields.seen();
        if seen.has(KnownField::Expect) {
            let known = |value: &[u8]| value.eq_ignore_ascii_case(b"100-continue");
            if !self.fields.values(buf, KnownField::Expect).all(known) {
                return Err(RequestError::UnknownExpectation);
            }
            // RFC 9110 section 10.1.1: of no effect in HTTP/1.0, and senseless without content.
            self.expect_continue = self.version == Version::Http11 && !self.body.is_empty();
        }
        if seen.has(KnownField::Upgrade)
            && options.upgrade
            && self.version == Version::Http11
            && self.body.is_empty()
        {
            let named = single_protocol(buf, &self.fields).is_some();
            self.upgrade = self.fields.get(KnownField::Upgrade).filter(|_| named).map(|field| field.value);
        }
        self.te_trailers =
            seen.has(KnownField::Te) && lists(self.fields.values(buf, KnownField::Te), b"trailers");
        Ok(())
    }

    /// The method.
    #[inline]
    pub fn method(&self) -> Method {
        self.method
    }

    /// The method as it was sent.
    #[inline]
    pub fn method_bytes<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        self.method_span.of(buf)
    }

    /// Refuses TRACE, and CONNECT unless `serves_connect` (which is true on the outbound HTTP-proxy listener only).
    ///
    /// # Errors
    /// [`RequestError::MethodNotAllowed`] (405).
    pub fn check_method(&self, serves_connect: bool) -> Result<(), RequestError> {
        match self.method {
            Method::Trace => Err(RequestError::MethodNotAllowed("TRACE")),
            Method::Connect if !serves_connect => Err(RequestError::MethodNotAllowed("CONNECT")),
            _ => Ok(()),
        }
    }

    /// The form of the target. Absolute-form `OPTIONS http://host` counts as [`TargetForm::Asterisk`].
    #[inline]
    pub fn target_form(&self) -> TargetForm {
        self.target.form
    }

    /// The target as it was sent; for logs.
    pub fn target<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        self.target_span.of(buf)
    }

    /// The path, without the query, not normalised: `/` when an absolute target has none, `*` for the asterisk form,
    /// empty for CONNECT.
    #[inline]
    pub fn path<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        match self.target.form {
            TargetForm::Asterisk => b"*",
            TargetForm::Absolute if self.target.path.is_empty() => b"/",
            _ => self.target.path.of(buf),
        }
    }

    /// The query with its `?`; empty without one.
    #[inline]
    pub fn query<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        self.query.of(buf)
    }

    /// The host that the request is for, with its port, validated: the target's where it names one, else `Host`.
    /// `None` only in HTTP/1.0.
    #[inline]
    pub fn host<'a>(&self, buf: &'a [u8]) -> Option<&'a [u8]> {
        self.host.map(|host| host.whole.of(buf))
    }

    /// [`Self::host`], taken apart.
    #[inline]
    pub fn authority<'a>(&self, buf: &'a [u8]) -> Option<Authority<'a>> {
        let host = self.host?;
        Some(Authority { host: host.whole.of(buf).get(..host.name_len as usize)?, port: host.port })
    }

    /// The version of the request.
    #[inline]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The fields.
    #[inline]
    pub fn fields(&self) -> &FieldTable {
        &self.fields
    }

    /// How the body is framed; never [`BodyKind::UntilClose`].
    #[inline]
    pub fn body(&self) -> BodyKind {
        self.body
    }

    /// Whether the client wants the connection kept after this exchange.
    #[inline]
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Whether the client waits for `100 Continue` before it sends the body.
    #[inline]
    pub fn expect_continue(&self) -> bool {
        self.expect_continue
    }

    /// The one protocol that the client wants to change to, e.g. `websocket`. Never `h2c`.
    #[inline]
    pub fn upgrade<'a>(&self, buf: &'a [u8]) -> Option<&'a [u8]> {
        self.upgrade.map(|span| span.of(buf))
    }

    /// Whether the client understands trailers (`TE: trailers`).
    #[inline]
    pub fn te_trailers(&self) -> bool {
        self.te_trailers
    }
}

#[cold]
fn target_fault(byte: u8, empty: bool) -> RequestError {
    match byte {
        b'\r' | b'\n' if !empty => RequestError::BadVersion,
        b' ' | b'\r' | b'\n' => RequestError::MissingTarget,
        b'#' => RequestError::Fragment,
        _ => RequestError::TargetByte(byte),
    }
}

/// What follows the target is too short or not one of the two versions.
#[cold]
fn short_version(text: &[u8]) -> Result<Option<usize>, RequestError> {
    for (i, &byte) in text.iter().enumerate() {
        let fits = match i {
            5 | 7 => byte.is_ascii_digit(),
            8 => byte == b'\r',
            9 => byte == b'\n',
            _ => b"HTTP/\0.\0"[i] == byte,
        };
        if !fits {
            let line_end = if byte == b'\n' { FieldError::BareLf } else { FieldError::BareCr };
            let at_end = (i == 8 && byte == b'\n') || i == 9;
            return Err(if at_end { line_end.into() } else { RequestError::BadVersion });
        }
    }
    if text.len() < 10 { Ok(None) } else { Err(RequestError::UnsupportedVersion) }
}
