//! A TCP connection with TLS on it, polled like plain TCP: one system call per read or write, none where the runtime
//! knows that it would block, no task of its own.
//!
//! ```text
//!  poll_read:  socket -> scratch -> decrypted in place -> the caller's buffer (what does not fit: `plain`)
//!  poll_write: caller's pieces -> encrypted into scratch -> socket (what it does not take: `outgoing`)
//! ```
//!
//! While nothing moves it holds keys and no buffer. While its peer does not read, it holds one write's ciphertext and
//! accepts nothing more. This module must not know what the bytes mean.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::{CommonState, HandshakeKind, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::handshake::HandshakeFault;
use super::scratch::{Both, TlsScratch, WRITE_BYTES_MAX};
use super::session::{CONTROL_BYTES, RECORD_OVERHEAD_BYTES, RECORD_PLAIN_BYTES_MAX, Session};
use crate::observe::TlsVersion;
use crate::runtime::{Idle, poll_write_more};

/// Pieces of one write at most; a caller with more writes again.
pub(super) const PIECES_MAX: usize = 32;
/// Plaintext that a write takes once the peer has shown that it is slow: so much ciphertext it may hold.
const SLOW_WRITE_BYTES: usize = RECORD_PLAIN_BYTES_MAX;
/// Ciphertext beyond the caller's room that a read may take: a few records that carry no content.
const READ_EXTRA_BYTES: usize = 512;
/// Reads in a row that may bring no content, such as tickets, before others have their turn.
const EMPTY_READS_MAX: usize = 16;

/// The connection.
pub(crate) struct TlsStream {
    tcp: TcpStream,
    session: Session,
    scratch: TlsScratch,
    /// Ciphertext that is not a whole record or handshake message yet.
    held: Vec<u8>,
    /// Content that the reader had no room for.
    plain: Backlog,
    /// Ciphertext that the socket has not taken.
    outgoing: Backlog,
    /// Plaintext that the next write takes at most.
    write_max: usize,
    reading: Reading,
    writing: Writing,
}

/// How the receiving side is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Open,
    /// The peer has said that this was all.
    Closed,
    /// The connection ended without a word: what came may not be all.
    Cut,
    /// What came is not TLS as it should be.
    Failed,
}

/// How the sending side is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    Open,
    /// The end is announced; the socket follows once it has taken that.
    Announced,
    Closed,
}

/// Bytes that wait. Holds no memory when empty.
#[derive(Debug, Default)]
struct Backlog {
    bytes: Vec<u8>,
    from: usize,
}

impl Backlog {
    #[inline]
    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn unsent(&self) -> &[u8] {
        &self.bytes[self.from..]
    }

    fn consume(&mut self, n: usize) {
        self.from += n;
        if self.from == self.bytes.len() {
            *self = Self::default();
        }
    }

    fn move_into(&mut self, buf: &mut [u8]) -> usize {
        let n = self.unsent().len().min(buf.len());
        buf[..n].copy_from_slice(&self.unsent()[..n]);
        self.consume(n);
        n
    }
}

impl TlsStream {
    /// A connection whose handshake has not begun. `ahead` is what was read of it already.
    pub(super) fn new(tcp: TcpStream, session: Session, scratch: TlsScratch, ahead: Vec<u8>) -> Self {
        Self {
            tcp,
            session,
            scratch,
            held: ahead,
            plain: Backlog::default(),
            outgoing: Backlog::default(),
            write_max: WRITE_BYTES_MAX,
            reading: Reading::Open,
            writing: Writing::Open,
        }
    }

    /// What the handshake has settled.
    pub(crate) fn settled(&self) -> &CommonState {
        self.session.common()
    }

