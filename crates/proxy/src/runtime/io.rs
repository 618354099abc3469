//! The bytes of a connection, client's or upstream's, whatever carries them.
//!
//! Above this everything works on [`Io`] and does not know what is below: one system call per call, and none where the
//! runtime already knows that it would block. This module must not look at what the bytes mean.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use weir_http1::{BodyKind, FieldTable, ResponseHead};

use crate::http2;
use crate::tls::TlsStream;

/// Elsewhere nothing is held back, which is only slower.
#[cfg(not(target_os = "linux"))]
const MSG_MORE: i32 = 0;
#[cfg(target_os = "linux")]
const MSG_MORE: i32 = libc::MSG_MORE;

/// How long a connection that is watched may be silent before the kernel asks the peer's kernel whether it is there.
const WATCH_IDLE: Duration = Duration::from_secs(15);
/// How long it waits between one question and the next.
const WATCH_INTERVAL: Duration = Duration::from_secs(5);
/// How many questions in a row may stay without an answer.
const WATCH_QUESTIONS_MAX: u32 = 3;
/// How long what was sent may stay without an acknowledgement.
#[cfg(target_os = "linux")]
const WATCH_UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

/// A connection's bytes.
#[derive(Debug)]
pub(crate) enum Io {
    /// Plain TCP.
    Tcp(TcpStream),
    /// One stream of an HTTP/2 connection.
    Http2(Box<http2::Stream>),
    /// TLS over TCP.
    Tls(Box<TlsStream>),
    /// A client that says nothing more and listens to nothing, at this address of ours.
    Nobody(Option<SocketAddr>),
}

/// What an idle connection has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Idle {
    /// Nothing, as far as can be known without asking the peer.
    Quiet,
    /// Bytes have arrived.
    Talking,
    /// It has ended or failed.
    Ended,
}

