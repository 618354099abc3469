//! Queries in streams (RFC 7766): several on a connection, several under way at once, answers in whatever order they are
//! ready. Each message has its length before it, in two bytes.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};

use super::answerer::{Answerer, Step};
use super::bounds::{QUERY_BYTES_MAX, TCP_CONNECTIONS_MAX, TCP_IDLE_MAX, TCP_PIPELINE_MAX, TCP_WRITE_MAX};
use super::compose::Transport;
use super::zone::Registry;
use crate::accept::next_connection;

/// The length before each message.
const LENGTH_BYTES: usize = 2;
/// The header of a message: what is shorter is none.
const HEADER_BYTES: usize = 12;

/// What connections may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at one time.
    pub(super) connections_max: usize,
    /// How long one may be without a whole query or an answer.
    pub(super) idle_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections_max: TCP_CONNECTIONS_MAX, idle_max: TCP_IDLE_MAX }
    }
}

/// Answers until `shutdown` is ready, then ends all connections.
pub(super) async fn serve<G: Registry + Send + Sync + 'static>(
    listener: TcpListener,
    answerer: Arc<Answerer<G>>,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
    let mut shutdown = std::pin::pin!(shutdown);
    let mut connections = JoinSet::new();
    while let Some((stream, peer)) = next_connection(&listener, shutdown.as_mut()).await {
        while connections.try_join_next().is_some() {}
        if connections.len() >= limits.connections_max {
            answerer.stats().refuse_connection();
            continue;
        }
        let answerer = Arc::clone(&answerer);
        connections.spawn(async move {
            let counted = answerer.stats().connection();
            if let Err(error) = connection(stream, &*answerer, limits.idle_max).await {
                tracing::debug!(%peer, %error, "a dns connection ended");
            }
            drop(counted);
        });
    }
    connections.shutdown().await;
}

/// Serves one connection until its client closes it, breaks the framing or lets it idle.
async fn connection<G: Registry>(
    stream: TcpStream,
    answerer: &Answerer<G>,
    idle_max: Duration,
) -> io::Result<()> {
    // Answers are written in one go; waiting for more to send would only add latency.
    stream.set_nodelay(true)?;
    let (read, mut write) = stream.into_split();
    let mut frames = Frames { read, buffer: BytesMut::new() };
    let mut pending = FuturesUnordered::new();
    let mut is_open = true;
    let mut idle_at = tokio::time::Instant::now() + idle_max;
    while is_open || !pending.is_empty() {
        let may_read = is_open && pending.len() < TCP_PIPELINE_MAX;
        tokio::select! {
            Some(answer) = pending.next(), if !pending.is_empty() => send(&mut write, Vec::as_slice(&answer)).await?,
            frame = timeout_at(idle_at, frames.next()), if may_read => match frame {
                Err(_) if pending.is_empty() => return Ok(()),
                Err(_) => is_open = false,
                Ok(frame) => match frame? {
                    None => is_open = false,
                    Some(packet) => match answerer.begin(&packet, Transport::Tcp, Instant::now()) {
                        Step::Reply(bytes) => send(&mut write, &bytes).await?,
                        Step::Pending(question) => pending.push(answerer.finish(question)),
                        Step::Silence => {}
                    },
                },
            },
        }
        idle_at = tokio::time::Instant::now() + idle_max;
    }
    Ok(())
}

async fn send(write: &mut OwnedWriteHalf, message: &[u8]) -> io::Result<()> {
    let len = u16::try_from(message.len()).map_err(io::Error::other)?;
    let framed = [&len.to_be_bytes(), message].concat();
    timeout(TCP_WRITE_MAX, write.write_all(&framed))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// The messages of a stream.
struct Frames {
    read: OwnedReadHalf,
    buffer: BytesMut,
}

impl Frames {
    /// The next message, `None` at the end of the stream. May be given up and called again: nothing is lost.
    async fn next(&mut self) -> io::Result<Option<BytesMut>> {
        loop {
            if let Some(frame) = self.whole()? {
                return Ok(Some(frame));
            }
            if self.read.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// The message at the beginning of what was read, if all of it is there.
    fn whole(&mut self) -> io::Result<Option<BytesMut>> {
        let Some(length) = self.buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let len = usize::from(u16::from_be_bytes(*length));
        if !(HEADER_BYTES..=QUERY_BYTES_MAX).contains(&len) {
            let problem = format!("a message of {len} bytes, expected {HEADER_BYTES} to {QUERY_BYTES_MAX}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        if self.buffer.len() < LENGTH_BYTES + len {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        Ok(Some(self.buffer.split_to(len)))
    }
}
