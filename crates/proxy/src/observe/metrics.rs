//! All workers' counters together, and how they are shown.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use weir_api::report::Samples;

use super::breakers;
use super::checks;
use super::counters::{CLASSES, Counter, ServiceCounters, WorkerCounters};
use super::ejections;
use super::exposition::{Exposition, Kind, MetricsFormat};
use super::grpc;
use super::histogram::Sum;
use super::limits;
use super::process;
use super::rows::{ListenerKey, NONE, OUTSIDE};
use crate::respond::Reason;
use crate::route::Rule;
use crate::snapshot::{Snapshot, Upstream};
use crate::source::Shared;

/// Words of status classes, by their index.
const CLASS_WORDS: [&str; CLASSES] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// All workers' counters.
#[derive(Debug)]
pub struct Metrics {
    pub(super) workers: Vec<Arc<WorkerCounters>>,
    /// Certificates in use: a name, and the end of their validity in Unix time.
    certificates: Mutex<Vec<(String, i64)>>,
    /// Lines of the access log that could not be written.
    pub(crate) log_lost: AtomicU64,
    /// The application behind a sidecar, whose service no snapshot needs to name.
    pub(crate) app: OnceLock<Arc<Upstream>>,
    /// What was reported of late, to compare with.
    pub(super) samples: Mutex<Samples>,
}

