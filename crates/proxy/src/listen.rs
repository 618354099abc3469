//! Listeners: one socket per worker and address (SO_REUSEPORT), bound by the control thread before a snapshot takes
//! effect, accepted from by the workers after.
//!
//! SO_REUSEPORT would let a second process of the same user share the address in silence. So the first socket of an
//! address is bound and listens without it, which the kernel grants to one only, and gets the option afterwards, for
//! the others of this process. Where this process listens already, at the address or at one that overlaps, as when a
//! gateway moves from one address to all, the address is its own to share.
//!
//! ```text
//!  control thread: bind (all or nothing) -> swap snapshot -> commit
//!  worker:                                     accept loop <- sockets handed over; retired ones are emptied, then closed
//! ```
//!
//! A process that takes over from another one gets that one's sockets (`inherit`) and uses those that it wants instead
//! of binding its own.
//!
//! This module must not look into snapshots: it is told addresses.

mod accept;
mod bound;
mod bounds;
mod capture;
pub(crate) mod client_hello;
mod enter;
mod inherit;
mod mailbox;
mod outgoing;
mod proxy_header;
pub(crate) mod proxy_protocol;
mod secure;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use accept::{ListenerHandle, accept_loop};
pub(crate) use bound::Bound;
use bound::Ports;
pub(crate) use bounds::{Bounds, Place, Places};
pub use capture::Capture;
pub(crate) use capture::Destination;
pub(crate) use enter::{Arrival, Secure};
use inherit::{Inheritance, Kept};
pub(crate) use mailbox::{Mail, Mailbox};
pub(crate) use outgoing::Outgoing;
pub use proxy_header::ProxySources;
pub use proxy_protocol::Version as ProxyVersion;
pub(crate) use secure::Handshakes;

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
    /// Whether a copy of each socket is kept, for a process that takes over.
    keeps: bool,
}

#[derive(Debug, Default)]
struct State {
    /// Gateway addresses that workers accept from, and the address that was really bound (they differ for port 0).
    open: BTreeMap<SocketAddr, SocketAddr>,
    /// Bound by [`Listeners::bind`], not yet accepted from: one socket per worker.
    staged: BTreeMap<SocketAddr, Vec<Bound>>,
    /// Listeners of the configuration that were inherited: accepted from once this process serves.
    held: Vec<(SocketAddr, (Role, Capture), Vec<Bound>)>,
    ports: Ports,
    /// What another process offered.
    inheritance: Inheritance,
    /// What may be offered to another process.
    kept: Kept,
}

impl Listeners {
    pub(crate) fn new(mailboxes: Vec<Arc<Mailbox>>) -> Self {
        Self { mailboxes, state: Mutex::default(), keeps: false }
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
            match state.inherit_or_bind(addr, Role::Gateway, self.mailboxes.len()) {
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
            let bound = sockets.first().map_or(addr, Bound::addr);
            tracing::info!(addr = %bound, "listening");
            state.open.insert(addr, bound);
            self.accept_from(&mut state, (addr, addr), (Role::Gateway, Capture::None), sockets);
        }
        let gone: Vec<_> = state.open.keys().filter(|addr| !wanted.contains(addr)).copied().collect();
        for addr in gone {
            tracing::info!(%addr, "stopped listening");
            state.open.remove(&addr);
            // The workers' copies must be the last, so that nothing is queued once they have emptied them.
            state.kept.forget(Role::Gateway.as_str(), addr);
            self.mailboxes.iter().for_each(|mailbox| mailbox.send(Mail::Retire(addr)));
        }
    }

    /// Binds and opens a listener that no snapshot knows of, such as a sidecar's. Gives the address that was bound. One
    /// that is inherited is accepted from only after [`Listeners::release_held`].
    pub(crate) fn open_fixed(
        &self,
        addr: SocketAddr,
        role: Role,
        capture: &Capture,
    ) -> io::Result<SocketAddr> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_inherited = state.inheritance.has(role.as_str(), addr);
        let sockets = state.inherit_or_bind(addr, role, self.mailboxes.len())?;
        let bound = sockets.first().map_or(addr, Bound::addr);
        let purpose = (role, capture.clone());
        if is_inherited {
            state.held.push((addr, purpose, sockets));
            return Ok(bound);
        }
        tracing::info!(addr = %bound, role = role.as_str(), %capture, "listening");
        self.accept_from(&mut state, (addr, bound), purpose, sockets);
        Ok(bound)
    }

    /// The addresses that are accepted from for the snapshot's listeners: as wanted, and as bound.
    pub fn open(&self) -> Vec<(SocketAddr, SocketAddr)> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.open.iter().map(|(wanted, bound)| (*wanted, *bound)).collect()
    }

    /// Lets the workers accept from sockets, each from one at least: what was inherited may be more or fewer than there
    /// are workers. `key` is what was wanted, and what the workers call it.
    fn accept_from(
        &self,
        state: &mut State,
        key: (SocketAddr, SocketAddr),
        (role, capture): (Role, Capture),
        mut sockets: Vec<Bound>,
    ) {
        let (wanted, addr) = key;
        state.inheritance.take(role.as_str(), wanted);
        if let Err(error) = state.ports.complete(&mut sockets, self.mailboxes.len()) {
            tracing::warn!(%addr, %error, "some workers have no socket of their own to accept from");
        }
        if self.keeps {
            state.kept.keep(role.as_str(), wanted, addr, &sockets);
        }
        for (socket, mailbox) in sockets.into_iter().zip(self.mailboxes.iter().cycle()) {
            mailbox.send(Mail::Listen { addr, role, capture: capture.clone(), socket });
        }
    }
}

