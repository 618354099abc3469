//! What a server counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

/// Counters of one server. All but `connections` only rise.
#[derive(Debug, Default)]
pub struct ServerStats {
    connections: AtomicU64,
    refused: AtomicU64,
    /// By the first digit of the status: 1xx to 5xx.
    answers: [AtomicU64; 5],
}

impl ServerStats {
    /// Connections open now.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Connections that were refused because there were too many.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Requests answered with a status of this class: 2 for 200 to 299, and so on.
    pub fn answers(&self, class: u16) -> u64 {
        let count = usize::from(class).checked_sub(1).and_then(|at| self.answers.get(at));
        count.map_or(0, |count| count.load(Ordering::Relaxed))
    }

    pub(super) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn answer(&self, status: StatusCode) {
        if let Some(count) = self.answers.get(usize::from(status.as_u16() / 100 - 1)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a connection for as long as the result lives.
    pub(super) fn connection(self: &Arc<Self>) -> OpenConnection {
        self.connections.fetch_add(1, Ordering::Relaxed);
        OpenConnection(Arc::clone(self))
    }
}

/// A connection that is counted.
pub(super) struct OpenConnection(Arc<ServerStats>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
