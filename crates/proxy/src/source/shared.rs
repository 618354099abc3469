//! What the control thread and the workers share.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::sync::{Notify, watch};
use weir_model::{Kind, Position};

use super::kept::Kept;
use super::subscriptions::Subscriptions;
use crate::check::Checks;
use crate::snapshot::{Rejection, Snapshot};

/// The meeting point of the control thread, which writes, and the workers, which read.
#[derive(Debug)]
pub struct Shared {
    /// What is in force. Workers keep an `arc_swap::Cache` of it and look once per request.
    pub snapshot: ArcSwap<Snapshot>,
    /// Services asked for by the request path.
    pub subscriptions: Subscriptions,
    /// The health checks that this process carries out by itself.
    pub(crate) checks: Checks,
    in_force: watch::Sender<Option<Position>>,
    draining: AtomicBool,
    drain_asked: Notify,
    handed_over: watch::Sender<Option<HandedOver>>,
    /// Until when another process may be taking this one's place, in seconds of the proxy's clock.
    successor_until_s: AtomicU32,
    started: Instant,
    /// Snapshots put in force, and changes refused in whole or in part.
    installed: AtomicU64,
    refused: AtomicU64,
    status: Mutex<SourceStatus>,
    /// What a process that takes over is to begin with.
    kept: Mutex<Option<Kept>>,
}

/// What another process has taken over from this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HandedOver {
    /// The admin listener, too.
    pub(crate) admin: bool,
}

/// How the source of snapshots is doing, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SourceStatus {
    /// What the source is: `file`, `mesh`, or, while a control plane was not reached yet, `disk` or `handover`: the
    /// process that this one took over from.
    pub kind: &'static str,
    /// The control plane that the proxy is connected to now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected_to: Option<String>,
    /// The last thing that went wrong, until something goes well again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The resources that are refused at the position in force.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rejections: Vec<Rejection>,
    /// The documents of files that are wrong, so that the set before them stays in force.
    #[serde(skip_serializing_if = "is_zero")]
    pub refused_documents: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Shared {
    /// With an empty snapshot that is not in force yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            snapshot: ArcSwap::default(),
            subscriptions: Subscriptions::default(),
            checks: Checks::default(),
            in_force: watch::Sender::new(None),
            draining: AtomicBool::new(false),
            drain_asked: Notify::new(),
            successor_until_s: AtomicU32::new(0),
            handed_over: watch::Sender::new(None),
            started: Instant::now(),
            installed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            status: Mutex::default(),
            kept: Mutex::default(),
        })
    }

    /// Puts a snapshot in force.
    pub(crate) fn install(&self, snapshot: Snapshot) {
        let position = snapshot.position;
        snapshot.take_effect(&self.snapshot.load());
        self.snapshot.store(Arc::new(snapshot));
        self.in_force.send_replace(Some(position));
        self.installed.fetch_add(1, Ordering::Relaxed);
    }

    /// How many snapshots were put in force.
    pub(crate) fn installed(&self) -> u64 {
        self.installed.load(Ordering::Relaxed)
    }

    /// Counts a change that was refused, in whole or in part.
    pub(super) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// How many changes were refused, in whole or in part.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// How the source is doing.
    pub fn status(&self) -> SourceStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what is said of the source.
    pub(super) fn set_status(&self, change: impl FnOnce(&mut SourceStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What a process that takes over is to begin with.
    pub(super) fn keep(&self, kept: Kept) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
    }

    /// The same as bytes; none where the other process has the same files to read.
    pub(crate) fn kept(&self) -> Option<std::io::Result<Vec<u8>>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        kept.map(|kept| kept.to_bytes())
    }

    /// A gateway that is asked for and of which no version is in force, with the reason.
    pub(crate) fn absent_gateway(&self) -> Option<Rejection> {
        let snapshot = self.snapshot.load();
        let is_absent = |rejection: &Rejection| {
            let id = &rejection.resource;
            id.kind == Kind::Gateway && !snapshot.inputs.resources.contains_key(id)
        };
        self.status().rejections.into_iter().find(is_absent)
    }

    /// Follows the position in force; `None` until the first snapshot is.
    pub fn in_force(&self) -> watch::Receiver<Option<Position>> {
        self.in_force.subscribe()
    }

    /// Whether a snapshot is in force, its listeners are bound, and the proxy is not on its way out.
    pub fn is_ready(&self) -> bool {
        self.in_force.borrow().is_some() && !self.is_draining()
    }

    /// Asks the proxy to drain and end, as SIGTERM does. May be said more than once, from any thread.
    pub fn ask_to_drain(&self) {
        self.drain_asked.notify_one();
    }

    /// Waits until somebody asks the proxy to drain. For one waiter.
    pub(crate) async fn drain_asked(&self) {
        self.drain_asked.notified().await;
    }

    /// Says that another process is taking this one's place, and may do so for that long.
    pub(crate) fn expect_successor(&self, within: Duration) {
        let within_s = u32::try_from(within.as_secs()).unwrap_or(u32::MAX);
        self.successor_until_s.store(self.now_s().saturating_add(within_s), Ordering::Relaxed);
    }

    /// Whether another process may be taking this one's place.
    pub(crate) fn expects_successor(&self) -> bool {
        self.successor_until_s.load(Ordering::Relaxed) > self.now_s()
    }

    /// No other process is taking this one's place any more.
    pub(crate) fn expect_no_successor(&self) {
        self.successor_until_s.store(0, Ordering::Relaxed);
    }

    /// Says that another process has taken this one's place.
    pub(crate) fn hand_over(&self, what: HandedOver) {
        self.handed_over.send_replace(Some(what));
    }

    /// Waits until another process has taken this one's place.
    pub(crate) async fn handed_over(&self) -> HandedOver {
        match self.handed_over.subscribe().wait_for(Option::is_some).await.map(|what| *what) {
            Ok(Some(what)) => what,
            // The sender is this very struct's.
            _ => std::future::pending().await,
        }
    }

    /// Waits until a snapshot is in force.
    pub(crate) async fn until_in_force(&self) {
        // The sender is this very struct's.
        let _ = self.in_force().wait_for(Option::is_some).await;
    }

    /// Says that the proxy takes no new work.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the proxy takes no new work.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whole seconds of the proxy's own monotonic clock, from 1: what `UpstreamState::touch` is given.
    pub fn now_s(&self) -> u32 {
        u32::try_from(self.started.elapsed().as_secs()).map_or(u32::MAX, |s| s.saturating_add(1))
    }
}
