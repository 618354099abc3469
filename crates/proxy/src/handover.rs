//! A new process of a proxy takes over the listening sockets of the one that runs, so that a new binary, or other
//! flags, cost no request.
//!
//! ```text
//!  running                                       new, started with the same --handover PATH
//!     |<---------------- hello: role -----------------|   connects before it binds anything
//!     |----- offer: every socket that it listens on, |
//!     |       and what it has in force -------------->|   begins with that, or nothing; follows its own source then
//!     |                                               |   takes what its own snapshot wants, binds what is new,
//!     |<---------------- serving: what it took -------|   and accepts once that snapshot is in force
//!     |----- released ------------------------------->|
//!   drains, ends with 0                               |   listens at PATH itself
//! ```
//!
//! Both processes hold the same sockets, hence the same queues of connections, so none is lost whoever accepts it. Until
//! the running process has read `serving` nothing has changed for it: if the new one fails, or takes longer than
//! [`SERVING_MAX`], it goes on as if nothing had happened. No socket of a SO_REUSEPORT group may be left without a
//! process that accepts from it, for the kernel keeps sending it connections: all of an address are taken or none is, a
//! worker accepts from several where there are more of them than workers, and where there are fewer, the missing ones
//! are bound only when their workers accept.
//!
//! The new process never serves less than the running one because it refuses something. What the running one has in force
//! comes along, as bytes that only the source of snapshots understands, and is put in force whole or the new process ends.
//! And a process that has begun to listen on something since it made its offer does not let itself be taken over from.
//!
//! Versions: a message is JSON in one packet; fields that are not known are ignored, and both sides say which versions
//! of the protocol they speak. This module must not know what a listener is for.

mod channel;
mod give;
mod message;
mod state;
mod take;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use give::{Giver, Running};
pub(crate) use take::{Takeover, take};

/// How long a new process may take until it serves. Beyond, it has failed.
const SERVING_MAX: Duration = Duration::from_secs(60);
/// How long either side may leave the other without a message that is due.
const MESSAGE_MAX: Duration = Duration::from_secs(5);

/// A listening socket, or all sockets of one address, on the way from one process to the other.
#[derive(Debug)]
pub(crate) struct Offered {
    /// Its number among those that were offered at one time.
    pub(crate) number: u32,
    /// What it is for, in the words of [`Offered::GATEWAY`] and so on.
    pub(crate) role: String,
    /// The address as it was asked for; its port may be 0.
    pub(crate) wanted: SocketAddr,
    /// The sockets.
    pub(crate) sockets: Vec<OwnedFd>,
}

impl Offered {
    /// The role of the admin listener.
    pub(crate) const ADMIN: &'static str = "admin";
    /// The role of the socket at which processes wait to take over.
    const HANDOVER: &'static str = "handover";
}

/// All that a process offers.
#[derive(Debug, Default)]
pub(crate) struct Offer {
    /// Every listener.
    pub(crate) listeners: Vec<Offered>,
    /// What is in force, if the other process can make use of it.
    pub(crate) state: Option<Vec<u8>>,
}

/// Why no listener could be taken over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandoverError {
    /// The path cannot be used.
    #[error("cannot use {} to hand over listeners: {source}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// There is something at the path that is no socket.
    #[error("{} is there already, and no socket: expected a path for a socket of the proxy's own", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The other process belongs to another user.
    #[error("the process that listens at {} belongs to user {uid}: expected this process's own user, {own}", path.display())]
    Stranger {
        /// The path.
        path: PathBuf,
        /// The user's id.
        uid: u32,
        /// Our own.
        own: u32,
    },
    /// The running process declined.
    #[error("the running proxy does not hand over its listeners: {reason}")]
    Declined {
        /// In its own words.
        reason: String,
    },
    /// The running process broke off.
    #[error("the running proxy did not hand over its listeners: {0}")]
    Broken(#[source] io::Error),
    /// The new process did not come to serve.
    #[error("no snapshot was in force within {} s, so the running proxy keeps its listeners", .0.as_secs())]
    NotServing(Duration),
    /// The new process would serve less.
    #[error("nothing would serve {addr} any more, so the running proxy keeps its listeners: {refused}")]
    Less {
        /// What the running process listens on.
        addr: SocketAddr,
        /// What this one refuses.
        refused: Box<crate::snapshot::Rejection>,
    },
}

#[cfg(test)]
mod tests;
