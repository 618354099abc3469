//! Ejection of endpoints that do worse than the others.

use weir_model::resource::traffic_policy::Outlier as Spec;
use weir_policy::Nanos;
use weir_policy::outlier::{OutlierConfig, OutlierEvent, Outliers, Probe, Probed, Tally, Verdict};

use super::Event;
use crate::world::Outcome;

/// Who is ejected at one proxy. An endpoint's key is its index.
#[derive(Debug)]
pub(super) struct Ejections {
    outliers: Outliers,
    tallies: Vec<Tally>,
    next_sweep: Nanos,
    /// Whether one was spared last: that is said once, not for each failure.
    spared: bool,
    /// Whether somebody was ejected or came back since shares were worked out.
    pub(super) changed: bool,
}

impl Ejections {
    pub(super) fn new(spec: &Spec, endpoints: usize) -> Self {
        let config = OutlierConfig::from_spec(spec);
        let mut outliers = Outliers::new(config);
        let tallies: Vec<Tally> = std::iter::repeat_with(Tally::default).take(endpoints).collect();
        outliers.update((0..).zip(&tallies));
        Self { outliers, tallies, next_sweep: Nanos(0) + config.interval, spared: false, changed: false }
    }

    /// Whether an endpoint is ejected, and when it last came back.
    pub(super) fn standing(&self, index: usize) -> (bool, Option<Nanos>) {
        let tally = &self.tallies[index];
        (tally.is_ejected(), tally.returned_at())
    }

    /// How many are ejected.
    pub(super) fn ejected(&self) -> u64 {
        if self.outliers.config().shadow { 0 } else { self.outliers.ejected() as u64 }
    }

    /// Compares endpoints if it is time to.
    pub(super) fn sweep(&mut self, now: Nanos, events: &mut Vec<Event>) {
        if now < self.next_sweep {
            return;
        }
        // Years may have passed without a call.
        let interval = u64::try_from(self.outliers.config().interval.as_nanos()).unwrap_or(u64::MAX).max(1);
        let missed = (now.0 - self.next_sweep.0) / interval;
        self.next_sweep = Nanos(self.next_sweep.0.saturating_add(interval.saturating_mul(missed + 1)));
        let mut told = Vec::new();
        self.outliers.sweep((0..).zip(&self.tallies), now, |event| told.push(event));
        for event in told {
            self.note(Some(event), now, events);
        }
    }

    /// The endpoint that this request is to be sent to, to see whether it is well again.
    pub(super) fn probe(&mut self, now: Nanos) -> Option<Probe> {
        self.outliers.probe(now)
    }

    /// A probe that cannot be sent.
    pub(super) fn keep(&mut self, probe: Probe, now: Nanos) {
        let tally = &self.tallies[probe.key() as usize];
        self.outliers.probed(probe, tally, Probed::Unknown, now);
    }

    /// What became of a call.
    pub(super) fn record(
        &mut self,
        index: usize,
        probe: Option<Probe>,
        outcome: Outcome,
        now: Nanos,
        events: &mut Vec<Event>,
    ) {
        let tally = &self.tallies[index];
        let verdict = verdict(outcome);
        if let Some(probe) = probe {
            let probed = match verdict {
                Some(Verdict::Success) => Probed::Well,
                Some(_) => Probed::Failed,
                None => Probed::Unknown,
            };
            let event = self.outliers.probed(probe, tally, probed, now);
            return self.note(event, now, events);
        }
        let Some(verdict) = verdict else { return };
        let run = tally.record(verdict);
        if run > 0 {
            let event = self.outliers.failed(index as u64, tally, run, now, others(&self.tallies, index));
            self.note(event, now, events);
        }
    }

    fn note(&mut self, event: Option<OutlierEvent>, at: Nanos, events: &mut Vec<Event>) {
        let Some(event) = event else { return };
        let (key, ejected) = match event {
            OutlierEvent::Ejected { key, shadow, .. } => (key, !shadow),
            OutlierEvent::Spared { .. } | OutlierEvent::Alike { .. } if self.spared => return,
            other => (other.key(), false),
        };
        self.spared = matches!(event, OutlierEvent::Spared { .. } | OutlierEvent::Alike { .. });
        self.changed |= !self.spared;
        events.push(Event {
            at,
            what: format!("endpoint {key} {event}"),
            trips: 0,
            ejections: u64::from(ejected),
        });
    }
}

/// The endpoints behind one, in their order.
fn others(tallies: &[Tally], index: usize) -> impl Iterator<Item = (u64, &Tally)> {
    let count = tallies.len();
    (1..count).map(move |step| (index + step) % count).map(|other| (other as u64, &tallies[other]))
}

/// What an outcome says about an endpoint.
const fn verdict(outcome: Outcome) -> Option<Verdict> {
    match outcome {
        Outcome::Ok => Some(Verdict::Success),
        Outcome::Connect | Outcome::Reset | Outcome::Timeout | Outcome::Expired => {
            Some(Verdict::GatewayFailure)
        }
        Outcome::Status(502..=504) => Some(Verdict::GatewayFailure),
        Outcome::Status(500..) => Some(Verdict::Failure),
        Outcome::Status(_) => Some(Verdict::Success),
        _ => None,
    }
}
