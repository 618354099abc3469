//! What the engine writes, HTTP/1.1, as frames of a stream.
//!
//! Content is taken only as far as the peer's windows reach, so a slow reader slows its writer, who keeps the rest.

use std::io;
use std::task::{Context, Poll};

use weir_http1::{BodyKind, FieldTable};
use weir_http2::{Connection, Slot};

use super::chunks::{Chunks, Step};
use super::link::Link;
use super::web::TextBody;
use super::{WRITTEN_HERE, fault, head};

/// The frames of one message.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// A head that has not come whole.
    pub(super) partial: Vec<u8>,
    framing: Framing,
    /// The engine's content is text.
    text: Option<Box<TextBody>>,
}

/// How the engine frames what it writes.
#[derive(Debug, Default)]
enum Framing {
    /// Its head has not been written.
    #[default]
    Head,
    /// So many bytes are to come.
    Length(u64),
    Chunked(Chunks),
    /// Nothing more may be written: the message is complete.
    Over,
}

impl Outbox {
    /// The head was sent; content of this kind follows.
    pub(super) fn begin(&mut self, kind: BodyKind) {
        self.framing = match kind {
            BodyKind::None | BodyKind::UntilClose | BodyKind::Length(0) => Framing::Over,
            BodyKind::Length(length) => Framing::Length(length),
            BodyKind::Chunked => Framing::Chunked(Chunks::default()),
        };
    }

    /// The content that follows is text.
    pub(super) fn decode_text(&mut self) {
        self.text = Some(Box::default());
    }

    /// Whether a head was sent.
    #[inline]
    pub(super) fn has_begun(&self) -> bool {
        !matches!(self.framing, Framing::Head)
    }

    /// Whether the whole message was.
    #[inline]
    pub(super) fn is_ended(&self) -> bool {
        matches!(self.framing, Framing::Over) && self.text.as_ref().is_none_or(|text| text.is_sent())
    }

    /// Takes content as the engine frames it. Gives how much was taken. `table` is for trailers.
    pub(super) fn poll_content(
        &mut self,
        cx: &mut Context<'_>,
        (link, slot): (&Link, Slot),
        table: &mut FieldTable,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut h2 = link.h2.borrow_mut();
        if let Some(why) = h2.fault(slot) {
            return Poll::Ready(Err(fault::of(why)));
        }
        let taken = self.take(&mut h2, slot, table, bytes);
        drop(h2);
        link.wake();
        match taken {
            Ok(taken) if taken == bytes.len() => Poll::Ready(Ok(taken)),
            Ok(taken) => {
                link.waits(slot, cx);
                if taken == 0 { Poll::Pending } else { Poll::Ready(Ok(taken)) }
            }
            // What was accepted before must not look like all there is: whoever has the stream resets it.
            Err(why) => Poll::Ready(Err(why)),
        }
    }

    fn take(
        &mut self,
        h2: &mut Connection,
        slot: Slot,
        table: &mut FieldTable,
        bytes: &[u8],
    ) -> io::Result<usize> {
        let text = &mut self.text;
        match &mut self.framing {
            Framing::Head | Framing::Over => Err(io::ErrorKind::InvalidInput.into()),
            Framing::Length(left) => {
                let rest = left.checked_sub(bytes.len() as u64).ok_or(io::ErrorKind::InvalidInput)?;
                let sent = send(h2, slot, text, bytes, rest == 0)?;
                *left -= sent as u64;
                if *left == 0 {
                    self.framing = Framing::Over;
                }
                Ok(sent)
            }
            Framing::Chunked(chunks) => {
                let (taken, over) = take_chunks(h2, slot, text, chunks, table, bytes)?;
                if over {
                    self.framing = Framing::Over;
                }
                Ok(taken)
            }
        }
    }

    /// Sends what is left of text that was taken. Ready when nothing is.
    pub(super) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        link: &Link,
        slot: Slot,
    ) -> Poll<io::Result<()>> {
        let Some(text) = &mut self.text else { return Poll::Ready(Ok(())) };
        let mut h2 = link.h2.borrow_mut();
        if let Some(why) = h2.fault(slot) {
            return Poll::Ready(Err(fault::of(why)));
        }
        let sent = text.flush(&mut h2, slot);
        drop(h2);
        link.wake();
        if sent {
            return Poll::Ready(Ok(()));
        }
        link.waits(slot, cx);
        Poll::Pending
    }
}

/// Sends content. Gives how much of it was taken.
#[inline]
fn send(
    h2: &mut Connection,
    slot: Slot,
    text: &mut Option<Box<TextBody>>,
    content: &[u8],
    last: bool,
) -> io::Result<usize> {
    match text {
        None => Ok(h2.send(slot, content, last)),
        Some(text) => text.send(h2, slot, content, last),
    }
}

/// Gives how much was taken, and whether the message is complete.
fn take_chunks(
    h2: &mut Connection,
    slot: Slot,
    text: &mut Option<Box<TextBody>>,
    chunks: &mut Chunks,
    table: &mut FieldTable,
    bytes: &[u8],
) -> io::Result<(usize, bool)> {
    let mut at = 0;
    while at < bytes.len() {
        match chunks.step(&bytes[at..])? {
            Step::Framing(n) => at += n,
            Step::Content(n) => {
                let last = chunks.ends_with(n, &bytes[at + n..]);
                let sent = send(h2, slot, text, &bytes[at..at + n], last)?;
                chunks.took(sent);
                at += sent;
                if sent < n {
                    break;
                }
                if last {
                    chunks.passed_end();
                    return Ok((bytes.len(), true));
                }
            }
            Step::End(n) => {
                let section = chunks.trailers();
                // Whoever calls with text has no trailers to send.
                if section == b"\r\n" || text.is_some() {
                    send(h2, slot, text, b"", true)?;
                } else {
                    table.parse(section, 0, &WRITTEN_HERE).map_err(fault::unfit)?;
                    h2.send_trailers(slot, |block| head::write_fields(block, table, section, head::LATE));
                }
                return Ok((at + n, true));
            }
        }
    }
    Ok((at, false))
}
