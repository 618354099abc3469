//! One HTTP/2 stream as a connection that speaks HTTP/1.1.

mod called;
mod served;

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::task::{Context, Poll};

use weir_http1::{BodyKind, FieldTable, ResponseHead};

use super::link::Link;
pub(super) use called::Called;
pub(super) use served::Served;

use crate::runtime::Idle;

/// The stream.
pub(crate) enum Stream {
    /// A client's: the engine reads a request and writes a response.
    Served(Served),
    /// To an upstream: the engine writes a request and reads a response.
    Called(Called),
}

impl Stream {
    /// As a socket's read. On a client's stream 0 means that the response is complete and handed over.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Served(stream) => stream.poll_read(cx, buf),
            Self::Called(stream) => stream.poll_read(cx, buf),
        }
    }

    /// Exchanges a table for that of the head that the last read began with, if it is known. Gives whether it is.
    pub(crate) fn take_table(&mut self, table: &mut FieldTable) -> bool {
        match self {
            Self::Served(stream) => stream.take_table(table),
            Self::Called(stream) => stream.take_table(table),
        }
    }

    /// As a socket's write.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Served(stream) => stream.poll_write(cx, bytes),
            Self::Called(stream) => stream.poll_write(cx, bytes),
        }
    }

    /// The same for the beginning of a request, of whose head the table may be known.
    pub(crate) fn poll_write_request(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        table: &FieldTable,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Called(stream) => stream.poll_write_request(cx, bytes, table),
            Self::Served(_) => self.poll_write(cx, bytes),
        }
    }

    /// Sends a response's head, of which `buf` has the bytes, without its being written as HTTP/1.1. Its body is framed as
    /// `body`.
    pub(crate) fn respond(&mut self, head: &ResponseHead, buf: &[u8], body: BodyKind) -> io::Result<()> {
        match self {
            Self::Served(stream) => stream.respond(head, buf, body),
            Self::Called(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Writes several pieces, as far as the peer takes them.
    pub(crate) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut written = 0;
        for slice in slices {
            match self.poll_write(cx, slice) {
                Poll::Ready(Ok(n)) => {
                    written += n;
                    if n < slice.len() {
                        break;
                    }
                }
                Poll::Ready(Err(_)) | Poll::Pending if written > 0 => break,
                other => return other,
            }
        }
        Poll::Ready(Ok(written))
    }

    /// Ready when all that was written is on its way.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Served(_) => Poll::Ready(Ok(())),
            Self::Called(stream) => stream.poll_flush(cx),
        }
    }

    /// The engine keeps so many bytes until a client takes them.
    pub(crate) fn keeps(&mut self, bytes: usize) {
        if let Self::Served(stream) = self {
            stream.keeps(bytes);
        }
    }

    /// How much more of what `wanted` says may be read for a client.
    pub(crate) fn room(&self, wanted: usize) -> usize {
        match self {
            Self::Served(stream) => stream.room(wanted),
            Self::Called(_) => wanted,
        }
    }

    /// Ready once a client has lost interest, or its connection is over.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Served(stream) => stream.poll_gone(cx).map(drop),
            Self::Called(_) => Poll::Pending,
        }
    }

    /// Has the stream reset when it is dropped. It is anyhow unless the message is complete.
    pub(crate) fn abort(&mut self) {
        match self {
            Self::Served(stream) => stream.abort(),
            Self::Called(stream) => stream.abort(),
        }
    }

    /// A stream is used once: there is nothing to be quiet for.
    pub(crate) fn look(&mut self) -> Idle {
        Idle::Ended
    }

    /// This end of the connection that it is a stream of.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        self.link().local
    }

    /// The other end.
    pub(crate) fn peer_addr(&self) -> Option<SocketAddr> {
        self.link().peer
    }

    fn link(&self) -> &Link {
        match self {
            Self::Served(stream) => stream.link(),
            Self::Called(stream) => stream.link(),
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self {
            Self::Served(_) => "Served",
            Self::Called(_) => "Called",
        };
        f.debug_struct(side).field("peer", &self.link().peer).finish_non_exhaustive()
    }
}
