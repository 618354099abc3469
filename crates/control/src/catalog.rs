//! The catalog: everything this replica knows, in memory. The only place that reads are served from.
//!
//! It changes only by `Catalog::apply`, which the store's watch drives; commands never touch it. Every answer carries
//! the revision at which *that answer* last changed, and can be waited for without being woken by anything else.

mod declared;
mod effects;
mod endpoints;
mod entry;
mod found;
mod kept;
mod kv;
mod load;
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
    /// What each revision changed; `None` where another history began.
    changes: broadcast::Sender<Option<std::sync::Arc<Change>>>,
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog").field("position", &self.position()).finish_non_exhaustive()
    }
}

impl Catalog {
    /// A catalog of what a store held at a position.
    pub(crate) fn load(position: Position, entries: Vec<Record>) -> Self {
        Self {
            state: RwLock::new(State::of(position, entries)),
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
        let effects = {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            state.apply(position, events)
        };
        self.visible.reached(position.revision);
        self.waiters.wake(&effects.touched);
        // An error means that nobody listens.
        let _ = self.changes.send(Some(std::sync::Arc::new(effects.into_change())));
    }

    /// Takes over the store's whole state after the watch lost its place. Only what differs counts as changed, so
    /// subscribers and waiters stay; unless another history has begun, of which everything does. Takes its time.
    pub(crate) fn resync(&self, position: Position, entries: Vec<Record>) {
        if self.position().epoch != position.epoch {
            return self.begin_anew(position, entries);
        }
        let events = resync::difference(&self.state(), &entries);
        self.apply(position, &events);
    }

    /// Shows what a store holds in which another history began, as if nothing had been known before. Everybody can read
    /// the former state until this one is whole.
    fn begin_anew(&self, position: Position, entries: Vec<Record>) {
        let state = State::of(position, entries);
        let former = {
            let mut shown = self.state.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *shown, state)
        };
        self.visible.reached(position.revision);
        self.waiters.wake_all();
        let _ = self.changes.send(None);
        // Last, and unlocked: there may be much to give back.
        drop(former);
    }

    /// The position of the last revision applied.
    pub fn position(&self) -> Position {
        self.state().position
    }

    /// The revision at which a topic's answer last changed; never 0.
    pub fn index(&self, topic: &Topic) -> Revision {
        self.state().index(topic)
    }

    /// The same with the epoch that it is of.
    fn index_in(&self, topic: &Topic) -> (Revision, u64) {
        let state = self.state();
        (state.index(topic), state.position.epoch)
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
    /// returned, lower than `after`, and the client starts anew. So it does where another history begins meanwhile, which
    /// may have lower revisions.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if too many wait already.
    pub async fn wait(&self, topic: &Topic, after: Revision, timeout: Duration) -> Result<Revision, Error> {
        let (index, epoch) = self.index_in(topic);
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
            let (index, now) = self.index_in(topic);
            if index > after || now != epoch || tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Ok(self.index(topic));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::changes::ChangeEvent;

    #[tokio::test(start_paused = true)]
    async fn where_another_history_begins_all_are_told_though_its_revisions_are_lower() {
        let catalog = Arc::new(Catalog::load(Position::new(1, 100), Vec::new()));
        let mut changes = catalog.changes();
        let waiter = {
            let catalog = Arc::clone(&catalog);
            tokio::spawn(async move { catalog.wait(&Topic::Nodes, 100, Duration::from_secs(60)).await })
        };
        while catalog.waiters() == 0 {
            tokio::task::yield_now().await;
        }
        let began = Instant::now();
        catalog.resync(Position::new(2, 5), Vec::new());
        assert_eq!(waiter.await.expect("it goes on").expect("woken"), 5);
        assert_eq!(began.elapsed(), Duration::ZERO, "it does not wait until its time is over");
        assert!(matches!(changes.next().await, ChangeEvent::Resync));
        assert_eq!(catalog.position(), Position::new(2, 5));
    }
}
