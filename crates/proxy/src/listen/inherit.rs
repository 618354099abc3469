//! Sockets that come from another process, and copies of this one's for the process that will come after it.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::PoisonError;

use super::{Bound, Listeners, Mail, Role};
use crate::handover::Offered;

/// What another process offered and nobody has asked for yet.
#[derive(Debug, Default)]
pub(super) struct Inheritance {
    offered: Vec<Offered>,
    /// The numbers of what this process accepts from.
    taken: Vec<u32>,
}

/// Copies of the sockets that this process accepts from, by role and address as wanted.
#[derive(Debug, Default)]
pub(super) struct Kept(BTreeMap<(&'static str, SocketAddr), Copies>);

#[derive(Debug)]
struct Copies {
    /// What the workers call it.
    addr: SocketAddr,
    sockets: Vec<OwnedFd>,
}

impl Inheritance {
    fn find(&self, role: &str, wanted: SocketAddr) -> Option<usize> {
        self.offered.iter().position(|one| one.role == role && one.wanted == wanted)
    }

    /// Whether there is something for this address.
    pub(super) fn has(&self, role: &str, wanted: SocketAddr) -> bool {
        self.find(role, wanted).is_some()
    }

    /// Copies of the sockets for an address, if there are any. What comes of them is not known yet, so it stays offered.
    pub(super) fn copies(&self, role: &str, wanted: SocketAddr) -> Option<io::Result<Vec<TcpListener>>> {
        let offered = &self.offered[self.find(role, wanted)?];
        Some(offered.sockets.iter().map(|socket| listener(socket.try_clone()?)).collect())
    }

    /// This process accepts from it now.
    pub(super) fn take(&mut self, role: &str, wanted: SocketAddr) {
        if let Some(index) = self.find(role, wanted) {
            self.taken.push(self.offered.swap_remove(index).number);
        }
    }
}

impl Kept {
    pub(super) fn keep(
        &mut self,
        role: &'static str,
        wanted: SocketAddr,
        addr: SocketAddr,
        sockets: &[Bound],
    ) {
        let copies: io::Result<_> = sockets.iter().map(Bound::copy).collect();
        match copies {
            Ok(sockets) => drop(self.0.insert((role, wanted), Copies { addr, sockets })),
            Err(error) => tracing::warn!(%addr, %error, "this listener cannot be handed over later"),
        }
    }

    pub(super) fn forget(&mut self, role: &'static str, wanted: SocketAddr) {
        self.0.remove(&(role, wanted));
    }
}

impl Listeners {
    /// With what another process offered, and whether copies are to be kept for the process that comes after this one.
    pub(crate) fn inheriting(mut self, offered: Vec<Offered>, keeps: bool) -> Self {
        self.keeps = keeps;
        self.state.get_mut().unwrap_or_else(PoisonError::into_inner).inheritance.offered = offered;
        self
    }

    /// Whether another process offers its listeners.
    pub(crate) fn is_inheriting(&self) -> bool {
        !self.state.lock().unwrap_or_else(PoisonError::into_inner).inheritance.offered.is_empty()
    }

    /// The admin listener that was offered for this address, if one was.
    pub(crate) fn inherited_admin(&self, wanted: SocketAddr) -> io::Result<Option<TcpListener>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(copies) = state.inheritance.copies(Offered::ADMIN, wanted) else { return Ok(None) };
        let listener = copies?.into_iter().next();
        state.inheritance.take(Offered::ADMIN, wanted);
        Ok(listener)
    }

    /// Keeps a copy of the admin listener.
    pub(crate) fn keep_admin(&self, wanted: SocketAddr, listener: impl AsFd) {
        if !self.keeps {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(copy) = listener.as_fd().try_clone_to_owned() {
            state.kept.0.insert((Offered::ADMIN, wanted), Copies { addr: wanted, sockets: vec![copy] });
        }
    }

    /// The workers accept from what they would have accepted from at once, had it not been inherited.
    pub(crate) fn release_held(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (wanted, (role, capture), sockets) in std::mem::take(&mut state.held) {
            let bound = sockets.first().map_or(wanted, Bound::addr);
            tracing::info!(addr = %bound, role = role.as_str(), %capture, "listening");
            self.accept_from(&mut state, (wanted, bound), (role, capture), sockets);
        }
    }

    /// A gateway's listener that was offered and that nothing has asked for yet.
    pub(crate) fn unclaimed(&self) -> Option<SocketAddr> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_gateway = |one: &&Offered| one.role == Role::Gateway.as_str();
        state.inheritance.offered.iter().find(is_gateway).map(|one| one.wanted)
    }

    /// The numbers of the listeners that were taken. What was offered beyond them is let go.
    pub(crate) fn settle_inheritance(&self) -> Vec<u32> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for left in std::mem::take(&mut state.inheritance.offered) {
            tracing::info!(addr = %left.wanted, role = left.role, "not taken over: nothing asks for it");
        }
        std::mem::take(&mut state.inheritance.taken)
    }

    /// Copies of all that this process listens on, for a process that takes over.
    pub(crate) fn offer(&self) -> io::Result<Vec<Offered>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let offer = |(number, (&(role, wanted), copies)): (usize, (&(&str, SocketAddr), &Copies))| {
            let sockets = copies.sockets.iter().map(OwnedFd::try_clone).collect::<io::Result<_>>()?;
            Ok(Offered { number: number as u32, role: role.to_owned(), wanted, sockets })
        };
        state.kept.0.iter().enumerate().map(offer).collect()
    }

    /// All that this process listens on and would offer, by role and address as wanted.
    pub(crate) fn listening(&self) -> Vec<(&'static str, SocketAddr)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).kept.0.keys().copied().collect()
    }

    /// Another process accepts from these now, by their place among what was offered: this one does so no more, and
    /// leaves alone what is queued. Gives whether the admin listener is among them.
    pub(crate) fn release(&self, offered: &[(String, SocketAddr)]) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut admin = false;
        for (role, wanted) in offered {
            let key = state.kept.0.keys().find(|(r, w)| r == role && w == wanted).copied();
            let Some((key, copies)) = key.and_then(|key| Some((key, state.kept.0.remove(&key)?))) else {
                continue;
            };
            admin |= key.0 == Offered::ADMIN;
            if key.0 == Role::Gateway.as_str() {
                state.open.remove(wanted);
            }
            self.mailboxes.iter().for_each(|mailbox| mailbox.send(Mail::Leave(copies.addr)));
        }
        admin
    }

    /// Keeps no copies any more: from here on the workers' sockets are the only ones.
    pub(crate) fn forget_copies(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).kept.0.clear();
    }
}

/// What came as a descriptor is a listener, or of no use.
fn listener(socket: OwnedFd) -> io::Result<TcpListener> {
    let socket = socket2::Socket::from(socket);
    if !socket.is_listener()? {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "what was handed over does not listen"));
    }
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
