//! What operators' tools ask a server: is it there, does it serve, and in figures how it is.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;
use http::header::HeaderValue;

use weir_control::health::Preservation;

use super::{Class, NativeApi};
use crate::http::{Request, Response, ServerStats};

/// The paths with their answers.
pub(super) const PATHS: [(&str, Answer); 3] =
    [("/metrics", metrics), ("/healthz", healthz), ("/readyz", readyz)];

type Answer = fn(&NativeApi, &Request) -> Response;

/// The content type of Prometheus's text format.
const METRICS_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The names of the classes, in the order of the counters.
const CLASSES: [&str; 3] = ["read", "write", "operate"];
/// The classes of statuses that are counted apart.
const STATUSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// How many requests were answered, and how.
#[derive(Debug, Default)]
pub(super) struct Counters {
    requests: [[AtomicU64; STATUSES.len()]; CLASSES.len()],
}

impl Counters {
    pub(super) fn count(&self, class: Class, status: StatusCode) {
        let column = usize::from(status.as_u16() / 100).saturating_sub(2).min(STATUSES.len() - 1);
        self.requests[class as usize][column].fetch_add(1, Ordering::Relaxed);
    }
}

/// The process answers.
fn healthz(_: &NativeApi, _: &Request) -> Response {
    Response::text(StatusCode::OK, "ok\n")
}

/// The catalog is loaded and requests are served. A server starts to listen only then, so whoever gets an answer
/// may use it.
fn readyz(api: &NativeApi, _: &Request) -> Response {
    let mut text = format!("ready at {}\n", api.control.position());
    if let Some((preservation, lasts)) = api.control.preservation() {
        let (Preservation { doubted, nodes, .. }, lasts_s) = (preservation, lasts.as_secs());
        let _ = writeln!(
            text,
            "SELF-PRESERVATION for {lasts_s} s: the heartbeats of {doubted} of {nodes} nodes have stopped at once, and none of \
             them is taken to be gone"
        );
    }
    if let Some(age) = api.control.stale_for() {
        let _ = writeln!(
            text,
            "STALE: the store was last reached {} s ago; reads are as old, and writes are refused",
            age.as_secs()
        );
    }
    Response::text(StatusCode::OK, text)
}

fn metrics(api: &NativeApi, request: &Request) -> Response {
    Response::bytes(StatusCode::OK, METRICS_TYPE, render(api, &request.server).into_bytes())
}

fn render(api: &NativeApi, server: &ServerStats) -> String {
    let mut text = String::with_capacity(4096);
    let catalog = api.control.catalog();
    let position = catalog.position();
    let mut gauge = |name: &str, help: &str, value: u64| {
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n");
    };
    gauge("weir_store_epoch", "The epoch of the store's history.", position.epoch);
    gauge("weir_catalog_revision", "The revision that the catalog shows.", position.revision);
    let help = "How old reads may be because the store is lost; 0 while it is not.";
    gauge("weir_stale_seconds", help, api.control.stale_for().map_or(0, |age| age.as_secs()));
    gauge("weir_nodes", "Registered nodes.", catalog.nodes_view().entries.len() as u64);
    let (silent, preservation) = (api.control.silent_nodes(), api.control.preservation());
    gauge("weir_nodes_silent", "Nodes whose heartbeats are all overdue.", silent.len() as u64);
    let doubted = silent.values().filter(|doubted| **doubted).count();
    gauge("weir_nodes_doubted", "Of these, those that are not taken to be gone.", doubted as u64);
    let help = "1 while the silence of most nodes is not believed.";
    gauge("weir_self_preservation", help, preservation.is_some().into());
    let (services, instances) = registered(api);
    gauge("weir_services", "Registered services.", services);
    gauge("weir_instances", "Registered instances.", instances);
    gauge("weir_resources", "Declared resources.", catalog.resources().entries.len() as u64);
    gauge("weir_sessions", "Sessions.", catalog.session_count() as u64);
    let (locks, claims) = catalog.lock_counts();
    gauge("weir_locks", "Locks that somebody holds.", locks as u64);
    gauge("weir_lock_claims", "Claims on locks, those that hold one and those that wait.", claims as u64);
    gauge("weir_blocking_queries", "Blocking queries that wait.", catalog.waiters() as u64);
    let proxies = api.mesh.proxies();
    gauge("weir_proxies_connected", "Proxies that are connected.", proxies.len() as u64);
    let behind = proxies.iter().filter(|status| status.behind).count();
    gauge("weir_proxies_behind", "Proxies with a change that they have not acknowledged.", behind as u64);
    let refusing = proxies.iter().filter(|status| !status.proxy.rejections.is_empty()).count();
    gauge("weir_proxies_refusing", "Proxies that refused something.", refusing as u64);
    let lag = proxies
        .iter()
        .filter(|status| status.behind)
        .map(|status| position.revision.saturating_sub(status.proxy.acknowledged.revision))
        .max();
    gauge(
        "weir_proxy_lag_revisions_max",
        "Revisions that the proxy furthest behind has yet to apply.",
        lag.unwrap_or(0),
    );
    gauge("weir_reports_bytes", "Bytes of proxies' reports that are kept.", api.mesh.reports_bytes() as u64);
    requests(&mut text, &api.counters);
    http(&mut text, server);
    if let Some(dns) = &api.dns {
        dns.stats.render(&mut text);
    }
    text
}

/// What the HTTP server counts that all APIs share.
fn http(text: &mut String, server: &ServerStats) {
    for (name, kind, help, value) in [
        ("weir_http_connections", "gauge", "Connections that are open.", server.connections()),
        (
            "weir_http_connections_refused_total",
            "counter",
            "Connections refused because there were too many.",
            server.refused(),
        ),
        (
            "weir_http_handshakes_failed_total",
            "counter",
            "Connections that did not get past the TLS handshake.",
            server.strangers(),
        ),
        ("weir_http_bodies_bytes", "gauge", "Bytes of request bodies in memory.", server.bodies_bytes()),
        (
            "weir_http_bodies_refused_total",
            "counter",
            "Requests refused because of the memory that the bodies of others took.",
            server.bodies_refused(),
        ),
    ] {
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    }
    counter(text, "weir_http_answers_total", "Requests answered, by status.");
    for (class, status) in (2..).zip(STATUSES) {
        let _ = writeln!(text, "weir_http_answers_total{{status=\"{status}\"}} {}", server.answers(class));
    }
    counter(text, "weir_http_requests_total", "Requests answered, by part of the APIs and status.");
    for (class, status) in (2..).zip(STATUSES) {
        for (part, count) in server.parts(class) {
            let _ = writeln!(text, "weir_http_requests_total{{api=\"{part}\",status=\"{status}\"}} {count}");
        }
    }
}

fn registered(api: &NativeApi) -> (u64, u64) {
    let catalog = api.control.catalog();
    let (mut services, mut instances) = (0, 0);
    for namespace in catalog.namespaces() {
        for service in catalog.services_view(&namespace).entries {
            services += 1;
            instances += service.instances as u64;
        }
    }
    (services, instances)
}

/// The head of a counter with labels.
fn counter(text: &mut String, name: &str, help: &str) {
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} counter\n");
}

fn requests(text: &mut String, counters: &Counters) {
    let name = "weir_native_requests_total";
    counter(text, name, "Requests of the native API, by class and status.");
    for (class, row) in CLASSES.iter().zip(&counters.requests) {
        for (status, count) in STATUSES.iter().zip(row) {
            let count = count.load(Ordering::Relaxed);
            let _ = writeln!(text, "{name}{{class=\"{class}\",status=\"{status}\"}} {count}");
        }
    }
}
