//! A response's head.

use weir_http1::{BodyKind, reason_phrase};

use super::{Malformed, Reader, Response, Text};

impl Reader {
    /// Ends a response's head. `ended` says that nothing follows it, `head_only` that the request was HEAD.
    pub(crate) fn end_response(
        &mut self,
        ended: bool,
        head_only: bool,
        out: &mut Text<'_>,
    ) -> Result<Response, Malformed> {
        if !self.fields_begun {
            self.write_response_start(out);
        }
        // 101 is not for HTTP/2 (RFC 9113 section 8.6), and an interim response ends nothing (section 8.1).
        if self.malformed || self.status == 101 || (self.status < 200 && ended) {
            return Err(Malformed);
        }
        if self.status < 200 {
            self.end(BodyKind::None, out);
            return Ok(Response::Interim);
        }
        if head_only || matches!(self.status, 204 | 304) {
            // What it announces is not what it has.
            if let Some(length) = self.length {
                self.announce_length(length, out);
            }
            self.end(BodyKind::None, out);
            return Ok(Response::Final { body: BodyKind::None, length: None });
        }
        let body = match self.length {
            Some(length) if ended && length > 0 => return Err(Malformed),
            _ if ended => BodyKind::Length(0),
            Some(length) if !self.is_call => BodyKind::Length(length),
            _ => BodyKind::Chunked,
        };
        self.end(body, out);
        Ok(Response::Final { body, length: self.length })
    }

    /// Writes the status line.
    pub(super) fn write_response_start(&mut self, out: &mut Text<'_>) {
        if self.status == 0 {
            self.malformed = true;
            return;
        }
        if self.status == 200 {
            return out.bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        }
        let status = self.status;
        out.bytes.extend_from_slice(b"HTTP/1.1 ");
        out.bytes.extend_from_slice(
            &[status / 100, status / 10 % 10, status % 10].map(|digit| b'0' + digit as u8),
        );
        out.bytes.push(b' ');
        out.bytes.extend_from_slice(reason_phrase(status).as_bytes());
        out.bytes.extend_from_slice(b"\r\n");
    }
}
