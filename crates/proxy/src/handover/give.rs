//! The running process's side.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::time::timeout;

use super::channel::{Channel, SOCKETS_MAX, accept, listen, listener, own_uid};
use super::message::{Message, agree};
use super::{HandoverError, MESSAGE_MAX, Offer, Offered, SERVING_MAX, state};

/// How long to wait after the system refused a connection.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What the running process says of itself.
pub(crate) trait Running {
    /// Copies of all that it listens on, and what it has in force. Asked whenever a process begins to take over.
    fn offer(&self) -> io::Result<Offer>;
    /// What it listens on now, by role and address as wanted.
    fn listening(&self) -> Vec<(&'static str, SocketAddr)>;
    /// The process has failed to take over.
    fn failed(&self);
}

/// Waits at a path for the process that will take over.
#[derive(Debug)]
pub(crate) struct Giver {
    path: PathBuf,
    role: String,
    listener: UnixListener,
    /// Whether another process has the socket at the path as well, or has taken it.
    shared: bool,
}

/// A process has taken over these listeners. It waits to be told that they were released.
#[derive(Debug)]
pub(crate) struct Given {
    channel: Channel,
    /// Their roles and addresses as wanted.
    pub(crate) taken: Vec<(String, SocketAddr)>,
}

impl Giver {
    /// Listens at a path, or goes on with the socket that was taken over. Must run in a tokio runtime.
    ///
    /// # Errors
    /// The system's reason why that cannot be.
    pub(crate) fn new(path: &Path, role: &str, own: Option<OwnedFd>) -> Result<Self, HandoverError> {
        let failed = |source| HandoverError::Path { path: path.to_owned(), source };
        let socket = match own {
            Some(socket) => socket,
            None => listen(path).map_err(failed)?,
        };
        let listener = listener(socket).map_err(failed)?;
        Ok(Self { path: path.to_owned(), role: role.to_owned(), listener, shared: false })
    }

    /// How long one process may take to take over, at most.
    pub(crate) const fn attended_max() -> Duration {
        SERVING_MAX.saturating_add(MESSAGE_MAX).saturating_add(MESSAGE_MAX)
    }

    /// Waits until a process has taken over.
    pub(crate) async fn give(&mut self, running: &impl Running) -> Given {
        loop {
            let channel = match accept(&self.listener).await {
                Ok(channel) => channel,
                Err(error) => {
                    tracing::warn!(%error, path = %self.path.display(), "cannot accept a process that wants to take over");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // From here on, should this end in the middle, that process goes on without it.
            self.shared = true;
            match self.attend(&channel, running).await {
                Ok(taken) => return Given { channel, taken },
                Err(why) => {
                    self.shared = false;
                    running.failed();
                    tracing::warn!(%why, "listeners were not handed over; going on");
                    // It may be gone.
                    let _ = timeout(MESSAGE_MAX, channel.send(&Message::Declined { reason: why }, &[])).await;
                }
            }
        }
    }

    /// Deals with one process. Gives what it took, or why it took nothing.
    async fn attend(
        &self,
        channel: &Channel,
        running: &impl Running,
    ) -> Result<Vec<(String, SocketAddr)>, String> {
        let (uid, own) = (channel.peer_uid().map_err(|error| error.to_string())?, own_uid());
        if uid != own && uid != 0 {
            return Err(format!("it belongs to user {uid}: expected this one's own user, {own}"));
        }
        match receive(channel, MESSAGE_MAX).await? {
            Message::Hello { protocol, oldest, role, version, pid } => {
                agree(protocol, oldest)?;
                if role != self.role {
                    return Err(format!("it is a {role}: expected a {}, as the running one", self.role));
                }
                tracing::info!(pid, version, "another process is taking over");
            }
            other => return Err(format!("it began with {other:?}: expected a hello")),
        }
        let Offer { listeners: offered, state } = running.offer().map_err(|error| error.to_string())?;
        let sending = self.send_offer(channel, &offered, state.as_deref());
        timeout(MESSAGE_MAX, sending)
            .await
            .map_err(|_| "it does not read".to_owned())?
            .map_err(|error| error.to_string())?;
        match receive(channel, SERVING_MAX + MESSAGE_MAX).await? {
            Message::Serving { taken } => {
                let one = |number| {
                    let found = offered.iter().find(|one| one.number == number);
                    let found = found.map(|one| (one.role.clone(), one.wanted));
                    found.ok_or_else(|| format!("it took listener {number}, which was not offered"))
                };
                let taken = taken.into_iter().map(one).collect::<Result<_, String>>()?;
                let was_offered = |(role, wanted): &(&str, SocketAddr)| {
                    offered.iter().any(|one| one.role == *role && one.wanted == *wanted)
                };
                match running.listening().iter().find(|one| !was_offered(one)) {
                    Some((_, addr)) => {
                        Err(format!("it has begun to listen on {addr} since it was asked; try again"))
                    }
                    None => Ok(taken),
                }
            }
            Message::Declined { reason } => Err(format!("it gave up: {reason}")),
            other => Err(format!("it said {other:?}: expected that it serves")),
        }
    }

    async fn send_offer(
        &self,
        channel: &Channel,
        offered: &[Offered],
        state: Option<&[u8]>,
    ) -> io::Result<()> {
        for Offered { number, role, wanted, sockets } in offered {
            let message = Message::Listener { number: *number, role: role.clone(), wanted: *wanted };
            for some in sockets.chunks(SOCKETS_MAX) {
                let some: Vec<_> = some.iter().map(AsFd::as_fd).collect();
                channel.send(&message, &some).await?;
            }
        }
        let own = Message::Listener {
            number: u32::MAX,
            role: Offered::HANDOVER.to_owned(),
            wanted: ([0, 0, 0, 0], 0).into(),
        };
        channel.send(&own, &[self.listener.as_fd()]).await?;
        match state.map(state::store) {
            Some(Ok(stored)) => channel.send(&Message::State, &[stored.as_fd()]).await?,
            Some(Err(error)) => tracing::warn!(%error, "cannot pass on what is in force"),
            None => {}
        }
        channel.send(&Message::Offered, &[]).await
    }
}

impl Drop for Giver {
    fn drop(&mut self) {
        if !self.shared {
            // Nobody listens there any more. If it is gone already, so much the better.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Given {
    /// Says that this process accepts from what was taken no more.
    pub(crate) async fn released(self) {
        if let Err(error) = self.channel.send(&Message::Released, &[]).await {
            tracing::warn!(%error, "the process that has taken over is not to be reached any more");
        }
    }
}

async fn receive(channel: &Channel, within: Duration) -> Result<Message, String> {
    match timeout(within, channel.receive()).await {
        Ok(Ok(Some((message, _)))) => Ok(message),
        Ok(Ok(None)) => Err("it ended before it served".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("it took longer than {} s", within.as_secs())),
    }
}