    /// The version, and whether an earlier session was resumed.
    pub(crate) fn version(&self) -> (TlsVersion, bool) {
        let settled = self.settled();
        let version = match settled.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => TlsVersion::V12,
            _ => TlsVersion::V13,
        };
        (version, settled.handshake_kind() == Some(HandshakeKind::Resumed))
    }

    /// The socket.
    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Goes on with the handshake. After a failure the peer is told what it was, as far as that can be done at once.
    pub(super) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), HandshakeFault>> {
        let mut fault = if self.held.is_empty() { self.feed_nothing() } else { self.feed_held() };
        loop {
            let sent = if self.outgoing.is_empty() { Poll::Ready(Ok(())) } else { self.poll_send(cx) };
            if let Some(fault) = fault {
                return Poll::Ready(Err(HandshakeFault::Tls(fault)));
            }
            if let Poll::Ready(Err(fault)) = sent {
                return Poll::Ready(Err(HandshakeFault::Io(fault)));
            }
            if !self.settled().is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if self.reading != Reading::Open {
                return Poll::Ready(Err(HandshakeFault::Closed));
            }
            if let Err(error) = ready!(self.poll_receive(cx, &mut [], &mut fault)) {
                return Poll::Ready(Err(HandshakeFault::Io(error)));
            }
        }
    }

    /// Reads once; 0 at an end that the peer has announced.
    ///
    /// # Errors
    /// An end that was not announced is one: what came may not be all.
    #[inline]
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if !self.outgoing.is_empty()
            && let Poll::Ready(Err(fault)) = self.poll_send(cx)
        {
            return Poll::Ready(Err(fault));
        }
        if !self.plain.is_empty() {
            return Poll::Ready(Ok(self.plain.move_into(buf)));
        }
        for _ in 0..EMPTY_READS_MAX {
            match self.reading {
                Reading::Open => {}
                Reading::Closed => return Poll::Ready(Ok(0)),
                Reading::Cut => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Reading::Failed => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            }
            let mut fault = None;
            let read = ready!(self.poll_receive(cx, buf, &mut fault))?;
            if !self.outgoing.is_empty()
                && let Poll::Ready(Err(fault)) = self.poll_send(cx)
            {
                return Poll::Ready(Err(fault));
            }
            if read > 0 {
                return Poll::Ready(Ok(read));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once from the socket and decrypts. Gives how much content is in `buf`; 0 also when there was none, and at
    /// the end, which `reading` shows.
    #[inline]
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
        fault: &mut Option<rustls::Error>,
    ) -> Poll<io::Result<usize>> {
        let mut scratch = self.scratch.0.borrow_mut();
        let Both { incoming, .. } = &mut *scratch;
        let held = self.held.len();
        let room = buf.len() + buf.len() / RECORD_PLAIN_BYTES_MAX * RECORD_OVERHEAD_BYTES + READ_EXTRA_BYTES;
        let end = held.saturating_add(room.max(RECORD_PLAIN_BYTES_MAX)).min(incoming.len());
        if held >= end {
            // No record and no handshake message is so long.
            self.reading = Reading::Failed;
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let mut into = ReadBuf::new(&mut incoming[held..end]);
        ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut into))?;
        let read = into.filled().len();
        if read == 0 {
            self.reading = Reading::Cut;
            return Poll::Ready(Ok(0));
        }
        incoming[..held].copy_from_slice(&self.held);
        let mut filled = 0;
        let plain = &mut self.plain;
        let keep = |content: &[u8]| {
            let n = content.len().min(buf.len() - filled);
            buf[filled..filled + n].copy_from_slice(&content[..n]);
            filled += n;
            plain.bytes.extend_from_slice(&content[n..]);
        };
        let fed = self.session.feed(&mut incoming[..held + read], keep, &mut self.outgoing.bytes);
        self.held.clear();
        if fed.fault.is_some() {
            *fault = fed.fault;
            self.reading = Reading::Failed;
        } else if fed.closed {
            self.reading = Reading::Closed;
        } else if fed.taken < held + read {
            self.held.extend_from_slice(&incoming[fed.taken..held + read]);
        }
        if self.held.is_empty() {
            self.held = Vec::new();
        }
        Poll::Ready(Ok(filled))
    }

    /// Lets the session say what it has to say first.
    fn feed_nothing(&mut self) -> Option<rustls::Error> {
        self.session.feed(&mut [], |_| {}, &mut self.outgoing.bytes).fault
    }

    fn feed_held(&mut self) -> Option<rustls::Error> {
        let plain = &mut self.plain.bytes;
        let fed = self.session.feed(
            &mut self.held,
            |content| plain.extend_from_slice(content),
            &mut self.outgoing.bytes,
        );
        self.held.drain(..fed.taken);
        if fed.closed {
            self.reading = Reading::Closed;
        }
        fed.fault
    }

    /// Writes once.
    #[inline]
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_pieces(cx, std::iter::once(bytes), false)
    }

    /// Writes several pieces at once. With `more` the kernel may hold back what does not fill a packet.
    #[inline]
    pub(crate) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        more: bool,
    ) -> Poll<io::Result<usize>> {
        self.poll_write_pieces(cx, slices.iter().take(PIECES_MAX).map(|slice| &**slice), more)
    }

    #[inline]
    fn poll_write_pieces<'p>(
        &mut self,
        cx: &mut Context<'_>,
        pieces: impl Iterator<Item = &'p [u8]>,
        more: bool,
    ) -> Poll<io::Result<usize>> {
        if !self.outgoing.is_empty() {
            ready!(self.poll_send(cx))?;
        }
        if self.writing != Writing::Open || self.reading == Reading::Failed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let mut scratch = self.scratch.0.borrow_mut();
        let out = &mut scratch.outgoing;
        let (mut taken, mut sealed) = (0, 0);
        for piece in pieces {
            let piece = &piece[..piece.len().min(self.write_max - taken)];
            if piece.is_empty() {
                continue;
            }
            match self.session.seal(&mut self.held, piece, &mut out[sealed..]) {
                Ok(n) => sealed += n,
                Err(_) => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
            taken += piece.len();
        }
        if taken == 0 {
            return Poll::Ready(Ok(0));
        }
        let sealed_bytes = &out[..sealed];
        let written = if more {
            poll_write_more(&self.tcp, cx, &[IoSlice::new(sealed_bytes)])
        } else {
            Pin::new(&mut self.tcp).poll_write(cx, sealed_bytes)
        };
        let written = match written {
            Poll::Ready(written) => written?,
            Poll::Pending => 0,
        };
        if written == sealed {
            self.write_max = (self.write_max * 2).min(WRITE_BYTES_MAX);
        } else {
            self.write_max = SLOW_WRITE_BYTES;
            self.outgoing.bytes.extend_from_slice(&out[written..sealed]);
        }
        Poll::Ready(Ok(taken))
    }

    /// Hands everything that was accepted to the kernel.
    #[inline]
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.outgoing.is_empty() { Poll::Ready(Ok(())) } else { self.poll_send(cx) }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let n = ready!(Pin::new(&mut self.tcp).poll_write(cx, self.outgoing.unsent()))?;
            self.outgoing.consume(n);
        }
        self.follow_shutdown();
        Poll::Ready(Ok(()))
    }

    /// The same, as far as it goes without waiting.
    fn try_send(&mut self) {
        while !self.outgoing.is_empty() {
            match self.tcp.try_write(self.outgoing.unsent()) {
                Ok(n) => self.outgoing.consume(n),
                Err(_) => return,
            }
        }
        self.follow_shutdown();
    }

    fn follow_shutdown(&mut self) {
        if self.writing == Writing::Announced {
            self.writing = Writing::Closed;
            // A failure means that the connection is gone already, which is what was wanted.
            let _ = socket2::SockRef::from(&self.tcp).shutdown(std::net::Shutdown::Write);
        }
    }

    /// Announces the end of what is sent, and ends the sending side once everything before that is with the kernel.
    pub(crate) fn shutdown(&mut self) {
        if self.writing == Writing::Open {
            self.announce_end();
            self.writing = Writing::Announced;
            self.try_send();
        }
    }

    fn announce_end(&mut self) {
        let mut notice = [0; CONTROL_BYTES];
        if let Ok(n) = self.session.close(&mut self.held, &mut notice) {
            self.outgoing.bytes.extend_from_slice(&notice[..n]);
        }
    }

    /// Has the connection reset when it is dropped, and the end not announced.
    pub(crate) fn abort(&mut self) {
        self.writing = Writing::Closed;
        let _ = socket2::SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO));
    }

    /// What it has to say while nothing is expected. Session tickets and key updates are taken in and are nothing.
    #[inline]
    pub(crate) fn look(&mut self) -> Idle {
        if !self.plain.is_empty() {
            return Idle::Talking;
        }
        for _ in 0..EMPTY_READS_MAX {
            if self.reading != Reading::Open {
                return Idle::Ended;
            }
            // Fails at once, without a system call, unless the poller saw something.
            let read = self.tcp.try_read(&mut self.scratch.0.borrow_mut().incoming[..READ_EXTRA_BYTES]);
            match read {
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => return Idle::Quiet,
                Ok(n) if n > 0 => self.take_unasked(n),
                _ => {
                    self.reading = Reading::Cut;
                    return Idle::Ended;
                }
            }
            if !self.plain.is_empty() {
                return Idle::Talking;
            }
        }
        Idle::Talking
    }

    #[cold]
    fn take_unasked(&mut self, read: usize) {
        self.held.extend_from_slice(&self.scratch.0.borrow().incoming[..read]);
        if self.feed_held().is_some() || self.held.len() > 2 * RECORD_PLAIN_BYTES_MAX {
            self.reading = Reading::Failed;
        }
        if self.held.is_empty() {
            self.held = Vec::new();
        }
        self.try_send();
    }
}

impl Drop for TlsStream {
    /// Announces the end, as far as that can be done at once.
    fn drop(&mut self) {
        if self.writing == Writing::Open
            && self.reading != Reading::Failed
            && self.outgoing.is_empty()
            && !self.settled().is_handshaking()
        {
            self.announce_end();
            self.try_send();
        }
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tcp, reading, writing, .. } = self;
        f.debug_struct("TlsStream")
            .field("tcp", tcp)
            .field("reading", reading)
            .field("writing", writing)
            .finish_non_exhaustive()
    }
}
