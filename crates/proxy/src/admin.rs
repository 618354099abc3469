//! The admin interface: how a proxy is doing, what it has in force, and why it would send a request where.
//!
//! It runs on the control thread and, but for `POST /drain`, only reads; a flood of questions can slow down updates, but
//! no request. It must not be reachable by strangers, since it shows the whole configuration.

mod answer;
mod config;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use weir_api::browser::AllowedHosts;

use self::answer::Sources;
use crate::Metrics;
use crate::listen::Listeners;
use crate::source::{Shared, SourceError};

/// Connections at a time. Further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// Bytes of a request head.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// How long a request head may take, and a connection may idle.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// How long one exchange may take: so long may a client that does not read keep its connection.
const EXCHANGE_MAX: Duration = Duration::from_secs(30);
/// How long to wait after the system refused a connection, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The admin listener.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    addr: SocketAddr,
    sources: Sources,
}

impl Admin {
    /// Binds the listener, or goes on with one that another process has bound.
    ///
    /// # Errors
    /// The system's reason why that cannot be.
    pub async fn bind(
        addr: SocketAddr,
        inherited: Option<std::net::TcpListener>,
        shared: Arc<Shared>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, SourceError> {
        let refused = |source: io::Error| SourceError::Admin { addr, source };
        let listener = match inherited {
            Some(listener) => TcpListener::from_std(listener).map_err(refused)?,
            None => TcpListener::bind(addr).await.map_err(refused)?,
        };
        let addr = listener.local_addr().map_err(refused)?;
        let hosts = Arc::new(AllowedHosts::local(addr));
        Ok(Self { listener, addr, sources: Sources { shared, metrics, listeners: None, hosts } })
    }

    /// The same, and it also shows where these listeners are bound.
    #[must_use]
    pub fn with_listeners(mut self, listeners: Arc<Listeners>) -> Self {
        self.sources.listeners = Some(listeners);
        self
    }

    /// Where it listens: with port 0, the port that the system chose.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Answers until another process does so on the same listener; connections end when this is dropped.
    pub async fn serve(self) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        let mut handed_over = pin!(handed_over(&self.sources.shared));
        loop {
            // The semaphore is never closed.
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = &mut handed_over => break,
            };
            match accepted {
                Ok((socket, _)) => {
                    connections.spawn(connection(socket, self.sources.clone(), permit));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an admin connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
        drop(self.listener);
        while connections.join_next().await.is_some() {}
    }
}

/// Waits until another process answers on the admin listener.
async fn handed_over(shared: &Shared) {
    if !shared.handed_over().await.admin {
        std::future::pending::<()>().await;
    }
}

impl AsFd for Admin {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

async fn connection(socket: TcpStream, sources: Sources, _permit: OwnedSemaphorePermit) {
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let answer = answer::answer(&sources, &request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        // One exchange per connection: then its time is bounded as a whole.
        .keep_alive(false)
        .serve_connection(TokioIo::new(socket), service);
    // What goes wrong here concerns only the one who asked.
    let _ = tokio::time::timeout(EXCHANGE_MAX, serving).await;
}

#[cfg(test)]
mod tests;
