//! Socket calls of the data plane: one system call each, and none where the runtime already knows that it would block.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Reads once. A short read tells the runtime that the socket is drained, so the next call costs nothing until more arrives.
#[inline]
pub(crate) fn poll_read(
    stream: &mut TcpStream,
    cx: &mut Context<'_>,
    buf: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buf = ReadBuf::new(buf);
    ready!(Pin::new(stream).poll_read(cx, &mut buf))?;
    Poll::Ready(Ok(buf.filled().len()))
}

/// Writes once.
#[inline]
pub(crate) fn poll_write(
    stream: &mut TcpStream,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    Pin::new(stream).poll_write(cx, bytes)
}

/// Shuts down the sending side.
#[inline]
pub(crate) fn shutdown(stream: &TcpStream) {
    // A failure means that the connection is gone already, which is what was wanted.
    let _ = socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Write);
}

/// Closes with a reset instead of an end, so that a peer cannot take a message cut short for a complete one.
pub(crate) fn abort(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
}
