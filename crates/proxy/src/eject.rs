//! Ejection: endpoints that do worse than the others get no requests for a while.
//!
//! ```text
//! attempt over -> verdict -> failures in a row ---+
//!                                                 +-> ejected -> one request probes it -> back, or ejected for longer
//! worker 0, each interval -> comparison ----------+
//! ```
//!
//! What decides is `weir_policy::outlier`; here calls are reported to it, what it says is counted and logged, and probes
//! find their way back to it whatever becomes of their request. State is one for all workers, and goes on from snapshot to
//! snapshot. Nothing is ejected before a snapshot is in force that says so: the application behind a sidecar never is.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use weir_policy::Nanos;
use weir_policy::outlier::{
    EjectionCause, OutlierConfig, OutlierEvent, Probe, Probed, SharedOutliers, Standing, Tally, Verdict,
};

use crate::observe::process_now;
use crate::snapshot::Upstream;

/// How long no endpoint of a service must be spared before the next one is news again.
const QUIET_S: u64 = 60;

/// Who is ejected among the endpoints of one upstream, and why.
#[derive(Debug)]
pub struct Ejection {
    outliers: SharedOutliers,
    /// When endpoints were compared last.
    swept_at: AtomicU64,
    /// Rises whenever an endpoint may have been ejected or let back in.
    version: AtomicU64,
    counts: Counts,
    /// Why endpoints are ejected, by their keys; of no others.
    causes: Mutex<HashMap<u64, EjectionCause>>,
}

/// What was done, since the upstream is known.
#[derive(Debug, Default)]
struct Counts {
    ejected: [AtomicU64; EjectionReason::ALL.len()],
    shadowed: [AtomicU64; EjectionReason::ALL.len()],
    spared: AtomicU64,
    returned: AtomicU64,
    /// When one was spared last, in seconds and one more; 0: never.
    spared_at_s: AtomicU32,
}

/// Why an endpoint is ejected, as metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EjectionReason {
    /// Gateway failures in a row.
    Consecutive,
    /// More failures than the others have.
    Worse,
    /// Its probe failed.
    Probe,
}

impl EjectionReason {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Consecutive, Self::Worse, Self::Probe];

    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consecutive => "consecutive",
            Self::Worse => "worse",
            Self::Probe => "probe",
        }
    }

    const fn of(cause: &EjectionCause) -> Self {
        match cause {
            EjectionCause::Consecutive { .. } => Self::Consecutive,
            EjectionCause::Worse { .. } => Self::Worse,
            EjectionCause::Probe => Self::Probe,
        }
    }
}

impl Default for Ejection {
    /// Ejects nothing.
    fn default() -> Self {
        let outliers = SharedOutliers::new(OutlierConfig { enabled: false, ..OutlierConfig::default() });
        Self {
            outliers,
            swept_at: AtomicU64::new(0),
            version: AtomicU64::new(0),
            counts: Counts::default(),
            causes: Mutex::default(),
        }
    }
}

/// Calls `with` with the endpoints that may be chosen: only these are compared, and only these can be ejected.
fn with_candidates<R>(
    upstream: &Upstream,
    with: impl FnOnce(&mut dyn Iterator<Item = (u64, &Tally)>) -> R,
) -> R {
    let selected = upstream.selected();
    with(&mut selected.candidates.iter().map(|&index| {
        let state = &upstream.endpoint(index).state;
        (state.key(), state.tally())
    }))
}

/// The endpoints behind one, in their order: what ejection does not know, it passes over.
fn others(upstream: &Upstream, index: usize) -> impl Iterator<Item = (u64, &Tally)> {
    let count = upstream.endpoints.len();
    (1..count)
        .map(move |step| &upstream.endpoints[(index + step) % count].state)
        .map(|state| (state.key(), state.tally()))
}

impl Ejection {
    /// Rises whenever an endpoint may have been ejected or let back in.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn changed(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Goes on with the endpoints of an upstream that is in force from now on, and by its settings.
    pub(crate) fn put_in_force(&self, upstream: &Upstream) {
        let ejected = || upstream.endpoints.iter().filter(|one| one.state.tally().is_ejected()).count();
        let before = ejected();
        self.outliers.reconfigure(upstream.settings.outlier);
        self.follow(upstream);
        if before != ejected() {
            self.changed();
        }
    }

    /// Goes on with the endpoints of an upstream that may be chosen now.
    pub(crate) fn follow(&self, upstream: &Upstream) {
        with_candidates(upstream, |candidates| self.outliers.update(candidates));
        let mut causes = self.causes();
        if !causes.is_empty() {
            with_candidates(upstream, |candidates| {
                let known: HashSet<u64> = candidates.map(|(key, _)| key).collect();
                causes.retain(|key, _| known.contains(key));
            });
        }
    }

    /// Takes note of what became of an attempt at an endpoint.
    #[inline]
    pub(crate) fn record(&self, upstream: &Upstream, index: usize, verdict: Verdict, now: Nanos) {
        let state = &upstream.endpoints[index].state;
        let others = || others(upstream, index);
        if let Some(event) = self.outliers.record(state.key(), state.tally(), verdict, now, others) {
            self.tell(upstream, event, now);
        }
    }

    /// The endpoint that this request is to be sent to, because its time is over; none mostly.
    #[inline]
    pub(crate) fn probe<'a>(&'a self, upstream: &'a Upstream, now: Nanos) -> Option<Probing<'a>> {
        let probe = self.outliers.probe(now)?;
        self.probing(upstream, probe)
    }

