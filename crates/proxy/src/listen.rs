//! Listeners: one socket per worker and address (SO_REUSEPORT), bound by the control thread before a snapshot takes
//! effect, accepted from by the workers after.
//!
//! ```text
//!  control thread: bind (all or nothing) -> swap snapshot -> commit
//!  worker:                                     accept loop <- sockets handed over; retired ones are emptied, then closed
//! ```
//!
//! This module must not look into snapshots: it is told addresses.

mod accept;
mod mailbox;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use socket2::{Domain, Protocol, Socket, Type};

pub(crate) use accept::{ListenerHandle, accept_loop};
pub(crate) use mailbox::{Mail, Mailbox};

/// Connections that the kernel may queue per socket before they are accepted.
const BACKLOG: i32 = 4096;

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A gateway's: requests are routed by the snapshot's table for this address. A trust boundary.
    Gateway,
    /// A sidecar's: requests go to the application.
    Inbound,
    /// A sidecar's: requests come from the application.
    Outbound,
}

impl Role {
    /// The word in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// An address that could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}: {error}")]
pub struct BindFailure {
    /// Its place in the list that was given.
    pub index: usize,
    /// The address.
    pub addr: SocketAddr,
    /// The system's reason.
    pub error: io::Error,
}

/// All listeners of a proxy. Shared by the control thread and the workers.
#[derive(Debug)]
pub struct Listeners {
    mailboxes: Vec<Arc<Mailbox>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Gateway addresses that workers accept from, and the address that was really bound (they differ for port 0).
    open: BTreeMap<SocketAddr, SocketAddr>,
    /// Bound by [`Listeners::bind`], not yet accepted from: one socket per worker.
    staged: BTreeMap<SocketAddr, Vec<TcpListener>>,
}

impl Listeners {
    pub(crate) fn new(mailboxes: Vec<Arc<Mailbox>>) -> Self {
        Self { mailboxes, state: Mutex::default() }
    }

    /// Binds what is new in `wanted` on behalf of every worker, without accepting yet. All or nothing: after a failure
    /// only what was there before is there.
    ///
    /// # Errors
    /// Every address that could not be bound.
    pub fn bind(&self, wanted: &[SocketAddr]) -> Result<(), Vec<BindFailure>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.staged.clear();
        let mut failures = Vec::new();
        for (index, &addr) in wanted.iter().enumerate() {
            if state.open.contains_key(&addr) || state.staged.contains_key(&addr) {
                continue;
            }
            match bind_all(addr, self.mailboxes.len()) {
                Ok(sockets) => {
                    state.staged.insert(addr, sockets);
                }
                Err(error) => failures.push(BindFailure { index, addr, error }),
            }
        }
        if failures.is_empty() {
            return Ok(());
        }
        state.staged.clear();
        Err(failures)
    }

    /// Starts accepting on what [`Listeners::bind`] bound, and drains every address that is not in `wanted`.
    pub fn commit(&self, wanted: &[SocketAddr]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (addr, sockets) in std::mem::take(&mut state.staged) {
            if !wanted.contains(&addr) {
                continue;
            }
            let bound = sockets.first().and_then(|socket| socket.local_addr().ok()).unwrap_or(addr);
            tracing::info!(addr = %bound, "listening");
            state.open.insert(addr, bound);
            self.hand_over(addr, Role::Gateway, sockets);
        }
        let gone: Vec<_> = state.open.keys().filter(|addr| !wanted.contains(addr)).copied().collect();
        for addr in gone {
            tracing::info!(%addr, "stopped listening");
            state.open.remove(&addr);
            self.mailboxes.iter().for_each(|mailbox| mailbox.send(Mail::Retire(addr)));
        }
    }

    /// Binds and opens a listener that no snapshot knows of, such as a sidecar's. Gives the address that was bound.
    pub(crate) fn open_fixed(&self, addr: SocketAddr, role: Role) -> io::Result<SocketAddr> {
        let sockets = bind_all(addr, self.mailboxes.len())?;
        let bound = sockets.first().map_or(Ok(addr), TcpListener::local_addr)?;
        tracing::info!(addr = %bound, role = role.as_str(), "listening");
        self.hand_over(bound, role, sockets);
        Ok(bound)
    }

    /// The addresses that are accepted from for the snapshot's listeners: as wanted, and as bound.
    pub fn open(&self) -> Vec<(SocketAddr, SocketAddr)> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.open.iter().map(|(wanted, bound)| (*wanted, *bound)).collect()
    }

    fn hand_over(&self, addr: SocketAddr, role: Role, sockets: Vec<TcpListener>) {
        for (mailbox, socket) in self.mailboxes.iter().zip(sockets) {
            mailbox.send(Mail::Listen { addr, role, socket });
        }
    }
}

/// One socket per worker, all on one port. With port 0 the first one chooses it.
fn bind_all(addr: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    let mut sockets: Vec<TcpListener> = Vec::with_capacity(workers);
    for _ in 0..workers {
        let addr = sockets.first().map_or(Ok(addr), TcpListener::local_addr)?;
        sockets.push(bind_one(addr)?);
    }
    Ok(sockets)
}

fn bind_one(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket =
        Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        // IPv4 is listened to where it is asked for, not by accident.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    // Accepted sockets inherit it, which saves a call per connection.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[test]
    fn binding_is_all_or_nothing() {
        let taken = TcpListener::bind(any()).unwrap();
        let listeners = Listeners::new(vec![Arc::default(), Arc::default()]);
        let failures = listeners.bind(&[any(), taken.local_addr().unwrap()]).unwrap_err();
        assert_eq!(failures.len(), 1);
        assert_eq!((failures[0].index, failures[0].addr), (1, taken.local_addr().unwrap()));
        listeners.commit(&[any()]);
        assert!(listeners.open().is_empty(), "what was staged is gone");
    }

    #[test]
    fn every_worker_gets_a_socket_on_the_same_port_and_is_told_to_retire_it() {
        let mailboxes: Vec<Arc<Mailbox>> = vec![Arc::default(), Arc::default()];
        let listeners = Listeners::new(mailboxes.clone());
        listeners.bind(&[any()]).unwrap();
        assert!(mailboxes[0].take().is_empty(), "not accepted from before the commit");
        listeners.commit(&[any()]);
        let bound = listeners.open()[0].1;
        for mailbox in &mailboxes {
            match mailbox.take().as_slice() {
                [Mail::Listen { addr, role: Role::Gateway, socket }] => {
                    assert_eq!(*addr, any());
                    assert_eq!(socket.local_addr().unwrap(), bound);
                }
                other => panic!("{other:?}"),
            }
        }
        listeners.bind(&[]).unwrap();
        listeners.commit(&[]);
        assert!(matches!(mailboxes[1].take().as_slice(), [Mail::Retire(addr)] if *addr == any()));
    }
}
