//! The new process's side.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use tokio::time::timeout;

use super::channel::{Channel, Found, find, own_uid};
use super::message::{Message, PROTOCOL, PROTOCOL_OLDEST};
use super::{HandoverError, MESSAGE_MAX, Offer, Offered, SERVING_MAX, state};

/// Listeners that one process may offer.
const LISTENERS_MAX: usize = 16_384;

/// Listeners that were offered; they are still the running process's as well.
#[derive(Debug)]
pub(crate) struct Takeover {
    channel: Channel,
    /// The socket at the path itself.
    pub(crate) own: Option<OwnedFd>,
}

/// Asks the process that listens at a path for its listeners. None when there is no such process.
///
/// # Errors
/// There is one, and it does not give them, or must not be trusted.
pub(crate) async fn take(path: &Path, role: &str) -> Result<Option<(Takeover, Offer)>, HandoverError> {
    let failed = |source| HandoverError::Path { path: path.to_owned(), source };
    let channel = match find(path).await.map_err(failed)? {
        Found::Running(channel) => channel,
        Found::Nobody => return Ok(None),
        Found::NotASocket => return Err(HandoverError::NotASocket { path: path.to_owned() }),
    };
    let (uid, own) = (channel.peer_uid().map_err(failed)?, own_uid());
    if uid != own && uid != 0 {
        return Err(HandoverError::Stranger { path: path.to_owned(), uid, own });
    }
    let hello = Message::Hello {
        protocol: PROTOCOL,
        oldest: PROTOCOL_OLDEST,
        role: role.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
    };
    let said = match channel.send(&hello, &[]).await {
        Ok(()) => receive_offer(&channel).await,
        Err(error) => Err(HandoverError::Broken(error)),
    };
    let (own, offer) = said?;
    let (listeners, sockets) =
        (offer.listeners.len(), offer.listeners.iter().map(|one| one.sockets.len()).sum::<usize>());
    tracing::info!(path = %path.display(), listeners, sockets, "taking over from the running proxy");
    Ok(Some((Takeover { channel, own }, offer)))
}

async fn receive_offer(channel: &Channel) -> Result<(Option<OwnedFd>, Offer), HandoverError> {
    let mut offer = Offer::default();
    let mut own = None;
    loop {
        match next(channel).await? {
            Some((Message::Listener { number, role, wanted }, sockets)) => {
                if role == Offered::HANDOVER {
                    own = sockets.into_iter().next();
                    continue;
                }
                let offered = &mut offer.listeners;
                if let Some(begun) = offered.iter_mut().find(|one| one.number == number) {
                    begun.sockets.extend(sockets);
                    continue;
                }
                if offered.len() == LISTENERS_MAX {
                    let reason = format!("it has more than {LISTENERS_MAX} listeners");
                    return Err(HandoverError::Declined { reason });
                }
                offered.push(Offered { number, role, wanted, sockets });
            }
            Some((Message::State, stored)) => {
                let loaded = stored.into_iter().next().map(state::load).transpose();
                offer.state = loaded.map_err(HandoverError::Broken)?;
            }
            Some((Message::Offered, _)) => return Ok((own, offer)),
            Some((Message::Declined { reason }, _)) => return Err(HandoverError::Declined { reason }),
            Some(_) => {}
            None => return Err(HandoverError::Broken(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

async fn next(channel: &Channel) -> Result<Option<(Message, Vec<OwnedFd>)>, HandoverError> {
    match timeout(MESSAGE_MAX, channel.receive()).await {
        Ok(received) => received.map_err(HandoverError::Broken),
        Err(_) => {
            let why = "no answer; perhaps another process is taking over just now";
            Err(HandoverError::Broken(io::Error::new(io::ErrorKind::TimedOut, why)))
        }
    }
}

impl Takeover {
    /// How long it may take to come to serve.
    pub(crate) const fn serving_max() -> std::time::Duration {
        SERVING_MAX
    }

    /// Says that this process accepts from these listeners, and waits until the other one does so no more.
    ///
    /// # Errors
    /// The running process goes on: this one must end.
    pub(crate) async fn serving(self, taken: Vec<u32>) -> Result<(), HandoverError> {
        if let Err(error) = self.channel.send(&Message::Serving { taken }, &[]).await {
            // Whatever it said last is still there to be read.
            tracing::debug!(%error, "the process that was to be told is gone");
        }
        loop {
            match next(&self.channel).await {
                Ok(Some((Message::Released, _))) => return Ok(()),
                Ok(Some((Message::Declined { reason }, _))) => {
                    return Err(HandoverError::Declined { reason });
                }
                Ok(Some(_)) => {}
                // It has ended in the meantime: all the more is this one needed.
                Ok(None) | Err(_) => {
                    tracing::warn!("the proxy that was taken over from has ended by itself");
                    return Ok(());
                }
            }
        }
    }
}
