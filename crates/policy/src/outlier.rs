//! Ejects endpoints that do worse than the others, and lets them back in.
//!
//! ```text
//! Tally.record, each call --- failures in a row ---> Outliers.failed --+
//!                                                                      +--> ejected --> one probe --> returned
//! Tally, each interval ------ Fisher's exact test -> Outliers.sweep ---+       ^            |
//!                                                                              +-- failed --+
//! ```
//!
//! Two things eject an endpoint: gateway failures in a row, at once, unless the others fail alike (see [`CHANCE_MAX`]); and a share of failures that is worse than that of
//! the others together, by a test that holds whatever the number of calls, with a bound on the share of wrong ejections
//! over all endpoints (Benjamini and Hochberg, "Controlling the False Discovery Rate", 1995), and by a difference that
//! matters. No more than a share of the endpoints is ever ejected. When the time is over, one real request is sent there;
//! whatever becomes of it decides. Ejections in a row get longer; they are forgotten once an endpoint was in for as long
//! as it last was out.
//!
//! What this must not do: choose endpoints, or know what a failure is. [`Outliers`] is the state machine; what workers
//! count and ask for each request is in each endpoint's [`Tally`]; [`SharedOutliers`] is for several threads.

mod alike;
mod config;
mod event;
mod exact;
mod shared;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::time::Nanos;
use alike::Others;
pub use alike::{CHANCE_MAX, OTHERS_MAX};
pub use config::OutlierConfig;
pub use event::{EjectionCause, EndpointState, OutlierEvent, Standing};
pub use exact::ln_tail;
pub use shared::SharedOutliers;
pub use tally::{Sample, Tally, Verdict};

/// Who is ejected among the endpoints of one upstream. An endpoint is known by a key of the caller's choice.
#[derive(Clone, Debug)]
pub struct Outliers {
    config: OutlierConfig,
    endpoints: HashMap<u64, Endpoint>,
    /// Those that are not in, and when a request is to be sent there.
    away: BTreeSet<(Nanos, u64)>,
    /// Rises each time that the list of endpoints is gone through.
    round: u64,
}

#[derive(Clone, Copy, Debug)]
struct Endpoint {
    standing: Standing,
    seen: Sample,
    last: Sample,
    since: Nanos,
    /// Ejections in a row.
    in_a_row: u32,
    forget_at: Nanos,
    round: u64,
}

/// The right to send one request to an ejected endpoint, to see whether it is well again.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a probe that nothing is heard of is sent once more only when its lease ends"]
pub struct Probe {
    key: u64,
    until: Nanos,
}

/// What became of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probed {
    /// It was answered.
    Well,
    /// It failed.
    Failed,
    /// It was not sent, or not waited for: the next request is a probe.
    Unknown,
}

impl Probe {
    /// The endpoint that the request is to be sent to.
    pub const fn key(&self) -> u64 {
        self.key
    }
}

impl Outliers {
    /// Knows no endpoint.
    pub fn new(config: OutlierConfig) -> Self {
        Self { config, endpoints: HashMap::new(), away: BTreeSet::new(), round: 0 }
    }

    /// The configuration.
    pub const fn config(&self) -> &OutlierConfig {
        &self.config
    }

    /// Puts another configuration in force. Ejections go on as they are, unless there are to be none any more; the
    /// endpoints' tallies say so from the next [`Self::update`] or [`Self::sweep`] on.
    pub fn reconfigure(&mut self, config: OutlierConfig) {
        if config.enabled != self.config.enabled || config.shadow != self.config.shadow {
            self.away.clear();
            self.endpoints.values_mut().for_each(|endpoint| endpoint.standing = Standing::In);
        }
        self.config = config;
    }

