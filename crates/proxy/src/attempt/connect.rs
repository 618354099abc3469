//! Opening upstream connections.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::http2::Dialling;
use crate::observe::Side;
use crate::runtime::{Coarse, Io, TimerSlot, Worker};
use crate::snapshot::{Endpoint, Upstream, UpstreamTls};
use crate::tls::{self, ClientTls};

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum ConnectFault {
    /// It was refused, or there is no way.
    Failed(io::Error),
    /// Nobody answered in time.
    TimedOut,
    /// There is one, but no TLS on it.
    Tls,
    /// Every connection that there may be is in use.
    Full,
}

impl ConnectFault {
    pub(crate) fn of(fault: io::Error) -> Self {
        match fault.kind() {
            TLS_FAILED => Self::Tls,
            _ => Self::Failed(fault),
        }
    }

    /// Whether it says nothing about the endpoint: this process has no descriptor or no port left.
    pub(crate) fn is_our_own(&self) -> bool {
        const OURS: [i32; 5] = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EADDRNOTAVAIL];
        matches!(self, Self::Full)
            || matches!(self, Self::Failed(fault) if fault.raw_os_error().is_some_and(|code| OURS.contains(&code)))
    }
}

/// A connection to be made.
#[derive(Clone)]
pub(crate) struct Dial {
    addr: SocketAddr,
    /// What it must begin with.
    header: Option<Vec<u8>>,
    tls: Option<TlsDial>,
}

/// TLS on a connection to be made.
#[derive(Clone)]
struct TlsDial {
    worker: Rc<Worker>,
    client: Arc<ClientTls>,
    name: ServerName<'static>,
}

/// The kind of a failure that is TLS', which is told of where it happens.
const TLS_FAILED: io::ErrorKind = io::ErrorKind::InvalidInput;

impl Dial {
    /// A connection in the clear, to no service's endpoint.
    pub(crate) fn plain(addr: SocketAddr) -> Self {
        Self { addr, header: None, tls: None }
    }

    /// One to an endpoint of an upstream, in the way of the upstream.
    pub(crate) fn to(
        worker: &Rc<Worker>,
        upstream: &Upstream,
        endpoint: &Endpoint,
        header: Option<Vec<u8>>,
    ) -> Result<Self, ConnectFault> {
        let tls = match &upstream.tls {
            UpstreamTls::Plain => None,
            UpstreamTls::Secure(client) => {
                let named = || upstream.service.certified_name();
                let host = || endpoint.host.as_deref().unwrap_or_else(named).to_owned();
                let Some(name) = client.name(host) else { return Err(ConnectFault::Tls) };
                Some(TlsDial { worker: worker.clone(), client: client.clone(), name })
            }
            UpstreamTls::Unready => return Err(ConnectFault::Tls),
        };
        Ok(Self { addr: endpoint.addr, header, tls })
    }

    /// The same in the clear, whatever the upstream's way: for bytes that are encrypted already.
    pub(crate) fn in_the_clear(self) -> Self {
        Self { tls: None, ..self }
    }
}

/// Connects, by `deadline`, and sends what the connection must begin with. Leaves the timer armed.
pub(crate) async fn connect(dial: Dial, deadline: Coarse, timer: &TimerSlot) -> Result<Io, ConnectFault> {
    timer.arm_at(deadline);
    // Rare, so the future's size is kept out of the connection's own.
    let mut connecting = self::dial(dial);
    std::future::poll_fn(|cx| match connecting.as_mut().poll(cx) {
        Poll::Ready(outcome) => Poll::Ready(outcome.map_err(ConnectFault::of)),
        Poll::Pending if timer.expired() => Poll::Ready(Err(ConnectFault::TimedOut)),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Connects, and sends what the connection must begin with, for as long as whoever waits for it likes.
pub(crate) fn dial(dial: Dial) -> Dialling {
    Box::pin(open(dial))
}

async fn open(dial: Dial) -> io::Result<Io> {
    let Dial { addr, header, tls } = dial;
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_nodelay(true)?;
    let mut stream = socket.connect(addr).await?;
    if let Some(header) = header {
        stream.write_all(&header).await?;
    }
    match tls {
        None => Ok(Io::Tcp(stream)),
        Some(tls) => tls.shake(stream, addr).await,
    }
}

impl TlsDial {
    async fn shake(self, stream: TcpStream, addr: SocketAddr) -> io::Result<Io> {
        let Self { worker, client, name } = self;
        let counters = &worker.counters.tls;
        match tls::connect(stream, &client, name, worker.tls.clone()).await {
            Ok(stream) => {
                let (version, resumed) = stream.version();
                counters.handshake(Side::Upstream, version, resumed);
                Ok(Io::Tls(Box::new(stream)))
            }
            Err(fault) => {
                let failure = fault.failure(Side::Upstream);
                counters.failure(Side::Upstream, failure);
                tracing::debug!(endpoint = %addr, reason = failure.as_str(), %fault, "a TLS handshake with an endpoint failed");
                Err(TLS_FAILED.into())
            }
        }
    }
}
