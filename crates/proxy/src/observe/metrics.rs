//! Counters: each worker writes its own, and whoever asks adds them up.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use weir_model::Position;

use crate::respond::Reason;

/// A number with one writer. Others may read it at any time.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds. As there is one writer only, a load and a store do, which cost a tenth of an atomic addition.
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn sub(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(n), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Status classes: index 0 is 1xx (which only a tunnel ends with), 4 is 5xx.
const CLASSES: usize = 5;

/// What one worker counts for one upstream.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct UpstreamCounters {
    responses: [Counter; CLASSES],
    pub(crate) retries: Counter,
    pub(crate) retries_denied: Counter,
    pub(crate) connects: Counter,
    pub(crate) connect_failures: Counter,
    pub(crate) resets: Counter,
}

impl UpstreamCounters {
    /// Counts a response that the client got from this upstream or because of it.
    #[inline]
    pub(crate) fn response(&self, status: u16) {
        let class = usize::from(status / 100).clamp(1, CLASSES) - 1;
        self.responses[class].add(1);
    }
}

/// What one worker counts.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct WorkerCounters {
    pub(crate) accepted: Counter,
    pub(crate) active: Counter,
    pub(crate) requests: Counter,
    pub(crate) pool_idle: Counter,
    pub(crate) pool_hits: Counter,
    pub(crate) pool_stale: Counter,
    pub(crate) pool_evicted: Counter,
    pub(crate) tunnels: Counter,
    pub(crate) client_gone: Counter,
    pub(crate) truncated: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    refusals: [Counter; Reason::COUNT],
    upstreams: Mutex<BTreeMap<Arc<str>, Arc<UpstreamCounters>>>,
}

/// Upstreams that a worker keeps counters for. Beyond, they share one row.
const UPSTREAMS_MAX: usize = 10_000;
/// The name of that row.
const OTHERS: &str = "_others";

impl WorkerCounters {
    /// Counts an answer that the proxy made itself.
    pub(crate) fn refusal(&self, reason: Reason) {
        self.refusals[reason as usize].add(1);
    }

    /// The counters of an upstream. Not for the hot path: keep what it gives.
    pub(crate) fn upstream(&self, label: &Arc<str>) -> Arc<UpstreamCounters> {
        let mut upstreams = self.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = upstreams.get(label) {
            return found.clone();
        }
        let label = if upstreams.len() < UPSTREAMS_MAX { label.clone() } else { OTHERS.into() };
        upstreams.entry(label).or_default().clone()
    }
}

/// All workers' counters.
#[derive(Debug)]
pub struct Metrics {
    workers: Vec<Arc<WorkerCounters>>,
    /// Access log lines that found the queue full; every worker writes it.
    pub(crate) log_dropped: AtomicU64,
}

impl Metrics {
    pub(crate) fn new(workers: usize) -> Self {
        Self { workers: (0..workers).map(|_| Arc::default()).collect(), log_dropped: AtomicU64::new(0) }
    }

    pub(crate) fn worker(&self, index: usize) -> Arc<WorkerCounters> {
        self.workers[index].clone()
    }

    /// Requests whose head was read completely, over all workers.
    pub fn requests(&self) -> u64 {
        self.sum(|w| w.requests.get())
    }

    /// Client connections that are open.
    pub fn active_connections(&self) -> u64 {
        self.sum(|w| w.active.get())
    }

    /// Idle upstream connections in pools.
    pub fn pooled_connections(&self) -> u64 {
        self.sum(|w| w.pool_idle.get())
    }

    /// Answers that the proxy made itself, for one reason.
    pub fn refusals(&self, reason: Reason) -> u64 {
        self.sum(|w| w.refusals[reason as usize].get())
    }

    /// Requests that were tried again.
    pub fn retries(&self) -> u64 {
        self.upstreams().values().map(|row| row.retries).sum()
    }

    fn sum(&self, what: impl Fn(&WorkerCounters) -> u64) -> u64 {
        self.workers.iter().map(|worker| what(worker)).fold(0, u64::wrapping_add)
    }