    /// Takes note of which endpoints there are. Those that it knows stay as they are, others are forgotten.
    pub fn update<'a>(&mut self, endpoints: impl IntoIterator<Item = (u64, &'a Tally)>) {
        self.round += 1;
        for (key, tally) in endpoints {
            self.meet(key, tally);
        }
        self.forget_others();
    }

    /// A gateway failure, the `run`th in a row (what [`Tally::record`] says): ejects the endpoint if these are too many, and
    /// the others do not fail alike. Of these, no more than [`OTHERS_MAX`] are looked at; the endpoint itself does no harm
    /// among them.
    pub fn failed<'a>(
        &mut self,
        key: u64,
        tally: &Tally,
        run: u32,
        now: Nanos,
        others: impl IntoIterator<Item = (u64, &'a Tally)>,
    ) -> Option<OutlierEvent> {
        if !is_too_many(self.config.consecutive, run) || !self.config.enabled {
            return None;
        }
        self.settle_shadow(key, now);
        if self.endpoints.get(&key)?.standing != Standing::In {
            return None;
        }
        let others = self.others(key, others);
        if others.explain(run) {
            return Some(OutlierEvent::Alike { key, failures: run, failing: others.failing() });
        }
        Some(self.eject_or_spare(key, tally, EjectionCause::Consecutive { failures: run }, now))
    }

    /// How those do that are not ejected, but for one.
    fn others<'a>(&self, but: u64, others: impl IntoIterator<Item = (u64, &'a Tally)>) -> Others {
        let mut found = Others::default();
        for (key, tally) in others {
            if found.are_enough() {
                break;
            }
            let known = self.endpoints.get(&key).filter(|_| key != but);
            if let Some(endpoint) = known.filter(|endpoint| endpoint.standing == Standing::In) {
                found.add(tally, tally.counts().since(endpoint.seen));
            }
        }
        found
    }

    /// Compares all endpoints, by their calls since the last time, and tells what comes of it. Endpoints that are not
    /// given are forgotten, as in [`Self::update`]. O(n), and O(n log n) of those that look worse.
    pub fn sweep<'a>(
        &mut self,
        endpoints: impl IntoIterator<Item = (u64, &'a Tally)>,
        now: Nanos,
        mut tell: impl FnMut(OutlierEvent),
    ) {
        self.round += 1;
        let mut compared: Vec<(u64, &Tally, Sample)> = Vec::with_capacity(self.endpoints.len());
        let mut all = Sample::default();
        for (key, tally) in endpoints {
            self.settle_shadow(key, now);
            let endpoint = self.meet(key, tally);
            let counts = tally.counts();
            let sample = counts.since(endpoint.seen);
            (endpoint.seen, endpoint.last) = (counts, sample);
            // What was sent to those that are ejected says nothing of the others.
            if endpoint.standing == Standing::In && sample.calls > 0 {
                all.calls += sample.calls;
                all.failures += sample.failures;
                compared.push((key, tally, sample));
            }
        }
        self.forget_others();
        if !self.config.enabled {
            return;
        }
        for (index, others, ln_p) in discoveries(&self.config, &compared, all) {
            let (key, tally, own) = compared[index];
            tell(self.eject_or_spare(key, tally, EjectionCause::Worse { own, others, ln_p }, now));
        }
    }

    /// The endpoint that this request is to be sent to, because its time is over; none mostly. The first request that
    /// asks gets it, the next one only when nothing was heard of that for as long as a lease.
    pub fn probe(&mut self, now: Nanos) -> Option<Probe> {
        let (due, key) = self.away.first().copied().filter(|(due, _)| *due <= now && !self.config.shadow)?;
        let until = now + self.config.probe_lease;
        self.away.remove(&(due, key));
        self.away.insert((until, key));
        self.endpoints.get_mut(&key)?.standing = Standing::Probing { until };
        Some(Probe { key, until })
    }

    /// When [`Self::probe`] has an endpoint next.
    pub fn next_probe(&self) -> Option<Nanos> {
        self.away.first().map(|(due, _)| *due).filter(|_| !self.config.shadow)
    }

    /// What became of a probe. Nothing comes of one whose lease is over, or whose endpoint is gone.
    #[expect(clippy::needless_pass_by_value, reason = "a probe ends once")]
    pub fn probed(
        &mut self,
        probe: Probe,
        tally: &Tally,
        outcome: Probed,
        now: Nanos,
    ) -> Option<OutlierEvent> {
        let Probe { key, until } = probe;
        let endpoint = self.endpoints.get_mut(&key)?;
        if endpoint.standing != (Standing::Probing { until }) {
            return None;
        }
        self.away.remove(&(until, key));
        match outcome {
            Probed::Well => {
                endpoint.standing = Standing::In;
                endpoint.forget_at = now + ejection(&self.config, endpoint.in_a_row);
                endpoint.seen = tally.counts();
                tally.set_returned(now);
                tally.set_ejected(false);
                Some(OutlierEvent::Returned { key, away: now.since(endpoint.since) })
            }
            Probed::Failed => Some(self.eject(key, tally, EjectionCause::Probe, now)),
            Probed::Unknown => {
                endpoint.standing = Standing::Ejected { until: now };
                self.away.insert((now, key));
                None
            }
        }
    }

    /// What is known of an endpoint.
    pub fn endpoint(&self, key: u64) -> Option<EndpointState> {
        let Endpoint { standing, in_a_row, last, .. } = *self.endpoints.get(&key)?;
        Some(EndpointState { standing, in_a_row, last })
    }

    /// How many endpoints are ejected, those that are probed included, or would be if it were not for `shadow`.
    pub fn ejected(&self) -> usize {
        self.away.len()
    }

    /// How many may be.
    pub fn ejected_max(&self) -> usize {
        // Cannot be more than there are: the share is at most 1.
        (self.config.ejected_max * self.endpoints.len() as f64 + 1e-9) as usize
    }

    fn eject_or_spare(&mut self, key: u64, tally: &Tally, cause: EjectionCause, now: Nanos) -> OutlierEvent {
        let (ejected, endpoints) = (self.ejected(), self.endpoints.len());
        let most = self.ejected_max();
        if ejected >= most {
            return OutlierEvent::Spared { key, cause, ejected, endpoints, most };
        }
        self.eject(key, tally, cause, now)
    }

    /// Ejects an endpoint that is known and not waiting for anything.
    fn eject(&mut self, key: u64, tally: &Tally, cause: EjectionCause, now: Nanos) -> OutlierEvent {
        let shadow = self.config.shadow;
        let mut in_a_row = 1;
        if let Some(endpoint) = self.endpoints.get_mut(&key) {
            let probed = endpoint.standing != Standing::In;
            if probed || now < endpoint.forget_at {
                in_a_row = endpoint.in_a_row.saturating_add(1);
            }
            if !probed {
                endpoint.since = now;
            }
            endpoint.in_a_row = in_a_row;
            let until = now + ejection(&self.config, in_a_row);
            endpoint.standing = Standing::Ejected { until };
            self.away.insert((until, key));
            tally.set_ejected(!shadow);
        }
        self.check();
        OutlierEvent::Ejected { key, cause, length: ejection(&self.config, in_a_row), in_a_row, shadow }
    }

    /// With `shadow` nothing is really ejected, and nothing has to be probed.
    fn settle_shadow(&mut self, key: u64, now: Nanos) {
        if !self.config.shadow {
            return;
        }
        let Some(endpoint) = self.endpoints.get_mut(&key) else { return };
        if let Standing::Ejected { until } = endpoint.standing
            && until <= now
        {
            endpoint.standing = Standing::In;
            endpoint.forget_at = until + ejection(&self.config, endpoint.in_a_row);
            self.away.remove(&(until, key));
        }
    }

    /// The endpoint with this key, which may be new, and tells its tally how it stands.
    fn meet(&mut self, key: u64, tally: &Tally) -> &mut Endpoint {
        let round = self.round;
        let endpoint = self.endpoints.entry(key).or_insert_with(|| Endpoint {
            standing: Standing::In,
            seen: tally.counts(),
            last: Sample::default(),
            since: Nanos(0),
            in_a_row: 0,
            forget_at: Nanos(0),
            round,
        });
        endpoint.round = round;
        let ejected = endpoint.standing != Standing::In && !self.config.shadow;
        if tally.is_ejected() != ejected {
            tally.set_ejected(ejected);
        }
        endpoint
    }

    fn forget_others(&mut self) {
        let Self { endpoints, away, round, .. } = self;
        endpoints.retain(|key, endpoint| {
            let stays = endpoint.round == *round;
            if let Standing::Ejected { until } | Standing::Probing { until } = endpoint.standing
                && !stays
            {
                away.remove(&(until, *key));
            }
            stays
        });
        self.check();
    }

    fn check(&self) {
        debug_assert_eq!(
            self.away.len(),
            self.endpoints.values().filter(|endpoint| endpoint.standing != Standing::In).count()
        );
    }
}

