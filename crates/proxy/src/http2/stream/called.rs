//! A stream to an upstream: a connection with one request on it.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use weir_http1::FieldTable;
use weir_http2::{Code, Slot};

use crate::http2::head::Asked;
use crate::http2::link::Link;
use crate::http2::outbox::Outbox;
use crate::http2::web::{Web, WebResponse};
use crate::http2::{UNFIT, UNSENT, fault};
use crate::runtime::Worker;

/// Bytes of a response that are translated at a time.
const TRANSLATED_BYTES: usize = 16 * 1024;

/// The stream.
pub(crate) struct Called {
    link: Rc<Link>,
    worker: Rc<Worker>,
    /// None before its request begins.
    slot: Option<Slot>,
    outbox: Outbox,
    /// gRPC-Web is translated.
    translates: bool,
    web: Option<Box<WebResponse>>,
    /// Why the request could not be sent; for whoever reads.
    failed: Option<io::Error>,
}

impl Called {
    /// A stream that begins with the first head that is written.
    pub(in crate::http2) fn new(worker: Rc<Worker>, link: Rc<Link>, translates: bool) -> Self {
        link.begin_stream(worker.timers.now_ms());
        Self { link, worker, slot: None, outbox: Outbox::default(), translates, web: None, failed: None }
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(slot) = self.slot {
            return self.content(cx, slot, bytes);
        }
        let held = self.outbox.partial.len();
        let begun = if held == 0 {
            let worker = self.worker.clone();
            self.read(bytes, &mut worker.http2.request.borrow_mut())
        } else {
            // Rare: the engine could not write its head in one piece.
            let mut all = std::mem::take(&mut self.outbox.partial);
            all.extend_from_slice(bytes);
            let begun = self.read(&all, &mut FieldTable::default());
            self.outbox.partial = all;
            begun
        };
        match begun {
            Ok(Some((slot, len))) => {
                self.outbox.partial = Vec::new();
                self.rest(cx, slot, bytes, len - held)
            }
            Ok(None) => {
                if held == 0 {
                    self.outbox.partial.extend_from_slice(bytes);
                }
                Poll::Ready(Ok(bytes.len()))
            }
            Err(fault) => Poll::Ready(Err(self.fail(fault))),
        }
    }

    /// As a write at the beginning of the stream, of a request of whose head the table may be known.
    pub(super) fn poll_write_request(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        table: &FieldTable,
    ) -> Poll<io::Result<usize>> {
        if table.written() == 0 || self.slot.is_some() || !self.outbox.partial.is_empty() {
            return self.poll_write(cx, bytes);
        }
        match Asked::noted(bytes, table).and_then(|asked| self.begin(&asked, table)) {
            Ok((slot, len)) => self.rest(cx, slot, bytes, len),
            Err(fault) => Poll::Ready(Err(self.fail(fault))),
        }
    }

    /// Whoever writes is told only that nothing more is taken; whoever reads is told why.
    fn fail(&mut self, fault: io::Error) -> io::Error {
        let kind = fault.kind();
        self.failed = Some(fault);
        kind.into()
    }

