//! `/v1/agent/metrics`: this server in figures, under the names that dashboards for Consul ask for, as JSON or as
//! Prometheus's text. More is at `/metrics`, under Weir's own names.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::SystemTime;

use http::StatusCode;
use http::header::HeaderValue;
use serde_json::{Value, json};

use super::answer::{Answer, json as answer_json};
use super::operator::{is_healthy, registered};
use super::refusal::Refusal;
use super::{CONSUL_VERSION, ConsulApi, time};
use crate::http::{Request, Response, ServerStats};

/// The content type of Prometheus's text format.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
/// The classes of statuses that answers are counted by.
const CLASSES: [(u16, &str); 4] = [(2, "2xx"), (3, "3xx"), (4, "4xx"), (5, "5xx")];

/// What can go up and down.
struct Gauge {
    name: &'static str,
    help: &'static str,
    value: u64,
}

/// `agent/metrics`, with `format=prometheus`.
pub(super) async fn metrics(api: Arc<ConsulApi>, request: Request) -> Answer {
    let healthy = is_healthy(&api).await;
    let gauges = gauges(&api, &request.server, healthy);
    match request.query.get_filled("format") {
        Some("prometheus") => {
            let text = prometheus(&gauges, &request.server, api.here().datacenter);
            Ok(Response::bytes(StatusCode::OK, TEXT, text.into_bytes()))
        }
        Some(other) => {
            Err(Refusal::bad(format!("Invalid value for ?format: {other:?}, expected prometheus")))
        }
        None => {
            let labels = json!({"datacenter": api.here().datacenter});
            let shown = gauges
                .iter()
                .map(|gauge| json!({"Name": gauge.name, "Value": gauge.value, "Labels": labels}));
            let version =
                json!({"Name": "consul.version", "Value": 1, "Labels": {"version": CONSUL_VERSION}});
            let gauges: Vec<Value> = shown.chain([version]).collect();
            let answer = json!({
                "Timestamp": time::as_go(SystemTime::now()),
                "Gauges": gauges, "Points": [], "Counters": [], "Samples": [],
            });
            answer_json(request.query.has("pretty"), &answer)
        }
    }
}

fn gauges(api: &ConsulApi, server: &ServerStats, healthy: bool) -> Vec<Gauge> {
    let catalog = api.catalog();
    let (services, instances) = registered(api);
    let servers = api.control.replicas().len().max(1) as u64;
    let revision = catalog.position().revision;
    let gauge = |name, help, value| Gauge { name, help, value };
    vec![
        gauge("consul.autopilot.failure_tolerance", "Servers that may be lost.", servers - 1),
        gauge("consul.autopilot.healthy", "1 if the store answers.", healthy.into()),
        gauge("consul.members.servers", "Servers that share the store.", servers),
        gauge("consul.raft.applied_index", "The revision that the catalog shows.", revision),
        gauge("consul.rpc.queries_blocking", "Blocking queries that wait.", catalog.waiters() as u64),
        gauge("consul.server.isLeader", "1: every server answers for itself.", 1),
        gauge("consul.state.nodes", "Registered nodes.", catalog.nodes_view().entries.len() as u64),
        gauge("consul.state.services", "Registered services.", services as u64),
        gauge("consul.state.service_instances", "Registered instances.", instances as u64),
        gauge("consul.state.sessions", "Sessions.", catalog.session_count() as u64),
        gauge("consul.http.connections", "Connections that are open.", server.connections()),
    ]
}

fn prometheus(gauges: &[Gauge], server: &ServerStats, datacenter: &str) -> String {
    let mut text = String::with_capacity(4096);
    let datacenter = datacenter.replace(['"', '\\', '\n'], "_");
    for Gauge { name, help, value } in gauges {
        let name = name.replace('.', "_");
        let _ = writeln!(
            text,
            "# HELP {name} {help}\n# TYPE {name} gauge\n{name}{{datacenter=\"{datacenter}\"}} {value}"
        );
    }
    let name = "consul_api_http_requests_total";
    let _ = writeln!(
        text,
        "# HELP {name} Requests answered, by part of the API and status.\n# TYPE {name} counter"
    );
    for (class, status) in CLASSES {
        for (part, count) in server.parts(class) {
            let _ = writeln!(text, "{name}{{api=\"{part}\",status=\"{status}\"}} {count}");
        }
    }
    let name = "consul_version";
    let _ = writeln!(
        text,
        "# HELP {name} 1, with the version of the API.\n# TYPE {name} gauge\n{name}{{version=\"{CONSUL_VERSION}\"}} 1"
    );
    text
}
