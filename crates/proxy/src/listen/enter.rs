//! Phase `accept`, after the kernel's part: what a connection says before its first request, and who is to serve it.
//!
//! ```text
//!  PROXY header -> ClientHello: section by SNI -> TLS handshake -> HTTP/1.1 | HTTP/2 | bytes
//!                                              -> passed through, as bytes
//! ```
//!
//! A plain listener has none of these steps and pays for none. This module must not look at requests.

use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::TcpStream;
use tokio::task::spawn_local;

use super::ListenerHandle;
use crate::connection;
use crate::runtime::{Io, Worker};

/// A connection that is ready to be served.
pub(crate) struct Arrival {
    pub(crate) worker: Rc<Worker>,
    pub(crate) listener: Rc<ListenerHandle>,
    pub(crate) io: Io,
    /// Where it comes from: the socket's other end, or what a PROXY header says.
    pub(crate) peer: SocketAddr,
    /// What was read already, and is the beginning of what is to be served.
    pub(crate) ahead: Vec<u8>,
    pub(crate) secure: Option<Rc<Secure>>,
}

/// What TLS has settled for a connection.
#[derive(Debug, Default)]
pub(crate) struct Secure {}

/// Finds out what a fresh connection is, and has it served.
pub(super) fn enter(worker: &Rc<Worker>, listener: &Rc<ListenerHandle>, stream: TcpStream, peer: SocketAddr) {
    let arrival = Arrival {
        worker: worker.clone(),
        listener: listener.clone(),
        io: Io::Tcp(stream),
        peer,
        ahead: Vec::new(),
        secure: None,
    };
    spawn_local(connection::serve(arrival));
}
