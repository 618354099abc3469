//! Phase `accept`, after the kernel's part: what a connection says before its first request, and who is to serve it.
//!
//! ```text
//!  PROXY header -> ClientHello: section by SNI -> TLS handshake -> HTTP/1.1 | HTTP/2 | bytes
//!                                              -> passed through, as bytes
//! ```
//!
//! A plain listener has none of these steps and pays for none. This module must not look at requests.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::task::spawn_local;
use weir_model::resource::{ListenerProtocol, Protocol};

use super::capture::{self, Capture, Destination, Kind};
use super::proxy_header::{self, NoHeader};
use super::secure::{self, Secured};
use super::{ListenerHandle, Place, ProxySources, Role};
use crate::observe::{OpenConnection, TlsVersion};
use crate::respond::{Reason, Refusal};
use crate::runtime::{Io, Worker};
use crate::snapshot::ListenerConfig;
use crate::tcp::Encrypted;
use crate::tls::{ServerTls, TlsPort};
use crate::{connection, tcp};

/// A connection that is ready to be served.
pub(crate) struct Arrival {
    pub(crate) worker: Rc<Worker>,
    pub(crate) listener: Rc<ListenerHandle>,
    pub(crate) io: Io,
    /// Where it comes from: the socket's other end, or what a PROXY header says.
    pub(crate) peer: SocketAddr,
    /// Where it went to, when that is not this end of the socket.
    pub(crate) destination: Option<Rc<Destination>>,
    /// What was read already, and is the beginning of what is to be served.
    pub(crate) ahead: Vec<u8>,
    pub(crate) secure: Option<Rc<Secure>>,
    /// Counts the connection for as long as it is served; none for a stream of one that is counted already.
    pub(crate) counted: Option<OpenConnection>,
    /// Its place among the listener's connections; it goes along with what counts the connection.
    pub(crate) place: Option<Place>,
}

/// What TLS has settled for a connection.
#[derive(Debug)]
#[allow(dead_code, reason = "version and name are for the access log")]
pub(crate) struct Secure {
    pub(crate) version: TlsVersion,
    /// The name that the client asked for.
    pub(crate) name: Option<Box<str>>,
    /// The TLS that let it in.
    pub(crate) server: Arc<ServerTls>,
}

/// Finds out what a fresh connection is, and has it served.
pub(super) fn enter(
    worker: &Rc<Worker>,
    listener: &Rc<ListenerHandle>,
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
) {
    let arrival = Arrival {
        worker: worker.clone(),
        listener: listener.clone(),
        io: Io::Tcp(stream),
        peer,
        destination: None,
        ahead: Vec::new(),
        secure: None,
        counted: None,
        place: Some(place),
    };
    match Steps::of(worker, listener) {
        Some(steps) => drop(spawn_local(come_in(arrival, steps))),
        None => serve_http(arrival),
    }
}

/// Turns a fresh connection away that there is no room for: in words where plain requests are expected, and where bytes or
/// TLS are, or nobody knows yet, by a reset.
pub(super) fn refuse(worker: &Worker, listener: &ListenerHandle, stream: TcpStream) {
    worker.counters.refusal(Reason::Overloaded);
    if Steps::of(worker, listener).is_some_and(|steps| !steps.lead_to_requests()) {
        return Io::Tcp(stream).abort();
    }
    let mut answer = Vec::new();
    Refusal::new(Reason::Overloaded, "too many connections").write(&mut answer, false, true, b"");
    // A fresh socket takes this at once, or its peer is gone.
    if let Ok(mut stream) = stream.into_std() {
        let _ = io::Write::write(&mut stream, &answer);
    }
}

/// Whether it is for an application behind its sidecar that does not speak HTTP.
fn is_for_bytes(worker: &Worker, listener: &ListenerHandle) -> bool {
    listener.role == Role::Inbound
        && worker.shared.app.as_ref().is_some_and(|app| app.protocol() == Protocol::Tcp)
}

