//! What the two processes say to each other. A reader ignores fields that it does not know; a writer may leave out
//! whatever has a default. What neither can do changes [`PROTOCOL`].

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// The newest version of the protocol that this binary speaks.
pub(super) const PROTOCOL: u32 = 1;
/// The oldest.
pub(super) const PROTOCOL_OLDEST: u32 = 1;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Message {
    /// The first word of the new process.
    Hello {
        /// The newest version of the protocol that it speaks, and the oldest.
        protocol: u32,
        #[serde(default)]
        oldest: u32,
        /// What kind of proxy it is: only one of the same kind may take over.
        role: String,
        /// Its binary's version and its process, for the log.
        #[serde(default)]
        version: String,
        #[serde(default)]
        pid: u32,
    },
    /// Some or all sockets of one listener; they come along with the message.
    Listener {
        /// The listener's number. Several messages may bring sockets of one.
        number: u32,
        role: String,
        wanted: SocketAddr,
    },
    /// What is in force; it comes along with the message.
    State,
    /// Everything was offered.
    Offered,
    /// The new process serves, and accepts from the sockets of these listeners.
    Serving { taken: Vec<u32> },
    /// The running process accepts from them no more.
    Released,
    /// Whoever says it goes no further.
    Declined { reason: String },
    /// A message that this binary does not know.
    #[serde(other)]
    Unknown,
}

/// The version that two processes speak with each other.
pub(super) fn agree(newest: u32, oldest: u32) -> Result<u32, String> {
    let version = newest.min(PROTOCOL);
    if version < oldest || version < PROTOCOL_OLDEST {
        return Err(format!(
            "it speaks versions {oldest} to {newest} of the handover, and this one {PROTOCOL_OLDEST} to {PROTOCOL}"
        ));
    }
    Ok(version)
}
