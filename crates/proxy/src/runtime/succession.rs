//! How one process of a proxy follows another: this one takes over at its start, and gives way at its end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::config::{Mode, ProxyConfig};
use crate::handover::{Giver, HandoverError, Offer, Running, Takeover, take};
use crate::listen::Listeners;
use crate::source::{HandedOver, Shared};

/// This process's place among those that serve one after another.
pub(super) struct Succession {
    path: Option<PathBuf>,
    role: String,
    takeover: Option<Takeover>,
}

impl Succession {
    /// Asks the process that runs, if one does, for its listeners and what it has in force.
    pub(super) async fn begin(config: &ProxyConfig) -> Result<(Self, Offer), HandoverError> {
        let role = match &config.mode {
            Mode::Gateway => "gateway".to_owned(),
            Mode::Sidecar { service, .. } => format!("sidecar of {service}"),
        };
        let Some(path) = config.handover.clone() else {
            return Ok((Self { path: None, role, takeover: None }, Offer::default()));
        };
        match take(&path, &role).await? {
            Some((takeover, offered)) => {
                Ok((Self { path: Some(path), role, takeover: Some(takeover) }, offered))
            }
            None => Ok((Self { path: Some(path), role, takeover: None }, Offer::default())),
        }
    }

    /// Completes the takeover, and waits until another process has taken over from this one.
    pub(super) async fn run(self, shared: &Shared, listeners: &Listeners) -> Result<(), HandoverError> {
        let Some(path) = self.path else { return never().await };
        let own = match self.takeover {
            Some(takeover) => succeed(takeover, shared, listeners).await?,
            None => {
                // Until then there is nothing to hand over.
                shared.until_in_force().await;
                None
            }
        };
        let mut giver = match Giver::new(&path, &self.role, own) {
            Ok(giver) => giver,
            Err(error) => {
                tracing::error!(%error, "no other process will be able to take over");
                return never().await;
            }
        };
        let given = giver.give(&Incumbent { shared, listeners }).await;
        let admin = listeners.release(&given.taken);
        shared.hand_over(HandedOver { admin });
        given.released().await;
        tracing::info!("another process has taken over");
        Ok(())
    }
}

/// This process, to be taken over from.
struct Incumbent<'a> {
    shared: &'a Shared,
    listeners: &'a Listeners,
}

impl Running for Incumbent<'_> {
    fn offer(&self) -> io::Result<Offer> {
        self.shared.expect_successor(Giver::attended_max());
        Ok(Offer { listeners: self.listeners.offer()?, state: self.shared.kept().transpose()? })
    }

    fn listening(&self) -> Vec<(&'static str, SocketAddr)> {
        self.listeners.listening()
    }

    fn failed(&self) {
        self.shared.expect_no_successor();
    }
}

/// Serves in the other process's place once there is something to serve. Gives the socket at the path.
async fn succeed(
    mut takeover: Takeover,
    shared: &Shared,
    listeners: &Listeners,
) -> Result<Option<OwnedFd>, HandoverError> {
    let limit = Takeover::serving_max();
    if tokio::time::timeout(limit, shared.until_in_force()).await.is_err() {
        return Err(HandoverError::NotServing(limit));
    }
    // Whatever the other process did not send along: what it listens on must not end because something is refused here.
    if let (Some(addr), Some(refused)) = (listeners.unclaimed(), shared.absent_gateway()) {
        return Err(HandoverError::Less { addr, refused: refused.into() });
    }
    listeners.release_held();
    let taken = listeners.settle_inheritance();
    let (count, own) = (taken.len(), takeover.own.take());
    takeover.serving(taken).await?;
    tracing::info!(listeners = count, "serving in the place of the proxy that ran before");
    Ok(own)
}

async fn never() -> Result<(), HandoverError> {
    match std::future::pending::<Infallible>().await {}
}
