//! What a server counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

/// Counters of one server. All but `connections` and `bodies_bytes` only rise.
#[derive(Debug, Default)]
pub struct ServerStats {
    connections: AtomicU64,
    refused: AtomicU64,
    strangers: AtomicU64,
    bodies_bytes: AtomicU64,
    bodies_refused: AtomicU64,
    answers: ByClass,
    /// The same for each part of the APIs that is counted by itself.
    parts: Vec<(&'static str, ByClass)>,
}

/// By the first digit of the status: 1xx to 5xx.
type ByClass = [AtomicU64; 5];

impl ServerStats {
    /// Nothing counted yet; `parts` are the names of the router's parts.
    pub(super) fn new(parts: impl IntoIterator<Item = &'static str>) -> Self {
        let parts = parts.into_iter().map(|name| (name, ByClass::default())).collect();
        Self { parts, ..Self::default() }
    }

    /// Requests answered by each part that is counted by itself, by its name, with a status of this class.
    pub fn parts(&self, class: u16) -> impl Iterator<Item = (&'static str, u64)> {
        self.parts.iter().map(move |(name, answers)| (*name, of_class(answers, class)))
    }

    /// Connections open now.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Connections that were refused because there were too many.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Connections that did not get past the TLS handshake: strangers, mostly.
    pub fn strangers(&self) -> u64 {
        self.strangers.load(Ordering::Relaxed)
    }

    /// Bytes of request bodies in memory now.
    pub fn bodies_bytes(&self) -> u64 {
        self.bodies_bytes.load(Ordering::Relaxed)
    }

    /// Requests that were refused because the bodies of others took all the memory there is for bodies.
    pub fn bodies_refused(&self) -> u64 {
        self.bodies_refused.load(Ordering::Relaxed)
    }

    /// Requests answered with a status of this class: 2 for 200 to 299, and so on.
    pub fn answers(&self, class: u16) -> u64 {
        of_class(&self.answers, class)
    }

    pub(super) fn refuse_stranger(&self) {
        self.strangers.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn answer(&self, part: Option<usize>, status: StatusCode) {
        let part = part.and_then(|part| self.parts.get(part)).map(|(_, answers)| answers);
        for answers in std::iter::once(&self.answers).chain(part) {
            if let Some(count) = answers.get(usize::from(status.as_u16() / 100 - 1)) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Nothing yet of a body, within what all bodies together may take.
    pub(super) fn hold(self: &Arc<Self>, max: u64) -> HeldBytes {
        HeldBytes { stats: Arc::clone(self), held: 0, max }
    }

    /// Counts a connection for as long as the result lives.
    pub(super) fn connection(self: &Arc<Self>) -> OpenConnection {
        self.connections.fetch_add(1, Ordering::Relaxed);
        OpenConnection(Arc::clone(self))
    }
}

fn of_class(answers: &ByClass, class: u16) -> u64 {
    let count = usize::from(class).checked_sub(1).and_then(|at| answers.get(at));
    count.map_or(0, |count| count.load(Ordering::Relaxed))
}

/// The bytes of one body, counted among those of all bodies for as long as this lives.
#[derive(Debug)]
pub(super) struct HeldBytes {
    stats: Arc<ServerStats>,
    held: u64,
    max: u64,
}

impl HeldBytes {
    /// Counts more bytes, unless all bodies together would take too much: then counts a refusal.
    pub(super) fn add(&mut self, bytes: u64) -> bool {
        let max = self.max;
        let fits = |all: u64| all.checked_add(bytes).filter(|all| *all <= max);
        let counted =
            self.stats.bodies_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if counted {
            self.held += bytes;
        } else {
            self.stats.bodies_refused.fetch_add(1, Ordering::Relaxed);
        }
        counted
    }

    /// Counts them no more.
    pub(super) fn release(&mut self) {
        self.stats.bodies_bytes.fetch_sub(std::mem::take(&mut self.held), Ordering::Relaxed);
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.release();
    }
}

/// A connection that is counted.
pub(super) struct OpenConnection(Arc<ServerStats>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
