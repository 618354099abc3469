//! A request's head.

use weir_http1::{BodyKind, KnownField};

use super::{AUTHORITY, METHOD, Malformed, PATH, Reader, Request, SCHEME, Text, is_token};

impl Reader {
    /// Ends a request's head. `ended` says that nothing follows it.
    pub(crate) fn end_request(&mut self, ended: bool, out: &mut Text<'_>) -> Result<Request, Malformed> {
        if !self.fields_begun {
            self.write_request_start(out);
        }
        if self.malformed || (ended && self.length.is_some_and(|length| length > 0)) {
            return Err(Malformed);
        }
        if !self.cookies.is_empty() {
            self.line(KnownField::Cookie, b"cookie", self.cookies.trim_ascii(), out);
        }
        let length = self.length;
        let connects = self.method == b"CONNECT";
        let body = match length {
            _ if ended => length.map_or(BodyKind::None, |_| BodyKind::Length(0)),
            Some(length) if !self.is_call => BodyKind::Length(length),
            _ => BodyKind::Chunked,
        };
        let announced = match (body, &*self.method) {
            // A server may ask for a length where the method suggests content (RFC 9110 section 8.6).
            (BodyKind::None, b"POST" | b"PUT" | b"PATCH") => BodyKind::Length(0),
            _ => body,
        };
        self.end(announced, out);
        Ok(Request { body, length: if ended { None } else { length }, connects })
    }

    /// Writes the request line and the host, once all pseudo-headers are there.
    pub(super) fn write_request_start(&mut self, out: &mut Text<'_>) {
        let connects = self.method == b"CONNECT";
        // RFC 9113 section 8.5.
        let wanted = if connects { METHOD | AUTHORITY } else { METHOD | SCHEME | PATH };
        let allowed = if connects { wanted } else { wanted | AUTHORITY };
        let complete = self.seen & wanted == wanted && self.seen & !allowed == 0;
        if !complete || !(self.method == b"POST" || self.method == b"GET" || is_token(&self.method)) {
            self.malformed = true;
            return;
        }
        let target = if connects { &self.authority } else { &self.path };
        if !is_target(target) || !(connects || self.has_path()) {
            self.malformed = true;
            return;
        }
        out.bytes.extend_from_slice(&self.method);
        out.bytes.push(b' ');
        out.bytes.extend_from_slice(target);
        out.bytes.extend_from_slice(b" HTTP/1.1\r\n");
        if self.seen & AUTHORITY != 0 {
            self.line(KnownField::Host, b"host", &self.authority, out);
        }
    }

    /// Section 8.3.1: a path, or what OPTIONS has for one.
    fn has_path(&self) -> bool {
        match &*self.path {
            b"*" => self.method == b"OPTIONS",
            [b'/', ..] => true,
            _ => false,
        }
    }
}

/// Whether a target can stand in a request line. What it may consist of is judged by who reads it, but for a fragment, which
/// is no part of it (section 8.3.1).
fn is_target(target: &[u8]) -> bool {
    !target.is_empty() && target.iter().all(|&byte| byte > b' ' && byte != 0x7f && byte != b'#')
}
