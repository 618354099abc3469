//! What readers, watches, lease timer and writer of a local engine share: the committed state behind a lock.
//!
//! Watches do not get copies pushed: each one reads the shared history from where it stands, when the revision
//! moves. So the history's bound is the bound of every watch, and a slow watcher costs nothing but itself.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, watch};

use crate::clock::Clock;
use crate::state::{Change, Changes, State};
use crate::watch::WatchSource;
use crate::{
    Batch, Error, Event, Key, KeyRange, KeyValue, Lease, LeaseId, Page, Position, Read, Revision, Stats,
    Watch,
};

/// How many transactions a watch looks at while it holds the lock.
const WATCH_SCAN_MAX: usize = 256;
/// How long the lease timer waits before it tries again to end leases that could not be ended.
const EXPIRE_RETRY: Duration = Duration::from_millis(250);

pub(crate) struct Shared {
    state: RwLock<State>,
    clock: Arc<dyn Clock>,
    /// Moves after every change of the state, and when the store closes.
    moved: watch::Sender<Revision>,
    closed: AtomicBool,
    watches: AtomicUsize,
    /// Wakes the lease timer when an earlier deadline may have appeared.
    pub(crate) leases_changed: Notify,
}

impl Shared {
    pub(crate) fn new(state: State, clock: Arc<dyn Clock>) -> Self {
        let moved = watch::Sender::new(state.revision);
        Self {
            state: RwLock::new(state),
            clock,
            moved,
            closed: AtomicBool::new(false),
            watches: AtomicUsize::new(0),
            leases_changed: Notify::new(),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// The committed state. Held briefly, never across an await.
    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        // A panic under the lock cannot leave the state half changed where readers would notice: go on.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn with_state<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes changes visible, all at once, and wakes watches and the lease timer.
    pub(crate) fn apply(&self, changes: Changes) {
        let leases = !changes.leases.is_empty();
        let revision = changes.revision;
        self.with_state(|state| state.apply(changes));
        self.announce(revision, leases);
    }

    pub(crate) fn announce(&self, revision: Revision, leases: bool) {
        self.moved.send_replace(revision);
        if leases {
            self.leases_changed.notify_one();
        }
    }

    pub(crate) fn position(&self) -> Position {
        self.state().position()
    }

    pub(crate) fn get(&self, key: &Key) -> Option<KeyValue> {
        let state = self.state();
        state.entries.get(key.as_bytes()).map(crate::Record::key_value)
    }

    pub(crate) fn read(&self, read: &Read) -> Result<Page, Error> {
        self.state().read(read)
    }

    pub(crate) fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.with_state(|state| state.compact(revision))
    }

    pub(crate) fn keep_alive(&self, id: LeaseId) -> Result<Lease, Error> {
        let now = self.now();
        let ttl = self.with_state(|state| state.leases.renew(id, now))?;
        Ok(Lease { id, ttl })
    }

    pub(crate) fn watch(self: &Arc<Self>, range: KeyRange, from: Revision) -> Result<Watch, Error> {
        let state = self.state();
        let max = state.limits.watches_max;
        drop(state.history.since(from)?);
        let epoch = state.epoch;
        drop(state);
        if self.watches.fetch_add(1, Ordering::Relaxed) >= max {
            self.watches.fetch_sub(1, Ordering::Relaxed);
            return Err(Error::Overloaded { what: "watches_max", max: max as u64 });
        }
        let moved = self.moved.subscribe();
        Ok(Watch::new(LocalWatch {
            shared: Arc::clone(self),
            epoch,
            range,
            next: from,
            ready: VecDeque::new(),
            moved,
        }))
    }

    pub(crate) fn stats(&self) -> Stats {
        let state = self.state();
        Stats {
            keys: state.entries.len() as u64,
            bytes: state.bytes,
            leases: state.leases.len() as u64,
            watches: self.watches.load(Ordering::Relaxed) as u64,
            ..Stats::default()
        }
    }

    /// Ends all watches.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.moved.send_modify(|_| ());
    }
}

struct LocalWatch {
    shared: Arc<Shared>,
    /// The epoch whose history it follows.
    epoch: u64,
    range: KeyRange,
    /// The first revision not looked at.
    next: Revision,
    ready: VecDeque<Batch>,
    moved: watch::Receiver<Revision>,
}

impl LocalWatch {
    /// Looks at more of the history. Returns whether there may be still more.
    fn advance(&mut self) -> Result<bool, Error> {
        let state = self.shared.state();
        let lagged = || Error::Lagged { oldest: state.history.oldest() };
        if state.epoch != self.epoch {
            return Err(lagged());
        }
        let commits = state.history.since(self.next).map_err(|_| lagged())?;
        for commit in commits.take(WATCH_SCAN_MAX) {
            self.next = commit.revision + 1;
            let wanted = commit.changes.iter().filter(|change| self.range.contains_path(change.path_bytes()));
            let events: Vec<Event> = wanted.map(Change::event).collect();
            if !events.is_empty() {
                let position = Position::new(state.epoch, commit.revision);
                self.ready.push_back(Batch { position, events: events.into() });
            }
        }
        Ok(self.next <= state.revision)
    }
}

impl WatchSource for LocalWatch {
    fn next(&mut self) -> BoxFuture<'_, Result<Batch, Error>> {
        async move {
            loop {
                if let Some(batch) = self.ready.pop_front() {
                    return Ok(batch);
                }
                // Marked before looking, so that a move after the look is not missed.
                self.moved.mark_unchanged();
                let more = self.advance()?;
                if more || !self.ready.is_empty() {
                    continue;
                }
                if self.shared.closed.load(Ordering::Acquire) || self.moved.changed().await.is_err() {
                    return Err(Error::Closed);
                }
            }
        }
        .boxed()
    }
}

impl Drop for LocalWatch {
    fn drop(&mut self) {
        self.shared.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Ends leases when their time comes, by asking `expire`, which says whether it worked. Runs until the store is gone.
pub(crate) async fn expire_leases<F>(shared: Weak<Shared>, clock: Arc<dyn Clock>, expire: F)
where
    F: Fn() -> BoxFuture<'static, Result<(), Error>> + Send,
{
    loop {
        let Some(alive) = shared.upgrade() else { return };
        let deadline = alive.state().leases.next_deadline();
        match deadline {
            Some(deadline) if deadline <= clock.now() => {
                drop(alive);
                if let Err(error) = expire().await {
                    tracing::warn!(%error, "leases could not be ended, trying again");
                    clock.sleep_until(clock.now() + EXPIRE_RETRY).await;
                }
            }
            _ => {
                let sleep = deadline.map(|deadline| clock.sleep_until(deadline));
                let sleep = async move {
                    match sleep {
                        Some(sleep) => sleep.await,
                        None => std::future::pending().await,
                    }
                };
                // Holds the store only by its notifier: the engine aborts this task when it goes.
                tokio::select! {
                    () = sleep => {}
                    () = alive.leases_changed.notified() => {}
                }
            }
        }
    }
}