impl Metrics {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers).map(|_| Arc::default()).collect(),
            certificates: Mutex::default(),
            log_lost: AtomicU64::new(0),
            app: OnceLock::new(),
            samples: Mutex::default(),
        }
    }

    pub(crate) fn worker(&self, index: usize) -> Arc<WorkerCounters> {
        self.workers[index].clone()
    }

    /// Requests whose head was read completely, over all workers.
    pub fn requests(&self) -> u64 {
        self.sum(|w| &w.requests)
    }

    /// What is served: client connections, where a stream of an HTTP/2 connection counts as one.
    pub fn active_connections(&self) -> u64 {
        self.sum(|w| &w.active)
    }

    /// Idle upstream connections in pools.
    pub fn pooled_connections(&self) -> u64 {
        self.sum(|w| &w.pool_idle)
    }

    /// Answers that the proxy made itself, for one reason.
    pub fn refusals(&self, reason: Reason) -> u64 {
        self.workers.iter().map(|worker| worker.refusals(reason)).fold(0, u64::wrapping_add)
    }

    /// Requests that were tried again.
    pub fn retries(&self) -> u64 {
        self.services().values().map(|row| row.retries).sum()
    }

    /// Workers whose threads run and do not hang.
    pub fn workers_alive(&self, now_s: u32) -> usize {
        self.workers.iter().filter(|worker| worker.is_alive(now_s)).count()
    }

    /// How many workers there are.
    pub(crate) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Open client connections by listener, what that is for, and protocol.
    pub(crate) fn connections(&self) -> Vec<(SocketAddr, &'static str, &'static str, u64)> {
        let mut rows = BTreeMap::new();
        for worker in &self.workers {
            worker.listeners.each(|key, counters| {
                if let ListenerKey::At(addr, role) = *key {
                    // Also one that nobody has come to.
                    rows.entry((addr, role, "unknown")).or_insert(0);
                    for (protocol, _, active) in counters.each() {
                        *rows.entry((addr, role, protocol)).or_insert(0) += active;
                    }
                }
            });
        }
        rows.into_iter().map(|((addr, role, protocol), active)| (addr, role, protocol, active)).collect()
    }

    /// Whether all workers are alive.
    pub fn is_whole(&self, now_s: u32) -> bool {
        self.workers_alive(now_s) == self.workers.len()
    }

    /// Says which certificates are in use: a name, and the end of the validity in seconds of Unix time.
    pub fn set_certificates(&self, certificates: Vec<(String, i64)>) {
        *self.certificates.lock().unwrap_or_else(PoisonError::into_inner) = certificates;
    }

    /// Gives back the rows of services, rules and listeners that are gone from the snapshot for a while. To be called
    /// now and then.
    pub(crate) fn give_back(&self, snapshot: &Snapshot, now_s: u32) {
        let services: BTreeSet<&str> = snapshot.upstreams().iter().map(|upstream| &*upstream.label).collect();
        let own = self.app.get().map_or(NONE, |app| &*app.label);
        let is_service = |label: &str| [NONE, OUTSIDE, own].contains(&label) || services.contains(label);
        let routes: BTreeSet<&str> = snapshot.rules().map(|rule: &Rule| &*rule.label).collect();
        let is_route = |label: &str| label == NONE || routes.contains(label);
        for worker in &self.workers {
            worker.services.give_back(now_s, |label| is_service(label));
            worker.routes.give_back(now_s, |key| is_service(&key.service) && is_route(&key.route));
            worker.listeners.give_back(now_s, |_| false);
        }
    }

    fn sum(&self, what: impl Fn(&WorkerCounters) -> &Counter) -> u64 {
        self.workers.iter().map(|worker| what(worker).get()).fold(0, u64::wrapping_add)
    }

    /// What the workers have counted, by service.
    pub(super) fn services(&self) -> BTreeMap<Arc<str>, ServiceRow> {
        let mut rows: BTreeMap<Arc<str>, ServiceRow> = BTreeMap::new();
        for worker in &self.workers {
            worker.services.each(|label, counters| rows.entry(label.clone()).or_default().add(counters));
        }
        rows
    }

    /// Everything, with what is known of the proxy beside the counters.
    pub fn render(&self, shared: &Shared, format: MetricsFormat) -> String {
        let mut out = Exposition::new(format);
        self.render_state(&mut out, shared);
        self.render_connections(&mut out);
        self.render_requests(&mut out);
        render_services(&mut out, &self.services());
        let snapshot = shared.snapshot.load();
        render_endpoints(&mut out, snapshot.upstreams());
        breakers::render(&mut out, &snapshot.breakers);
        ejections::render(&mut out, snapshot.upstreams());
        checks::render(&mut out, &shared.checks, snapshot.upstreams());
        limits::render(&mut out, &snapshot.limits);
        self.render_tls(&mut out);
        self.render_http2(&mut out);
        process::render(&mut out);
        out.finish()
    }

    fn render_state(&self, out: &mut Exposition, shared: &Shared) {
        let position = shared.snapshot.load().position;
        let status = shared.status();
        let now_s = shared.now_s();
        out.family("weir_proxy_info", Kind::Gauge, "The version, as a label.")
            .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        let mut gauge = |name, help, value: u64| {
            out.family(name, Kind::Gauge, help).value(value);
        };
        gauge("weir_proxy_epoch", "Epoch of the snapshot in force.", position.epoch);
        gauge("weir_proxy_revision", "Revision of the snapshot in force.", position.revision);
        let is_ready = shared.is_ready() && self.is_whole(now_s);
        gauge("weir_proxy_ready", "1 if /readyz says yes.", is_ready.into());
        gauge("weir_proxy_draining", "1 once draining has begun.", shared.is_draining().into());
        gauge("weir_proxy_workers", "Worker threads.", self.workers.len() as u64);
        gauge("weir_proxy_workers_alive", "Worker threads that run.", self.workers_alive(now_s) as u64);
        let failing = status.error.is_some() || !status.rejections.is_empty();
        gauge(
            "weir_proxy_source_failing",
            "1 while what was last asked for is not in force.",
            failing.into(),
        );
        let connected = status.connected_to.is_some();
        let help = "1 while connected to a control plane; nothing for a proxy that works from files.";
        let control = out.family("weir_proxy_control_connected", Kind::Gauge, help);
        if status.kind != "file" {
            control.value(u8::from(connected));
        }
        let mut gauge = |name, help, value: u64| {
            out.family(name, Kind::Gauge, help).value(value);
        };
        gauge(
            "weir_proxy_rejected_resources",
            "Documents that are refused at the position in force.",
            (status.rejections.len() + status.refused_documents) as u64,
        );
        let mut counter = |name, help, value: u64| {
            out.family(name, Kind::Counter, help).value(value);
        };
        counter("weir_proxy_snapshots_total", "Snapshots put in force.", shared.installed());
        let help = "Changes refused in whole or in part.";
        counter("weir_proxy_snapshots_refused_total", help, shared.refused());
        out.family("weir_proxy_access_log_dropped_total", Kind::Counter, "Access log lines dropped.")
            .sample(&[("reason", "queue_full")], self.sum(|w| &w.log_dropped))
            .sample(&[("reason", "write_failed")], self.log_lost.load(Ordering::Relaxed));
    }

    fn render_connections(&self, out: &mut Exposition) {
        let mut rows: BTreeMap<(ListenerKey, &str), (u64, u64)> = BTreeMap::new();
        for worker in &self.workers {
            worker.listeners.each(|key, counters| {
                for (protocol, opened, active) in counters.each() {
                    let row = rows.entry((key.clone(), protocol)).or_default();
                    *row = (row.0.wrapping_add(opened), row.1.wrapping_add(active));
                }
            });
        }
        let mut family = |name, kind, help, value: fn(&(u64, u64)) -> u64| {
            out.family(name, kind, help);
            for ((key, protocol), row) in &rows {
                let (listener, role) = (key.to_string(), key.role());
                let labels = [("listener", &*listener), ("role", role), ("protocol", protocol)];
                out.sample(&labels, value(row));
            }
        };
        family("weir_proxy_connections_total", Kind::Counter, "Client connections served.", |row| row.0);
        family("weir_proxy_connections_active", Kind::Gauge, "Client connections open.", |row| row.1);
        let mut counter = |name, help, value: u64| {
            out.family(name, Kind::Counter, help).value(value);
        };
        counter("weir_proxy_accepted_total", "Client connections accepted.", self.sum(|w| &w.accepted));
        counter("weir_proxy_received_bytes_total", "Bytes read from clients.", self.sum(|w| &w.bytes_in));
        counter("weir_proxy_sent_bytes_total", "Bytes written to clients.", self.sum(|w| &w.bytes_out));
        counter("weir_proxy_tunnels_total", "Tunnels opened.", self.sum(|w| &w.tunnels_total));
        counter(
            "weir_proxy_pool_hits_total",
            "Requests sent on a pooled connection.",
            self.sum(|w| &w.pool_hits),
        );
        counter(
            "weir_proxy_pool_stale_total",
            "Pooled connections found closed.",
            self.sum(|w| &w.pool_stale),
        );
        counter(
            "weir_proxy_pool_evicted_total",
            "Idle upstream connections closed because a pool was full.",
            self.sum(|w| &w.pool_evicted),
        );
        counter(
            "weir_proxy_pool_retired_total",
            "Idle upstream connections closed before the endpoint would have.",
            self.sum(|w| &w.pool_retired),
        );
        let mut gauge = |name, help, value: u64| {
            out.family(name, Kind::Gauge, help).value(value);
        };
        gauge("weir_proxy_pool_idle", "Idle upstream connections.", self.pooled_connections());
        gauge("weir_proxy_tunnels_active", "Tunnels open.", self.sum(|w| &w.tunnels));
    }

    fn render_requests(&self, out: &mut Exposition) {
        let mut rows: BTreeMap<_, [u64; CLASSES]> = BTreeMap::new();
        for worker in &self.workers {
            worker.routes.each(|key, counters| {
                counters.each(|decision, class, count| {
                    let row = rows.entry((key.clone(), decision)).or_default();
                    row[class] = row[class].wrapping_add(count);
                });
            });
        }
        let help = "Requests that are over, by what became of them.";
        out.family("weir_proxy_requests_total", Kind::Counter, help);
        for ((key, decision), classes) in &rows {
            for (class, &count) in CLASS_WORDS.iter().zip(classes).filter(|(_, count)| **count > 0) {
                let (service, route) = (&*key.service, &*key.route);
                let labels =
                    [("service", service), ("route", route), ("class", class), ("decision", decision)];
                out.sample(&labels, count);
            }
        }
        let ended = self.sum(|w| &w.requests_ended);
        out.family("weir_proxy_requests_active", Kind::Gauge, "Requests under way.")
            .value(self.requests().saturating_sub(ended));
        out.family("weir_proxy_refusals_total", Kind::Counter, "Answers made by the proxy itself.");
        for reason in Reason::ALL {
            out.sample(&[("reason", reason.as_str())], self.refusals(reason));
        }
        let mut counter = |name, help, value: u64| {
            out.family(name, Kind::Counter, help).value(value);
        };
        counter(
            "weir_proxy_client_gone_total",
            "Requests given up because the client was gone.",
            self.sum(|w| &w.client_gone),
        );
        counter(
            "weir_proxy_truncated_total",
            "Responses cut off after they had begun.",
            self.sum(|w| &w.truncated),
        );
        counter(
            "weir_proxy_faults_delayed_total",
            "Requests that a filter made wait.",
            self.sum(|w| &w.filters.delayed),
        );
        counter("weir_proxy_mirrored_total", "Copies of requests sent.", self.sum(|w| &w.filters.mirrored));
        let skipped = [
            ("too_large", self.sum(|w| &w.filters.mirrors_too_large)),
            ("overloaded", self.sum(|w| &w.filters.mirrors_overloaded)),
            ("failed", self.sum(|w| &w.filters.mirrors_failed)),
        ];
        let family = out.family(
            "weir_proxy_mirrors_lost_total",
            Kind::Counter,
            "Copies of requests that were not made, or did not arrive.",
        );
        for (reason, count) in skipped {
            family.sample(&[("reason", reason)], count);
        }
    }

    fn render_tls(&self, out: &mut Exposition) {
        let mut handshakes: BTreeMap<_, u64> = BTreeMap::new();
        let mut failures: BTreeMap<_, u64> = BTreeMap::new();
        for worker in &self.workers {
            worker.tls.handshakes().for_each(|(of, n)| *handshakes.entry(of).or_default() += n);
            worker.tls.failures().for_each(|(of, n)| *failures.entry(of).or_default() += n);
        }
        out.family("weir_proxy_tls_handshakes_total", Kind::Counter, "TLS handshakes that succeeded.");
        for ([side, version, resumed], count) in handshakes {
            out.sample(&[("side", side), ("version", version), ("resumed", resumed)], count);
        }
        let help = "TLS handshakes that failed.";
        out.family("weir_proxy_tls_handshake_failures_total", Kind::Counter, help);
        for ([side, reason], count) in failures {
            out.sample(&[("side", side), ("reason", reason)], count);
        }
        let help = "When a certificate ends to be valid, in Unix time.";
        out.family("weir_proxy_certificate_expiry_seconds", Kind::Gauge, help);
        for (name, expiry) in self.certificates.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            out.sample(&[("certificate", name)], expiry);
        }
    }

    fn render_http2(&self, out: &mut Exposition) {
        let streams = self.sum(|w| &w.http2.streams_total);
        out.family("weir_proxy_http2_streams_total", Kind::Counter, "Clients' HTTP/2 streams opened.")
            .value(streams);
        out.family("weir_proxy_http2_streams_active", Kind::Gauge, "Clients' HTTP/2 streams open.")
            .value(self.sum(|w| &w.http2.streams));
        out.family("weir_proxy_http2_goaways_total", Kind::Counter, "GOAWAY frames sent to clients.")
            .value(self.sum(|w| &w.http2.goaways));
        let help = "Bytes of responses that are kept because clients of HTTP/2 do not take them.";
        out.family("weir_proxy_http2_kept_bytes", Kind::Gauge, help).value(self.sum(|w| &w.http2.kept));
        let mut floods: BTreeMap<_, u64> = BTreeMap::new();
        for worker in &self.workers {
            worker.http2.floods().for_each(|(kind, n)| *floods.entry(kind).or_default() += n);
        }
        let help = "HTTP/2 connections ended because the client did too much of something.";
        out.family("weir_proxy_http2_floods_total", Kind::Counter, help);
        for (kind, count) in floods {
            out.sample(&[("kind", kind)], count);
        }
    }
}

