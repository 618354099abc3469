//! Ports that are kept for children until those listen on them.

use std::net::SocketAddr;
use std::ops::Range;

use rand::RngExt;
use socket2::{Domain, Socket, Type};

use crate::exit::{Exit, Failure};

/// Where ports for applications and sidecars are looked for: below those that the system gives to outgoing connections,
/// of which one could take a port between here and the child that binds it.
const PORTS: Range<u16> = 20_000..32_000;
/// How many are looked at before giving up.
const PORTS_TRIED_MAX: usize = 1_000;

/// A port on loopback that is kept as long as this lives.
///
/// The socket is bound and does not listen. Who asks for the port as this does, without `SO_REUSEADDR`, is refused; who
/// then listens on it with `SO_REUSEADDR`, as every server does, may, since on Linux only a socket that listens is in
/// the way of that.
#[derive(Debug)]
pub(super) struct Kept {
    pub address: SocketAddr,
    _socket: Socket,
}

impl Kept {
    fn new(address: SocketAddr) -> Option<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.cloexec(), None).ok()?;
        socket.bind(&address.into()).ok()?;
        socket.set_reuse_address(true).ok()?;
        Some(Self { address, _socket: socket })
    }
}

/// Free ports on loopback, for the children that will listen on them.
pub(super) fn keep<const N: usize>() -> Result<[Kept; N], Failure> {
    let mut rng = rand::rng();
    let tries = (0..PORTS_TRIED_MAX).map(|_| SocketAddr::from(([127, 0, 0, 1], rng.random_range(PORTS))));
    let kept: Vec<_> = tries.filter_map(Kept::new).take(N).collect();
    kept.try_into().map_err(|_| Failure::new(Exit::CannotStart, "no free port on 127.0.0.1"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn what_is_kept_is_given_to_nobody_else_until_somebody_listens_on_it() {
        let [kept] = keep().unwrap();
        assert!(Kept::new(kept.address).is_none(), "kept twice");
        let listener = TcpListener::bind(kept.address).expect("a server may listen on what is kept for it");
        assert!(TcpListener::bind(kept.address).is_err(), "two servers on one port");
        drop(listener);
        assert!(Kept::new(kept.address).is_none(), "what is kept stays so after its server has ended");
    }
}
