//! What came out of a run: numbers for programs, a summary for people.
//!
//! A report depends on the scenario and its seed alone, to the byte: it holds no wall time, and its lists stand in the order of
//! the scenario.

mod summary;

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::measure::{Cell, OUTCOME_NAMES, Work};

pub use summary::summary;

/// Most servers that are listed one by one.
pub const SERVERS_LISTED_MAX: usize = 1000;

/// What came out of a run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The scenario's name.
    pub name: String,
    /// Where chance began.
    pub seed: u64,
    /// How long it lasted, in seconds of virtual time.
    pub duration: f64,
    /// The beginning that counts for nothing, in seconds.
    pub warm_up: f64,
    /// How many events there were.
    pub events: u64,
    /// Everything after the warm-up.
    pub total: PhaseReport,
    /// The same, phase by phase.
    pub phases: Vec<PhaseReport>,
    /// What servers did, over the whole run.
    pub services: Vec<ServiceReport>,
    /// How policies stand at the end, proxy by proxy, as they explain themselves.
    pub policies: Vec<PolicyReport>,
    /// What policies did, in the order of time; the first ones only.
    pub log: Vec<LogLine>,
    /// Over time.
    pub series: Vec<Point>,
    /// Whether some policy hedges.
    #[serde(skip)]
    pub hedging: bool,
    /// Whether some clients try again by themselves.
    #[serde(skip)]
    pub retrying: bool,
}

/// A part of the run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PhaseReport {
    /// Its name.
    pub name: String,
    /// From when, in seconds.
    #[serde(serialize_with = "rounded")]
    pub from: f64,
    /// Until when, in seconds.
    #[serde(serialize_with = "rounded")]
    pub to: f64,
    /// All clients.
    pub all: ClientsReport,
    /// Group by group, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<ClientsReport>,
    /// Requests that proxies sent to servers.
    pub attempts: u64,
    /// Of these, because another had failed.
    pub retries: u64,
    /// Of these, because another took long.
    pub hedges: u64,
    /// Breakers that opened.
    pub trips: u64,
    /// Endpoints that were ejected.
    pub ejections: u64,
}

/// What became of the requests of some clients.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientsReport {
    /// The group's name; `all` for all of them.
    pub name: String,
    /// What they wanted, each once whatever the tries.
    pub requests: u64,
    /// Tries, those after failures among them.
    pub tries: u64,
    /// What they got, a second.
    #[serde(serialize_with = "rounded")]
    pub goodput: f64,
    /// The share of what ended that did not end well.
    #[serde(serialize_with = "rounded")]
    pub error_ratio: f64,
    /// How it ended, where that happened at all.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// From the first try to the good answer; none where there was no good answer.
    pub latency: Option<LatencyReport>,
}

/// Latencies in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LatencyReport {
    /// The mean, exactly.
    #[serde(serialize_with = "rounded")]
    pub mean: f64,
    /// Half are below this (within 0.8 %, as all percentiles).
    #[serde(serialize_with = "rounded")]
    pub p50: f64,
    /// 90 % are below this.
    #[serde(serialize_with = "rounded")]
    pub p90: f64,
    /// 99 % are below this.
    #[serde(serialize_with = "rounded")]
    pub p99: f64,
    /// 99.9 % are below this.
    #[serde(serialize_with = "rounded")]
    pub p999: f64,
    /// The longest.
    #[serde(serialize_with = "rounded")]
    pub max: f64,
}

/// What a service's servers did.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceReport {
    /// Its name.
    pub name: String,
    /// Its groups of servers.
    pub groups: Vec<ServersReport>,
}

/// What a group of servers did, over the whole run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServersReport {
    /// Its name.
    pub name: String,
    /// How many servers, those added later among them.
    pub servers: usize,
    /// Requests that reached them.
    pub reached: u64,
    /// Requests that were worked on to the end.
    pub completed: u64,
    /// Requests that were turned away: a full queue, a limit.
    pub refused: u64,
    /// Requests that were thrown away because nobody waited for them any more.
    pub expired: u64,
    /// The share of their cores' time that was work.
    #[serde(serialize_with = "rounded")]
    pub utilisation: f64,
    /// The most and the least requests that one of them completed, and the mean.
    pub completed_max: u64,
    /// See `completed_max`.
    pub completed_min: u64,
    /// See `completed_max`.
    #[serde(serialize_with = "rounded")]
    pub completed_mean: f64,
    /// The longest line at one of them.
    pub waiting_max: u32,
    /// Requests completed by each, of the first ones.
    pub completed_by_server: Vec<u64>,
}

