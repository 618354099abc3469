//! The bytes of a connection to a server, and what must be known of them to take it out of hyper's hands and give it back.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use weir_tls::Io;

/// What whoever waits reads at once, in bytes: the beginning of an answer.
const BEGINNING_MAX: usize = 512;

/// Where an exchange stands, shared between the bytes and who looks at them.
#[derive(Debug, Default)]
pub(super) struct Stand {
    /// Whether something of the request was written.
    written: AtomicBool,
    /// Whether something was written since all of it was last known to be with the system.
    unflushed: AtomicBool,
    /// Whether something of the answer was read.
    heard: AtomicBool,
}

impl Stand {
    /// An exchange begins.
    pub(super) fn begin(&self) {
        self.written.store(false, Ordering::Relaxed);
        self.heard.store(false, Ordering::Relaxed);
    }

    /// Whether the request was written, all of it is with the system, and nothing has come back.
    pub(super) fn is_waiting(&self) -> bool {
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        is(&self.written) && !is(&self.unflushed) && !is(&self.heard)
    }
}

/// What becomes of what is written.
#[derive(Debug)]
enum Writes {
    /// It is sent.
    Sent,
    /// It is dropped, up to the first flush: it stands for a request that was sent before. Nothing is read until then, and
    /// whoever wants to is woken.
    Dropped { some: bool, reader: Option<Waker> },
}

/// The bytes of a connection in hyper's hands.
#[derive(Debug)]
pub(super) struct Link {
    io: Io,
    stand: Arc<Stand>,
    writes: Writes,
    /// What was read already, and is to be read first.
    given_back: Vec<u8>,
}

impl Link {
    /// Of a new connection.
    pub(super) fn new(io: Io, stand: Arc<Stand>) -> Self {
        Self { io, stand, writes: Writes::Sent, given_back: Vec::new() }
    }

    /// The connection without what hyper needs.
    pub(super) fn bare(self) -> Bare {
        Bare { io: self.io }
    }
}

/// A connection on which an answer is waited for.
#[derive(Debug)]
pub(super) struct Bare {
    io: Io,
}

impl Bare {
    /// Waits for the beginning of the answer. The first request that is written to what it returns is dropped: it stands for the
    /// one that was sent.
    ///
    /// # Errors
    /// When the connection breaks off.
    pub(super) async fn answered(mut self, stand: Arc<Stand>) -> io::Result<Link> {
        let given_back = poll_fn(|context| {
            let mut bytes = [0; BEGINNING_MAX];
            let mut buffer = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.io).poll_read(context, &mut buffer))?;
            Poll::Ready(Ok::<_, io::Error>(buffer.filled().to_vec()))
        });
        let given_back = given_back.await?;
        if given_back.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "connection closed before message completed",
            ));
        }
        let writes = Writes::Dropped { some: false, reader: None };
        Ok(Link { io: self.io, stand, writes, given_back })
    }
}

impl AsyncRead for Link {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Writes::Dropped { reader, .. } = &mut this.writes {
            *reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if !this.given_back.is_empty() {
            let count = this.given_back.len().min(buf.remaining());
            buf.put_slice(&this.given_back[..count]);
            this.given_back.drain(..count);
            this.stand.heard.store(true, Ordering::Relaxed);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.stand.heard.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for Link {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match &mut this.writes {
            Writes::Dropped { some: true, reader } => {
                if let Some(reader) = reader.take() {
                    reader.wake();
                }
                this.writes = Writes::Sent;
                Poll::Ready(Ok(()))
            }
            Writes::Dropped { some: false, .. } => Poll::Ready(Ok(())),
            Writes::Sent => {
                let flushed = Pin::new(&mut this.io).poll_flush(cx);
                if flushed.is_ready() {
                    this.stand.unflushed.store(false, Ordering::Relaxed);
                }
                flushed
            }
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Writes::Dropped { some, .. } = &mut this.writes {
            *some = true;
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        this.stand.written.store(true, Ordering::Relaxed);
        this.stand.unflushed.store(true, Ordering::Relaxed);
        Pin::new(&mut this.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
