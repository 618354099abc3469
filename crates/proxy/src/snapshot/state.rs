//! What must outlive a snapshot: the live state of endpoints and upstreams, shared by all workers.
//!
//! State is keyed by identity and carried from one snapshot to the next, so that a new revision never resets what is in
//! flight or forgets which endpoint just failed. Nothing here decides anything; it only counts and remembers.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use weir_api::report::EndpointReport;
use weir_policy::Nanos;
use weir_policy::balance::Floors;
use weir_policy::idle::{IdleConfig, IdleLearner};
use weir_policy::outlier::Tally;

use super::Load;
use crate::eject::Ejection;

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
    tally: Tally,
    /// What `peak_ewma` took its latency to be last, in microseconds; 0: nothing yet.
    latency_us: AtomicU32,
    idle: IdleState,
    /// Only where `prequal` asks for it, here or in a caller's proxy.
    load: OnceLock<Box<Load>>,
    /// Whether there is somebody to be told when it becomes less busy, and who that is.
    is_seated: AtomicBool,
    seat: ArcSwapOption<Seat>,
}

/// A place among the endpoints that `least_connections` picks from.
#[derive(Debug)]
struct Seat {
    floors: Arc<Floors>,
    index: usize,
}

impl Default for EndpointState {
    fn default() -> Self {
        Self {
            key: next_key(),
            in_flight: AtomicU32::new(0),
            avoided: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            tally: Tally::default(),
            latency_us: AtomicU32::new(0),
            idle: IdleState::default(),
            load: OnceLock::new(),
            is_seated: AtomicBool::new(false),
            seat: ArcSwapOption::empty(),
        }
    }
}

/// How long the endpoint keeps idle connections, as far as it is known.
#[derive(Debug)]
struct IdleState {
    learner: Mutex<IdleLearner>,
    /// The limit in milliseconds, where each request finds it.
    limit_ms: AtomicU32,
    /// What the endpoint said last, in seconds, and when: the same word is not learnt again and again.
    said: AtomicU64,
}

/// No limit is known.
const NO_LIMIT: u32 = u32::MAX;
/// Seconds for which a word need not be said again.
const SAID_FRESH_S: u32 = 60;

impl Default for IdleState {
    fn default() -> Self {
        Self {
            learner: Mutex::new(IdleLearner::new(IdleConfig::default())),
            limit_ms: AtomicU32::new(NO_LIMIT),
            said: AtomicU64::new(u64::MAX),
        }
    }
}

impl IdleState {
    fn learn(&self, now_s: u32, what: impl FnOnce(&mut IdleLearner, Nanos)) {
        let now = Nanos::from_secs(u64::from(now_s));
        let mut learner = self.learner.lock().unwrap_or_else(PoisonError::into_inner);
        what(&mut learner, now);
        let limit = learner.limit(now).map(|limit| u32::try_from(limit.as_millis()).unwrap_or(NO_LIMIT));
        self.limit_ms.store(limit.unwrap_or(NO_LIMIT), Ordering::Relaxed);
    }
}

impl EndpointState {
    /// Identifies this state within the process: what worker-local pools are keyed by.
    pub const fn key(&self) -> u64 {
        self.key
    }

