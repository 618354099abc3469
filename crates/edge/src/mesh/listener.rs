//! Accepts connections and serves the mesh over HTTP/2, directly on hyper.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tonic::codegen::Service as _;
use weir_api::mesh::MESSAGE_BYTES_MAX;
use weir_api::mesh::mesh_server::MeshServer;
use weir_tls::{Acceptor, Io, TlsError};

use super::service::Joins;
use super::{Mesh, STREAMS_MAX, Shared};
use crate::accept::next_connection;

/// Connections at one time; further ones are closed at once.
const CONNECTIONS_MAX: usize = STREAMS_MAX;
/// Streams on one connection: a proxy needs one, and a moment's overlap when it joins again.
const CONNECTION_STREAMS_MAX: u32 = 8;
/// How often a silent connection is asked whether it is still there.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long it may take to answer.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest message that a proxy may send: subscriptions and acknowledgements.
const PROXY_MESSAGE_BYTES_MAX: usize = 8 << 20;
/// How long streams may take to end when the server shuts down.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the mesh cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {cause}")]
pub struct MeshListenError {
    /// What was asked for.
    pub address: SocketAddr,
    /// The system's answer.
    #[source]
    pub cause: std::io::Error,
}

/// A bound listener that does not accept yet.
#[derive(Debug)]
pub struct MeshListener {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Acceptor>,
}

impl MeshListener {
    /// Binds an address (IPv4 or IPv6; port 0 takes a free one).
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn bind(address: SocketAddr) -> Result<Self, MeshListenError> {
        let failed = |cause| MeshListenError { address, cause };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, tls: None })
    }

    /// Speaks TLS, and nothing else.
    #[must_use]
    pub fn tls(mut self, acceptor: Option<Acceptor>) -> Self {
        self.tls = acceptor;
        self
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is ready, then ends all streams with a status that says so.
    pub async fn serve(self, mesh: Mesh, shutdown: impl Future<Output = ()>) {
        let (closing_tx, closing) = watch::channel(false);
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut shutdown = std::pin::pin!(shutdown);
        while let Some((stream, peer)) = next_connection(&self.listener, shutdown.as_mut()).await {
            let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
                tracing::warn!(%peer, max = CONNECTIONS_MAX, "too many connections of proxies");
                continue;
            };
            let (shared, closing) = (Arc::clone(&mesh.shared), closing.clone());
            let tls = self.tls.clone();
            tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                match let_in(stream, tls).await {
                    Ok(io) => connection(io, peer, shared, closing).await,
                    Err(error) => tracing::warn!(%peer, %error, "a proxy was not let in"),
                }
                drop(permit);
            });
        }
        closing_tx.send_replace(true);
        let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
        if tokio::time::timeout(CLOSE_TIMEOUT, permits.acquire_many(all)).await.is_err() {
            tracing::debug!("some streams of proxies were cut off");
        }
    }
}

async fn let_in(stream: TcpStream, tls: Option<Acceptor>) -> Result<Io, TlsError> {
    match tls {
        None => Ok(Io::Plain(stream)),
        Some(acceptor) => acceptor.accept(stream).await.map_err(|(error, _)| error),
    }
}

async fn connection(stream: Io, peer: SocketAddr, shared: Arc<Shared>, mut closing: watch::Receiver<bool>) {
    let idle_timeout = shared.timeouts.idle;
    let (streams, mut open) = watch::channel(0);
    let service =
        MeshServer::new(Joins { shared, peer, closing: closing.clone(), streams: Arc::new(streams) })
            .max_decoding_message_size(PROXY_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let answer = service_fn(move |request| {
        let mut service = service.clone();
        async move { service.call(request).await }
    });
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(CONNECTION_STREAMS_MAX)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .serve_connection(TokioIo::new(stream), answer);
    let mut served = std::pin::pin!(served);
    let told = async { drop(closing.wait_for(|closing| *closing).await) };
    let ended = tokio::select! {
        ended = served.as_mut() => Some(ended),
        () = told => None,
        // Keep-alive finds the dead ones only once they have spoken HTTP/2; this finds those that never do.
        () = unused(&mut open, idle_timeout) => {
            tracing::debug!(%peer, "a connection without a stream is closed");
            return;
        }
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a proxy's connection ended");
    }
}

/// Returns when no stream has been open for a while.
async fn unused(open: &mut watch::Receiver<usize>, idle_timeout: Duration) {
    loop {
        if open.wait_for(|open| *open == 0).await.is_err() {
            return std::future::pending().await;
        }
        let opened = async { drop(open.wait_for(|open| *open > 0).await) };
        if tokio::time::timeout(idle_timeout, opened).await.is_err() {
            return;
        }
    }
}