/// How a policy stands at the end.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyReport {
    /// The clients whose proxy it is, or the group of servers.
    pub of: String,
    /// Which of their proxies.
    pub proxy: u32,
    /// The service that is called.
    pub service: String,
    /// Which policy.
    pub policy: String,
    /// How it stands.
    pub state: String,
}

/// Something that a policy did.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogLine {
    /// When, in seconds.
    #[serde(serialize_with = "rounded")]
    pub at: f64,
    /// The clients whose proxy it was, or the server.
    pub of: String,
    /// What it did, with the numbers that caused it.
    pub what: String,
}

/// A point in time; rates are a second, over the time since the last point.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// When, in seconds.
    #[serde(serialize_with = "rounded")]
    pub at: f64,
    /// What clients wanted.
    #[serde(serialize_with = "rounded")]
    pub offered: f64,
    /// What they sent, their own retries among it.
    #[serde(serialize_with = "rounded")]
    pub tries: f64,
    /// What they got.
    #[serde(serialize_with = "rounded")]
    pub goodput: f64,
    /// What was refused by limits and breakers.
    #[serde(serialize_with = "rounded")]
    pub refused: f64,
    /// What failed otherwise.
    #[serde(serialize_with = "rounded")]
    pub failed: f64,
    /// Retries of proxies.
    #[serde(serialize_with = "rounded")]
    pub retries: f64,
    /// What proxies sent to servers.
    #[serde(serialize_with = "rounded")]
    pub attempts: f64,
    /// Latency of what clients got, in milliseconds; none where they got nothing.
    #[serde(serialize_with = "rounded_if_any")]
    pub p50: Option<f64>,
    /// See `p50`.
    #[serde(serialize_with = "rounded_if_any")]
    pub p99: Option<f64>,
    /// Requests that somebody waits for.
    pub in_flight: u64,
    /// Requests in the servers' lines.
    pub waiting: u64,
    /// The mean of the concurrency limits in force, where there are any.
    #[serde(serialize_with = "rounded_if_any")]
    pub limit: Option<f64>,
    /// Endpoints that are ejected, over all proxies.
    pub ejected: u64,
    /// Breakers that are open, over all proxies.
    pub open: u64,
}

/// Six digits after the point: more mean nothing here.
pub(crate) fn round(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn rounded<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(round(*value))
}

#[allow(clippy::ref_option, reason = "serde calls it with a reference")]
fn rounded_if_any<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    value.map(round).serialize(serializer)
}

impl Report {
    /// The report as JSON, on several lines, with a line break at its end.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

impl ClientsReport {
    pub(crate) fn of(name: &str, cell: &Cell, seconds: f64) -> Self {
        let ended: u64 = cell.ended.iter().sum();
        let good = cell.ended[0] + cell.ended[1];
        let outcomes = OUTCOME_NAMES.iter().zip(cell.ended).filter(|(_, count)| *count > 0);
        let millis = |nanos: u64| nanos as f64 / 1e6;
        let percentile = |share| millis(cell.latency.percentile(share));
        Self {
            name: name.to_owned(),
            requests: cell.begun,
            tries: cell.tries,
            goodput: if seconds > 0.0 { good as f64 / seconds } else { 0.0 },
            error_ratio: if ended > 0 { (ended - good) as f64 / ended as f64 } else { 0.0 },
            outcomes: outcomes.map(|(name, count)| (*name, count)).collect(),
            latency: (good > 0).then(|| LatencyReport {
                mean: cell.latency.mean() / 1e6,
                p50: percentile(0.5),
                p90: percentile(0.9),
                p99: percentile(0.99),
                p999: percentile(0.999),
                max: millis(cell.latency.max()),
            }),
        }
    }
}

impl PhaseReport {
    pub(crate) fn of(name: &str, (from, to): (u64, u64), names: &[&str], cells: &[Cell], work: Work) -> Self {
        let seconds = to.saturating_sub(from) as f64 / 1e9;
        let mut all = Cell::default();
        for cell in cells {
            all.merge(cell);
        }
        let groups = names.iter().zip(cells).map(|(name, cell)| ClientsReport::of(name, cell, seconds));
        Self {
            name: name.to_owned(),
            from: from as f64 / 1e9,
            to: to as f64 / 1e9,
            all: ClientsReport::of("all", &all, seconds),
            clients: if cells.len() > 1 { groups.collect() } else { vec![] },
            attempts: work.attempts,
            retries: work.retries,
            hedges: work.hedges,
            trips: work.trips,
            ejections: work.ejections,
        }
    }
}
