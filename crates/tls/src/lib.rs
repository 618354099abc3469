//! TLS as all parts of Weir speak it: what cryptography is used, certificates as files, and, for the control plane, listeners
//! and clients over tokio.
//!
//! ```text
//! files -> Identity, authorities -> Acceptor (a listener's) | Connector (a client's) -> Io
//! ```
//!
//! The data plane's own streams are in `weir-proxy`, since they share buffers between connections; they are made from the same
//! certificates and the same [`provider`]. Nothing here knows what is sent inside.

mod client;
mod dial;
mod files;
mod io;
mod provider;
mod server;
mod words;
mod x509;

pub use client::{ClientFiles, Connector, Connectors, system_roots};
pub use dial::Dial;
pub use files::{FileFault, FileMark, Identity, WhichFile, authorities, roots};
pub use io::{Io, Secured};
pub use provider::{MinVersion, provider};
pub use server::{Acceptor, ServerFiles};
pub use words::{Names, is_refused, said};

/// Why a connection did not come about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The other side does not speak TLS.
    #[error("the other side does not speak TLS")]
    NotTls,
    /// It took too long.
    #[error("the TLS handshake took longer than {} s", .0.as_secs())]
    Timeout(std::time::Duration),
    /// The name cannot be that of a server.
    #[error("`{0}` is neither a DNS name nor an IP address")]
    Name(String),
    /// The handshake failed.
    #[error("{0}")]
    Handshake(#[from] std::io::Error),
}
