//! Where snapshots come from: files, a control plane, the process that this one takes over from, or the last good state
//! on disk.
//!
//! ```text
//! file | mesh | handover | disk -> Inputs -> publish: resolve names -> compile -> bind listeners -> swap -> settle listeners
//! ```
//!
//! A source runs on the control thread, builds aside, validates whole and swaps. It must never block a worker, and it
//! never puts half of a revision in force.

mod file;
mod mesh;

mod publish;
mod run;

mod certificates;
mod disk;
mod kept;
mod names;
mod shared;
mod subscriptions;

pub use file::FileErrors;
pub use run::run;
pub(crate) use shared::HandedOver;
pub use shared::{Shared, SourceStatus};
pub use subscriptions::{ON_DEMAND_MAX, Subscribed, Subscriptions, WAIT_MAX, WAITERS_MAX};

/// Why there is nothing to serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The files of static mode cannot be used.
    #[error(transparent)]
    Files(#[from] FileErrors),
    /// The address of a control plane is not one.
    #[error(
        "`{server}` is not the address of a control plane: expected `http://HOST:PORT` or `https://HOST:PORT`"
    )]
    Server {
        /// The address as given.
        server: String,
    },
    /// The files for TLS with the control plane cannot be used.
    #[error("cannot speak TLS with the control plane: {0}")]
    Tls(String),
    /// The admin listener cannot be bound.
    #[error("cannot listen on {addr} for the admin interface: {source}")]
    Admin {
        /// Its address.
        addr: std::net::SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Nothing can be kept in the data directory.
    #[error("cannot keep the last state in {}: {source}", path.display())]
    DataDir {
        /// The directory.
        path: std::path::PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// What the process has in force that this one was to take over from is refused here.
    #[error("the running proxy serves what this one refuses: {refused}")]
    Inherited {
        /// The first of what is refused.
        refused: Box<crate::snapshot::Rejection>,
    },
    /// Signals cannot be received.
    #[error("cannot receive SIGHUP: {0}")]
    Signal(#[source] std::io::Error),
}
