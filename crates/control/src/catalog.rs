//! The catalog: everything this replica knows, in memory. The only place that reads are served from.
//!
//! It changes only by `Catalog::apply`, which the store's watch drives; commands never touch it. Every answer carries
//! the revision at which *that answer* last changed, and can be waited for without being woken by anything else.

mod declared;
mod effects;
mod endpoints;
mod entry;
mod kept;
mod kv;
mod locks;
mod ordered;
mod records;
mod registry;
mod resync;
mod sessions;
mod state;
mod topic;
mod views;
mod visible;
mod waiters;

use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::Instant;
use weir_model::{Position, Revision};
use weir_store::{Event, Record};

pub use endpoints::{Endpoint, EndpointsView, Moment};
pub use entry::{
    CheckEntry, CheckRef, InstanceEntry, InstanceRef, NodeEntry, NodeView, Residents, ServiceMember,
    ServiceSummary, Versioned, View,
};
pub(crate) use kept::KeptCheck;
pub(crate) use locks::LockSlot;
pub(crate) use registry::NodeSlot;
pub(crate) use state::State;
pub use topic::Topic;

use crate::Error;
use crate::bounds::{AHEAD_WAIT_MAX, CHANGES_MAX, VISIBLE_WAIT_MAX, WAIT_MAX};
use crate::changes::{Change, Changes};
use visible::Visible;
use waiters::Waiters;

/// Everything known, by revision.
pub struct Catalog {
    state: RwLock<State>,
    visible: Visible,
    waiters: Waiters,
    changes: broadcast::Sender<std::sync::Arc<Change>>,
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog").field("position", &self.position()).finish_non_exhaustive()
    }
}

impl Catalog {
    /// A catalog of what a store held at a position.
    pub(crate) fn load(position: Position, entries: Vec<Record>) -> Self {
        let mut state = State::new(position);
        state.load(entries);
        Self {
            state: RwLock::new(state),
            visible: Visible::new(position.revision),
            waiters: Waiters::default(),
            changes: broadcast::Sender::new(CHANGES_MAX),
        }
    }

    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies one revision, then wakes and tells everyone whom it concerns.
    pub(crate) fn apply(&self, position: Position, events: &[Event]) {
        let mut effects = {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            state.apply(position, events)
        };
        self.visible.reached(position.revision);
        self.waiters.wake(&effects.touched);
        // An error means that nobody listens.
        let _ = self.changes.send(std::sync::Arc::new(effects.change()));
    }

    /// Takes over the store's whole state after the watch lost its place. Only what differs counts as changed, so
    /// subscribers and waiters stay.
    pub(crate) fn resync(&self, position: Position, entries: &[Record]) {
        let events = resync::difference(&self.state(), position, entries);
        self.apply(position, &events);
    }

    /// The position of the last revision applied.
    pub fn position(&self) -> Position {
        self.state().position
    }

    /// The revision at which a topic's answer last changed; never 0.
    pub fn index(&self, topic: &Topic) -> Revision {
        self.state().index(topic)
    }

    /// How many blocking queries wait.
    pub fn waiters(&self) -> usize {
        self.waiters.len()
    }

    /// Subscribes to changes from now on. Look at the catalog after subscribing, so that nothing falls in between.
    pub fn changes(&self) -> Changes {
        Changes::new(self.changes.subscribe())
    }

    /// Waits until this catalog shows a revision.
    ///
    /// # Errors
    /// [`Error::NotVisible`] after [`VISIBLE_WAIT_MAX`].
    pub async fn visible(&self, revision: Revision) -> Result<(), Error> {
        let reached = self.visible.wait(revision);
        tokio::time::timeout(VISIBLE_WAIT_MAX, reached).await.map_err(|_| Error::NotVisible { revision })
    }

    /// Waits until a topic's index is greater than `after`, or the time is over (at most [`WAIT_MAX`]), and returns
    /// the index then. An `after` that lies ahead of this catalog (another replica's, or one of a store that is no
    /// more) waits at most [`AHEAD_WAIT_MAX`] for the catalog to get there; if it does not, the present index is
    /// returned, lower than `after`, and the client starts anew.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if too many wait already.
    pub async fn wait(&self, topic: &Topic, after: Revision, timeout: Duration) -> Result<Revision, Error> {
        let index = self.index(topic);
        if index > after {
            return Ok(index);
        }
        let deadline = Instant::now() + timeout.min(WAIT_MAX);
        let waiter = self.waiters.join(topic)?;
        if after > self.position().revision {
            let limit = deadline.min(Instant::now() + AHEAD_WAIT_MAX);
            if tokio::time::timeout_at(limit, self.visible.wait(after)).await.is_err() {
                return Ok(self.index(topic));
            }
        }
        loop {
            let mut changed = std::pin::pin!(waiter.notify().notified());
            // From here on no change is missed; so the look must come after.
            changed.as_mut().enable();
            let index = self.index(topic);
            if index > after || tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Ok(self.index(topic));
            }
        }
    }
}
