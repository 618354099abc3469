//! What the control thread tells a worker. Rare: listeners that come and go, and the end.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::{Bound, Capture, Role};

/// One message to a worker.
#[derive(Debug)]
pub(crate) enum Mail {
    /// Accept from this socket; there may be several of one address.
    Listen { addr: SocketAddr, role: Role, capture: Capture, socket: Bound },
    /// Stop accepting at this address, and let its connections end.
    Retire(SocketAddr),
    /// Stop accepting at this address and leave what is queued there: another process accepts it.
    Leave(SocketAddr),
    /// Stop accepting everywhere and end when all connections have.
    Drain,
    /// End now.
    Stop,
}

/// A worker's queue of messages. Bounded by what there is to say: at most one message per listener that came or went.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    mail: Mutex<Vec<Mail>>,
    arrived: Notify,
}

impl Mailbox {
    pub(crate) fn send(&self, mail: Mail) {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner).push(mail);
        self.arrived.notify_one();
    }

    /// Everything that has arrived.
    pub(crate) fn take(&self) -> Vec<Mail> {
        std::mem::take(&mut *self.mail.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Resolves once something has arrived since the last call.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }
}
