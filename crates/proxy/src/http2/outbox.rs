//! What the engine writes, HTTP/1.1, as frames of a stream.
//!
//! Content is handed to `h2` only as far as the peer's windows reach. Beyond, a bounded piece is kept here, and nothing
//! more is accepted until it is gone: a slow reader slows its writer.

use std::io;
use std::ops::Range;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use h2::{Reason, SendStream};
use http::HeaderMap;
use weir_http1::{BodyDecoder, BodyKind};

use super::web::{Text, Web};
use super::{UNFIT, WRITTEN_HERE, fault, head};

/// What is accepted at once although the peer takes nothing.
const AHEAD_BYTES_MAX: usize = 16 * 1024;

/// The frames of one message.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// A head that has not come whole.
    pub(super) partial: Vec<u8>,
    stream: Option<SendStream<Bytes>>,
    framing: Framing,
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
    Chunked(Box<BodyDecoder>),
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
            BodyKind::Chunked => Framing::Chunked(Box::new(BodyDecoder::new(kind, &WRITTEN_HERE))),
        };
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
            Framing::Chunked(decoder) => {
                let mut buf = BytesMut::from(&bytes[..taken]);
                let content = unframe(decoder, &mut buf)?;
                self.pending = buf.freeze().slice(content);
                if decoder.is_done() {
                    self.written = true;
                    if let Some(trailers) = decoder.trailers() {
                        self.trailers = Some(head::trailers(trailers)?);
                    }
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

/// Moves the content of chunks together, and gives where it is; the first piece stays where it was.
fn unframe(decoder: &mut BodyDecoder, buf: &mut [u8]) -> io::Result<Range<usize>> {
    let (mut start, mut end, mut at) = (0, 0, 0);
    loop {
        let step = decoder.decode(&mut buf[at..]).map_err(head::invalid)?;
        let data = at + step.data.start..at + step.data.end;
        if end == start {
            (start, end) = (data.start, data.end);
        } else if !data.is_empty() {
            let len = data.len();
            buf.copy_within(data, end);
            end += len;
        }
        at += step.consumed;
        if step.done || step.consumed == 0 || at == buf.len() {
            return Ok(start..end);
        }
    }
}
