//! Takes a connection out of hyper's hands while the answer to its request is waited for.
//!
//! hyper keeps two buffers and its own state for as long as a request is under way, three quarters of what an idle watch
//! would take. So a handler that says that it waits (see [`Phase::wait`]) is put aside with the bare connection. When its
//! answer is there, hyper gets the connection anew, with the shortest head that is answered like the one that was read.

use std::future::{pending, poll_fn};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use http::header::{CONNECTION, HeaderMap};
use http::{Method, Version};

use super::io::{Guarded, Phase};
use crate::http::Response;
use crate::http::router::ResponseFuture;

/// Bytes that a client may send ahead while its request waits; more are left with the system until it is answered.
const AHEAD_BYTES_MAX: usize = 4096;

/// What must be known of a request to answer it later.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// The part of the API under which it is counted.
    pub(super) part: Option<usize>,
    is_head: bool,
    is_old: bool,
    /// Whether it says that the connection is to be kept or closed.
    keep: Option<bool>,
}

impl Asked {
    pub(super) fn of<B>(request: &hyper::Request<B>, part: Option<usize>) -> Self {
        Self {
            part,
            is_head: request.method() == Method::HEAD,
            is_old: request.version() == Version::HTTP_10,
            keep: keeps(request.headers()),
        }
    }

    /// A head that is answered in the same way.
    fn head(self) -> String {
        let method = if self.is_head { "HEAD" } else { "GET" };
        let version = if self.is_old { "1.0" } else { "1.1" };
        let connection = match self.keep {
            None => "",
            Some(true) => "connection: keep-alive\r\n",
            Some(false) => "connection: close\r\n",
        };
        format!("{method} / HTTP/{version}\r\n{connection}\r\n")
    }
}

fn keeps(headers: &HeaderMap) -> Option<bool> {
    let mut keep = None;
    for value in headers.get_all(CONNECTION) {
        for option in value.to_str().unwrap_or_default().split(',') {
            if option.trim().eq_ignore_ascii_case("close") {
                return Some(false);
            }
            if option.trim().eq_ignore_ascii_case("keep-alive") {
                keep = Some(true);
            }
        }
    }
    keep
}

/// What a request that waited is answered with.
pub(super) struct Answered {
    pub(super) asked: Asked,
    pub(super) response: Response,
}

/// An answer that is waited for.
pub(super) struct Kept {
    asked: Asked,
    answer: ResponseFuture,
}

/// What goes from a connection to its service and back; both run in one task.
pub(super) struct Handover {
    phase: Phase,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    answered: Option<Answered>,
    kept: Option<Kept>,
}

impl Handover {
    pub(super) fn new(phase: Phase, answered: Option<Answered>) -> Self {
        Self { phase, held: Mutex::new(Held { answered, kept: None }) }
    }

    pub(super) fn phase(&self) -> &Phase {
        &self.phase
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to the request that is asked again now.
    pub(super) fn take_answered(&self) -> Option<Answered> {
        self.held().answered.take()
    }

    /// The answer that the connection is to be taken out of hyper's hands for.
    pub(super) fn take_kept(&self) -> Option<Kept> {
        self.held().kept.take()
    }

    /// Waits for an answer here, unless the handler says that this may take long: then it is put aside, and this does not
    /// return.
    pub(super) async fn answer(&self, asked: Asked, mut answer: ResponseFuture) -> Response {
        let here = poll_fn(|context| match answer.as_mut().poll(context) {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            Poll::Pending if self.phase.may_be_put_aside() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        if let Some(response) = here.await {
            return response;
        }
        self.held().kept = Some(Kept { asked, answer });
        pending().await
    }
}

/// A connection whose request waits.
pub(super) struct Waiting {
    io: Guarded,
    kept: Kept,
    /// What the client has sent ahead.
    ahead: Vec<u8>,
}

impl Waiting {
    /// `ahead` was read already.
    pub(super) fn new(io: Guarded, ahead: &[u8], kept: Kept) -> Self {
        Self { io, kept, ahead: ahead.to_vec() }
    }

    /// Waits for the answer; `None` if the client goes away.
    pub(super) async fn end(mut self) -> Option<(Guarded, Answered)> {
        let response = poll_fn(|context| match self.kept.answer.as_mut().poll(context) {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            Poll::Pending => self.listen(context).map(|()| None),
        });
        let response = response.await?;
        let asked = self.kept.asked;
        let mut bytes = asked.head().into_bytes();
        bytes.append(&mut self.ahead);
        self.io.give_back(bytes);
        Some((self.io, Answered { asked, response }))
    }

    /// Ready when the client has gone.
    fn listen(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [0; 512];
        while self.ahead.len() < AHEAD_BYTES_MAX {
            match self.io.poll_some(context, &mut bytes) {
                Poll::Pending => break,
                Poll::Ready(Ok(count)) if count > 0 => self.ahead.extend_from_slice(&bytes[..count]),
                Poll::Ready(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_replaced_by_one_that_is_answered_alike() {
        for (method, version, connection, expect) in [
            ("GET", Version::HTTP_11, None, "GET / HTTP/1.1\r\n\r\n"),
            ("HEAD", Version::HTTP_11, Some("TE, Close"), "HEAD / HTTP/1.1\r\nconnection: close\r\n\r\n"),
            ("GET", Version::HTTP_10, Some("Keep-Alive"), "GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"),
            (
                "GET",
                Version::HTTP_11,
                Some("keep-alive, close"),
                "GET / HTTP/1.1\r\nconnection: close\r\n\r\n",
            ),
        ] {
            let mut request = hyper::Request::builder().method(method).version(version).uri("/v1/x?index=5");
            if let Some(connection) = connection {
                request = request.header(CONNECTION, connection);
            }
            assert_eq!(Asked::of(&request.body(()).unwrap(), None).head(), expect);
        }
    }
}
