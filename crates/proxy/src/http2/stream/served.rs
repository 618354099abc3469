//! A client's stream: a connection with one request on it.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use weir_http1::{BodyKind, Method, Parsed, ResponseHead, Sent, parse_response};

use crate::http2::inbox::Inbox;
use crate::http2::link::Link;
use crate::http2::outbox::Outbox;
use crate::http2::{WRITTEN_HERE, fault, head};
use crate::runtime::Worker;

/// The stream.
pub(crate) struct Served {
    link: Rc<Link>,
    worker: Rc<Worker>,
    method: Method,
    inbox: Inbox,
    outbox: Outbox,
    respond: SendResponse<Bytes>,
}

impl Served {
    /// Takes a request that has just come.
    pub(in crate::http2) fn new(
        worker: Rc<Worker>,
        link: Rc<Link>,
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
    ) -> Self {
        let mut inbox = Inbox::default();
        *inbox.head() = worker.buffers.take();
        let ended = request.body().is_end_stream();
        let method = Method::from_bytes(request.method().as_str().as_bytes());
        let kind = head::write_request(&request, ended, inbox.head());
        inbox.begin(kind, ended, request.into_body());
        link.begin_stream(worker.timers.now_ms());
        worker.counters.http2.streams.add(1);
        worker.counters.http2.streams_total.add(1);
        Self { link, worker, method, inbox, outbox: Outbox::default(), respond }
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.outbox.has_begun() {
            let flushed = self.outbox.poll_flush(cx)?;
            if self.outbox.is_ended() {
                return Poll::Ready(Ok(0));
            }
            if flushed.is_pending() && self.inbox.is_over() {
                return Poll::Pending;
            }
        }
        if !self.inbox.is_over() {
            return self.inbox.poll_read(cx, buf);
        }
        // The request is over, so all that can come is that the client loses interest.
        if self.outbox.has_begun() {
            return self.outbox.poll_reset(cx).map(Err);
        }
        match self.respond.poll_reset(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(reason)) => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, reason.to_string())))
            }
            Poll::Ready(Err(why)) => Poll::Ready(Err(fault::of(why))),
        }
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.outbox.has_begun() {
            self.link.worked();
            return self.outbox.poll_content(cx, bytes);
        }
        if self.outbox.partial.is_empty() {
            let mut head = self.worker.http2.response.take();
            head.begin_exchange();
            let read = self.heads(bytes, &mut head);
            self.worker.http2.response.replace(head);
            let read = read?;
            if !self.outbox.has_begun() {
                self.outbox.partial.extend_from_slice(&bytes[read..]);
                return Poll::Ready(Ok(bytes.len()));
            }
            return self.rest(cx, bytes, read);
        }
        // Rare: the engine could not write its head in one piece.
        let held = self.outbox.partial.len();
        let mut all = std::mem::take(&mut self.outbox.partial);
        all.extend_from_slice(bytes);
        let read = self.heads(&all, &mut ResponseHead::default())?;
        if !self.outbox.has_begun() {
            self.outbox.partial = all.split_off(read);
            return Poll::Ready(Ok(bytes.len()));
        }
        self.rest(cx, bytes, read - held)
    }

    /// Content that comes along with its head.
    fn rest(&mut self, cx: &mut Context<'_>, bytes: &[u8], from: usize) -> Poll<io::Result<usize>> {
        if from == bytes.len() {
            return Poll::Ready(Ok(from));
        }
        match self.outbox.poll_content(cx, &bytes[from..]) {
            Poll::Ready(Ok(taken)) => Poll::Ready(Ok(from + taken)),
            Poll::Ready(Err(fault)) => Poll::Ready(Err(fault)),
            Poll::Pending => Poll::Ready(Ok(from)),
        }
    }

    /// Sends the heads that `bytes` begins with, interim ones and the final one. Gives where they end.
    fn heads(&mut self, bytes: &[u8], head: &mut ResponseHead) -> io::Result<usize> {
        let mut at = 0;
        loop {
            let sent = Sent { method: self.method, upgrade: None };
            let Parsed::Complete(len) =
                parse_response(&bytes[at..], &WRITTEN_HERE, sent, head).map_err(head::invalid)?
            else {
                return Ok(at);
            };
            let response = head::response(head, &bytes[at..at + len])?;
            at += len;
            if head.is_interim() {
                self.respond.send_informational(response).map_err(fault::of)?;
                continue;
            }
            self.respond(response, head.body())?;
            return Ok(at);
        }
    }

    /// Sends the final head.
    pub(super) fn respond(&mut self, head: Response<()>, body: BodyKind) -> io::Result<()> {
        // The engine frames all that it sends on.
        if body == BodyKind::UntilClose {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let stream = self.respond.send_response(head, body.is_empty()).map_err(fault::of)?;
        self.outbox.begin(stream, body);
        self.link.worked();
        Ok(())
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outbox.poll_flush(cx)
    }

    pub(super) fn abort(&mut self) {
        if self.outbox.has_begun() {
            self.outbox.reset(Reason::INTERNAL_ERROR);
        } else {
            self.respond.send_reset(Reason::INTERNAL_ERROR);
        }
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // A message cut short must not look complete. Of a request that was answered early, the rest is not wanted:
        // `h2` says so with NO_ERROR.
        if !self.outbox.is_ended() {
            self.abort();
        }
        self.worker.buffers.give_if_used(&mut self.inbox.take_memory());
        self.worker.counters.http2.streams.sub(1);
        self.link.end_stream(self.worker.timers.now_ms());
    }
}
