//! The PROXY header of a connection that must begin with one.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::task::Poll;

use weir_model::network::Network;

use super::capture::Destination;
use super::enter::Arrival;
use super::proxy_protocol::{Addresses, HEADER_BYTES_MAX, Parsed, parse};
use crate::runtime::TimerSlot;

/// Which connections begin with a PROXY header. It is never guessed: the others must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxySources {
    /// All of them.
    All,
    /// Those from these networks.
    From(Box<[Network]>),
}

impl ProxySources {
    /// Whether connections from an address do.
    pub(super) fn include(&self, peer: SocketAddr) -> bool {
        match self {
            Self::All => true,
            Self::From(networks) => networks.iter().any(|network| network.contains(peer.ip())),
        }
    }
}

/// Why a connection is not served.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoHeader {
    /// What came is no header.
    #[error(transparent)]
    Malformed(#[from] super::proxy_protocol::HeaderError),
    /// It did not come in time.
    #[error("the PROXY protocol header did not arrive in time")]
    Late,
    /// The connection ended before it. Nothing to speak of: so do checks that only connect.
    #[error("the connection ended before its PROXY protocol header")]
    Ended,
}

/// Reads the header and puts its addresses in the place of the connection's own. `timer` is armed already.
pub(super) async fn read(arrival: &mut Arrival, timer: &TimerSlot) -> Result<(), NoHeader> {
    let worker = arrival.worker.clone();
    let (len, addresses) = poll_fn(|cx| {
        loop {
            if let Parsed::Complete(len, addresses) = parse(&arrival.ahead)? {
                return Poll::Ready(Ok((len, addresses)));
            }
            let mut scratch = worker.scratch.borrow_mut();
            match arrival.io.poll_read(cx, &mut scratch.input[..HEADER_BYTES_MAX]) {
                Poll::Pending if timer.expired() => return Poll::Ready(Err(NoHeader::Late)),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(NoHeader::Ended)),
                Poll::Ready(Ok(n)) => arrival.ahead.extend_from_slice(&scratch.input[..n]),
            }
        }
    })
    .await?;
    arrival.ahead.drain(..len);
    worker.counters.bytes_in.add(len as u64);
    if let Addresses::Of { source, destination } = addresses {
        arrival.peer = source;
        arrival.destination = Some(Destination::named(destination));
    }
    Ok(())
}
