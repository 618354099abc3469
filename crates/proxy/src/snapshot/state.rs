//! What must outlive a snapshot: the live state of endpoints and upstreams, shared by all workers.
//!
//! State is keyed by identity and carried from one snapshot to the next, so that a new revision never resets what is in
//! flight or forgets which endpoint just failed. Nothing here decides anything; it only counts and remembers.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Hands out keys that are never reused in this process.
static NEXT_KEY: AtomicU64 = AtomicU64::new(1);

fn next_key() -> u64 {
    NEXT_KEY.fetch_add(1, Ordering::Relaxed)
}

/// The live state of one endpoint, by (service, endpoint id, address). On a cache line of its own, since every worker
/// writes to it.
#[derive(Debug)]
#[repr(align(64))]
pub struct EndpointState {
    key: u64,
    in_flight: AtomicU32,
    avoided: AtomicBool,
    requests: AtomicU64,
    failures: AtomicU64,
}

impl Default for EndpointState {
    fn default() -> Self {
        Self {
            key: next_key(),
            in_flight: AtomicU32::new(0),
            avoided: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }
}

impl EndpointState {
    /// Identifies this state within the process: what worker-local pools are keyed by.
    pub const fn key(&self) -> u64 {
        self.key
    }

    /// Requests sent there and not answered yet, over all workers.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts a request as begun.
    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request as over. Must follow exactly one [`EndpointState::begin`].
    pub fn end(&self) {
        let before = self.in_flight.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "end without begin");
    }

    /// Whether it failed last time and is only chosen when nothing else is left.
    pub fn is_avoided(&self) -> bool {
        self.avoided.load(Ordering::Relaxed)
    }

    /// Remembers a failure to connect or a reset: it becomes the last choice until a success.
    pub fn mark_failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.avoided.store(true, Ordering::Relaxed);
    }

    /// Remembers a success. Writes only when something changes, to keep the cache line shared.
    pub fn mark_succeeded(&self) {
        if self.is_avoided() {
            self.avoided.store(false, Ordering::Relaxed);
        }
    }

    /// Requests begun since this state exists.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Failures to connect and resets since this state exists.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

/// The live state of one upstream.
#[derive(Debug)]
#[repr(align(64))]
pub struct UpstreamState {
    key: u64,
    last_used_s: AtomicU32,
}

impl Default for UpstreamState {
    fn default() -> Self {
        Self { key: next_key(), last_used_s: AtomicU32::new(0) }
    }
}

impl UpstreamState {
    /// Identifies this state within the process: what a worker's own balancer state is keyed by.
    pub const fn key(&self) -> u64 {
        self.key
    }

    /// Stamps a use, in whole seconds of the proxy's monotonic clock. At most one write per second.
    pub fn touch(&self, now_s: u32) {
        if self.last_used_s.load(Ordering::Relaxed) != now_s {
            self.last_used_s.store(now_s, Ordering::Relaxed);
        }
    }

    /// The last stamp; 0 when never used.
    pub fn last_used_s(&self) -> u32 {
        self.last_used_s.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unique() {
        let keys = [
            EndpointState::default().key(),
            EndpointState::default().key(),
            UpstreamState::default().key(),
            UpstreamState::default().key(),
        ];
        let mut sorted = keys.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), keys.len());
    }

    #[test]
    fn a_success_ends_avoidance() {
        let state = EndpointState::default();
        assert!(!state.is_avoided());
        state.mark_failed();
        assert!(state.is_avoided());
        assert_eq!(state.failures(), 1);
        state.mark_succeeded();
        assert!(!state.is_avoided());
        assert_eq!(state.failures(), 1);
    }

    #[test]
    fn counts_what_is_in_flight() {
        let state = EndpointState::default();
        state.begin();
        state.begin();
        state.end();
        assert_eq!((state.in_flight(), state.requests()), (1, 2));
    }
}