    /// Requests sent there and not answered yet, over all workers.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        // In the one order of all that floors need.
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Counts a request as begun. Gives how many others are in flight.
    pub fn begin(&self) -> u32 {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::SeqCst)
    }

    /// Counts a request as over. Must follow exactly one [`EndpointState::begin`].
    pub fn end(&self) {
        let before = self.in_flight.fetch_sub(1, Ordering::SeqCst);
        debug_assert!(before > 0, "end without begin");
        self.freed(before.saturating_sub(1));
    }

    /// From now on tells these floors when it becomes less busy. Those that it told before are not gone by any more.
    pub(super) fn sit(&self, floors: &Arc<Floors>, index: usize) {
        let seat = Seat { floors: Arc::clone(floors), index };
        let before = self.seat.swap(Some(Arc::new(seat)));
        self.is_seated.store(true, Ordering::SeqCst);
        if let Some(before) = before.filter(|before| !Arc::ptr_eq(&before.floors, floors)) {
            before.floors.retire();
        }
    }

    /// From now on tells nobody.
    pub(super) fn stand_up(&self) {
        self.is_seated.store(false, Ordering::SeqCst);
        if let Some(before) = self.seat.swap(None) {
            before.floors.retire();
        }
    }

    #[inline]
    fn freed(&self, in_flight: u32) {
        if self.is_seated.load(Ordering::SeqCst)
            && let Some(seat) = &*self.seat.load()
        {
            seat.floors.lower(seat.index, in_flight);
        }
    }

    /// What is known of its load, if anybody has asked for it.
    #[inline]
    pub(crate) fn known_load(&self) -> Option<&Load> {
        self.load.get().map(|load| &**load)
    }

    /// What is known of its load, kept from now on.
    pub(crate) fn load(&self) -> &Load {
        self.load.get_or_init(Box::default)
    }

    /// What the balancer of some worker took its latency to be last, for explanations; none under another balancer than
    /// `peak_ewma`.
    pub fn latency(&self) -> Option<Duration> {
        let us = self.latency_us.load(Ordering::Relaxed);
        (us > 0).then(|| Duration::from_micros(u64::from(us)))
    }

    /// Says what a worker's balancer takes its latency to be.
    pub(crate) fn say_latency(&self, latency: Duration) {
        let us = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
        self.latency_us.store(us.max(1), Ordering::Relaxed);
    }

    /// Takes the state that a proxy has reported, for an explanation of what that proxy would do.
    pub(crate) fn take_over(&self, reported: &EndpointReport) {
        let in_flight = u32::try_from(reported.in_flight).unwrap_or(u32::MAX);
        self.in_flight.store(in_flight, Ordering::Relaxed);
        self.avoided.store(reported.avoided, Ordering::Relaxed);
        self.tally.set_ejected(reported.is_ejected);
        if let Some(us) = reported.latency_us {
            self.say_latency(Duration::from_micros(us));
        }
    }

    /// Whether it failed last time and is only chosen when nothing else is left.
    pub fn is_avoided(&self) -> bool {
        self.avoided.load(Ordering::SeqCst)
    }

    /// What ejection goes by.
    #[inline]
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Remembers a failure to connect or a reset: it becomes the last choice until a success.
    pub fn mark_failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.avoided.store(true, Ordering::Relaxed);
    }

    /// Remembers a success. Writes only when something changes, to keep the cache line shared.
    pub fn mark_succeeded(&self) {
        if self.is_avoided() {
            self.avoided.store(false, Ordering::SeqCst);
            self.freed(self.in_flight());
        }
    }

    /// For how many milliseconds a connection may have been idle and still be used; the most there is when nothing is
    /// known.
    #[inline]
    pub fn idle_limit_ms(&self) -> u64 {
        match self.idle.limit_ms.load(Ordering::Relaxed) {
            NO_LIMIT => u64::MAX,
            limit => u64::from(limit),
        }
    }

    /// Remembers that the endpoint closed a connection that was idle, and last known to be open at this age. Times in
    /// whole seconds of the proxy's monotonic clock.
    pub fn idle_closed(&self, age: Duration, now_s: u32) {
        self.idle.learn(now_s, |learner, now| learner.closed(age, now));
    }

    /// Remembers for how long the endpoint says that it keeps idle connections.
    #[inline]
    pub fn idle_said(&self, timeout_s: u32, now_s: u32) {
        let before = self.idle.said.load(Ordering::Relaxed);
        let (said, at) = ((before >> 32) as u32, before as u32);
        if said != timeout_s || now_s.saturating_sub(at) >= SAID_FRESH_S {
            self.idle.said.store(u64::from(timeout_s) << 32 | u64::from(now_s), Ordering::Relaxed);
            let timeout = Duration::from_secs(u64::from(timeout_s));
            self.idle.learn(now_s, |learner, now| learner.said(timeout, now));
        }
    }

    /// Lets go of what was learnt too long ago.
    pub fn idle_tend(&self, now_s: u32) {
        if self.idle_limit_ms() != u64::MAX {
            self.idle.learn(now_s, |_, _| {});
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
    in_flight: AtomicU64,
    ejection: Ejection,
    /// Whether its endpoints have somebody to tell when they become less busy.
    is_seated: Mutex<bool>,
}

impl Default for UpstreamState {
    fn default() -> Self {
        Self {
            key: next_key(),
            last_used_s: AtomicU32::new(0),
            in_flight: AtomicU64::new(0),
            ejection: Ejection::default(),
            is_seated: Mutex::new(false),
        }
    }
}

impl UpstreamState {
    /// Identifies this state within the process: what a worker's own balancer state is keyed by.
    pub const fn key(&self) -> u64 {
        self.key
    }

    /// Requests in flight to all of its endpoints, of all workers: those that were begun under a balancer that asks for it.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts a request as begun.
    pub(crate) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request as over. Must follow exactly one [`UpstreamState::begin`].
    pub(crate) fn end(&self) {
        let before = self.in_flight.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "end without begin");
    }

    /// Whether its endpoints have somebody to tell when they become less busy: held by who changes that, until all of them know.
    pub(super) fn seating(&self) -> MutexGuard<'_, bool> {
        self.is_seated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which of its endpoints are ejected.
    #[inline]
    pub const fn ejection(&self) -> &Ejection {
        &self.ejection
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
    fn what_is_learnt_of_idle_connections_is_there_for_all_and_fades() {
        let state = EndpointState::default();
        assert_eq!(state.idle_limit_ms(), u64::MAX);
        state.idle_said(5, 1);
        assert_eq!(state.idle_limit_ms(), 4500);
        state.idle_closed(Duration::from_secs(2), 2);
        state.idle_closed(Duration::from_secs(2), 4);
        assert_eq!(state.idle_limit_ms(), 1800);
        for now_s in (10..1300).step_by(10) {
            // The word is repeated, the closes are not.
            state.idle_said(5, now_s);
        }
        assert_eq!(state.idle_limit_ms(), 4500);
        state.idle_tend(1400);
        assert_eq!(state.idle_limit_ms(), 4500);
        state.idle_tend(2600);
        assert_eq!(state.idle_limit_ms(), u64::MAX);
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
