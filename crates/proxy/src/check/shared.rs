//! What the task that checks and the source of snapshots share.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use weir_model::registry::{CheckDefinition, Health};
use weir_policy::Nanos;

use super::plan::Plan;
use super::table::{Step, Table};
use super::{AWAY_MAX, CheckKey, Event};
use crate::snapshot::Verdicts;

/// The checks of this process.
#[derive(Debug)]
pub(crate) struct Checks {
    state: Mutex<State>,
    /// Wakes the source: a verdict has changed.
    changed: Notify,
    counts: Counts,
}

#[derive(Debug)]
struct State {
    table: Table,
    /// How long the control plane may be gone.
    away_max: Duration,
    /// Since when the control plane is gone; nothing where there is none, or it is there.
    away_since: Option<Nanos>,
    /// Whether this proxy judges what has registered, and has said so.
    ruling: bool,
    /// Verdicts have changed since the source was last woken.
    dirty: bool,
}

#[derive(Debug, Default)]
struct Counts {
    looks: [AtomicU64; 3],
    changes: [AtomicU64; 3],
    omitted: AtomicUsize,
}

/// What has been done, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CheckCounts {
    /// Whether this proxy judges what has registered.
    pub(crate) ruling: bool,
    /// Endpoints that are checked: written down, and registered.
    pub(crate) endpoints: (usize, usize),
    /// Endpoints that are not, because there are too many.
    pub(crate) omitted: usize,
    /// Looks, by outcome: passing, warning, critical.
    pub(crate) looks: [u64; 3],
    /// Endpoints that became so.
    pub(crate) changes: [u64; 3],
}

impl Default for Checks {
    fn default() -> Self {
        let state = State {
            table: Table::default(),
            away_max: AWAY_MAX,
            away_since: None,
            ruling: false,
            dirty: false,
        };
        Self { state: Mutex::new(state), changed: Notify::new(), counts: Counts::default() }
    }
}

impl Checks {
    /// The control plane is gone, or was not there yet. If it was gone already, it has been so since then.
    pub(crate) fn control_plane_lost(&self, now: Nanos) {
        self.state().away_since.get_or_insert(now);
    }

    /// The control plane has said what is so: what it judges is its own again. To be followed by putting that in force.
    pub(crate) fn control_plane_returned(&self) {
        let mut state = self.state();
        state.away_since = None;
        let endpoints = state.table.yield_registered();
        if std::mem::take(&mut state.ruling) {
            tracing::info!(endpoints, "the control plane is back and judges health again");
        }
    }

    /// Another bound than [`AWAY_MAX`].
    #[cfg(test)]
    pub(crate) fn set_away_max(&self, away_max: Duration) {
        self.state().away_max = away_max;
    }

    /// Waits until verdicts have changed. For one waiter.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What the checks came to.
    pub(crate) fn verdicts(&self) -> Arc<Verdicts> {
        Arc::clone(self.state().table.verdicts())
    }

    /// What has been done.
    pub(crate) fn counts(&self) -> CheckCounts {
        let load = |counts: &[AtomicU64; 3]| counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        let state = self.state();
        CheckCounts {
            ruling: state.ruling,
            endpoints: state.table.counts(),
            omitted: self.counts.omitted.load(Ordering::Relaxed),
            looks: load(&self.counts.looks),
            changes: load(&self.counts.changes),
        }
    }

    /// Whether the control plane has been gone for too long.
    pub(super) fn is_away(&self, now: Nanos) -> bool {
        let state = self.state();
        state.away_since.is_some_and(|since| now.since(since) >= state.away_max)
    }

    /// Checks what is planned from now on. `away` is what the plan was made for: if the control plane has come back since,
    /// the plan is void.
    pub(super) fn follow(&self, plan: Plan, away: bool) -> Vec<Step> {
        let mut state = self.state();
        if away && state.away_since.is_none() {
            return Vec::new();
        }
        let omitted = plan.omitted;
        if self.counts.omitted.swap(omitted, Ordering::Relaxed) == 0 && omitted > 0 {
            tracing::warn!(checked = plan.targets.len(), omitted, "too many endpoints: not all are checked");
        }
        let before = Arc::clone(state.table.verdicts());
        let steps = state.table.follow(plan.targets);
        state.dirty |= !Arc::ptr_eq(&before, state.table.verdicts());
        let (_, registered) = state.table.counts();
        if away && !std::mem::replace(&mut state.ruling, true) {
            let gone_s = state.away_max.as_secs();
            tracing::warn!(
                endpoints = registered,
                "no control plane for {gone_s} s: this proxy checks the endpoints of the services it calls by itself"
            );
        }
        steps
    }

    /// Takes the outcome of a look in.
    pub(super) fn report(
        &self,
        check: &CheckKey,
        definition: &CheckDefinition,
        (outcome, output): (Health, &str),
        now: Nanos,
    ) {
        self.counts.looks[outcome as usize].fetch_add(1, Ordering::Relaxed);
        let event = {
            let mut state = self.state();
            let (changed, event) = state.table.report(check, definition, outcome, output, now);
            state.dirty |= changed;
            event
        };
        if let Some(event) = event {
            self.counts.changes[event.to as usize].fetch_add(1, Ordering::Relaxed);
            tell(&event);
        }
    }

    /// Wakes the source if verdicts have changed since.
    pub(super) fn flush(&self) {
        if std::mem::take(&mut self.state().dirty) {
            self.changed.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(event: &Event) {
    let Event { key, from, to, told, in_a_row, output } = event;
    let service = key.service.to_string();
    let (endpoint, from, to) = (&*key.endpoint, from.as_str(), to.as_str());
    let told = told.map_or("nothing", Health::as_str);
    let text = "an endpoint's health has changed, by this proxy's own check";
    if event.to == Health::Critical {
        tracing::warn!(service, endpoint, from, to, in_a_row, told, output, "{text}");
    } else {
        tracing::info!(service, endpoint, from, to, in_a_row, told, output, "{text}");
    }
}