/// Whether a run of failures calls for something; asked for each failure, and answered yes for each that fills the
/// measure once more, so that an endpoint that was spared is thought of again.
const fn is_too_many(consecutive: u32, run: u32) -> bool {
    consecutive != 0 && run != 0 && run.is_multiple_of(consecutive)
}

/// How long the ejection is that is so many in a row.
fn ejection(config: &OutlierConfig, in_a_row: u32) -> Duration {
    config.ejection.saturating_mul(in_a_row.max(1)).min(config.ejection_max)
}

/// Those that are worse than the others, the most certain ones first: index, the others' calls, ln p.
///
/// An endpoint that is not enough worse to be ejected counts among the tests, but never as a discovery: that only makes
/// the procedure more cautious, and spares most of the work.
fn discoveries(
    config: &OutlierConfig,
    compared: &[(u64, &Tally, Sample)],
    all: Sample,
) -> Vec<(usize, Sample, f64)> {
    let mut worse: Vec<(usize, Sample, f64)> = compared
        .iter()
        .enumerate()
        .filter_map(|(index, (_, _, own))| {
            let others = all.since(*own);
            let effect = own.failure_ratio() - others.failure_ratio();
            let enough = own.failures >= u64::from(config.failures_min) && own.failures > 0;
            (enough && others.calls > 0 && effect > 0.0 && effect >= config.effect_min)
                .then(|| (index, others, ln_tail(own.failures, own.calls, others.failures, others.calls)))
        })
        .collect();
    worse.sort_by(|a, b| a.2.total_cmp(&b.2).then(a.0.cmp(&b.0)));
    let ln_step = config.false_discovery.ln() - (compared.len() as f64).ln();
    let found = (1..=worse.len()).rev().find(|rank| worse[rank - 1].2 <= ln_step + (*rank as f64).ln());
    worse.truncate(found.unwrap_or(0));
    worse
}
