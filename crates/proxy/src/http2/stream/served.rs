//! A client's stream: a connection with one request on it.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use weir_http1::{BodyKind, FieldTable, Method, Parsed, ResponseHead, Sent, parse_response};
use weir_http2::{Code, Slot};

use crate::http2::link::Link;
use crate::http2::outbox::Outbox;
use crate::http2::{KEPT_BYTES_MAX, PIECE_BYTES, WRITTEN_HERE, fault, head};
use crate::runtime::Worker;

/// The stream.
pub(crate) struct Served {
    link: Rc<Link>,
    worker: Rc<Worker>,
    slot: Slot,
    method: Method,
    outbox: Outbox,
    /// Bytes of the response that the engine keeps until they are taken.
    kept: usize,
}

impl Served {
    /// Takes a stream that a client has begun with this method.
    pub(in crate::http2) fn new(worker: Rc<Worker>, link: Rc<Link>, slot: Slot, method: Method) -> Self {
        link.begin_stream(worker.timers.now_ms());
        worker.counters.http2.streams.add(1);
        worker.counters.http2.streams_total.add(1);
        Self { link, worker, slot, method, outbox: Outbox::default(), kept: 0 }
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.outbox.is_ended() {
            return Poll::Ready(Ok(0));
        }
        let mut h2 = self.link.h2.borrow_mut();
        let read = h2.read(self.slot, buf);
        if read > 0 {
            if !h2.output().is_empty() {
                // It may send more.
                self.link.wake();
            }
            return Poll::Ready(Ok(read));
        }
        drop(h2);
        // When the request is over, all that can come is that the client loses interest.
        self.poll_gone(cx).map(Err)
    }

    pub(super) fn take_table(&mut self, table: &mut FieldTable) -> bool {
        self.link.h2.borrow_mut().take_table(self.slot, table)
    }

    /// An error once the client has lost interest, or its connection is over; else the task is woken when it is so.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if let Some(why) = self.link.h2.borrow().fault(self.slot) {
            return Poll::Ready(fault::of(why));
        }
        self.link.waits(self.slot, cx);
        Poll::Pending
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.outbox.has_begun() {
            return self.content(cx, bytes);
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

    fn content(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut table = self.worker.http2.trailers.borrow_mut();
        self.outbox.poll_content(cx, (&self.link, self.slot), &mut table, bytes)
    }

    /// Content that comes along with its head.
    fn rest(&mut self, cx: &mut Context<'_>, bytes: &[u8], from: usize) -> Poll<io::Result<usize>> {
        if from == bytes.len() {
            return Poll::Ready(Ok(from));
        }
        match self.content(cx, &bytes[from..]) {
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
                parse_response(&bytes[at..], &WRITTEN_HERE, sent, head).map_err(fault::unfit)?
            else {
                return Ok(at);
            };
            let buf = &bytes[at..at + len];
            at += len;
            if head.is_interim() {
                head::check(head.fields(), len)?;
                let mut h2 = self.link.h2.borrow_mut();
                h2.respond_interim(self.slot, |block| head::write_response(block, head, buf));
                self.link.wake();
                continue;
            }
            self.respond(head, buf, head.body())?;
            return Ok(at);
        }
    }

    /// Sends the final head.
    pub(super) fn respond(&mut self, head: &ResponseHead, buf: &[u8], body: BodyKind) -> io::Result<()> {
        // The engine frames all that it sends on.
        if body == BodyKind::UntilClose {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        head::check(head.fields(), buf.len())?;
        let mut h2 = self.link.h2.borrow_mut();
        if let Some(why) = h2.fault(self.slot) {
            return Err(fault::of(why));
        }
        h2.respond(self.slot, body.is_empty(), |block| head::write_response(block, head, buf));
        self.outbox.begin(body);
        self.link.wake();
        Ok(())
    }

    /// The engine keeps so much of the response until it is taken here.
    pub(super) fn keeps(&mut self, bytes: usize) {
        if bytes != self.kept {
            self.link.keep(self.kept, bytes);
            let kept = &self.worker.counters.http2.kept;
            kept.sub(self.kept as u64);
            kept.add(bytes as u64);
            self.kept = bytes;
        }
    }

    /// How much more of the response may be read now. Nothing only while something is kept, which asks to be woken when the
    /// client takes it.
    #[inline]
    pub(super) fn room(&self, wanted: usize) -> usize {
        let left = KEPT_BYTES_MAX.saturating_sub(self.link.kept());
        if wanted <= left {
            return wanted;
        }
        match left {
            PIECE_BYTES.. => left,
            _ if self.kept == 0 => wanted.min(PIECE_BYTES),
            _ => 0,
        }
    }

    pub(super) fn abort(&mut self) {
        self.link.h2.borrow_mut().reset(self.slot, Code::INTERNAL_ERROR);
        self.link.wake();
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.keeps(0);
        // A message cut short must not look complete. Of a request that was answered early, the rest is not wanted.
        self.link.h2.borrow_mut().close(self.slot, Code::INTERNAL_ERROR);
        self.link.leave_stream(self.slot);
        self.link.end_stream(self.worker.timers.now_ms());
        self.link.ended();
        self.worker.counters.http2.streams.sub(1);
    }
}
