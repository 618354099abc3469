//! From the upstream to the client.

use std::io;
use std::task::{Context, Poll};

use weir_http1::{
    BodyError, BodyKind, ConnectionOption, FieldSet, HeadWriter, KnownField, Parsed, ResponseError,
    ResponseHead, Sent, Version, WriteError, parse_noted_response, parse_response,
};

use super::super::again::Retried;
use super::gather::Gather;
use super::second::unwanted;
use super::{Ended, Exchange, Link, UpstreamFault};
use crate::http2::{MALFORMED, UNFIT, UNSENT};
use crate::observe::GrpcStatus;
use crate::respond::{Reason, Refusal, Unanswered};
use crate::runtime::Scratch;

/// What reading heads came to.
enum Heads {
    /// More bytes are needed.
    Partial,
    /// The final head ends here.
    Final(usize),
}

impl Exchange {
    /// Sends what there is and reads more of the response. Gives whether anything moved.
    #[inline]
    pub(super) fn poll_download(&mut self, cx: &mut Context<'_>, link: &mut Link<'_>) -> Result<bool, Ended> {
        let moved = self.download_once(cx, link);
        link.client.keeps(self.download.pending_bytes());
        moved
    }

    #[inline]
    fn download_once(&mut self, cx: &mut Context<'_>, link: &mut Link<'_>) -> Result<bool, Ended> {
        self.held_back = false;
        if self.download.has_pending() {
            let flushed = self.download.flush(cx, link.client, &link.worker.buffers);
            let flushed = flushed.map_err(|_| Ended::ClientGone)?;
            link.client.keeps(self.download.pending_bytes());
            if self.download.has_pending() {
                return Ok(flushed);
            }
        }
        if self.status != 0 && self.download.done {
            return Ok(false);
        }
        let mut scratch = link.worker.scratch.borrow_mut();
        let Scratch { input, out, response, .. } = &mut *scratch;
        let held = self.partial.len();
        input[..held].copy_from_slice(&self.partial);
        // What is there already needs no room to be read into.
        let wanted = if self.unread { 1 } else { self.download.read_max.min(input.len() - held) };
        let mut room = link.client.room(wanted);
        if room == 0 {
            // It may take now what it did not before; else it asks to be woken when it does.
            if let Poll::Ready(Err(_)) = link.client.poll_flush(cx) {
                return Err(Ended::ClientGone);
            }
            room = link.client.room(wanted);
        }
        if room == 0 {
            self.held_back = true;
            return Ok(false);
        }
        let read = if self.unread {
            0
        } else {
            match link.upstream.poll_read(cx, &mut input[held..held + room]) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(n)) => n,
                // After a reset nothing can be trusted to have been the whole.
                Poll::Ready(Err(fault)) => return Err(self.upstream_gone(fault)),
            }
        };
        out.clear();
        if read == 0 && !std::mem::take(&mut self.unread) {
            return self.upstream_ended(cx, link, out);
        }
        self.heard = true;
        let end = held + read;
        let noted = end == read && self.status == 0 && link.upstream.take_table(response.table());
        self.relay(cx, link, input, end, out, (response, noted))?;
        Ok(true)
    }

    /// Passes on what is in `input[..end]`.
    fn relay(
        &mut self,
        cx: &mut Context<'_>,
        link: &mut Link<'_>,
        input: &mut [u8],
        end: usize,
        out: &mut Vec<u8>,
        (head, noted): (&mut ResponseHead, bool),
    ) -> Result<(), Ended> {
        let mut gather = Gather::new();
        let mut from = 0;
        let fresh = self.status == 0;
        if fresh {
            match self.read_heads(link, &input[..end], out, (&mut *head, noted))? {
                Heads::Partial => from = end,
                Heads::Final(at) => from = at,
            }
            gather.push_out(out);
        }
        if self.status != 0 && !self.upgraded {
            let kept = self.keeping.as_mut().map(|keeping| &mut keeping.body);
            let taken = self.download.encode_gather(&mut gather, &mut input[..end], from, out, kept);
            if self.keeping.as_ref().is_some_and(|keeping| keeping.is_too_large()) {
                self.keeping = None;
            }
            match taken {
                Ok(at) if at < end => {
                    // Bytes that nobody asked for: this connection has lost its order.
                    self.upstream_keeps = false;
                    if fresh {
                        return Err(self.refuse_response(ResponseError::BytesAfterMessage));
                    }
                }
                Ok(_) => {}
                Err(fault) if fresh => return Err(self.refuse_body(fault)),
                Err(_) => return Err(self.break_off()),
            }
        }
        if let Some((at, body)) = self.passed_on.take() {
            let own = self.own_head.take();
            let head = own.as_deref().unwrap_or(head);
            link.client.respond(head, &input[at..from], body).map_err(|_| Ended::ClientGone)?;
            self.download.written += from as u64;
        }
        self.download
            .write(cx, link.client, &gather, out, input, &link.worker.buffers)
            .map_err(|_| Ended::ClientGone)
    }

    /// Reads interim heads and the final one, and writes them for the client. `noted` says that `shared` has the table of the
    /// head that the input begins with.
    fn read_heads(
        &mut self,
        link: &Link<'_>,
        input: &[u8],
        out: &mut Vec<u8>,
        (shared, noted): (&mut ResponseHead, bool),
    ) -> Result<Heads, Ended> {
        let limits = &link.worker.config().limits.response;
        if self.own_head.is_none() {
            shared.begin_exchange();
        }
        let mut at = 0;
        loop {
            let sent = Sent { method: self.asked.method, upgrade: self.asked.upgrade.as_deref() };
            let noted = noted && at == 0 && self.own_head.is_none();
            let head = self.own_head.as_deref_mut().unwrap_or(shared);
            let parsed = if noted {
                parse_noted_response(&input[at..], limits, sent, head)
            } else {
                parse_response(&input[at..], limits, sent, head)
            };
            let parsed = match parsed {
                Ok(parsed) => parsed,
                Err(fault) => return Err(self.refuse_response(fault)),
            };
            let Parsed::Complete(len) = parsed else {
                if self.own_head.is_none() {
                    self.own_head = Some(Box::new(shared.clone()));
                }
                if self.partial.capacity() == 0 {
                    self.partial = link.worker.buffers.take();
                }
                self.partial.clear();
                self.partial.extend_from_slice(&input[at..]);
                return Ok(Heads::Partial);
            };
            let buf = &input[at..at + len];
            at += len;
            if !head.is_interim() {
                let own = self.own_head.take();
                let head = own.as_deref().unwrap_or(shared);
                let framing = self.final_head(link, head, buf, &input[at..], out)?;
                self.passed_on = framing.map(|body| (at - len, body));
                self.own_head = own.filter(|_| framing.is_some());
                return Ok(Heads::Final(at));
            }
            let status = head.status();
            // An HTTP/1.0 client knows no interim responses.
            let written = self.asked.version == Version::Http10 || write_interim(head, buf, out).is_ok();
            if !written {
                return Err(self.refuse_response(ResponseError::BadStatus));
            }
            self.continued |= status == 100;
            if self.own_head.is_none() {
                self.own_head = Some(Box::new(shared.clone()));
            }
        }
    }

    /// Writes the final head. Gives how the body is framed behind one that is not written, because HTTP/2 has it as it is.
    fn final_head(
        &mut self,
        link: &Link<'_>,
        head: &ResponseHead,
        buf: &[u8],
        rest: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<BodyKind>, Ended> {
        if link.sidecar && (head.status() >= 500 || self.asked.call.is_some()) {
            let mut said = head.fields().named(buf, Unanswered::FIELD.as_bytes());
            if let Some(unanswered) = said.next().and_then(Unanswered::parse) {
                // As if no response had come: the sidecar's words are for this proxy, not for the client.
                self.heard = false;
                return Err(Ended::Failed(UpstreamFault::Unanswered(unanswered)));
            }
        }
        if link.sidecar && (matches!(head.status(), 429 | 503) || self.asked.call.is_some()) {
            let said = head.fields().named(buf, b"x-weir-reason").next();
            self.kept_to_limit = said.is_some_and(Reason::is_of_a_limit);
        }
        // Of an interim response nothing can be taken back.
        if link.rivalled
            && out.is_empty()
            && let Some((verdict, status)) = unwanted(head, buf)
        {
            self.upstream_keeps = false;
            self.put_back(buf, rest, &link.worker.buffers);
            return Err(Ended::Unwanted { verdict, status });
        }
        if let Some(again) = &link.again
            && out.is_empty()
            && let Some(retried) = again.ask(self, head, buf, link.worker)
        {
            self.upstream_keeps = false;
            let Retried { delay, verdict, status } = retried;
            return Err(Ended::Again { delay, verdict, status });
        }
        head.check_rest(rest).map_err(|fault| self.refuse_response(fault))?;
        link.worker.buffers.give_if_used(&mut self.partial);
        let relay = head.relay(self.asked.version);
        let lasts = head.is_upgrade() || relay.body != BodyKind::UntilClose;
        // After its last word a client may still wait for answers to what it sent ahead.
        let over = self.half_closed && link.carry.is_empty();
        self.client_keeps = self.asked.keep_alive && lasts && !over && !link.closing;
        if self.awaits_continue() && !self.upload.done {
            // It was never told to go on, so nobody knows whether the body will come.
            self.client_keeps = false;
        }
        let write = |out: &mut Vec<u8>| -> Result<(), WriteError> {
            let mut writer = HeadWriter::response(out, head.status(), head.reason(buf))?;
            if let Some(applied) = &self.filtered {
                applied.copy_response(&mut writer, buf, head.fields(), &self.origin)?;
            } else if link.app && (head.status() >= 500 || self.asked.call.is_some()) {
                let is_ours = |name: &[u8]| name.eq_ignore_ascii_case(Unanswered::FIELD.as_bytes());
                writer.copy_where(buf, head.fields(), FieldSet::NONE, |name, _| !is_ours(name));
            } else {
                writer.copy(buf, head.fields(), FieldSet::NONE);
            }
            if head.is_upgrade() {
                let protocol = head.fields().value(buf, KnownField::Upgrade).unwrap_or_default();
                writer.connection(ConnectionOption::Upgrade(protocol))?;
            } else {
                writer.framing(relay.head);
                if !self.client_keeps {
                    writer.connection(ConnectionOption::Close)?;
                } else if self.asked.version == Version::Http10 {
                    writer.connection(ConnectionOption::KeepAlive)?;
                }
            }
            writer.finish();
            Ok(())
        };
        let plain = self.filtered.is_none() && !link.app && !head.is_upgrade() && out.is_empty();
        // A head that is only copied need not be written as HTTP/1.1 to be read again.
        let passed_on = plain && link.client.is_http2();
        if !passed_on {
            write(out).map_err(|_| self.refuse_response(ResponseError::BadStatus))?;
        }
        self.status = head.status();
        self.head_ns = link.worker.clock.now();
        self.grpc = GrpcStatus::of_head(head, buf);
        self.upgraded = head.is_upgrade();
        self.ends_by_close = !lasts;
        self.upstream_keeps = head.keep_alive() && !self.upgraded;
        if self.upstream_keeps && head.fields().seen().has(KnownField::KeepAlive) {
            self.upstream_idle_s =
                head.fields().value(buf, KnownField::KeepAlive).and_then(keep_alive_timeout);
        }
        if self.upgraded {
            // What follows is the tunnel's.
            out.extend_from_slice(rest);
        }
        if let Some(keeping) = &mut self.keeping
            && !keeping.begin(head, buf, self.filtered.as_ref())
        {
            self.keeping = None;
        }
        self.download.begin(head.body(), relay.body, &link.worker.config().limits.response);
        Ok(passed_on.then_some(relay.body))
    }

    /// The upstream has closed its side in good order.
    fn upstream_ended(
        &mut self,
        cx: &mut Context<'_>,
        link: &mut Link<'_>,
        out: &mut Vec<u8>,
    ) -> Result<bool, Ended> {
        self.upstream_keeps = false;
        if self.status == 0 {
            return Err(Ended::Failed(UpstreamFault::Reset));
        }
        self.download.end_of_input(out).map_err(|_| self.break_off())?;
        let mut gather = Gather::new();
        gather.push_out(out);
        let written = self.download.write(cx, link.client, &gather, out, &[], &link.worker.buffers);
        written.map_err(|_| Ended::ClientGone)?;
        Ok(true)
    }

    #[cold]
    fn upstream_gone(&mut self, fault: io::Error) -> Ended {
        self.upstream_keeps = false;
        match fault.kind() {
            UNFIT if self.status != 0 => Ended::Spoilt,
            _ if self.status != 0 => self.break_off(),
            UNSENT => Ended::Failed(UpstreamFault::Refused),
            // The upstream has no part in it.
            UNFIT => {
                let message = format!("the request has no form in HTTP/2: {fault}");
                Ended::Refused(Refusal::new(Reason::BadRequest, message))
            }
            MALFORMED => Ended::Failed(UpstreamFault::Protocol(fault)),
            _ => Ended::Failed(UpstreamFault::Reset),
        }
    }

    /// Takes back a response of which nothing has reached the client.
    #[cold]
    fn refuse_response(&mut self, fault: ResponseError) -> Ended {
        self.status = 0;
        self.upstream_keeps = false;
        Ended::Failed(UpstreamFault::Malformed(fault))
    }

    /// The same for a body that is malformed in its first bytes.
    #[cold]
    fn refuse_body(&mut self, fault: BodyError) -> Ended {
        self.status = 0;
        self.upstream_keeps = false;
        Ended::Failed(UpstreamFault::MalformedBody(fault))
    }
}

/// The seconds in `timeout=5, max=100`.
fn keep_alive_timeout(value: &[u8]) -> Option<u32> {
    let mut parts = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let seconds = parts.find_map(|part| {
        let (name, rest) = part.split_at_checked(b"timeout=".len())?;
        name.eq_ignore_ascii_case(b"timeout=").then_some(rest)
    })?;
    std::str::from_utf8(seconds).ok()?.parse().ok()
}

fn write_interim(head: &ResponseHead, buf: &[u8], out: &mut Vec<u8>) -> Result<(), WriteError> {
    let mut writer = HeadWriter::response(out, head.status(), head.reason(buf))?;
    writer.copy(buf, head.fields(), FieldSet::NONE);
    writer.finish();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_upstream_says_of_its_patience() {
        let check = |value: &str, expected: Option<u32>| {
            assert_eq!(keep_alive_timeout(value.as_bytes()), expected, "{value}");
        };
        check("timeout=5", Some(5));
        check("timeout=5, max=100", Some(5));
        check("max=100 , Timeout=75", Some(75));
        check("timeout=0", Some(0));
        check("timeout=", None);
        check("timeout=-1", None);
        check("timeout=99999999999", None);
        check("timeou", None);
        check("", None);
    }
}
