//! One direction of an exchange: a body, read in one framing and written in another, with what the receiver has not taken
//! yet. Nothing is read while something waits to be written, so a slow receiver slows the sender.

use std::io;
use std::task::{Context, Poll};

use weir_http1::{BodyDecoder, BodyEncoder, BodyError, BodyKind, KnownField, Limits};

use super::gather::Gather;
use crate::runtime::{Buffers, Io};

/// What one read is limited to once the receiver has shown that it is slow, and at first where many share a connection: so
/// much memory it holds.
const SLOW_READ_BYTES: usize = 16 * 1024;

/// When no more than this is missing of a body whose length is known, the rest is taken to be a moment away, and goes out
/// in the same packet as what came before: servers like to send head and content separately.
const MORE_BYTES_MAX: u64 = 64 * 1024;

/// The direction.
#[derive(Debug)]
pub(crate) struct Pipe {
    decoder: BodyDecoder,
    encoder: BodyEncoder,
    pending: Vec<u8>,
    pending_from: usize,
    /// The body is read to its end, and what ends it is written or pending.
    pub(crate) done: bool,
    /// What the next read is limited to.
    pub(crate) read_max: usize,
    /// The same for the first one.
    first_read_max: usize,
    /// Bytes handed to the receiver's socket.
    pub(crate) written: u64,
    /// It is written in chunks, so that trailers can follow.
    in_chunks: bool,
}

