//! One connection, from its first byte to its end.
//!
//! ```text
//! accept -> (TLS) -> serve: hyper reads a request, and writes its answer -> serve ..
//!                      |  the answer is not there, and may not be for minutes
//!                      v
//!                    wait: the connection and the answer's future, nothing else -> serve: hyper writes the answer
//! ```

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use weir_tls::{Io, TlsError};

use super::handover::{Answered, Handover, Waiting};
use super::io::{Guarded, Phase};
use super::{Shared, answer, written};
use crate::http::Body;

/// Longest request head: request line and fields.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// How long a server that shuts down waits for the first request of a connection.
const FIRST_REQUEST_MAX: Duration = Duration::from_millis(500);
/// What who speaks HTTP gets where TLS is spoken.
const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\
content-type: text/plain; charset=utf-8\r\ncontent-length: 54\r\n\r\nthis address is served with TLS: ask it with https://\n";

/// Serves one connection to its end; after shutdown began, to the end of the request under way.
pub(super) async fn connection(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>) {
    // Answers are written in one go; waiting for more to send would only add latency.
    let _ = stream.set_nodelay(true);
    let phase = Phase::default();
    let mut io = match &shared.tls {
        None => Guarded::new(Io::Plain(stream), phase.clone(), &shared.config),
        // Boxed, like all that is gone while a request waits.
        Some(_) => match Box::pin(secured(stream, peer, &shared)).await {
            Some(stream) => Guarded::new(stream, phase.clone(), &shared.config),
            None => return,
        },
    };
    let mut answered = None;
    loop {
        let Some(waiting) = Box::pin(serve(io, answered.take(), peer, &shared, &phase)).await else { return };
        let Some((connection, answer)) = waiting.end().await else {
            tracing::debug!(%peer, "the client left while its request waited");
            return;
        };
        io = connection;
        answered = Some(answer);
    }
}

async fn secured(stream: TcpStream, peer: SocketAddr, shared: &Shared) -> Option<Io> {
    let (error, left) = match shared.tls.as_ref()?.accept(stream).await {
        Ok(stream) => return Some(stream),
        Err(refused) => refused,
    };
    shared.stats.refuse_stranger();
    tracing::debug!(%peer, %error, "a client was not let in");
    if let (TlsError::NotTls, Some(stream)) = (error, left) {
        // Read first: closing with unread bytes resets the connection, and takes the answer with it.
        let mut request = [0; 4096];
        let _ = stream.try_read(&mut request);
        let _ = stream.try_write(NOT_TLS);
    }
    None
}

/// Serves requests until one is to be waited for, or to the connection's end. The first may have been answered meanwhile.
async fn serve(
    io: Guarded,
    answered: Option<Answered>,
    peer: SocketAddr,
    shared: &Arc<Shared>,
    phase: &Phase,
) -> Option<Waiting> {
    let mut closing = shared.closing.clone();
    let seen = Arc::new(AtomicBool::new(false));
    let handover = Arc::new(Handover::new(phase.clone(), answered));
    let service = {
        let (shared, handover, seen) = (Arc::clone(shared), Arc::clone(&handover), Arc::clone(&seen));
        service_fn(move |request: hyper::Request<Incoming>| {
            seen.store(true, Ordering::Relaxed);
            handover.phase().head_done();
            let (shared, handover) = (Arc::clone(&shared), Arc::clone(&handover));
            async move {
                let response = match handover.take_answered() {
                    Some(Answered { asked, response }) if *shared.closing.borrow() => {
                        written(&shared, asked, super::closing(response))
                    }
                    Some(Answered { asked, response }) => written(&shared, asked, response),
                    None => answer(&shared, request, peer, &handover).await,
                };
                handover.phase().answered();
                Ok::<_, Infallible>(response)
            }
        })
    };
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.config.idle_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(io), service);
    let mut served = Served { served: Some(served), handover };
    let told = async { drop(closing.wait_for(|closing| *closing).await) };
    let ended = tokio::select! {
        ended = poll_fn(|context| served.poll(context)) => Some(ended),
        () = told => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            // Of whoever has just connected a request is under way, which would be reset.
            let first = poll_fn(|context| match served.poll(context) {
                Poll::Ready(ended) => Poll::Ready(Some(ended)),
                Poll::Pending if seen.load(Ordering::Relaxed) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            });
            let first = tokio::time::timeout(FIRST_REQUEST_MAX, first).await;
            match first {
                Ok(Some(ended)) => ended,
                Ok(None) | Err(_) => {
                    served.shut_down();
                    poll_fn(|context| served.poll(context)).await
                }
            }
        }
    };
    match ended {
        Ok(waiting) => waiting,
        Err(error) => {
            tracing::debug!(%peer, %error, "connection ended");
            None
        }
    }
}

/// A connection in hyper's hands, until it is taken out of them.
struct Served<S: hyper::service::HttpService<Incoming, ResBody = Body>> {
    served: Option<http1::Connection<TokioIo<Guarded>, S>>,
    handover: Arc<Handover>,
}

impl<S> Served<S>
where
    S: hyper::service::HttpService<Incoming, ResBody = Body, Error = Infallible>,
{
    /// Ready at the connection's end, and when there is nothing to do but to wait.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<Option<Waiting>>> {
        let Some(served) = &mut self.served else { return Poll::Ready(Ok(None)) };
        if let Poll::Ready(ended) = Pin::new(served).poll(context) {
            return Poll::Ready(ended.map(|()| None));
        }
        // What is still to be written (`100 Continue`) would be lost; when it is, this task is woken.
        if !self.handover.phase().may_be_put_aside() {
            return Poll::Pending;
        }
        let Some(kept) = self.handover.take_kept() else { return Poll::Pending };
        let Some(served) = self.served.take() else { return Poll::Pending };
        let parts = served.into_parts();
        Poll::Ready(Ok(Some(Waiting::new(parts.io.into_inner(), &parts.read_buf, kept))))
    }

    fn shut_down(&mut self) {
        if let Some(served) = &mut self.served {
            Pin::new(served).graceful_shutdown();
        }
    }
}
