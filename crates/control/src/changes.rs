//! The stream of changes that subscribers inside this process follow: one [`Change`] per revision, bounded, with an
//! explicit resync for whoever falls behind, and for all where another history begins. Carries what changed, not the new state: that is in the catalog.

use std::sync::Arc;

use tokio::sync::broadcast;
use weir_model::{Position, ResourceId, ServiceRef};

use crate::catalog::{CheckEntry, CheckRef};
use crate::lock::LockRef;
use crate::records::TableRef;
use crate::session::SessionRef;
use crate::told::News;

/// What one revision changed.
#[derive(Clone, Debug)]
pub struct Change {
    /// The revision's position; the catalog shows at least this when the change is received.
    pub position: Position,
    /// Services whose endpoints changed: members, their health, or a Service document's static endpoints.
    pub services: Vec<ServiceRef>,
    /// Declared resources that were created or changed.
    pub resources: Vec<ResourceId>,
    /// Declared resources that are gone.
    pub removed_resources: Vec<ResourceId>,
    /// Checks that changed; `None` for those that are gone.
    pub checks: Vec<(CheckRef, Option<Arc<CheckEntry>>)>,
    /// Whether a replica came or went.
    pub replicas: bool,
    /// Signs of life that a replica tells those that judge.
    pub told: News,
    /// Nodes that changed, or something on them; their names in lower case.
    pub nodes: Vec<String>,
    /// Sessions that were created or are gone.
    pub sessions: Vec<SessionRef>,
    /// Locks whose claims changed.
    pub locks: Vec<LockRef>,
    /// Tables of records that were written.
    pub tables: Vec<TableRef>,
}

/// What a subscriber is told next.
#[derive(Clone, Debug)]
pub enum ChangeEvent {
    /// One revision's change.
    Change(Arc<Change>),
    /// The subscriber fell behind, or another history has begun (the epoch is another): look at everything of interest in
    /// the catalog anew, then go on.
    Resync,
    /// The control plane has stopped.
    Closed,
}

/// A subscription to changes. Dropping it ends it.
#[derive(Debug)]
pub struct Changes {
    receiver: broadcast::Receiver<Option<Arc<Change>>>,
}

impl Changes {
    pub(crate) fn new(receiver: broadcast::Receiver<Option<Arc<Change>>>) -> Self {
        Self { receiver }
    }

    /// Waits for the next event. Dropping the future loses nothing. After [`ChangeEvent::Resync`] the next change is
    /// one that may be included in the catalog already.
    pub async fn next(&mut self) -> ChangeEvent {
        match self.receiver.recv().await {
            Ok(Some(change)) => ChangeEvent::Change(change),
            Ok(None) => ChangeEvent::Resync,
            Err(broadcast::error::RecvError::Lagged(_)) => {
                // Whatever is still queued is covered by the resync.
                self.receiver = self.receiver.resubscribe();
                ChangeEvent::Resync
            }
            Err(broadcast::error::RecvError::Closed) => ChangeEvent::Closed,
        }
    }
}
