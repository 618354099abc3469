//! Writing heads: end-to-end fields are copied as they stand, all else is set anew.
//!
//! Whatever comes from outside the codec is checked, so no CR, LF or NUL can split a message. A head that is not
//! finished is taken back.

use crate::body::BodyKind;
use crate::error::WriteError;
use crate::fields::FieldTable;
use crate::known::{FieldSet, KnownField};
use crate::scan::{all_tchars, find_target_end, find_value_end, has_control, is_tchar};

/// Whether `name` can be a field name (RFC 9110 section 5.1).
pub fn is_token(name: &[u8]) -> bool {
    all_tchars(name)
}

/// Whether `value` can be a field value: no control characters but HTAB (RFC 9110 section 5.5).
#[inline]
pub fn is_field_value(value: &[u8]) -> bool {
    !has_control(value) || find_value_end(value, 0) == value.len()
}

/// A field name that was checked once, at compile time or when a configuration was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldName<'a>(&'a [u8]);

impl<'a> FieldName<'a> {
    /// The name, if it is a token.
    pub fn new(name: &'a [u8]) -> Option<Self> {
        is_token(name).then_some(Self(name))
    }

    /// For constants.
    ///
    /// # Panics
    /// When the name is not made of ASCII letters, digits, `-` and `_`: in a constant, that is a compile error.
    pub const fn from_static(name: &'static str) -> FieldName<'static> {
        let bytes = name.as_bytes();
        assert!(!bytes.is_empty(), "a field name is not empty");
        let mut i = 0;
        while i < bytes.len() {
            assert!(bytes[i].is_ascii_alphanumeric() || matches!(bytes[i], b'-' | b'_'), "not a field name");
            i += 1;
        }
        FieldName(bytes)
    }

    /// The name's bytes.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

/// Field lines that were checked once, when a configuration was read, and are written as they stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldLines(Vec<u8>);

impl FieldLines {
    /// No lines.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a line.
    ///
    /// # Errors
    /// The value holds a control byte, or white space around it; nothing is added.
    pub fn push(&mut self, name: FieldName<'_>, value: &[u8]) -> Result<(), WriteError> {
        let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        if !is_field_value(value) || is_space(value.first()) || is_space(value.last()) {
            return Err(WriteError::Value);
        }
        for part in [name.0, b": ", value, b"\r\n"] {
            self.0.extend_from_slice(part);
        }
        Ok(())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The lines, each with its CR LF.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What the `Connection` field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionOption<'a> {
    /// `close`
    Close,
    /// `keep-alive`, which an HTTP/1.0 client needs to be told.
    KeepAlive,
    /// `upgrade`, with the protocol for the `Upgrade` field.
    Upgrade(&'a [u8]),
}

/// Appends one head to a buffer. Dropped before [`Self::finish`], it takes back what it wrote.
#[derive(Debug)]
pub struct HeadWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    /// Where fields are noted, if they are.
    table: Option<&'a mut FieldTable>,
}

impl<'a> HeadWriter<'a> {
    /// Begins an HTTP/1.1 request in origin form (or `*`). `query` is empty or begins with `?`.
    ///
    /// # Errors
    /// The method is not a token, or the target not a valid one.
    #[inline]
    pub fn request(
        out: &'a mut Vec<u8>,
        method: &[u8],
        path: &[u8],
        query: &[u8],
    ) -> Result<Self, WriteError> {
        check_request(method, path, query)?;
        let start = out.len();
        out.reserve(method.len() + path.len() + query.len() + 16);
        out.extend_from_slice(method);
        out.push(b' ');
        out.extend_from_slice(path);
        out.extend_from_slice(query);
        out.extend_from_slice(b" HTTP/1.1\r\n");
        Ok(Self { out, start, table: None })
    }

    /// The same with a path whose beginning was exchanged: `path` is that beginning, and may be empty when `rest` begins
    /// with a slash.
    ///
    /// # Errors
    /// The method is not a token, or the target not a valid one.
    pub fn request_under(
        out: &'a mut Vec<u8>,
        method: &[u8],
        (path, rest): (&[u8], &[u8]),
        query: &[u8],
    ) -> Result<Self, WriteError> {
        if path.is_empty() {
            return Self::request(out, method, rest, query);
        }
        check_request(method, path, query)?;
        if path == b"*" || find_target_end(rest, 0) != rest.len() {
            return Err(WriteError::Target);
        }
        let start = out.len();
        for part in [method, b" ", path, rest, query, b" HTTP/1.1\r\n"] {
            out.extend_from_slice(part);
        }
        Ok(Self { out, start, table: None })
    }

    /// Begins an HTTP/1.1 response. An empty `reason` is allowed.
    ///
    /// # Errors
    /// The status is not three digits, or the reason holds a control byte.
    #[inline]
    pub fn response(out: &'a mut Vec<u8>, status: u16, reason: &[u8]) -> Result<Self, WriteError> {
        if !(100..1000).contains(&status) {
            return Err(WriteError::Status);
        }
        if !is_field_value(reason) {
            return Err(WriteError::Reason);
        }
        let start = out.len();
        out.reserve(reason.len() + 32);
        if status == 200 && reason == b"OK" {
            out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
            return Ok(Self { out, start, table: None });
        }
        let digits = [status / 100, status / 10 % 10, status % 10].map(|digit| b'0' + digit as u8);
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(&digits);
        out.push(b' ');
        out.extend_from_slice(reason);
        out.extend_from_slice(b"\r\n");
        Ok(Self { out, start, table: None })
    }

    /// Notes in `table` what is written from here on, as parsing the head would, for whoever needs it taken apart again at
    /// once. The head must be the first thing in its buffer.
    #[must_use]
    pub fn noting(mut self, table: Option<&'a mut FieldTable>) -> Self {
        debug_assert!(self.start == 0);
        self.table = table;
        if let Some(table) = &mut self.table {
            table.begin();
        }
        self
    }

    /// Notes the line that was written last, with a name of so many bytes.
    #[inline]
    fn note(&mut self, start: usize, name_len: usize) {
        if let Some(table) = &mut self.table {
            table.note_line(self.out, start, name_len);
        }
    }

    /// Copies the end-to-end fields of a parsed head, in order and as they were spelt. Left out are hop-by-hop fields,
    /// those that a `Connection` option names, the framing fields, `Host`, and the kinds in `skip`. `buf` must be the
    /// slice that `fields` was parsed from.
    #[inline]
    pub fn copy(&mut self, buf: &[u8], fields: &FieldTable, skip: FieldSet) -> &mut Self {
        let skip = skip.union(ALWAYS_SKIPPED);
        self.copy_runs(buf, fields, |field| !skip.has(field.id) && !field.nominated)
    }

    /// As [`Self::copy`], and also leaves out every field for which `keep(name, value)` says no.
    pub fn copy_where(
        &mut self,
        buf: &[u8],
        fields: &FieldTable,
        skip: FieldSet,
        mut keep: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> &mut Self {
        let skip = skip.union(ALWAYS_SKIPPED);
        self.copy_runs(buf, fields, |field| {
            !skip.has(field.id) && !field.nominated && keep(field.name.of(buf), field.value.of(buf))
        })
    }

    /// Neighbouring lines go over in one piece.
    #[inline(always)]
    fn copy_runs(
        &mut self,
        buf: &[u8],
        fields: &FieldTable,
        mut keep: impl FnMut(&crate::Field) -> bool,
    ) -> &mut Self {
        let mut run = None;
        for (index, field) in fields.iter().enumerate() {
            if keep(field) {
                let start = *run.get_or_insert(field.name.start as usize);
                if let Some(table) = &mut self.table {
                    table.note_copy(field, self.out.len().wrapping_sub(start) as u32);
                }
            } else if let Some(start) = run.take() {
                self.copy_lines(buf, start, fields.line_start(index));
            }
        }
        if let Some(start) = run {
            self.copy_lines(buf, start, fields.line_start(fields.len()));
        }
        self
    }

    #[inline(always)]
    fn copy_lines(&mut self, buf: &[u8], start: usize, end: usize) {
        self.out.extend_from_slice(buf.get(start..end).unwrap_or_default());
    }

    /// Appends a field.
    ///
    /// # Errors
    /// The value holds a control byte; nothing is written.
    #[inline]
    pub fn field(&mut self, name: FieldName<'_>, value: &[u8]) -> Result<&mut Self, WriteError> {
        if !is_field_value(value) {
            return Err(WriteError::Value);
        }
        let start = self.out.len();
        self.out.reserve(name.0.len() + value.len() + 4);
        self.out.extend_from_slice(name.0);
        self.out.extend_from_slice(b": ");
        self.out.extend_from_slice(value);
        self.out.extend_from_slice(b"\r\n");
        self.note(start, name.0.len());
        Ok(self)
    }

    /// Where the value of the field that was appended last begins and ends in the buffer, if it has so many bytes.
    pub fn place_of_last(&self, value_bytes: usize) -> std::ops::Range<usize> {
        let end = self.out.len().saturating_sub(2);
        end.saturating_sub(value_bytes)..end
    }

    /// Appends a field whose value is made of parts, without gluing them elsewhere first.
    ///
    /// # Errors
    /// A part holds a control byte; nothing is written.
    #[inline]
    pub fn field_joined(&mut self, name: FieldName<'_>, parts: &[&[u8]]) -> Result<&mut Self, WriteError> {
        if !parts.iter().all(|part| is_field_value(part)) {
            return Err(WriteError::Value);
        }
        let start = self.out.len();
        self.out.extend_from_slice(name.0);
        self.out.extend_from_slice(b": ");
        for part in parts {
            self.out.extend_from_slice(part);
        }
        self.out.extend_from_slice(b"\r\n");
        self.note(start, name.0.len());
        Ok(self)
    }

    /// Appends a field with a number for a value.
    pub fn number(&mut self, name: FieldName<'_>, value: u64) -> &mut Self {
        let start = self.out.len();
        self.out.extend_from_slice(name.0);
        self.out.extend_from_slice(b": ");
        push_decimal(self.out, value);
        self.out.extend_from_slice(b"\r\n");
        self.note(start, name.0.len());
        self
    }

    /// Appends lines that were checked before.
    #[inline]
    pub fn lines(&mut self, lines: &FieldLines) -> &mut Self {
        let start = self.out.len();
        self.out.extend_from_slice(&lines.0);
        self.note_lines(start);
        self
    }

    /// Notes the lines from `start` on.
    fn note_lines(&mut self, mut start: usize) {
        let Some(table) = &mut self.table else { return };
        while let Some(len) = self.out[start..].iter().position(|&byte| byte == b'\n') {
            let end = start + len + 1;
            let line = &self.out[start..end];
            let name_len = line.iter().position(|&byte| byte == b':').unwrap_or(0);
            table.note_line(&self.out[..end], start, name_len);
            start = end;
        }
    }

    /// Writes `Host`, which [`Self::copy`] leaves out.
    ///
    /// # Errors
    /// The value holds a control byte; nothing is written.
    #[inline]
    pub fn host(&mut self, host: &[u8]) -> Result<&mut Self, WriteError> {
        self.field(FieldName(b"Host"), host)
    }

    /// Writes the field that announces the body: the only one, since [`Self::copy`] leaves both out.
    #[inline]
    pub fn framing(&mut self, kind: BodyKind) -> &mut Self {
        let start = self.out.len();
        match kind {
            BodyKind::None | BodyKind::UntilClose => {}
            BodyKind::Length(length) => {
                self.out.extend_from_slice(b"Content-Length: ");
                push_decimal(self.out, length);
                self.out.extend_from_slice(b"\r\n");
                self.note(start, "Content-Length".len());
            }
            BodyKind::Chunked => {
                self.out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
                self.note(start, "Transfer-Encoding".len());
            }
        }
        self
    }

    /// Writes `Connection`, and `Upgrade` with it. Keeping an HTTP/1.1 connection needs no field.
    ///
    /// # Errors
    /// The protocol holds a byte that may not stand there; nothing is written.
    pub fn connection(&mut self, option: ConnectionOption<'_>) -> Result<&mut Self, WriteError> {
        let start = self.out.len();
        match option {
            ConnectionOption::Close => self.out.extend_from_slice(b"Connection: close\r\n"),
            ConnectionOption::KeepAlive => self.out.extend_from_slice(b"Connection: keep-alive\r\n"),
            ConnectionOption::Upgrade(protocol) => {
                if protocol.is_empty() || !protocol.iter().all(|&b| is_tchar(b) || b == b'/') {
                    return Err(WriteError::Value);
                }
                self.out.extend_from_slice(b"Connection: upgrade\r\nUpgrade: ");
                self.out.extend_from_slice(protocol);
                self.out.extend_from_slice(b"\r\n");
            }
        }
        self.note_lines(start);
        Ok(self)
    }

    /// Writes the empty line that ends the head, and keeps the head.
    #[inline]
    pub fn finish(mut self) {
        if let Some(table) = &mut self.table {
            table.note_end(self.out.len());
        }
        self.out.extend_from_slice(b"\r\n");
        self.start = self.out.len();
    }
}

const ALWAYS_SKIPPED: FieldSet = FieldSet::HOP_BY_HOP.union(FieldSet::FRAMING).with(KnownField::Host);

impl Drop for HeadWriter<'_> {
    #[inline]
    fn drop(&mut self) {
        self.out.truncate(self.start);
    }
}

#[inline]
fn check_request(method: &[u8], path: &[u8], query: &[u8]) -> Result<(), WriteError> {
    if method != b"GET" && !is_token(method) {
        return Err(WriteError::Method);
    }
    let begins = path.first() == Some(&b'/') || path == b"*";
    let asks = query.is_empty() || query[0] == b'?';
    if !begins || !asks || find_target_end(path, 0) != path.len() || find_target_end(query, 0) != query.len()
    {
        return Err(WriteError::Target);
    }
    Ok(())
}

/// Decimal digits, without allocation.
fn push_decimal(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0u8; 20];
    let mut start = digits.len();
    let mut left = value;
    loop {
        start -= 1;
        digits[start] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, RequestHead, parse_request};

    fn name(text: &'static str) -> FieldName<'static> {
        FieldName::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn lines_are_checked_once_and_written_as_they_stand() {
        let mut lines = FieldLines::new();
        assert!(lines.is_empty());
        lines.push(name("X-A"), b"1").unwrap();
        lines.push(name("x-b"), b"").unwrap();
        for bad in [&b"a\r\nb"[..], b"a\0", b" a", b"a\t"] {
            assert_eq!(lines.push(name("x"), bad), Err(WriteError::Value));
        }
        let mut out = Vec::new();
        let mut writer = HeadWriter::response(&mut out, 204, b"").unwrap();
        writer.lines(&lines);
        writer.finish();
        assert_eq!(out, b"HTTP/1.1 204 \r\nX-A: 1\r\nx-b: \r\n\r\n");
    }

    #[test]
    fn what_is_noted_is_what_parsing_finds() {
        let source =
            b"POST /a HTTP/1.1\r\nHost: a\r\nX-A:  1 \t\r\nConnection: x-b\r\nX-B: 2\r\nX-C:\r\nx-c: d\r\n\
            content-length: 5\r\nGrpc-Timeout:1S\r\nx_forwarded_for: e\r\nY: \t\r\n\r\n";
        let mut head = RequestHead::default();
        parse_request(source, &Limits::DEFAULT, &mut head).unwrap();
        let mut lines = FieldLines::new();
        lines.push(name("X-D"), b"1").unwrap();
        lines.push(name("Server"), b"").unwrap();
        for kind in [BodyKind::None, BodyKind::Length(0), BodyKind::Length(123), BodyKind::Chunked] {
            let (mut out, mut noted) = (Vec::new(), FieldTable::default());
            for _ in 0..2 {
                out.clear();
                let writer = HeadWriter::request(&mut out, b"POST", b"/a", b"?b").unwrap();
                let mut writer = writer.noting(Some(&mut noted));
                writer.host(b"a:1").unwrap().copy(source, head.fields(), FieldSet::NONE);
                writer.field(name("x-forwarded-for"), b" 1.2.3.4\t").unwrap();
                writer.field_joined(name("Traceparent"), &[b"00-", b"", b"1"]).unwrap();
                writer.number(name("x-weir-hops"), 12).lines(&lines).lines(&FieldLines::new());
                writer.connection(ConnectionOption::Upgrade(b"websocket")).unwrap().framing(kind);
                writer.finish();
            }
            let mut parsed = FieldTable::default();
            let from = out.iter().position(|&byte| byte == b'\n').unwrap() + 1;
            assert_eq!(parsed.parse(&out, from, &Limits::DEFAULT), Ok(Some(out.len())));
            assert_eq!(noted, parsed, "{}", out.escape_ascii());
            assert_eq!(noted.written(), out.len());
            let twice = |table: &FieldTable| (table.seen(), table.repeated());
            assert_eq!(twice(&noted), twice(&parsed));
        }
    }

    #[test]
    fn a_path_in_two_parts() {
        let write = |path: &str, rest: &str, query: &str| {
            let mut out = Vec::new();
            let parts = (path.as_bytes(), rest.as_bytes());
            HeadWriter::request_under(&mut out, b"GET", parts, query.as_bytes()).map(HeadWriter::finish)?;
            Ok::<_, WriteError>(String::from_utf8(out).unwrap())
        };
        let line = |target: &str| Ok(format!("GET {target} HTTP/1.1\r\n\r\n"));
        assert_eq!(write("/a", "/b", "?c"), line("/a/b?c"));
        assert_eq!(write("", "/b", ""), line("/b"));
        assert_eq!(write("/a", "", ""), line("/a"));
        for (path, rest, query) in
            [("", "", ""), ("a", "/b", ""), ("*", "/b", ""), ("/a", "/ b", ""), ("/a", "", "c")]
        {
            assert_eq!(write(path, rest, query), Err(WriteError::Target), "{path} {rest} {query}");
        }
    }
}
