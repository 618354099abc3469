//! How the agent stands with the servers: told to operators, decided by nobody.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// That the servers do not let this agent in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwelcome {
    /// Why, in their words.
    pub reason: String,
    /// Whether they are those of another datacenter: then they are asked nothing for others either.
    pub is_elsewhere: bool,
}

/// Counters and states of one agent.
#[derive(Debug, Default)]
pub struct Status {
    in_sync: AtomicBool,
    heard_at: Mutex<Option<Instant>>,
    unwelcome: Mutex<Option<Unwelcome>>,
    pub(crate) comparisons: AtomicU64,
    pub(crate) comparisons_failed: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) forwarded: AtomicU64,
    pub(crate) unanswered: AtomicU64,
}

impl Status {
    /// Whether the servers have all that is registered here, as far as is known.
    pub fn is_in_sync(&self) -> bool {
        self.in_sync.load(Ordering::Relaxed)
    }

    pub(crate) fn set_in_sync(&self, in_sync: bool) {
        self.in_sync.store(in_sync, Ordering::Relaxed);
    }

    /// When a server last heard that this agent is there.
    pub fn heard_at(&self) -> Option<Instant> {
        *self.heard_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the servers do not let this agent in, if they do not.
    pub fn unwelcome(&self) -> Option<Unwelcome> {
        self.unwelcome.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_unwelcome(&self, unwelcome: Option<Unwelcome>) {
        *self.unwelcome.lock().unwrap_or_else(PoisonError::into_inner) = unwelcome;
    }

    pub(crate) fn heard(&self, at: Instant) {
        *self.heard_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }
}

/// Counts one more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