    fn content(&mut self, cx: &mut Context<'_>, slot: Slot, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = {
            let mut table = self.worker.http2.trailers.borrow_mut();
            self.outbox.poll_content(cx, (&self.link, slot), &mut table, bytes)
        };
        match taken {
            // What comes of it is read from the peer, but for what is no fault of the peer's.
            Poll::Ready(Err(fault)) if fault.kind() == UNFIT => {
                self.link.h2.borrow_mut().reset(slot, Code::INTERNAL_ERROR);
                Poll::Ready(Err(self.fail(fault)))
            }
            taken => taken,
        }
    }

    /// Content that comes along with its head.
    fn rest(
        &mut self,
        cx: &mut Context<'_>,
        slot: Slot,
        bytes: &[u8],
        from: usize,
    ) -> Poll<io::Result<usize>> {
        if from == bytes.len() {
            return Poll::Ready(Ok(from));
        }
        match self.content(cx, slot, &bytes[from..]) {
            Poll::Ready(Ok(taken)) => Poll::Ready(Ok(from + taken)),
            Poll::Ready(Err(fault)) => Poll::Ready(Err(fault)),
            Poll::Pending => Poll::Ready(Ok(from)),
        }
    }

    /// Sends the head that `bytes` begins with. Gives its stream and where it ends, if it is whole.
    fn read(&mut self, bytes: &[u8], table: &mut FieldTable) -> io::Result<Option<(Slot, usize)>> {
        match Asked::read(bytes, table)? {
            Some(asked) => self.begin(&asked, table).map(Some),
            None => Ok(None),
        }
    }

    /// Begins the stream. Gives it, and where the head ends.
    fn begin(&mut self, asked: &Asked<'_>, table: &FieldTable) -> io::Result<(Slot, usize)> {
        let web = if self.translates { Web::of_request(table, asked.head) } else { None };
        let link = &self.link;
        let nameless = || link.peer.map(|peer| peer.to_string()).unwrap_or_default();
        let (ended, head_only) = (asked.body.is_empty(), asked.method == b"HEAD");
        // Whoever gave this stream out has seen to it that there is room. There is none on a connection that has ended.
        let slot = link.h2.borrow_mut().call(ended, head_only, |block| {
            asked.write(block, table, link.secure, nameless, web);
        });
        let slot = slot.ok_or(UNSENT)?;
        link.wake();
        self.slot = Some(slot);
        self.outbox.begin(asked.body);
        if let Some(web) = web {
            if web.text && !ended {
                self.outbox.decode_text();
            }
            self.web = Some(Box::new(WebResponse::new(web)));
        }
        Ok((slot, asked.head.len()))
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if let Some(fault) = self.failed.take() {
            return Poll::Ready(Err(fault));
        }
        let Some(slot) = self.slot else { return Poll::Pending };
        // An upstream that has answered need not listen to the end.
        let _ = self.outbox.poll_flush(cx, &self.link, slot);
        if let Some(web) = &mut self.web {
            let read = web.read(buf);
            if read > 0 {
                return Poll::Ready(Ok(read));
            }
            return self.poll_translated(cx, slot, buf);
        }
        self.poll_plain(cx, slot, buf)
    }

    /// What is translated is not as it was written.
    pub(super) fn take_table(&mut self, table: &mut FieldTable) -> bool {
        let slot = self.slot.filter(|_| self.web.is_none());
        slot.is_some_and(|slot| self.link.h2.borrow_mut().take_table(slot, table))
    }

    fn poll_plain(&mut self, cx: &mut Context<'_>, slot: Slot, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut h2 = self.link.h2.borrow_mut();
        let read = h2.read(slot, buf);
        if read > 0 || h2.is_over(slot) {
            if !h2.output().is_empty() {
                // It may send more.
                self.link.wake();
            }
            return Poll::Ready(Ok(read));
        }
        if let Some(why) = h2.fault(slot) {
            return Poll::Ready(Err(fault::of(why)));
        }
        self.link.waits(slot, cx);
        Poll::Pending
    }

    fn poll_translated(
        &mut self,
        cx: &mut Context<'_>,
        slot: Slot,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut piece = vec![0; TRANSLATED_BYTES];
            let read = match self.poll_plain(cx, slot, &mut piece) {
                Poll::Ready(Ok(read)) if read > 0 => read,
                other => return other,
            };
            let Some(web) = &mut self.web else { return Poll::Ready(Ok(0)) };
            web.take(&mut piece[..read])?;
            let read = web.read(buf);
            if read > 0 {
                return Poll::Ready(Ok(read));
            }
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.slot {
            Some(slot) => self.outbox.poll_flush(cx, &self.link, slot),
            None => Poll::Ready(Ok(())),
        }
    }

    pub(super) fn abort(&mut self) {
        if let Some(slot) = self.slot {
            self.link.h2.borrow_mut().reset(slot, Code::CANCEL);
            self.link.wake();
        }
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }
}

impl Drop for Called {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            // Unless both messages are complete, the upstream is told that nobody waits any more.
            self.link.h2.borrow_mut().close(slot, Code::CANCEL);
            self.link.leave_stream(slot);
        }
        self.link.end_stream(self.worker.timers.now_ms());
        self.link.ended();
    }
}
