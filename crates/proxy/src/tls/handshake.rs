//! Handshakes, and what may go wrong with them.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{AlertDescription, ClientConfig, Error, InvalidMessage, PeerIncompatible, ServerConfig};
use tokio::net::TcpStream;

use super::{Session, TlsScratch, TlsStream};
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
    /// It took too long.
    #[error("the handshake was not over in time")]
    TimedOut,
}

/// The same in one word, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum HandshakeReason {
    /// The peer went away, or the socket failed.
    Closed,
    /// It took too long.
    Timeout,
    /// What came is not TLS.
    NotTls,
    /// No version, cipher suite, group or signature scheme that both sides take.
    Incompatible,
    /// No application protocol that both sides speak.
    NoProtocol,
    /// The peer does not like this side's certificate, or anything else: it sent an alert.
    Alert,
    /// The peer's certificate is missing or not to be trusted.
    BadCertificate,
    /// No section of the listener is for the name that was asked for.
    UnknownName,
    /// Too many handshakes are under way.
    Overloaded,
    /// The peer does not keep to the protocol.
    Misbehaved,
}

impl HandshakeReason {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; 10] = [
        Self::Closed,
        Self::Timeout,
        Self::NotTls,
        Self::Incompatible,
        Self::NoProtocol,
        Self::Alert,
        Self::BadCertificate,
        Self::UnknownName,
        Self::Overloaded,
        Self::Misbehaved,
    ];

    /// The word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::NotTls => "not_tls",
            Self::Incompatible => "incompatible",
            Self::NoProtocol => "no_protocol",
            Self::Alert => "alert",
            Self::BadCertificate => "bad_certificate",
            Self::UnknownName => "unknown_name",
            Self::Overloaded => "overloaded",
            Self::Misbehaved => "misbehaved",
        }
    }
}

impl HandshakeFault {
    /// The word for it.
    pub(crate) fn reason(&self) -> HandshakeReason {
        match self {
            Self::Io(_) | Self::Closed => HandshakeReason::Closed,
            Self::TimedOut => HandshakeReason::Timeout,
            Self::Tls(fault) => match fault {
                Error::NoCertificatesPresented | Error::InvalidCertificate(_) => {
                    HandshakeReason::BadCertificate
                }
                Error::AlertReceived(AlertDescription::CloseNotify | AlertDescription::UserCanceled) => {
                    HandshakeReason::Closed
                }
                Error::AlertReceived(_) => HandshakeReason::Alert,
                Error::NoApplicationProtocol => HandshakeReason::NoProtocol,
                Error::PeerIncompatible(PeerIncompatible::ServerRejectedEncryptedClientHello(_)) => {
                    HandshakeReason::Misbehaved
                }
                Error::PeerIncompatible(_) => HandshakeReason::Incompatible,
                Error::InvalidMessage(
                    InvalidMessage::InvalidContentType
                    | InvalidMessage::UnknownProtocolVersion
                    | InvalidMessage::InvalidEmptyPayload
                    | InvalidMessage::MessageTooLarge,
                )
                | Error::InappropriateMessage { .. } => HandshakeReason::NotTls,
                _ => HandshakeReason::Misbehaved,
            },
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
    shake(TlsStream::new(tcp, Session::Server(session), scratch, ahead), timer).await
}

/// Makes a handshake with a server, which the timer limits.
pub(crate) async fn connect(
    tcp: TcpStream,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    scratch: TlsScratch,
    timer: &TimerSlot,
) -> Result<TlsStream, HandshakeFault> {
    let session = UnbufferedClientConnection::new(config, name).map_err(HandshakeFault::Tls)?;
    shake(TlsStream::new(tcp, Session::Client(session), scratch, Vec::new()), timer).await
}

async fn shake(mut stream: TlsStream, timer: &TimerSlot) -> Result<TlsStream, HandshakeFault> {
    let shaken = poll_fn(|cx| match stream.poll_handshake(cx) {
        Poll::Pending if timer.expired() => Poll::Ready(Err(HandshakeFault::TimedOut)),
        shaken => shaken,
    });
    shaken.await.map(|()| stream)
}
