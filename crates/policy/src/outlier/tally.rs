//! What is counted of one endpoint, by all workers, and what they have to know of it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::time::Nanos;

/// One endpoint's calls, and whether it is ejected. Lives with the endpoint, as long as that does.
///
/// A success costs one addition. Counts only ever grow; who compares endpoints remembers what it saw last.
#[derive(Debug, Default)]
pub struct Tally {
    successes: AtomicU64,
    failures: AtomicU64,
    /// Gateway failures since the last answer of another kind.
    run: AtomicU32,
    ejected: AtomicBool,
    returned_at: AtomicU64,
}

/// What became of a call to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It was answered well.
    Success,
    /// It was answered with a failure of the service itself, such as 500: the endpoint can be reached.
    Failure,
    /// No connection, a reset, or an answer that says that nobody is there: 502, 503, 504.
    GatewayFailure,
}

impl Tally {
    /// Counts a call; how many gateway failures there were in a row, this one included.
    pub fn record(&self, verdict: Verdict) -> u32 {
        match verdict {
            Verdict::Success => {
                self.successes.fetch_add(1, Ordering::Relaxed);
                self.end_run();
                0
            }
            Verdict::Failure => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                self.end_run();
                0
            }
            Verdict::GatewayFailure => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                self.run.fetch_add(1, Ordering::Relaxed).saturating_add(1)
            }
        }
    }

    /// Whether it is to be given no requests but a probe.
    pub fn is_ejected(&self) -> bool {
        self.ejected.load(Ordering::Relaxed)
    }

    /// When it last came back from an ejection, for its slow start; none if it never did.
    pub fn returned_at(&self) -> Option<Nanos> {
        Some(Nanos(self.returned_at.load(Ordering::Relaxed))).filter(|at| at.0 != 0)
    }

    /// Gateway failures in a row, up to now.
    pub fn run(&self) -> u32 {
        self.run.load(Ordering::Relaxed)
    }

    /// Calls and failures, ever.
    pub fn counts(&self) -> Sample {
        // Failures first: a call that comes in between is then a success too many, not a failure without a call.
        let failures = self.failures.load(Ordering::Relaxed);
        Sample { calls: failures + self.successes.load(Ordering::Relaxed), failures }
    }

    /// Says whether it is ejected. That is for [`super::Outliers`] to decide; for others only where they show what was decided
    /// elsewhere.
    pub fn set_ejected(&self, ejected: bool) {
        if self.ejected.swap(ejected, Ordering::Relaxed) != ejected {
            self.run.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn set_returned(&self, now: Nanos) {
        self.returned_at.store(now.0.max(1), Ordering::Relaxed);
    }

    fn end_run(&self) {
        // Seldom written, so that it costs next to nothing.
        if self.run.load(Ordering::Relaxed) != 0 {
            self.run.store(0, Ordering::Relaxed);
        }
    }
}

/// Calls and how many of them failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// All of them.
    pub calls: u64,
    /// Those that failed.
    pub failures: u64,
}

impl Sample {
    /// What came since; all of it if counting began anew.
    pub(super) const fn since(self, earlier: Self) -> Self {
        if self.calls < earlier.calls || self.failures < earlier.failures {
            return self;
        }
        Self { calls: self.calls - earlier.calls, failures: self.failures - earlier.failures }
    }

    /// The share that failed; 0 of none.
    pub fn failure_ratio(self) -> f64 {
        self.failures as f64 / self.calls.max(1) as f64
    }
}
