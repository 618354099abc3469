//! What a peer sends on a stream, as HTTP/1.1 bytes for the engine to read.
//!
//! Content is taken from `h2` only as the engine reads it, and only then is the peer allowed to send more. A body of an
//! announced length is not complete before the peer has said that it ends: its last piece is held back until then, so
//! that what comes beyond the length is not taken for a message that was well.

use std::io;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use h2::RecvStream;
use weir_http1::{BodyKind, chunk_prefix};

use super::web::Web;
use super::{fault, head};

/// The bytes of one message.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// Heads and framing, not read yet from `from` on.
    ready: Vec<u8>,
    from: usize,
    /// Content that comes after `ready`.
    content: Bytes,
    /// Waits for the end of the message before it may be read.
    held: Bytes,
    body: Option<RecvStream>,
    state: State,
    /// The reader gets it as gRPC-Web.
    web: Option<Web>,
    /// Bytes of the peer's that `content` was made from, where they are not the same.
    owed: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// No head yet.
    #[default]
    Head,
    /// So much content is to come.
    Length(u64),
    Chunked,
    /// A chunk's content is being read.
    InChunk,
    /// The content is over, the trailers are to come.
    Trailers,
    /// Everything is in `ready`.
    Over,
    Failed,
}

impl Inbox {
    /// Where a head is written.
    pub(super) fn head(&mut self) -> &mut Vec<u8> {
        &mut self.ready
    }

    /// The head has been written; its body follows.
    pub(super) fn begin(&mut self, kind: BodyKind, ended: bool, body: RecvStream) {
        self.state = match kind {
            BodyKind::None | BodyKind::UntilClose => State::Over,
            BodyKind::Length(0) if ended => State::Over,
            BodyKind::Length(0) => {
                // It must not look complete before it is.
                self.held = Bytes::from(std::mem::take(&mut self.ready));
                State::Length(0)
            }
            BodyKind::Length(length) => State::Length(length),
            BodyKind::Chunked => State::Chunked,
        };
        self.body = Some(body);
    }

    /// What follows the head is read as gRPC-Web.
    pub(super) fn translate(&mut self, web: Web) {
        self.web = Some(web);
    }

    /// Whether everything was read.
    pub(super) fn is_over(&self) -> bool {
        self.state == State::Over && self.from == self.ready.len()
    }

    /// The memory that heads are written into, for another stream.
    pub(super) fn take_memory(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.ready)
    }

    /// Reads as much as there is and fits. 0 only when the message is over.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut read = 0;
        loop {
            read += self.copy(&mut buf[read..])?;
            if read == buf.len() || matches!(self.state, State::Over) {
                return Poll::Ready(Ok(read));
            }
            match self.poll_more(cx) {
                Poll::Ready(Ok(())) => {}
                // What is there is delivered first; the fault stays.
                Poll::Ready(Err(_)) | Poll::Pending if read > 0 => return Poll::Ready(Ok(read)),
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Copies what is there.
    fn copy(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let framing = &self.ready[self.from..];
        let n = framing.len().min(buf.len());
        buf[..n].copy_from_slice(&framing[..n]);
        self.from += n;
        if self.from < self.ready.len() {
            return Ok(n);
        }
        self.ready.clear();
        self.from = 0;
        let taken = self.content.len().min(buf.len() - n);
        if taken == 0 {
            return Ok(n);
        }
        self.content.copy_to_slice(&mut buf[n..n + taken]);
        let read = match self.web {
            Some(_) if !self.content.is_empty() => 0,
            Some(_) => std::mem::take(&mut self.owed),
            None => taken,
        };
        if let Some(body) = &mut self.body {
            body.flow_control().release_capacity(read).map_err(fault::of)?;
        }
        if self.content.is_empty() && self.state == State::InChunk {
            self.ready.extend_from_slice(b"\r\n");
            self.state = State::Chunked;
        }
        Ok(n + taken)
    }

    /// Asks for more of the message. Ready when something is there to be copied, or when it is over.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(body) = &mut self.body else { return Poll::Pending };
        if self.state == State::Failed {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if self.state == State::Trailers {
            return match body.poll_trailers(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Ok(trailers)) => {
                    let trailers = trailers.unwrap_or_default();
                    match self.web {
                        Some(web) => {
                            let frame = web.trailers(&trailers);
                            self.ready.extend_from_slice(chunk_prefix(frame.len()).as_bytes());
                            self.ready.extend_from_slice(&frame);
                            self.ready.extend_from_slice(b"\r\n0\r\n\r\n");
                        }
                        None => {
                            self.ready.extend_from_slice(b"0\r\n");
                            head::write_trailers(&trailers, &mut self.ready);
                        }
                    }
                    self.state = State::Over;
                    Poll::Ready(Ok(()))
                }
                Poll::Ready(Err(fault)) => self.failed(fault),
            };
        }
        match body.poll_data(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(data))) if data.is_empty() => Poll::Ready(Ok(())),
            Poll::Ready(Some(Ok(data))) => {
                let ended = body.is_end_stream();
                self.take(data, ended);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(None) => {
                match self.state {
                    State::Length(0) => {
                        self.content = std::mem::take(&mut self.held);
                        self.state = State::Over;
                        self.flush_held();
                    }
                    // `h2` has counted; should it ever be wrong, the message is incomplete.
                    State::Length(_) => {
                        self.state = State::Failed;
                        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                    }
                    _ => self.state = State::Trailers,
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Some(Err(fault))) => self.failed(fault),
        }
    }

    /// What was held back goes out as it is.
    fn flush_held(&mut self) {
        let content = std::mem::take(&mut self.content);
        if let Some(body) = &mut self.body {
            // The message is over: nobody waits for room.
            let _ = body.flow_control().release_capacity(content.len());
        }
        self.ready.extend_from_slice(&content);
    }

    fn take(&mut self, mut data: Bytes, ended: bool) {
        if let Some(web) = self.web {
            self.owed = data.len();
            data = web.encode(&data).into();
        }
        match self.state {
            State::Length(left) => {
                let left = left.saturating_sub(data.len() as u64);
                self.state = State::Length(left);
                if left > 0 {
                    self.content = data;
                } else if ended {
                    self.content = data;
                    self.state = State::Length(0);
                } else {
                    self.held = data;
                }
            }
            _ => {
                self.ready.extend_from_slice(chunk_prefix(data.len()).as_bytes());
                self.content = data;
                self.state = State::InChunk;
            }
        }
    }

    fn failed<T>(&mut self, why: h2::Error) -> Poll<io::Result<T>> {
        self.state = State::Failed;
        Poll::Ready(Err(fault::of(why)))
    }
}
