//! What the engine writes, HTTP/1.1, as frames of a stream.
//!
//! Content is handed to `h2` only as far as the peer's windows reach, but for a first piece that goes along with a request's
//! head. Beyond, a bounded piece is kept here, and nothing more is accepted until it is gone: a slow reader slows its writer.

use std::io;
use std::mem;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;
use weir_http1::BodyKind;

use super::chunks::Chunks;
use super::web::{Text, Web};
use super::{UNFIT, fault, head};

/// What is accepted at once although the peer takes nothing.
const AHEAD_BYTES_MAX: usize = 16 * 1024;

/// The frames of one message.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// A head that has not come whole.
    pub(super) partial: Vec<u8>,
    stream: Option<SendStream<Bytes>>,
    framing: Framing,
    /// What comes first goes to `h2` although it is not known yet how much the peer takes.
    eager: bool,
    /// The engine's content is text.
    text: Option<Text>,
    /// Content that `h2` has not taken yet.
    pending: Bytes,
    trailers: Option<HeaderMap>,
    /// The engine has written everything.
    written: bool,
    /// The end of the stream is with `h2`.
    ended: bool,
}

/// How the engine frames what it writes.
#[derive(Debug, Default)]
enum Framing {
    /// Nothing may be written.
    #[default]
    None,
    /// So many bytes are to come.
    Length(u64),
    Chunked(Box<Chunks>),
}

impl Outbox {
    /// The head is with `h2`; content of this kind follows.
    pub(super) fn begin(&mut self, stream: SendStream<Bytes>, kind: BodyKind) {
        self.stream = Some(stream);
        self.written = kind.is_empty();
        self.ended = kind.is_empty();
        self.framing = match kind {
            BodyKind::None | BodyKind::UntilClose | BodyKind::Length(0) => Framing::None,
            BodyKind::Length(length) => Framing::Length(length),
            BodyKind::Chunked => Framing::Chunked(Box::default()),
        };
    }

    /// The stream is not open before `h2` has sent its head, and nobody knows before how much the peer takes. A first piece
    /// that is small goes along with the head, so that nobody has to come back with it.
    pub(super) fn hurry(&mut self) {
        self.eager = true;
    }

    /// The content that follows is text.
    pub(super) fn translate(&mut self, web: Web) {
        self.text = web.text.then(Text::default);
    }

    /// Whether a head is with `h2`.
    pub(super) fn has_begun(&self) -> bool {
        self.stream.is_some()
    }

    /// Whether the whole message is.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Bytes of content that `h2` has not taken.
    #[inline]
    pub(super) fn kept(&self) -> usize {
        self.pending.len()
    }

    /// Takes content as the engine frames it. Gives how much was taken.
    pub(super) fn poll_content(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.poll_flush(cx)?.is_pending() {
            return Poll::Pending;
        }
        let taken = self.take(bytes);
        if taken.is_err() {
            // What was accepted before must not look like all there is.
            self.reset(Reason::INTERNAL_ERROR);
            (self.pending, self.written) = (Bytes::new(), false);
            return Poll::Ready(taken);
        }
        // What does not fit now is asked for again when the engine would wait.
        if let Poll::Ready(Err(fault)) = self.poll_flush(cx) {
            return Poll::Ready(Err(fault));
        }
        Poll::Ready(taken)
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(stream) = &mut self.stream else { return Err(io::ErrorKind::InvalidInput.into()) };
        let taken = if bytes.len() <= AHEAD_BYTES_MAX {
            bytes.len()
        } else {
            stream.reserve_capacity(bytes.len());
            bytes.len().min(stream.capacity().max(AHEAD_BYTES_MAX))
        };
        match &mut self.framing {
            Framing::None => return Err(io::ErrorKind::InvalidInput.into()),
            Framing::Length(left) => {
                *left = left.checked_sub(taken as u64).ok_or(io::ErrorKind::InvalidInput)?;
                self.written = *left == 0;
                self.pending = Bytes::copy_from_slice(&bytes[..taken]);
            }
            Framing::Chunked(chunks) => {
                self.pending = chunks.read(&bytes[..taken])?;
                if chunks.is_over() {
                    self.written = true;
                    self.trailers = chunks.take_trailers();
                }
            }
        }
        if let Some(text) = &mut self.text {
            self.pending = text.decode(&self.pending).map_err(head::invalid)?.into();
            if self.written && !text.is_whole() {
                return Err(io::Error::new(UNFIT, "text that ends within a group of four characters"));
            }
        }
        Ok(taken)
    }

    /// Hands over what is pending. Ready when nothing is.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(())) };
        while !self.pending.is_empty() {
            if mem::take(&mut self.eager) && self.pending.len() <= AHEAD_BYTES_MAX {
                let last = self.written && self.trailers.is_none();
                stream.send_data(mem::take(&mut self.pending), last).map_err(fault::of)?;
                self.ended |= last;
                continue;
            }
            stream.reserve_capacity(self.pending.len());
            let room = stream.capacity().min(self.pending.len());
            if room > 0 {
                let last = self.written && self.trailers.is_none() && room == self.pending.len();
                stream.send_data(self.pending.split_to(room), last).map_err(fault::of)?;
                self.ended |= last;
                continue;
            }
            match stream.poll_capacity(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(why))) => return Poll::Ready(Err(fault::of(why))),
                Poll::Ready(None) => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        if self.written && !self.ended {
            match self.trailers.take() {
                Some(trailers) => stream.send_trailers(trailers).map_err(fault::of)?,
                None => stream.send_data(Bytes::new(), true).map_err(fault::of)?,
            }
            self.ended = true;
        }
        Poll::Ready(Ok(()))
    }

    /// An error once the peer has reset the stream; else the task is woken when it does.
    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some(stream) = &mut self.stream else { return Poll::Pending };
        match stream.poll_reset(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(reason)) => {
                Poll::Ready(io::Error::new(io::ErrorKind::ConnectionReset, reason.to_string()))
            }
            Poll::Ready(Err(why)) => Poll::Ready(fault::of(why)),
        }
    }

    /// Breaks the message off, unless it is complete.
    pub(super) fn reset(&mut self, reason: Reason) {
        if !self.ended
            && let Some(stream) = &mut self.stream
        {
            stream.send_reset(reason);
        }
    }
}
