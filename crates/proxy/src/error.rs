//! Why a proxy cannot start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

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
    #[error("cannot open the access log{}: {source}", path.as_deref().map(|path| format!(" {}", path.display())).unwrap_or_default())]
    AccessLog {
        /// The file; none for standard output.
        path: Option<PathBuf>,
        /// The system's reason.
        source: io::Error,
    },
    /// The listeners of the running proxy could not be taken over.
    #[error(transparent)]
    Handover(#[from] crate::handover::HandoverError),
    /// The source of snapshots gave up.
    #[error(transparent)]
    Source(#[from] crate::source::SourceError),
}
