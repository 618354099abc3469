//! The newest report of one proxy, and an older one to compare it with.

use std::sync::Arc;

use super::Report;

/// How far apart two reports should be at least for a rate, in milliseconds. Rates are over one to two of these, or over the
/// time between two reports where that is longer.
pub const WINDOW_MS: u64 = 3000;
/// Over how long a rate is still worth something, in milliseconds.
pub const WINDOW_MAX_MS: u64 = 60_000;

/// The reports of one proxy that are kept: three at most.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    latest: Option<Arc<Report>>,
    /// What will be the base next.
    middle: Option<Arc<Report>>,
    base: Option<Arc<Report>>,
}

impl Samples {
    /// Takes a new report. One that is older than the last is of a process that began anew, and all is forgotten.
    pub fn add(&mut self, report: Arc<Report>) {
        if self.latest.as_ref().is_some_and(|latest| report.at_ms < latest.at_ms) {
            *self = Self::default();
        }
        let middle_at = self.middle.as_ref().map(|middle| middle.at_ms);
        if middle_at.is_none_or(|at| report.at_ms - at >= WINDOW_MS) {
            self.base = self.middle.take();
            self.middle = Some(Arc::clone(&report));
        }
        self.latest = Some(report);
    }

    /// The newest.
    pub const fn latest(&self) -> Option<&Arc<Report>> {
        self.latest.as_ref()
    }

    /// The one to compare the newest with, if there is one that is not too old.
    pub fn base(&self) -> Option<&Arc<Report>> {
        let latest = self.latest.as_ref()?;
        let usable = |base: &&Arc<Report>| (1..=WINDOW_MAX_MS).contains(&(latest.at_ms - base.at_ms));
        self.base.as_ref().filter(usable).or_else(|| self.middle.as_ref().filter(usable))
    }
}
