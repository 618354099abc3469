//! The connections that this process has made on behalf of captured ones, by their own address.
//!
//! Where the rules that redirect connections do not leave the proxy's own alone, one of them comes back as if an
//! application had made it, and would be passed on again, and again, until no descriptor is left. Here it is recognized.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The addresses. As many as there are captured connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outgoing(Arc<Mutex<HashSet<SocketAddr>>>);

/// Remembers one for as long as it lives.
#[derive(Debug)]
pub(crate) struct Remembered {
    outgoing: Outgoing,
    addr: SocketAddr,
}

impl Outgoing {
    fn lock(&self) -> MutexGuard<'_, HashSet<SocketAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a connection by its own end's address.
    pub(crate) fn remember(&self, addr: SocketAddr) -> Remembered {
        self.lock().insert(addr);
        Remembered { outgoing: self.clone(), addr }
    }

    /// Whether a client's address is that of a connection of this process.
    pub(super) fn has(&self, peer: SocketAddr) -> bool {
        self.lock().contains(&peer)
    }
}

impl Drop for Remembered {
    fn drop(&mut self) {
        self.outgoing.lock().remove(&self.addr);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_remembered_while_it_lives() {
        let outgoing = Outgoing::default();
        let addr = SocketAddr::from(([10, 0, 0, 1], 40_000));
        let remembered = outgoing.remember(addr);
        assert!(outgoing.has(addr) && !outgoing.has(SocketAddr::from(([10, 0, 0, 1], 40_001))));
        drop(remembered);
        assert!(!outgoing.has(addr));
    }
}
