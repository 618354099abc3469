//! TLS, client's side and upstream's side, over rustls.
//!
//! ```text
//!  files -> certificates -> server (one section) | client (one upstream) -> handshake -> stream
//! ```
//!
//! Certificates are loaded by the source, sections and upstreams are made by the compiler, streams live in workers.
//! Nothing here looks at what is sent inside.

mod certificates;
mod client;
mod handshake;
mod port;
mod scratch;
mod server;
mod session;
mod stream;

pub use certificates::{CertificateFiles, Certificates, LoadFault, LoadedCertificate};
pub use client::{ClientTls, ClientTlsSpec};
pub use port::{TlsAction, TlsPort, TlsSection};
pub use server::{ClientCheck, ClientMode, ServerTls, ServerTlsSpec};
pub use weir_tls::MinVersion;

pub(crate) use handshake::{HandshakeFault, accept, connect};
pub(crate) use scratch::TlsScratch;
pub(crate) use stream::TlsStream;

use session::Session;
