//! Ejection for several threads: what each call needs is in atomics, the rest behind a lock that is seldom taken.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{
    EndpointState, OutlierConfig, OutlierEvent, Outliers, Probe, Probed, Tally, Verdict, is_too_many,
};
use crate::time::Nanos;

/// [`Outliers`] that threads share.
#[derive(Debug)]
pub struct SharedOutliers {
    /// Gateway failures in a row that matter.
    consecutive: AtomicU32,
    /// When an endpoint is to be probed; `u64::MAX`: never.
    next_probe: AtomicU64,
    inner: Mutex<Outliers>,
}

impl SharedOutliers {
    /// Knows no endpoint.
    pub fn new(config: OutlierConfig) -> Self {
        let shared = Self {
            consecutive: AtomicU32::new(0),
            next_probe: AtomicU64::new(u64::MAX),
            inner: Mutex::new(Outliers::new(config)),
        };
        shared.change(|_| ());
        shared
    }

    /// Counts a call to an endpoint, and ejects it if it failed once too often in a row, and the `others` do not fail alike
    /// (see [`Outliers::failed`]). Takes no lock but for that, and asks for the others only then.
    pub fn record<'a, I: IntoIterator<Item = (u64, &'a Tally)>>(
        &self,
        key: u64,
        tally: &Tally,
        verdict: Verdict,
        now: Nanos,
        others: impl FnOnce() -> I,
    ) -> Option<OutlierEvent> {
        let run = tally.record(verdict);
        if run == 0 || !is_too_many(self.consecutive.load(Ordering::Relaxed), run) {
            return None;
        }
        self.change(|outliers| outliers.failed(key, tally, run, now, others()))
    }

    /// See [`Outliers::probe`]. One load when none is due.
    pub fn probe(&self, now: Nanos) -> Option<Probe> {
        if now.0 < self.next_probe.load(Ordering::Relaxed) {
            return None;
        }
        self.change(|outliers| outliers.probe(now))
    }

    /// See [`Outliers::probed`].
    pub fn probed(&self, probe: Probe, tally: &Tally, outcome: Probed, now: Nanos) -> Option<OutlierEvent> {
        self.change(|outliers| outliers.probed(probe, tally, outcome, now))
    }

    /// See [`Outliers::update`].
    pub fn update<'a>(&self, endpoints: impl IntoIterator<Item = (u64, &'a Tally)>) {
        self.change(|outliers| outliers.update(endpoints));
    }

    /// See [`Outliers::sweep`].
    pub fn sweep<'a>(
        &self,
        endpoints: impl IntoIterator<Item = (u64, &'a Tally)>,
        now: Nanos,
        tell: impl FnMut(OutlierEvent),
    ) {
        self.change(|outliers| outliers.sweep(endpoints, now, tell));
    }

    /// See [`Outliers::reconfigure`].
    pub fn reconfigure(&self, config: OutlierConfig) {
        self.change(|outliers| outliers.reconfigure(config));
    }

    /// See [`Outliers::endpoint`].
    pub fn endpoint(&self, key: u64) -> Option<EndpointState> {
        self.change(|outliers| outliers.endpoint(key))
    }

    /// How many endpoints are ejected, and how many may be.
    pub fn ejected(&self) -> (usize, usize) {
        self.change(|outliers| (outliers.ejected(), outliers.ejected_max()))
    }

    fn change<R>(&self, change: impl FnOnce(&mut Outliers) -> R) -> R {
        let mut outliers = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut outliers);
        let config = outliers.config();
        let consecutive = if config.enabled { config.consecutive } else { 0 };
        let next_probe = outliers.next_probe().map_or(u64::MAX, |at| at.0);
        self.consecutive.store(consecutive, Ordering::Relaxed);
        self.next_probe.store(next_probe, Ordering::Relaxed);
        result
    }
}
