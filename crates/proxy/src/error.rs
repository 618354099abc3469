//! Why a proxy cannot start.

use std::io;
use std::net::SocketAddr;

/// Why [`crate::run`] gave up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// A thread or its runtime could not be made.
    #[error("cannot start {what}: {source}")]
    Start {
        /// What was to be started.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// A listener of the proxy's own configuration could not be bound.
    #[error("cannot listen on {addr}: {source}")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The access log could not be opened.
    #[error("cannot open the access log: {0}")]
    AccessLog(#[source] io::Error),
    /// The source of snapshots gave up.
    #[error(transparent)]
    Source(#[from] crate::source::SourceError),
}
