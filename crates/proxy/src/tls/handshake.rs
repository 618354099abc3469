//! Handshakes, and what may go wrong with them.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{AlertDescription, Error, InvalidMessage, ServerConfig};
use tokio::net::TcpStream;

use super::{ClientTls, Session, TlsScratch, TlsStream};
use crate::observe::{Side, TlsFailure};
use crate::runtime::TimerSlot;

/// Why there is no TLS connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeFault {
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(io::Error),
    /// The peer went away in the middle of it.
    #[error("the peer closed the connection during the handshake")]
    Closed,
    /// The peer, or this side, took offence.
    #[error("{0}")]
    Tls(Error),
    /// What came is no ClientHello.
    #[error("not TLS: {0}")]
    NotTls(&'static str),
    /// No section is for the name that was asked for.
    #[error("no section is for the name {0:?}")]
    UnknownName(Box<str>),
    /// Too many others are under way.
    #[error("too many handshakes are under way")]
    Overloaded,
    /// It took too long.
    #[error("the handshake was not over in time")]
    TimedOut,
}

impl HandshakeFault {
    /// What it counts as, in a handshake with a peer of this side.
    pub(crate) fn failure(&self, side: Side) -> TlsFailure {
        match self {
            Self::Io(_) | Self::Closed => TlsFailure::Closed,
            Self::TimedOut => TlsFailure::Timeout,
            Self::NotTls(_) => TlsFailure::NotTls,
            Self::UnknownName(_) => TlsFailure::NoCertificate,
            Self::Overloaded => TlsFailure::Overloaded,
            Self::Tls(Error::NoCertificatesPresented | Error::InvalidCertificate(_)) => match side {
                Side::Client => TlsFailure::ClientCertificate,
                Side::Upstream => TlsFailure::ServerCertificate,
            },
            Self::Tls(Error::AlertReceived(
                AlertDescription::CloseNotify | AlertDescription::UserCanceled,
            )) => TlsFailure::Closed,
            Self::Tls(
                Error::InvalidMessage(
                    InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
                )
                | Error::InappropriateMessage { .. },
            ) => TlsFailure::NotTls,
            Self::Tls(_) => TlsFailure::Protocol,
        }
    }
}

/// Takes a client's handshake, which the timer limits. `ahead` is what was read of it already.
pub(crate) async fn accept(
    tcp: TcpStream,
    ahead: Vec<u8>,
    config: Arc<ServerConfig>,
    scratch: TlsScratch,
    timer: &TimerSlot,
) -> Result<TlsStream, HandshakeFault> {
    let session = UnbufferedServerConnection::new(config).map_err(HandshakeFault::Tls)?;
    let mut stream = TlsStream::new(tcp, Session::Server(session), scratch, ahead);
    let shaken = poll_fn(|cx| match stream.poll_handshake(cx) {
        Poll::Pending if timer.expired() => Poll::Ready(Err(HandshakeFault::TimedOut)),
        shaken => shaken,
    });
    shaken.await.map(|()| stream)
}

/// Makes a handshake with a server, for as long as whoever waits for it likes.
pub(crate) async fn connect(
    tcp: TcpStream,
    client: &ClientTls,
    name: ServerName<'static>,
    scratch: TlsScratch,
) -> Result<TlsStream, HandshakeFault> {
    let session = UnbufferedClientConnection::new(client.config(), name).map_err(HandshakeFault::Tls)?;
    let mut stream = TlsStream::new(tcp, Session::Client(session), scratch, Vec::new());
    poll_fn(|cx| stream.poll_handshake(cx)).await?;
    if client.needs_protocol() && stream.settled().alpn_protocol().is_none() {
        return Err(HandshakeFault::Tls(Error::NoApplicationProtocol));
    }
    Ok(stream)
}