/// What all workers have counted of one service.
#[derive(Default)]
pub(super) struct ServiceRow {
    pub(super) duration: Sum,
    pub(super) upstream: Sum,
    pub(super) grpc: [u64; grpc::NAMES.len()],
    pub(super) streams: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) retries: u64,
    pub(super) retries_denied: u64,
    hedges: u64,
    hedges_won: u64,
    hedges_denied: u64,
    pub(super) connects: u64,
    pub(super) connect_failures: u64,
    pub(super) resets: u64,
}

impl ServiceRow {
    fn add(&mut self, counters: &ServiceCounters) {
        self.duration.add(&counters.duration);
        self.upstream.add(&counters.upstream);
        for (sum, count) in self.grpc.iter_mut().zip(counters.each_grpc()) {
            *sum = sum.wrapping_add(count);
        }
        for (sum, counter) in [
            (&mut self.streams, &counters.streams),
            (&mut self.bytes_in, &counters.bytes_in),
            (&mut self.bytes_out, &counters.bytes_out),
            (&mut self.retries, &counters.retries),
            (&mut self.retries_denied, &counters.retries_denied),
            (&mut self.hedges, &counters.hedges),
            (&mut self.hedges_won, &counters.hedges_won),
            (&mut self.hedges_denied, &counters.hedges_denied),
            (&mut self.connects, &counters.connects),
            (&mut self.connect_failures, &counters.connect_failures),
            (&mut self.resets, &counters.resets),
        ] {
            *sum = sum.wrapping_add(counter.get());
        }
    }
}