    fn upstreams(&self) -> BTreeMap<Arc<str>, UpstreamRow> {
        let mut rows: BTreeMap<Arc<str>, UpstreamRow> = BTreeMap::new();
        for worker in &self.workers {
            for (label, counters) in worker.upstreams.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                rows.entry(label.clone()).or_default().add(counters);
            }
        }
        rows
    }

    /// All counters in Prometheus' text format. `position` is the snapshot in force.
    pub fn render(&self, position: Position) -> String {
        let mut out = String::with_capacity(4096);
        let mut one = |name: &str, kind: &str, help: &str, value: u64| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        };
        one("weir_proxy_epoch", "gauge", "Epoch of the snapshot in force.", position.epoch);
        one("weir_proxy_revision", "gauge", "Revision of the snapshot in force.", position.revision);
        one("weir_proxy_workers", "gauge", "Worker threads.", self.workers.len() as u64);
        one(
            "weir_proxy_connections_accepted_total",
            "counter",
            "Client connections accepted.",
            self.sum(|w| w.accepted.get()),
        );
        one("weir_proxy_connections_active", "gauge", "Client connections open.", self.active_connections());
        one("weir_proxy_requests_total", "counter", "Request heads read.", self.requests());
        one("weir_proxy_pool_idle", "gauge", "Idle upstream connections.", self.pooled_connections());
        one(
            "weir_proxy_pool_hits_total",
            "counter",
            "Requests sent on a pooled connection.",
            self.sum(|w| w.pool_hits.get()),
        );
        one(
            "weir_proxy_pool_stale_total",
            "counter",
            "Pooled connections found closed.",
            self.sum(|w| w.pool_stale.get()),
        );
        one(
            "weir_proxy_pool_evicted_total",
            "counter",
            "Idle upstream connections closed because a pool was full.",
            self.sum(|w| w.pool_evicted.get()),
        );
        one("weir_proxy_tunnels_active", "gauge", "Tunnels open.", self.sum(|w| w.tunnels.get()));
        one(
            "weir_proxy_client_gone_total",
            "counter",
            "Exchanges given up because the client was gone.",
            self.sum(|w| w.client_gone.get()),
        );
        one(
            "weir_proxy_truncated_total",
            "counter",
            "Exchanges cut off after the response began.",
            self.sum(|w| w.truncated.get()),
        );
        one(
            "weir_proxy_received_bytes_total",
            "counter",
            "Bytes read from clients.",
            self.sum(|w| w.bytes_in.get()),
        );
        one(
            "weir_proxy_sent_bytes_total",
            "counter",
            "Bytes written to clients.",
            self.sum(|w| w.bytes_out.get()),
        );
        one(
            "weir_proxy_access_log_dropped_total",
            "counter",
            "Access log lines dropped.",
            self.log_dropped.load(Ordering::Relaxed),
        );

        out.push_str("# HELP weir_proxy_refusals_total Answers made by the proxy itself.\n# TYPE weir_proxy_refusals_total counter\n");
        for reason in Reason::ALL {
            let _ = writeln!(
                out,
                "weir_proxy_refusals_total{{reason=\"{}\"}} {}",
                reason.as_str(),
                self.refusals(reason)
            );
        }
        render_upstreams(&mut out, &self.upstreams());
        out
    }
}

#[derive(Default)]
struct UpstreamRow {
    responses: [u64; CLASSES],
    retries: u64,
    retries_denied: u64,
    connects: u64,
    connect_failures: u64,
    resets: u64,
}

impl UpstreamRow {
    fn add(&mut self, counters: &UpstreamCounters) {
        for (sum, counter) in self.responses.iter_mut().zip(&counters.responses) {
            *sum += counter.get();
        }
        self.retries += counters.retries.get();
        self.retries_denied += counters.retries_denied.get();
        self.connects += counters.connects.get();
        self.connect_failures += counters.connect_failures.get();
        self.resets += counters.resets.get();
    }
}

fn render_upstreams(out: &mut String, rows: &BTreeMap<Arc<str>, UpstreamRow>) {
    out.push_str("# HELP weir_proxy_upstream_responses_total Responses by upstream and status class.\n# TYPE weir_proxy_upstream_responses_total counter\n");
    for (label, row) in rows {
        for (class, count) in row.responses.iter().enumerate() {
            let _ = writeln!(
                out,
                "weir_proxy_upstream_responses_total{{upstream={label:?},class=\"{}xx\"}} {count}",
                class + 1
            );
        }
    }
    let mut table = |name: &str, help: &str, value: fn(&UpstreamRow) -> u64| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
        for (label, row) in rows {
            let _ = writeln!(out, "{name}{{upstream={label:?}}} {}", value(row));
        }
    };
    table("weir_proxy_upstream_retries_total", "Requests tried again.", |row| row.retries);
    table("weir_proxy_upstream_retries_denied_total", "Retries that the budget forbade.", |row| {
        row.retries_denied
    });
    table("weir_proxy_upstream_connects_total", "Connections opened.", |row| row.connects);
    table("weir_proxy_upstream_connect_failures_total", "Connections that could not be opened.", |row| {
        row.connect_failures
    });
    table("weir_proxy_upstream_resets_total", "Exchanges that the upstream broke off.", |row| row.resets);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_added_up() {
        let metrics = Metrics::new(2);
        for index in 0..2 {
            let worker = metrics.worker(index);
            worker.requests.add(3);
            worker.refusal(Reason::NoRoute);
            let upstream = worker.upstream(&"cart".into());
            upstream.response(200);
            upstream.response(503);
            upstream.retries.add(1);
        }
        assert_eq!(metrics.requests(), 6);
        assert_eq!(metrics.retries(), 2);
        let text = metrics.render(Position::new(2, 7));
        for line in [
            "weir_proxy_revision 7",
            "weir_proxy_requests_total 6",
            "weir_proxy_refusals_total{reason=\"no_route\"} 2",
            "weir_proxy_upstream_responses_total{upstream=\"cart\",class=\"2xx\"} 2",
            "weir_proxy_upstream_responses_total{upstream=\"cart\",class=\"5xx\"} 2",
            "weir_proxy_upstream_retries_total{upstream=\"cart\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn the_table_of_upstreams_is_bounded() {
        let worker = WorkerCounters::default();
        for i in 0..UPSTREAMS_MAX + 10 {
            worker.upstream(&i.to_string().into()).response(200);
        }
        let rows = worker.upstreams.lock().unwrap();
        assert_eq!(rows.len(), UPSTREAMS_MAX + 1);
        assert_eq!(rows[OTHERS].responses[1].get(), 10);
    }
}
