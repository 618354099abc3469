//! Reading bodies: which bytes are content, and whether the message is complete.

use std::ops::Range;

use crate::chunked::Chunked;
use crate::error::BodyError;
use crate::limits::Limits;
use crate::trailers::Trailers;

/// How a body is framed (RFC 9112 section 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyKind {
    /// There is none, and nothing announces one.
    #[default]
    None,
    /// `Content-Length` bytes; may be 0.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Until the connection closes; responses only.
    UntilClose,
}

impl BodyKind {
    /// Whether the framing alone says that there is no content.
    #[inline]
    pub fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Length(0))
    }
}

/// What one call of [`BodyDecoder::decode`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the input that are dealt with: drop them before the next call.
    pub consumed: usize,
    /// Where in the input the content is, validated; may be empty. Always within `consumed`.
    pub data: Range<usize>,
    /// Whether the body is complete. Bytes after `consumed` belong to the next message.
    pub done: bool,
}

/// Reads one body, whatever its framing.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    chunked: Chunked,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Done,
    Length(u64),
    Chunked,
    UntilClose,
    Failed,
}

impl BodyDecoder {
    /// A decoder for a body of this kind.
    pub fn new(kind: BodyKind, limits: &Limits) -> Self {
        Self { state: State::of(kind), chunked: Chunked::new(limits) }
    }

    /// Begins another body, keeping the storage.
    #[inline]
    pub fn reset(&mut self, kind: BodyKind, limits: &Limits) {
        self.state = State::of(kind);
        if kind == BodyKind::Chunked {
            self.chunked.reset(limits);
        } else {
            // Those of the body before are not of this one.
            self.chunked.forget_trailers();
        }
    }

    /// Reads on. `buf` holds everything that arrived and was not consumed yet.
    ///
    /// Content of small chunks is moved together inside `buf`, so that a buffer of many chunks gives one span. Call
    /// again until it consumes nothing or is done; several steps can go out with one vectored write.
    ///
    /// # Errors
    /// The body is malformed: from then on every call fails.
    #[inline]
    pub fn decode(&mut self, buf: &mut [u8]) -> Result<Step, BodyError> {
        match self.state {
            State::Done => Ok(Step { consumed: 0, data: 0..0, done: true }),
            State::Length(left) => {
                let take = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
                let left = left - take as u64;
                self.state = if left == 0 { State::Done } else { State::Length(left) };
                Ok(Step { consumed: take, data: 0..take, done: left == 0 })
            }
            State::Chunked => {
                let step = self.chunked.decode(buf);
                match &step {
                    Ok(step) if step.done => self.state = State::Done,
                    Ok(_) => {}
                    Err(_) => self.state = State::Failed,
                }
                step
            }
            State::UntilClose => Ok(Step { consumed: buf.len(), data: 0..buf.len(), done: false }),
            State::Failed => Err(BodyError::Incomplete),
        }
    }

    /// Content that is still to come, where the framing says how much.
    #[inline]
    pub fn left(&self) -> Option<u64> {
        match self.state {
            State::Done => Some(0),
            State::Length(left) => Some(left),
            State::Chunked | State::UntilClose | State::Failed => None,
        }
    }

    /// The peer closed its side. Only then is a body complete that lasts until close.
    ///
    /// # Errors
    /// [`BodyError::Incomplete`] when the body is not complete: it must not look complete to the receiver either.
    pub fn end_of_input(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            _ => {
                self.state = State::Failed;
                Err(BodyError::Incomplete)
            }
        }
    }

    /// Whether the body is complete.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Content bytes still to come, where the framing says so.
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Done => Some(0),
            State::Length(left) => Some(left),
            _ => None,
        }
    }

    /// The trailers of a complete chunked body, without the fields that may not stand there; `None` if there are none.
    pub fn trailers(&self) -> Option<&Trailers> {
        if self.is_done() { self.chunked.trailers() } else { None }
    }
}

impl State {
    fn of(kind: BodyKind) -> Self {
        match kind {
            BodyKind::None | BodyKind::Length(0) => Self::Done,
            BodyKind::Length(length) => Self::Length(length),
            BodyKind::Chunked => Self::Chunked,
            BodyKind::UntilClose => Self::UntilClose,
        }
    }
}
