//! A connection that gives up on a request head that does not come to its end, and on a client that takes nothing of
//! an answer.
//!
//! hyper has one timer for idle connections and for half-sent heads. They need different times: idle ones must be kept
//! longer than clients keep them, half-sent heads must not.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use weir_tls::Io;

use super::ServerConfig;

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;
const WAITING: u8 = 3;

/// Where a connection stands, shared between its IO, its service and its handler; all run in one task.
#[derive(Clone, Debug, Default)]
pub(in crate::http) struct Phase(Arc<Stand>);

#[derive(Debug, Default)]
struct Stand {
    at: AtomicU8,
    /// Whether something was written since all of it was last known to be with the system.
    unflushed: AtomicBool,
}

impl Phase {
    /// A whole head has arrived.
    pub(super) fn head_done(&self) {
        self.set(BUSY);
    }

    /// The request waits for something to happen, perhaps for minutes.
    pub(in crate::http) fn wait(&self) {
        self.set(WAITING);
    }

    /// The request is answered; the next byte begins a new head.
    pub(super) fn answered(&self) {
        self.set(IDLE);
    }

    /// Whether the request waits, and nothing of an earlier answer is still to be written.
    pub(super) fn may_be_put_aside(&self) -> bool {
        self.at() == WAITING && !self.0.unflushed.load(Ordering::Relaxed)
    }

    fn at(&self) -> u8 {
        self.0.at.load(Ordering::Relaxed)
    }

    fn set(&self, at: u8) {
        self.0.at.store(at, Ordering::Relaxed);
    }
}

/// A connection whose reads fail when a head takes longer than its time, and its writes when nothing is taken for as
/// long as that may be.
pub(super) struct Guarded {
    stream: Io,
    phase: Phase,
    head_timeout: Duration,
    /// Runs only while a part of a head has arrived and the rest is awaited.
    deadline: Option<Pin<Box<Sleep>>>,
    write_timeout: Duration,
    /// Runs only while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    /// What was taken out of it, and is to be read first.
    given_back: Vec<u8>,
}

impl Guarded {
    pub(super) fn new(stream: Io, phase: Phase, config: &ServerConfig) -> Self {
        let ServerConfig { head_timeout, write_timeout, .. } = *config;
        let given_back = Vec::new();
        Self { stream, phase, head_timeout, deadline: None, write_timeout, stalled: None, given_back }
    }

    /// Has these bytes read before all others.
    pub(super) fn give_back(&mut self, bytes: Vec<u8>) {
        self.given_back = bytes;
    }

    /// Reads some bytes, 0 at the end, of a connection whose request waits.
    pub(super) fn poll_some(&mut self, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(bytes);
        Pin::new(&mut self.stream).poll_read(cx, &mut buf).map_ok(|()| buf.filled().len())
    }

    /// Lets a write's result pass, unless nothing was taken for too long.
    fn watch_write(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.phase.0.unflushed.store(true, Ordering::Relaxed);
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let timeout = self.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        stalled.as_mut().poll(cx).map(|()| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the client took nothing of the answer in time"))
        })
    }
}

impl AsyncRead for Guarded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.given_back.is_empty() {
            let count = this.given_back.len().min(buf.remaining());
            buf.put_slice(&this.given_back[..count]);
            this.given_back.drain(..count);
            this.given_back.shrink_to_fit();
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        let phase = this.phase.at();
        if phase != HEAD {
            this.deadline = None;
            if phase == IDLE && read.is_ready() && buf.filled().len() > before {
                this.phase.set(HEAD);
            }
            return read;
        }
        if read.is_ready() && buf.filled().len() == before {
            return read;
        }
        let timeout = this.head_timeout;
        let deadline = this.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        if deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the request head did not arrive in time",
            )));
        }
        read
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.watch_write(cx, written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        if flushed.is_ready() {
            this.phase.0.unflushed.store(false, Ordering::Relaxed);
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.watch_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