fn render_services(out: &mut Exposition, rows: &BTreeMap<Arc<str>, ServiceRow>) {
    let mut histogram = |name, help, sum: fn(&ServiceRow) -> &Sum| {
        out.family(name, Kind::Histogram, help);
        for (label, row) in rows.iter().filter(|(_, row)| !sum(row).is_empty()) {
            out.histogram(&[("service", label)], sum(row));
        }
    };
    let help = "From a request's head to the end of its response.";
    histogram("weir_proxy_request_duration_seconds", help, |row| &row.duration);
    let help = "From the beginning of the last attempt to the response's head.";
    histogram("weir_proxy_upstream_duration_seconds", help, |row| &row.upstream);
    let help = "Endpoints' responses to gRPC calls, by status.";
    out.family("weir_proxy_grpc_responses_total", Kind::Counter, help);
    for (label, row) in rows {
        for (code, count) in grpc::NAMES.iter().zip(row.grpc).filter(|(_, count)| *count > 0) {
            out.sample(&[("service", label), ("code", code)], count);
        }
    }
    let mut counter = |name, help, value: fn(&ServiceRow) -> u64| {
        out.family(name, Kind::Counter, help);
        for (label, row) in rows {
            out.sample(&[("service", label)], value(row));
        }
    };
    let help = "Connections given to the service as bytes: TCP, or TLS passed through.";
    counter("weir_proxy_streams_total", help, |row| row.streams);
    let help = "Bytes sent to endpoints in requests.";
    counter("weir_proxy_upstream_sent_bytes_total", help, |row| row.bytes_in);
    let help = "Bytes of endpoints' responses sent to clients.";
    counter("weir_proxy_upstream_received_bytes_total", help, |row| row.bytes_out);
    counter("weir_proxy_retries_total", "Requests tried again.", |row| row.retries);
    let help = "Retries that the budget forbade.";
    counter("weir_proxy_retries_denied_total", help, |row| row.retries_denied);
    counter("weir_proxy_hedges_total", "Second copies of requests that took long.", |row| row.hedges);
    let help = "Second copies whose answer was used.";
    counter("weir_proxy_hedges_won_total", help, |row| row.hedges_won);
    let help = "Second copies that the budget forbade.";
    counter("weir_proxy_hedges_denied_total", help, |row| row.hedges_denied);
    counter("weir_proxy_upstream_connects_total", "Connections opened to endpoints.", |row| row.connects);
    let help = "Connections to endpoints that could not be opened.";
    counter("weir_proxy_upstream_connect_failures_total", help, |row| row.connect_failures);
    let help = "Exchanges that an endpoint broke off.";
    counter("weir_proxy_upstream_resets_total", help, |row| row.resets);
}