impl Pipe {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            decoder: BodyDecoder::new(BodyKind::None, limits),
            encoder: BodyEncoder::new(BodyKind::None),
            pending: Vec::new(),
            pending_from: 0,
            done: true,
            read_max: usize::MAX,
            first_read_max: usize::MAX,
            written: 0,
            in_chunks: false,
        }
    }

    /// Says whether the client's connection is one of many streams, each of which is to show first that it is taken from.
    #[inline]
    pub(crate) fn share(&mut self, shared: bool) {
        self.first_read_max = if shared { SLOW_READ_BYTES } else { usize::MAX };
        self.read_max = self.first_read_max;
    }

    /// Begins a body. Pending bytes stay.
    #[inline]
    pub(crate) fn begin(&mut self, from: BodyKind, to: BodyKind, limits: &Limits) {
        self.decoder.reset(from, limits);
        self.encoder = BodyEncoder::new(to);
        self.in_chunks = to == BodyKind::Chunked;
        self.done = from.is_empty();
        self.read_max = self.first_read_max;
    }

    /// Gives memory back.
    #[inline]
    pub(crate) fn clear(&mut self, buffers: &Buffers) {
        if self.pending.capacity() > 0 {
            buffers.give(&mut self.pending);
        }
        self.pending_from = 0;
        self.written = 0;
        self.done = true;
        self.read_max = self.first_read_max;
    }

    #[inline]
    pub(crate) fn has_pending(&self) -> bool {
        self.pending_from < self.pending.len()
    }

    /// How much is pending.
    #[inline]
    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending.len() - self.pending_from
    }

    /// Whether everything is handed to the receiver's socket.
    #[inline]
    pub(crate) fn is_complete(&self) -> bool {
        self.done && !self.has_pending()
    }

    /// The value of a field behind the body, once that was read to its end.
    pub(crate) fn trailer(&self, id: KnownField) -> Option<&[u8]> {
        self.decoder.trailers()?.value(id)
    }

    /// Writes pending bytes. Gives whether any went.
    #[inline]
    pub(crate) fn flush(&mut self, cx: &mut Context<'_>, to: &mut Io, buffers: &Buffers) -> io::Result<bool> {
        if !self.has_pending() {
            return Ok(false);
        }
        let mut progress = false;
        while self.has_pending() {
            match to.poll_write(cx, &self.pending[self.pending_from..]) {
                Poll::Pending => return Ok(progress),
                Poll::Ready(n) => {
                    let n = n?;
                    self.pending_from += n;
                    self.written += n as u64;
                    progress = true;
                }
            }
        }
        self.pending_from = 0;
        buffers.give(&mut self.pending);
        Ok(true)
    }

    /// Decodes `input` and appends its content, framed for the receiver, to `out`. Gives how much of `input` was dealt with.
    pub(crate) fn encode_into(&mut self, input: &mut [u8], out: &mut Vec<u8>) -> Result<usize, BodyError> {
        let mut at = 0;
        loop {
            let step = self.decoder.decode(&mut input[at..])?;
            if !step.data.is_empty() {
                let (prefix, suffix) = self.encoder.frame(step.data.len())?;
                out.extend_from_slice(prefix.as_bytes());
                out.extend_from_slice(&input[at + step.data.start..at + step.data.end]);
                out.extend_from_slice(suffix);
            }
            at += step.consumed;
            if step.done {
                self.encoder.finish(self.decoder.trailers(), out)?;
                self.done = true;
                return Ok(at);
            }
            if step.consumed == 0 || at == input.len() {
                return Ok(at);
            }
        }
    }

    /// Decodes `input` for nobody. Gives how much of it was dealt with.
    pub(crate) fn skip(&mut self, input: &mut [u8]) -> Result<usize, BodyError> {
        let step = self.decoder.decode(input)?;
        self.done |= step.done;
        Ok(step.consumed)
    }

    /// Adds to `gather` the content of `input[from..]`, framed for the receiver, and as it is to `kept`, if that is wanted.
    /// Gives where in `input` it stopped.
    #[inline]
    pub(crate) fn encode_gather(
        &mut self,
        gather: &mut Gather,
        input: &mut [u8],
        from: usize,
        out: &mut Vec<u8>,
        mut kept: Option<&mut Vec<u8>>,
    ) -> Result<usize, BodyError> {
        let mut at = from;
        loop {
            let step = self.decoder.decode(&mut input[at..])?;
            if !step.data.is_empty() {
                let (prefix, suffix) = self.encoder.frame(step.data.len())?;
                if let Some(kept) = &mut kept {
                    kept.extend_from_slice(&input[at + step.data.start..at + step.data.end]);
                }
                out.extend_from_slice(prefix.as_bytes());
                gather.push_out(out);
                gather.push_content(out, input, at + step.data.start, at + step.data.end);
                out.extend_from_slice(suffix);
                gather.push_out(out);
            }
            at += step.consumed;
            if step.done {
                self.encoder.finish(self.decoder.trailers(), out)?;
                gather.push_out(out);
                self.done = true;
                return Ok(at);
            }
            if step.consumed == 0 || at == input.len() {
                return Ok(at);
            }
        }
    }

    /// Ends the body for the receiver although the sender has not, with trailers that say so. Gives whether that can be
    /// done in good order.
    pub(crate) fn end_early(&mut self, trailers: &[u8], out: &mut Vec<u8>) -> bool {
        if !self.in_chunks || self.done || self.has_pending() {
            return false;
        }
        out.extend_from_slice(b"0\r\n");
        out.extend_from_slice(trailers);
        out.extend_from_slice(b"\r\n");
        self.done = true;
        true
    }

    /// The sender has ended. Completes a body that lasts until then; `out` gets what ends it for the receiver.
    pub(crate) fn end_of_input(&mut self, out: &mut Vec<u8>) -> Result<(), BodyError> {
        self.decoder.end_of_input()?;
        self.encoder.finish(None, out)?;
        self.done = true;
        Ok(())
    }

    /// Writes what was gathered, and keeps what the receiver does not take now.
    #[inline]
    pub(crate) fn write(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Io,
        gather: &Gather,
        out: &[u8],
        input: &[u8],
        buffers: &Buffers,
    ) -> io::Result<()> {
        debug_assert!(!self.has_pending(), "nothing is read while something is pending");
        let more = self.decoder.left().is_some_and(|left| (1..=MORE_BYTES_MAX).contains(&left));
        let written = match gather.poll_write(to, cx, out, input, more) {
            Poll::Pending => 0,
            Poll::Ready(written) => written?,
        };
        self.written += written as u64;
        if written == gather.bytes() {
            self.read_max = self.read_max.saturating_mul(2);
            return Ok(());
        }
        self.read_max = SLOW_READ_BYTES;
        if self.pending.capacity() == 0 {
            self.pending = buffers.take();
        }
        self.pending.clear();
        self.pending_from = 0;
        gather.copy_rest(written, out, input, &mut self.pending);
        Ok(())
    }
}
