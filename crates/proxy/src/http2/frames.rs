//! A connection's bytes on their way to `h2`, with every frame's header looked at once.
//!
//! When a peer floods, nothing of what was just read gets through, and nothing more is read: the connection's task sees
//! it in the [`Link`] and closes.

use std::borrow::BorrowMut;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::floods::Floods;
use super::link::Link;
use super::preface::PREFACE;
use crate::runtime::{Io, Timers};

/// Bytes of a frame's header (RFC 9113 section 4.1).
const HEADER_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// The bytes.
pub(super) struct Frames<T> {
    io: T,
    /// Read before it was known to be HTTP/2.
    ahead: Vec<u8>,
    ahead_from: usize,
    header: [u8; HEADER_BYTES],
    header_len: usize,
    /// Bytes until the next frame's header.
    skip: usize,
    /// A header block goes on in the next frame.
    in_block: bool,
    /// When what has not come whole began: a header block, or a frame. Content is not waited for here.
    begun_ms: Option<u64>,
    floods: Floods,
    link: Rc<Link>,
    timers: Rc<Timers>,
}

impl<T: BorrowMut<Io> + Unpin> Frames<T> {
    /// A client's connection, with what was read of it already: from the preface on.
    pub(super) fn of_client(
        io: T,
        ahead: Vec<u8>,
        head_bytes_max: usize,
        link: Rc<Link>,
        timers: Rc<Timers>,
    ) -> Self {
        let floods = Floods::new(head_bytes_max, timers.now_ms());
        Self { ahead, skip: PREFACE.len(), ..Self::new(io, floods, link, timers) }
    }

    /// A connection to an upstream.
    pub(super) fn of_upstream(io: T, head_bytes_max: usize, link: Rc<Link>, timers: Rc<Timers>) -> Self {
        let floods = Floods::of_upstream(head_bytes_max, timers.now_ms());
        Self::new(io, floods, link, timers)
    }

    fn new(io: T, floods: Floods, link: Rc<Link>, timers: Rc<Timers>) -> Self {
        Self {
            io,
            ahead: Vec::new(),
            ahead_from: 0,
            header: [0; HEADER_BYTES],
            header_len: 0,
            skip: 0,
            in_block: false,
            begun_ms: None,
            floods,
            link,
            timers,
        }
    }

    /// Looks at what was read. Gives whether it may go on.
    fn scan(&mut self, bytes: &[u8]) -> bool {
        self.link.hear();
        let passes = self.scan_frames(bytes);
        self.link.lacks(self.begun_ms);
        passes
    }

    fn scan_frames(&mut self, mut bytes: &[u8]) -> bool {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if self.skip == 0 && self.header_len == 0 && !self.in_block {
                self.begun_ms = None;
            }
            if bytes.is_empty() {
                return true;
            }
            if self.begun_ms.is_none() {
                self.begun_ms = Some(self.timers.now_ms());
            }
            let taken = (HEADER_BYTES - self.header_len).min(bytes.len());
            self.header[self.header_len..self.header_len + taken].copy_from_slice(&bytes[..taken]);
            self.header_len += taken;
            bytes = &bytes[taken..];
            if self.header_len < HEADER_BYTES {
                return true;
            }
            self.header_len = 0;
            let [a, b, c, kind, flags, ..] = self.header;
            let len = u32::from_be_bytes([0, a, b, c]);
            self.skip = len as usize;
            if !has_right_size(kind, flags, len) {
                self.link.misshape();
                return false;
            }
            match kind {
                DATA => {
                    self.link.tell();
                    self.begun_ms = None;
                }
                HEADERS => {
                    self.link.tell();
                    self.in_block = flags & END_HEADERS == 0;
                }
                CONTINUATION => self.in_block = flags & END_HEADERS == 0,
                SETTINGS => self.link.settle(),
                GOAWAY => self.link.go_away(),
                _ => {}
            }
            if let Err(flood) = self.floods.frame(kind, flags, len, self.timers.now_ms(), self.link.work()) {
                self.link.flooded(flood);
                return false;
            }
        }
    }
}

/// Whether a frame is as long as its type wants it. `h2` ends the connection otherwise, too, but gives a reason that tells
/// nobody what was wrong.
#[inline]
fn has_right_size(kind: u8, flags: u8, len: u32) -> bool {
    const RST_STREAM: u8 = 3;
    const PING: u8 = 6;
    const WINDOW_UPDATE: u8 = 8;
    const ACK: u8 = 1;
    match kind {
        SETTINGS if flags & ACK != 0 => len == 0,
        SETTINGS => len.is_multiple_of(6),
        RST_STREAM | WINDOW_UPDATE => len == 4,
        PING => len == 8,
        _ => true,
    }
}

impl<T: BorrowMut<Io> + Unpin> AsyncRead for Frames<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.link.is_shut() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if this.ahead_from < this.ahead.len() {
            let ahead = &this.ahead[this.ahead_from..];
            let taken = ahead.len().min(buf.remaining());
            buf.put_slice(&ahead[..taken]);
            this.ahead_from += taken;
            if this.ahead_from == this.ahead.len() {
                (this.ahead, this.ahead_from) = (Vec::new(), 0);
            }
        } else {
            ready!(this.io.borrow_mut().poll_fill(cx, buf))?;
        }
        if !this.scan(&buf.filled()[before..]) {
            buf.set_filled(before);
            // It is this task that must look at the link.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: BorrowMut<Io> + Unpin> AsyncWrite for Frames<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.io.borrow_mut().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io.borrow_mut().poll_write_vectored(cx, slices, false)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.borrow_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let io = self.io.borrow_mut();
        ready!(io.poll_flush(cx))?;
        io.shutdown();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        [&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, 1][..], payload].concat()
    }

    fn frames() -> Frames<Io> {
        let link = Rc::new(Link::of_nobody());
        Frames::of_upstream(Io::Nobody(None), 64 * 1024, link, Timers::new())
    }

    #[test]
    fn what_has_begun_and_not_come_whole_is_known() {
        let block = [
            frame(HEADERS, 0, b"abc"),
            frame(CONTINUATION, 0, b"de"),
            frame(CONTINUATION, END_HEADERS, b"f"),
        ];
        let headers = frame(HEADERS, END_HEADERS, b"abc");
        let ping = frame(6, 0, &[0; 8]);
        for whole in [block.concat(), headers.clone(), ping.clone(), frame(SETTINGS, 0, &[])] {
            let mut frames = frames();
            for (at, byte) in whole.iter().enumerate() {
                assert!(frames.scan(&[*byte]));
                assert_eq!(frames.link.lacking_ms().is_some(), at + 1 < whole.len(), "{at} of {whole:?}");
            }
        }
        // Content comes when it comes, once its frame's header has.
        let mut frames = frames();
        let data = frame(DATA, 0, b"abc");
        for (at, byte) in data.iter().enumerate() {
            assert!(frames.scan(&[*byte]));
            assert_eq!(frames.link.lacking_ms().is_some(), at + 1 < HEADER_BYTES, "{at}");
        }
        // Each frame has a beginning of its own, wherever reads end.
        assert!(frames.scan(&[&headers[..], &ping[..], &headers[..4]].concat()));
        assert!(frames.link.lacking_ms().is_some());
        assert!(frames.scan(&headers[4..]));
        assert!(frames.link.lacking_ms().is_none());
    }
}