impl Io {
    /// Reads once; 0 at the end. A short read tells the runtime that the socket is drained, so the next call costs
    /// nothing until more arrives.
    #[inline]
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => {
                let mut buf = ReadBuf::new(buf);
                ready!(Pin::new(stream).poll_read(cx, &mut buf))?;
                Poll::Ready(Ok(buf.filled().len()))
            }
            Self::Http2(stream) => stream.poll_read(cx, buf),
            Self::Tls(stream) => stream.poll_read(cx, buf),
            // Whoever waits here has a deadline that wakes it.
            Self::Nobody(_) => Poll::Pending,
        }
    }

    /// Exchanges a table for that of the head that the last read began with, where it is known without parsing. Gives whether
    /// it is.
    #[inline]
    pub(crate) fn take_table(&mut self, table: &mut FieldTable) -> bool {
        match self {
            Self::Http2(stream) => stream.take_table(table),
            _ => false,
        }
    }

    /// Writes once. What was accepted need not have left yet: see [`Io::poll_flush`].
    #[inline]
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Http2(stream) => stream.poll_write(cx, bytes),
            Self::Tls(stream) => stream.poll_write(cx, bytes),
            Self::Nobody(_) => Poll::Ready(Ok(bytes.len())),
        }
    }

    /// The same for the beginning of a request, of whose head the table may be known.
    #[inline]
    pub(crate) fn poll_write_request(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        table: &FieldTable,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Http2(stream) => stream.poll_write_request(cx, bytes, table),
            _ => self.poll_write(cx, bytes),
        }
    }

    /// The socket, where it carries these bytes and nothing else.
    pub(crate) fn socket(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Http2(_) | Self::Tls(_) | Self::Nobody(_) => None,
        }
    }

    /// Whether it is a stream of an HTTP/2 connection.
    #[inline]
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    /// Sends a response's head, of which `buf` has the bytes, on a client's stream, instead of writing it as HTTP/1.1. Its
    /// body is written as ever, framed as `body`.
    pub(crate) fn respond(&mut self, head: &ResponseHead, buf: &[u8], body: BodyKind) -> io::Result<()> {
        match self {
            Self::Http2(stream) => stream.respond(head, buf, body),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Writes several pieces at once. With `more` the kernel may hold back what does not fill a packet until the next
    /// write, for at most 200 ms (MSG_MORE): for when the rest is known to be on its way.
    #[inline]
    pub(crate) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        more: bool,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) if more => poll_write_more(stream, cx, slices),
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Http2(stream) => stream.poll_write_vectored(cx, slices),
            Self::Tls(stream) => stream.poll_write_vectored(cx, slices, more),
            Self::Nobody(_) => Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum())),
        }
    }

    /// Hands everything that was accepted to the kernel. Reading does so too, as far as it goes; only who ends without
    /// reading again has to ask for it.
    #[inline]
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) | Self::Nobody(_) => Poll::Ready(Ok(())),
            Self::Http2(stream) => stream.poll_flush(cx),
            Self::Tls(stream) => stream.poll_flush(cx),
        }
    }

    /// Ends the sending side.
    #[inline]
    pub(crate) fn shutdown(&mut self) {
        match self {
            // A failure means that the connection is gone already, which is what was wanted.
            Self::Tcp(stream) => {
                let _ = SockRef::from(&*stream).shutdown(std::net::Shutdown::Write);
            }
            // A stream ends with its message, and a message cannot be cut short by ending it.
            Self::Http2(_) | Self::Nobody(_) => {}
            Self::Tls(stream) => stream.shutdown(),
        }
    }

    /// Has the connection reset when it is dropped, so that a peer cannot take a message cut short for a complete one.
    pub(crate) fn abort(&mut self) {
        match self {
            Self::Tcp(stream) => {
                let _ = SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
            }
            Self::Http2(stream) => stream.abort(),
            Self::Tls(stream) => stream.abort(),
            Self::Nobody(_) => {}
        }
    }

    /// What it has to say while nothing is expected. Takes a byte of what has arrived. No system call unless the poller
    /// saw something.
    #[inline]
    pub(crate) fn look(&mut self) -> Idle {
        match self {
            Self::Tcp(stream) => match stream.try_read(&mut [0]) {
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => Idle::Quiet,
                Ok(n) if n > 0 => Idle::Talking,
                _ => Idle::Ended,
            },
            Self::Http2(stream) => stream.look(),
            Self::Tls(stream) => stream.look(),
            Self::Nobody(_) => Idle::Quiet,
        }
    }

    /// Whether it is encrypted.
    pub(crate) fn is_secure(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Http2(_) | Self::Nobody(_) => false,
            Self::Tls(_) => true,
        }
    }

    /// Waits for the end of what the peer sends, or for a failure, while nothing of it is to be read. Sees it neither
    /// behind bytes that nobody has read, nor for streams of HTTP/2.
    pub(crate) fn poll_end(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.tcp(),
            Self::Http2(_) | Self::Nobody(_) => return Poll::Pending,
        };
        match ready!(stream.poll_peek(cx, &mut ReadBuf::new(&mut [0]))) {
            Ok(0) => Poll::Ready(Ok(())),
            Ok(_) => Poll::Pending,
            Err(fault) => Poll::Ready(Err(fault)),
        }
    }

    /// Says how much is kept until a client takes it. All streams of an HTTP/2 connection share a bound for that.
    #[inline]
    pub(crate) fn keeps(&mut self, bytes: usize) {
        if let Self::Http2(stream) = self {
            stream.keeps(bytes);
        }
    }

    /// How much may be read for a client that is to get `wanted` bytes. Nothing only while it does not take what it was
    /// given already.
    #[inline]
    pub(crate) fn room(&self, wanted: usize) -> usize {
        match self {
            Self::Http2(stream) => stream.room(wanted),
            _ => wanted,
        }
    }

    /// Ready once the client of a stream has lost interest, or its connection is over. Others are read to know.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Http2(stream) => stream.poll_gone(cx),
            Self::Tcp(_) | Self::Tls(_) | Self::Nobody(_) => Poll::Pending,
        }
    }

    /// Has the kernel find out when the peer's machine is gone: reading and writing fail then. The peer itself notices
    /// nothing of it.
    pub(crate) fn watch_peer(&self) -> io::Result<()> {
        let stream = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.tcp(),
            Self::Http2(_) | Self::Nobody(_) => return Ok(()),
        };
        let socket = SockRef::from(stream);
        let keepalive = TcpKeepalive::new().with_time(WATCH_IDLE).with_interval(WATCH_INTERVAL);
        socket.set_tcp_keepalive(&keepalive.with_retries(WATCH_QUESTIONS_MAX))?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(WATCH_UNACKNOWLEDGED_MAX))?;
        Ok(())
    }

    /// This end's address.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok(),
            Self::Http2(stream) => stream.local_addr(),
            Self::Tls(stream) => stream.tcp().local_addr().ok(),
            Self::Nobody(local) => *local,
        }
    }

    /// The other end's address.
    pub(crate) fn peer_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::Http2(stream) => stream.peer_addr(),
            Self::Tls(stream) => stream.tcp().peer_addr().ok(),
            Self::Nobody(_) => None,
        }
    }
}

/// Writes what the kernel may hold back until there is more, for at most 200 ms.
pub(crate) fn poll_write_more(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(cx))?;
        let written = stream.try_io(Interest::WRITABLE, || {
            SockRef::from(stream).send_vectored_with_flags(slices, MSG_MORE | libc::MSG_NOSIGNAL)
        });
        match written {
            // It said so to the runtime too: wait.
            Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {}
            written => return Poll::Ready(written),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_peer_that_is_gone_is_noticed_within_half_a_minute() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let io = Io::Tcp(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
        io.watch_peer().unwrap();
        let Io::Tcp(stream) = &io else { unreachable!() };
        let socket = SockRef::from(stream);
        assert!(socket.keepalive().unwrap());
        let (idle, interval) =
            (socket.tcp_keepalive_time().unwrap(), socket.tcp_keepalive_interval().unwrap());
        let silent = idle + interval * socket.tcp_keepalive_retries().unwrap();
        assert_eq!(silent, Duration::from_secs(30));
        #[cfg(target_os = "linux")]
        assert_eq!(
            socket.tcp_user_timeout().unwrap(),
            Some(silent),
            "the same with something unacknowledged"
        );
    }
}