/// Upstreams whose endpoints are shown. Only the first so many, by the order in which they became known.
const UPSTREAMS_SHOWN_MAX: usize = 2048;

fn render_endpoints(out: &mut Exposition, upstreams: &[Arc<Upstream>]) {
    out.family("weir_proxy_endpoints", Kind::Gauge, "Endpoints, by whether they get requests.");
    for upstream in upstreams.iter().take(UPSTREAMS_SHOWN_MAX) {
        let mut counts = [0u32; 5];
        for endpoint in &upstream.endpoints {
            let state = if endpoint.draining {
                3
            } else if !endpoint.is_wanted() {
                2
            } else if endpoint.state.tally().is_ejected() {
                4
            } else {
                usize::from(endpoint.state.is_avoided())
            };
            counts[state] += 1;
        }
        for (state, count) in ["available", "avoided", "unhealthy", "draining", "ejected"].iter().zip(counts)
        {
            out.sample(&[("service", &upstream.label), ("state", state)], count);
        }
    }
    out.family("weir_proxy_upstream_requests_active", Kind::Gauge, "Requests in flight at endpoints.");
    for upstream in upstreams.iter().take(UPSTREAMS_SHOWN_MAX) {
        let in_flight: u32 = upstream.endpoints.iter().map(|endpoint| endpoint.state.in_flight()).sum();
        out.sample(&[("service", &upstream.label)], in_flight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::tests::{endpoint, gateway, inputs, route, with_registered};
    use crate::snapshot::{Compiler, Role};

    #[test]
    fn workers_are_added_up() {
        let metrics = Metrics::new(2);
        for index in 0..2 {
            let worker = metrics.worker(index);
            worker.requests.add(3);
            worker.refusal(Reason::NoRoute);
            let row = worker.route(&"cart".into(), &"HTTPRoute/shop#0".into());
            row.forwarded(200);
            row.forwarded(503);
            row.own(Reason::Timeout, 504);
            let service = worker.service(&"cart".into());
            service.retries.add(1);
            service.duration.observe(1_500_000);
        }
        assert_eq!(metrics.requests(), 6);
        assert_eq!(metrics.retries(), 2);
        let text = metrics.render(&Shared::new(), MetricsFormat::Text);
        let of = "service=\"cart\",route=\"HTTPRoute/shop#0\"";
        for line in [
            "weir_proxy_requests_active 6",
            "weir_proxy_refusals_total{reason=\"no_route\"} 2",
            &format!("weir_proxy_requests_total{{{of},class=\"2xx\",decision=\"forwarded\"}} 2"),
            &format!("weir_proxy_requests_total{{{of},class=\"5xx\",decision=\"forwarded\"}} 2"),
            &format!("weir_proxy_requests_total{{{of},class=\"5xx\",decision=\"timeout\"}} 2"),
            "weir_proxy_retries_total{service=\"cart\"} 2",
            "weir_proxy_request_duration_seconds_bucket{service=\"cart\",le=\"0.001\"} 0",
            "weir_proxy_request_duration_seconds_bucket{service=\"cart\",le=\"0.002\"} 2",
            "weir_proxy_request_duration_seconds_count{service=\"cart\"} 2",
            "weir_proxy_workers_alive 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn rows_follow_the_snapshot() {
        let compiler = Compiler::new(Role::Gateway { gateways: vec![] });
        let inputs = inputs([gateway("edge"), route("r", serde_json::json!([{"name": "edge"}]), "cart")]);
        let inputs = with_registered(inputs, "cart", true, &[endpoint("a/1", 9001)]);
        let snapshot = compiler.compile(&inputs, None).unwrap();
        let metrics = Metrics::new(1);
        let worker = metrics.worker(0);
        for (service, route) in
            [("cart", "HTTPRoute/r#0"), ("cart", "HTTPRoute/old#0"), ("gone", "HTTPRoute/r#0"), (NONE, NONE)]
        {
            worker.route(&service.into(), &route.into()).forwarded(200);
            worker.service(&service.into()).retries.add(1);
        }
        metrics.give_back(&snapshot, 1);
        metrics.give_back(&snapshot, 100_000);
        let mut seen = Vec::new();
        worker.routes.each(|key, _| seen.push(format!("{} {}", key.service, key.route)));
        worker.services.each(|key, _| seen.push(key.to_string()));
        assert_eq!(seen, ["_none _none", "cart HTTPRoute/r#0", "_none", "cart"]);
    }
}
