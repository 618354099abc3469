//! A stream to an upstream: a connection with one request on it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use h2::Reason;
use h2::client::ResponseFuture;
use http::{Method, StatusCode};
use weir_http1::FieldTable;

use crate::http2::inbox::Inbox;
use crate::http2::link::Link;
use crate::http2::outbox::Outbox;
use crate::http2::upstream::Shared;
use crate::http2::web::Web;
use crate::http2::{UNFIT, fault, head};
use crate::runtime::Worker;

/// The stream.
pub(crate) struct Called {
    connection: Rc<Shared>,
    worker: Rc<Worker>,
    inbox: Inbox,
    outbox: Outbox,
    response: Option<ResponseFuture>,
    head_only: bool,
    /// gRPC-Web is translated.
    translates: bool,
    web: Option<Web>,
    /// Why the request could not be sent; for whoever reads.
    failed: Option<io::Error>,
}

impl Called {
    /// A stream that begins with the first head that is written.
    pub(in crate::http2) fn new(worker: Rc<Worker>, connection: Rc<Shared>, translates: bool) -> Self {
        connection.link.begin_stream(worker.timers.now_ms());
        let mut inbox = Inbox::default();
        *inbox.head() = worker.buffers.take();
        Self {
            connection,
            worker,
            inbox,
            outbox: Outbox::default(),
            response: None,
            head_only: false,
            translates,
            web: None,
            failed: None,
        }
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.outbox.has_begun() {
            self.connection.link.worked();
            return self.content(cx, bytes);
        }
        let held = self.outbox.partial.len();
        let begun = if held == 0 {
            let worker = self.worker.clone();
            self.begin(bytes, &mut worker.http2.request.borrow_mut())
        } else {
            // Rare: the engine could not write its head in one piece.
            let mut all = std::mem::take(&mut self.outbox.partial);
            all.extend_from_slice(bytes);
            let begun = self.begin(&all, &mut FieldTable::default());
            self.outbox.partial = all;
            begun
        };
        match begun {
            Ok(Some(len)) => {
                self.outbox.partial = Vec::new();
                self.rest(cx, bytes, len - held)
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

    fn content(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.outbox.poll_content(cx, bytes) {
            // The stream was reset because of it, which must not pass for the upstream's doing.
            Poll::Ready(Err(fault)) if fault.kind() == UNFIT => Poll::Ready(Err(self.fail(fault))),
            taken => taken,
        }
    }

    /// Keeps what is wrong with the request for whoever reads.
    fn fail(&mut self, fault: io::Error) -> io::Error {
        let kind = fault.kind();
        self.failed = Some(fault);
        kind.into()
    }

    /// Sends the head that `bytes` begins with. Gives where it ends, if it is whole.
    fn begin(&mut self, bytes: &[u8], table: &mut FieldTable) -> io::Result<Option<usize>> {
        let link = &self.connection.link;
        let nameless = || link.peer.map(|peer| peer.to_string()).unwrap_or_default();
        let asked = head::request(bytes, table, link.secure, nameless)?;
        let Some(head::Asked { mut request, body, len }) = asked else { return Ok(None) };
        self.head_only = *request.method() == Method::HEAD;
        self.web = if self.translates { Web::of_request(request.headers_mut()) } else { None };
        // Whoever gave this stream out has seen to it that there is room. It fails on a connection that has ended.
        let sent = self.connection.requests.borrow_mut().send_request(request, body.is_empty());
        let (response, stream) = sent.map_err(unsent)?;
        self.response = Some(response);
        self.outbox.begin(stream, body);
        self.outbox.hurry();
        if let Some(web) = self.web {
            self.outbox.translate(web);
        }
        Ok(Some(len))
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

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if let Some(fault) = self.failed.take() {
            return Poll::Ready(Err(fault));
        }
        // An upstream that has answered need not listen to the end.
        let _ = self.outbox.poll_flush(cx);
        if let Some(response) = &mut self.response {
            match response.poll_informational(cx) {
                Poll::Ready(Some(Ok(interim))) => head::write_interim(&interim, self.inbox.head()),
                Poll::Ready(Some(Err(why))) => return Poll::Ready(Err(fault::of(why))),
                Poll::Ready(None) | Poll::Pending => match Pin::new(response).poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(response)) => self.answered(response),
                    Poll::Ready(Err(why)) => return Poll::Ready(Err(fault::of(why))),
                },
            }
        }
        if !self.outbox.has_begun() {
            return Poll::Pending;
        }
        self.inbox.poll_read(cx, buf)
    }

    fn answered(&mut self, mut response: http::Response<h2::RecvStream>) {
        self.response = None;
        let status = response.status();
        let bodiless = self.head_only || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let ended = response.body().is_end_stream();
        let web = self.web.filter(|web| web.response(response.headers_mut()));
        let kind = head::write_response(&response, ended, bodiless, self.inbox.head());
        if let Some(web) = web {
            self.inbox.translate(web);
        }
        self.inbox.begin(kind, ended, response.into_body());
        self.connection.link.worked();
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outbox.poll_flush(cx)
    }

    pub(super) fn abort(&mut self) {
        self.outbox.reset(Reason::CANCEL);
    }

    pub(super) fn link(&self) -> &Link {
        &self.connection.link
    }
}

/// A request that never got as far as a frame.
fn unsent(why: h2::Error) -> io::Error {
    io::Error::new(fault::UNSENT, why)
}

impl Drop for Called {
    fn drop(&mut self) {
        // Unless both messages are complete, `h2` tells the upstream that nobody waits any more (CANCEL).
        self.worker.buffers.give_if_used(&mut self.inbox.take_memory());
        self.connection.link.end_stream(self.worker.timers.now_ms());
    }
}