    #[cold]
    fn probing<'a>(&'a self, upstream: &'a Upstream, probe: Probe) -> Option<Probing<'a>> {
        let key = probe.key();
        let found = upstream.endpoints.iter().position(|endpoint| endpoint.state.key() == key);
        // An older snapshot may not know it. Then its lease ends, and another request is sent there.
        found.map(|index| Probing { upstream, index, probe: Some(probe) })
    }

    /// Compares the endpoints, if that is due.
    pub(crate) fn sweep_if_due(&self, upstream: &Upstream, now: Nanos) {
        let interval = upstream.settings.outlier.interval;
        if now.since(Nanos(self.swept_at.load(Ordering::Relaxed))) >= interval {
            self.swept_at.store(now.0, Ordering::Relaxed);
            let mut events = Vec::new();
            with_candidates(upstream, |candidates| {
                self.outliers.sweep(candidates, now, |event| events.push(event));
            });
            events.into_iter().for_each(|event| self.tell(upstream, event, now));
        }
    }

    /// Counts and logs what happened.
    #[cold]
    fn tell(&self, upstream: &Upstream, event: OutlierEvent, now: Nanos) {
        let key = event.key();
        let service = &*upstream.label;
        let named = upstream.endpoints.iter().find(|endpoint| endpoint.state.key() == key);
        let endpoint = named.map_or("", |endpoint| &*endpoint.id);
        self.changed();
        match event {
            OutlierEvent::Ejected { cause, shadow, .. } => {
                let counts = if shadow { &self.counts.shadowed } else { &self.counts.ejected };
                counts[EjectionReason::of(&cause) as usize].fetch_add(1, Ordering::Relaxed);
                self.causes().insert(key, cause);
                tracing::warn!(service, endpoint, "{event}");
            }
            OutlierEvent::Spared { .. } | OutlierEvent::Alike { .. } => {
                self.counts.spared.fetch_add(1, Ordering::Relaxed);
                let now_s = now.0 / 1_000_000_000 + 1;
                let stamp = u32::try_from(now_s).unwrap_or(u32::MAX);
                let before_s = u64::from(self.counts.spared_at_s.swap(stamp, Ordering::Relaxed));
                if before_s == 0 || now_s.saturating_sub(before_s) > QUIET_S {
                    tracing::warn!(service, endpoint, "{event}");
                }
            }
            OutlierEvent::Returned { .. } => {
                self.counts.returned.fetch_add(1, Ordering::Relaxed);
                self.causes().remove(&key);
                tracing::info!(service, endpoint, "{event}");
            }
        }
    }

    fn causes(&self) -> MutexGuard<'_, HashMap<u64, EjectionCause>> {
        self.causes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How an endpoint stands, by its key: nothing where it gets requests.
    pub fn described(&self, key: u64, now: Nanos) -> Option<String> {
        let state = self.outliers.endpoint(key)?;
        let cause = self.causes().get(&key).map_or_else(String::new, |cause| format!(": {cause}"));
        let row = state.in_a_row;
        match state.standing {
            Standing::In => None,
            Standing::Ejected { until } if until > now => {
                let left = until.since(now);
                let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
                Some(format!("ejected for {seconds} s ({row} in a row){cause}"))
            }
            Standing::Ejected { .. } => {
                Some(format!("ejected until a request probes it ({row} in a row){cause}"))
            }
            Standing::Probing { .. } => {
                Some(format!("ejected, and a request probes it ({row} in a row){cause}"))
            }
        }
    }

    /// How many endpoints are ejected, or would be but for shadow.
    pub fn ejected_now(&self) -> usize {
        self.outliers.ejected().0
    }

    /// Ejections, by why, and those that only shadow has prevented.
    pub fn ejections(&self) -> impl Iterator<Item = (EjectionReason, u64, u64)> {
        EjectionReason::ALL.into_iter().map(|reason| {
            let count = |counts: &[AtomicU64]| counts[reason as usize].load(Ordering::Relaxed);
            (reason, count(&self.counts.ejected), count(&self.counts.shadowed))
        })
    }

    /// Endpoints that would have been ejected, had there not been enough already.
    pub fn spared(&self) -> u64 {
        self.counts.spared.load(Ordering::Relaxed)
    }

    /// Endpoints that came back.
    pub fn returned(&self) -> u64 {
        self.counts.returned.load(Ordering::Relaxed)
    }
}

/// A request that shows whether an ejected endpoint is well again. Where it is not told, another one does.
#[derive(Debug)]
pub(crate) struct Probing<'a> {
    upstream: &'a Upstream,
    index: usize,
    probe: Option<Probe>,
}

impl Probing<'_> {
    /// The endpoint.
    pub(crate) const fn index(&self) -> usize {
        self.index
    }

    /// The attempt at it is over.
    pub(crate) fn settle(mut self, verdict: Verdict, now: Nanos) {
        let failed = verdict == Verdict::GatewayFailure;
        self.end(if failed { Probed::Failed } else { Probed::Well }, now);
    }

    fn end(&mut self, outcome: Probed, now: Nanos) {
        let Some(probe) = self.probe.take() else { return };
        let ejection = self.upstream.state.ejection();
        let tally = self.upstream.endpoints[self.index].state.tally();
        if let Some(event) = ejection.outliers.probed(probe, tally, outcome, now) {
            ejection.tell(self.upstream, event, now);
        }
    }
}

impl Drop for Probing<'_> {
    fn drop(&mut self) {
        if self.probe.is_some() {
            self.end(Probed::Unknown, process_now());
        }
    }
}
