//! Sockets that are bound and listen, and what this process knows of the ports it has.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};

use super::Places;
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel may queue per socket before they are accepted.
const BACKLOG: i32 = 4096;

/// A socket that listens. As long as it lives, its process knows that the address is its own.
#[derive(Debug)]
pub(crate) struct Bound {
    socket: TcpListener,
    addr: Arc<SocketAddr>,
    /// The connections of all sockets that were bound together.
    places: Places,
}

impl Bound {
    /// The address that was bound.
    pub(crate) fn addr(&self) -> SocketAddr {
        *self.addr
    }

    /// The connections of its listener.
    pub(crate) fn places(&self) -> Places {
        self.places.clone()
    }

    /// Another descriptor for the same socket.
    pub(super) fn copy(&self) -> io::Result<OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
    }

    /// The socket, and what is to be dropped after it.
    pub(super) fn into_parts(self) -> (TcpListener, impl Sized) {
        (self.socket, self.addr)
    }
}

/// The addresses that a proxy's own sockets listen on, including those of workers that have not let go of one yet. No
/// more than there are listeners.
#[derive(Debug, Default)]
pub(super) struct Ports(Vec<Weak<SocketAddr>>);

impl Ports {
    /// One socket per worker, all on one port. With port 0 the first one chooses it.
    pub(super) fn bind(&mut self, addr: SocketAddr, workers: usize) -> io::Result<Vec<Bound>> {
        let mut sockets: Vec<TcpListener> = Vec::with_capacity(workers);
        let shared = self.is_own(addr);
        for index in 0..workers {
            let addr = sockets.first().map_or(Ok(addr), TcpListener::local_addr)?;
            sockets.push(listen(addr, shared || index > 0)?);
        }
        let bound = sockets.first().map_or(Ok(addr), TcpListener::local_addr)?;
        Ok(self.own(bound, sockets))
    }

    /// Sockets of one address that another process has bound.
    pub(super) fn adopt(&mut self, sockets: Vec<TcpListener>) -> io::Result<Vec<Bound>> {
        match sockets.first().map(TcpListener::local_addr) {
            Some(addr) => Ok(self.own(addr?, sockets)),
            None => Err(io::Error::new(io::ErrorKind::InvalidData, "no socket was handed over for it")),
        }
    }

    /// Binds one more for each worker that would have none.
    pub(super) fn complete(&mut self, sockets: &mut Vec<Bound>, workers: usize) -> io::Result<()> {
        let Some(first) = sockets.first() else { return Ok(()) };
        let (addr, places) = (Arc::clone(&first.addr), first.places());
        while sockets.len() < workers {
            sockets.push(Bound {
                socket: listen(*addr, true)?,
                addr: Arc::clone(&addr),
                places: places.clone(),
            });
        }
        Ok(())
    }

    fn own(&mut self, addr: SocketAddr, sockets: Vec<TcpListener>) -> Vec<Bound> {
        let bound = Arc::new(addr);
        self.0.push(Arc::downgrade(&bound));
        let places = Places::default();
        let own = |socket| Bound { socket, addr: Arc::clone(&bound), places: places.clone() };
        sockets.into_iter().map(own).collect()
    }

    fn is_own(&mut self, addr: SocketAddr) -> bool {
        self.0.retain(|own| own.strong_count() > 0);
        self.0.iter().filter_map(Weak::upgrade).any(|own| addr.port() != 0 && overlap(*own, addr))
    }
}

/// Whether what arrives at one of the addresses may be meant for the other.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let either = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && (a.ip() == b.ip() || (a.is_ipv4() == b.is_ipv4() && either))
}

/// A socket that listens: beside others that do if `shared`, else only if there is none, and others may follow.
fn listen(addr: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket =
        Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        // IPv4 is listened to where it is asked for, not by accident.
        socket.set_only_v6(true)?;
    }
    // Connections of an earlier process that are not quite over are no obstacle.
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    // Accepted sockets inherit it, which saves a call per connection.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    if !shared {
        socket.set_reuse_port(true)?;
    }
    Ok(socket.into())
}