/// What there is to be done with a connection before it is served.
#[derive(Default)]
struct Steps {
    proxy_protocol: Option<ProxySources>,
    tls: Option<Arc<TlsPort>>,
    /// It is to be TLS, and there is nothing for it.
    unready: bool,
    /// Its bytes are nobody's requests.
    streams: bool,
    /// It was not made to this listener.
    capture: bool,
}

impl Steps {
    /// What a listener asks for; none where requests are served as they come.
    fn of(worker: &Worker, listener: &ListenerHandle) -> Option<Self> {
        let view = worker.view();
        // One that came before its listener was removed is taken in as it would have been.
        let last = listener.last();
        let config = listener.config(&view).or_else(|| last.as_ref().and_then(|view| listener.config(view)));
        match config {
            Some(config) if !config.is_plain() => Some(Self::by(config)),
            None if listener.capture != Capture::None => Some(Self { capture: true, ..Self::default() }),
            None if is_for_bytes(worker, listener) => Some(Self { streams: true, ..Self::default() }),
            _ => None,
        }
    }

    fn by(config: &ListenerConfig) -> Self {
        let is_secret = matches!(config.protocol, ListenerProtocol::Https | ListenerProtocol::Tls);
        Self {
            proxy_protocol: config.proxy_protocol.clone(),
            tls: config.tls.clone(),
            unready: is_secret && config.tls.is_none(),
            streams: config.streams.is_some(),
            capture: false,
        }
    }

    /// Whether what follows is requests in the clear, whoever's.
    const fn lead_to_requests(&self) -> bool {
        self.tls.is_none() && !self.unready && !self.streams && !self.capture
    }
}

async fn come_in(mut arrival: Arrival, steps: Steps) {
    let coming = Coming::new(&arrival.worker);
    let timer = arrival.worker.timers.slot();
    timer.wakes_this().await;
    if let Some(sources) = &steps.proxy_protocol
        && sources.include(arrival.peer)
    {
        timer.arm(arrival.listener.bounds().handshake);
        if let Err(why) = proxy_header::read(&mut arrival, &timer).await {
            return turn_away(arrival, &why);
        }
    }
    // Each is served by a task of its own, so that what was needed for coming in is not kept.
    match steps.tls {
        Some(port) => match Box::pin(secure::secure(arrival, &port)).await {
            Some(Secured::Http(arrival)) => serve_http(arrival),
            Some(Secured::Stream(arrival, server_name)) => {
                drop(spawn_local(tcp::serve(arrival, Some(Encrypted { server_name }))));
            }
            None => {}
        },
        // Not in the clear what was meant to be secret.
        None if steps.unready => {}
        None if steps.streams => drop(spawn_local(tcp::serve(arrival, None))),
        None if steps.capture => match capture::look(&mut arrival, &timer).await {
            Ok(Kind::Bytes(asked)) => drop(spawn_local(tcp::serve(arrival, asked))),
            Ok(Kind::Http) => serve_http(arrival),
            Err(refusal) => tcp::refuse(arrival, &refusal),
        },
        None => serve_http(arrival),
    }
    // Only now, so that draining never sees a moment without the connection.
    drop(coming);
}

fn serve_http(mut arrival: Arrival) {
    arrival.counted = Some(arrival.listener.counters.open(arrival.place.take()));
    spawn_local(connection::serve(arrival));
}

/// A connection that does not say who its client is must not be served as if it came from the proxy before.
fn turn_away(mut arrival: Arrival, why: &NoHeader) {
    if !matches!(why, NoHeader::Ended) {
        tracing::debug!(peer = %arrival.peer, listener = %arrival.listener.addr, "{why}");
        arrival.worker.counters.refusal(Reason::BadProxyHeader);
    }
    arrival.io.abort();
}

/// Counts a connection as open that nobody serves yet.
struct Coming(Rc<Worker>);

impl Coming {
    fn new(worker: &Rc<Worker>) -> Self {
        worker.connection_opened();
        Self(worker.clone())
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.connection_closed();
    }
}