impl State {
    /// A socket for each worker, or those that were inherited, of which there may be more or fewer.
    fn inherit_or_bind(&mut self, addr: SocketAddr, role: Role, workers: usize) -> io::Result<Vec<Bound>> {
        match self.inheritance.copies(role.as_str(), addr) {
            Some(sockets) => self.ports.adopt(sockets?),
            None => self.ports.bind(addr, workers),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

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
                [Mail::Listen { addr, role: Role::Gateway, socket, .. }] => {
                    assert_eq!(*addr, any());
                    assert_eq!(socket.addr(), bound);
                }
                other => panic!("{other:?}"),
            }
        }
        listeners.bind(&[]).unwrap();
        listeners.commit(&[]);
        assert!(matches!(mailboxes[1].take().as_slice(), [Mail::Retire(addr)] if *addr == any()));
    }

    fn workers() -> Listeners {
        Listeners::new(vec![Arc::default(), Arc::default()])
    }

    #[test]
    fn an_address_is_not_shared_with_another_proxy() {
        let (one, two) = (workers(), workers());
        one.bind(&[any()]).unwrap();
        one.commit(&[any()]);
        let addr = one.open()[0].1;
        for taken in [addr, SocketAddr::from(([0, 0, 0, 0], addr.port()))] {
            let failures = two.bind(&[taken]).unwrap_err();
            assert_eq!(failures[0].error.kind(), io::ErrorKind::AddrInUse, "{taken}");
            assert_eq!(
                two.open_fixed(taken, Role::Inbound, &Capture::None).unwrap_err().kind(),
                io::ErrorKind::AddrInUse
            );
        }
        let fixed = two.open_fixed(any(), Role::Outbound, &Capture::None).unwrap();
        assert_eq!(one.bind(&[fixed]).unwrap_err()[0].error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn of_many_that_want_an_address_at_once_one_gets_it() {
        let mut winners = 0;
        for _ in 0..20 {
            let free = TcpListener::bind(any()).unwrap().local_addr().unwrap();
            let (all, start) = ([workers(), workers(), workers()], std::sync::Barrier::new(3));
            let got = std::thread::scope(|scope| {
                let want = |listeners| {
                    let start = &start;
                    scope.spawn(move || {
                        start.wait();
                        Listeners::bind(listeners, &[free]).is_ok()
                    })
                };
                let running = all.each_ref().map(want);
                running.into_iter().filter_map(|thread| thread.join().ok()).filter(|got| *got).count()
            });
            assert!(got <= 1, "{got} listen on {free}");
            winners += got;
        }
        assert!(winners > 0);
    }

    #[test]
    fn a_proxy_may_move_to_an_address_that_overlaps_its_own() {
        let mailboxes: Vec<Arc<Mailbox>> = vec![Arc::default(), Arc::default()];
        let listeners = Listeners::new(mailboxes.clone());
        listeners.bind(&[any()]).unwrap();
        listeners.commit(&[any()]);
        let narrow = listeners.open()[0].1;
        let wide = SocketAddr::from(([0, 0, 0, 0], narrow.port()));
        listeners.bind(&[wide]).unwrap();
        listeners.commit(&[wide]);
        // The workers have not let go of the narrow one yet.
        listeners.bind(&[narrow]).unwrap();
        listeners.commit(&[narrow]);
        assert_eq!(listeners.open(), [(narrow, narrow)]);
        // Once they have, the address is anybody's.
        listeners.bind(&[]).unwrap();
        listeners.commit(&[]);
        mailboxes.iter().for_each(|mailbox| drop(mailbox.take()));
        assert!(workers().bind(&[narrow]).is_ok());
    }
}
