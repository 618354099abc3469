//! What `/config` shows: what is in force, as it is, not as it was written down. Documents are not repeated: they may hold
//! what nobody should read here, such as a header field with a password; `weir get` shows them to whom may see them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;
use weir_model::Position;

use crate::Metrics;
use crate::filter::Filters;
use crate::listen::Listeners;
use crate::observe::process_now;
use crate::route::{PathPattern, RouteTable};
use crate::snapshot::{ListenerConfig, Snapshot, Upstream};
use crate::source::{Shared, SourceStatus};
use crate::tls::{TlsAction, TlsSection};

/// Routes, upstreams and endpoints that are shown at most; the rest is counted. A filter shows what is left out.
const ROUTES_MAX: usize = 4096;
const UPSTREAMS_MAX: usize = 2048;
const ENDPOINTS_MAX: usize = 4096;

/// What is asked for.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// Only this service, as `name` or `namespace/name`.
    pub(super) service: Option<String>,
    /// Only this listener, by its address.
    pub(super) listener: Option<String>,
}

/// The answer.
#[derive(Serialize)]
pub(super) struct Config {
    position: Position,
    ready: bool,
    draining: bool,
    workers: Workers,
    source: SourceStatus,
    listeners: Vec<Listener>,
    routes: Vec<Route>,
    #[serde(skip_serializing_if = "is_zero")]
    routes_omitted: usize,
    upstreams: Vec<UpstreamView>,
    #[serde(skip_serializing_if = "is_zero")]
    upstreams_omitted: usize,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

#[derive(Serialize)]
struct Workers {
    configured: usize,
    alive: usize,
}

#[derive(Serialize)]
struct Listener {
    /// As the gateway names it.
    address: SocketAddr,
    /// As it is bound, where that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    bound: Option<SocketAddr>,
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<String>,
    /// Its sections, where it is one of TLS.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tls: Vec<TlsView>,
    proxy_protocol: bool,
    /// Open client connections, by what is spoken on them.
    connections: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct TlsView {
    section: String,
    host: String,
    mode: &'static str,
}

#[derive(Serialize)]
struct Route {
    /// `Kind/name#number`.
    rule: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The listener, or for calls inside the mesh the service they are for.
    at: String,
    matches: Vec<Match>,
    /// What its filters do. Of fields, names only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    filters: Vec<String>,
    backends: Vec<Backend>,
}

#[derive(Serialize)]
struct Match {
    host: String,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    /// Names only: values may be secret.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    query: Vec<String>,
}

#[derive(Serialize)]
struct Backend {
    service: String,
    weight: u64,
}

#[derive(Serialize)]
struct UpstreamView {
    service: String,
    known: bool,
    protocol: String,
    protocol_declared: bool,
    balance: String,
    retries: u32,
    connect_timeout_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_timeout_ms: Option<u64>,
    panicking: bool,
    endpoints: Vec<EndpointView>,
    #[serde(skip_serializing_if = "is_zero")]
    endpoints_omitted: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unresolved: Vec<String>,
}

#[derive(Serialize)]
struct EndpointView {
    id: String,
    address: SocketAddr,
    weight: u32,
    health: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    draining: bool,
    /// It failed last time, and gets requests only when nothing else is left.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    avoided: bool,
    /// For how long it gets no requests because it did worse than the others, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    ejected: Option<String>,
    /// Whether the address is a sidecar's.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    sidecar: bool,
    in_flight: u32,
    requests: u64,
    failures: u64,
}

impl Config {
    pub(super) fn of(
        shared: &Shared,
        metrics: &Metrics,
        listeners: Option<&Listeners>,
        filter: &Filter,
    ) -> Self {
        let snapshot = shared.snapshot.load();
        let now_s = shared.now_s();
        let (routes, routes_omitted) = routes(&snapshot, filter);
        let (upstreams, upstreams_omitted) = upstreams(&snapshot, filter);
        Self {
            position: snapshot.position,
            ready: shared.is_ready() && metrics.is_whole(now_s),
            draining: shared.is_draining(),
            workers: Workers { configured: metrics.workers(), alive: metrics.workers_alive(now_s) },
            source: shared.status(),
            listeners: self::listeners(&snapshot, metrics, listeners, filter),
            routes,
            routes_omitted,
            upstreams,
            upstreams_omitted,
        }
    }
}

fn is_wanted(wanted: Option<&String>, found: &str) -> bool {
    wanted.is_none_or(|wanted| wanted == found)
}

fn listeners(
    snapshot: &Snapshot,
    metrics: &Metrics,
    bound: Option<&Listeners>,
    filter: &Filter,
) -> Vec<Listener> {
    let bound: BTreeMap<_, _> =
        bound.map(|listeners| listeners.open()).unwrap_or_default().into_iter().collect();
    let of_gateway = |config: &ListenerConfig| Listener {
        address: config.addr,
        bound: bound.get(&config.addr).copied().filter(|bound| *bound != config.addr),
        role: "gateway",
        gateway: Some(config.gateway.to_string()),
        protocol: Some(word(&config.protocol)),
        tls: config.tls.iter().flat_map(|port| port.sections()).map(tls_view).collect(),
        proxy_protocol: config.proxy_protocol.is_some(),
        connections: BTreeMap::new(),
    };
    let mut all: Vec<Listener> = snapshot.listeners.iter().map(of_gateway).collect();
    for (address, role, protocol, active) in metrics.connections() {
        let place = match all.iter().position(|listener| listener.address == address) {
            Some(place) => place,
            // A sidecar's own, or a gateway's that is gone but for some connections.
            None => {
                all.push(Listener {
                    address,
                    bound: None,
                    role,
                    gateway: None,
                    protocol: None,
                    tls: Vec::new(),
                    proxy_protocol: false,
                    connections: BTreeMap::new(),
                });
                all.len() - 1
            }
        };
        *all[place].connections.entry(protocol).or_default() += active;
    }
    all.retain(|listener| is_wanted(filter.listener.as_ref(), &listener.address.to_string()));
    all
}

fn tls_view(section: &TlsSection) -> TlsView {
    let mode = match section.action {
        TlsAction::Terminate(_) => "Terminate",
        TlsAction::Passthrough => "Passthrough",
    };
    TlsView { section: section.label.to_string(), host: section.host.to_string(), mode }
}

fn routes(snapshot: &Snapshot, filter: &Filter) -> (Vec<Route>, usize) {
    let of_listeners =
        snapshot.listeners.iter().map(|listener| (listener.addr.to_string(), &*listener.routes));
    let of_services = snapshot.mesh.services().iter();
    let of_services = of_services.map(|service| (service.service.to_string(), &*service.routes));
    let (mut routes, mut omitted) = (Vec::new(), 0);
    for (at, table) in of_listeners.chain(of_services) {
        if !is_wanted(filter.listener.as_ref(), &at) {
            continue;
        }
        for route in table_routes(snapshot, &at, table) {
            let leads_there =
                |wanted: &String| route.backends.iter().any(|backend| backend.service == *wanted);
            if !filter.service.as_ref().is_none_or(leads_there) {
                continue;
            }
            if routes.len() < ROUTES_MAX {
                routes.push(route);
            } else {
                omitted += 1;
            }
        }
    }
    (routes, omitted)
}

fn table_routes(snapshot: &Snapshot, at: &str, table: &RouteTable) -> Vec<Route> {
    let mut routes: BTreeMap<&str, Route> = BTreeMap::new();
    for matched in table.matches() {
        // Nobody has written it: it is there for `OPTIONS *`.
        if matches!(&matched.path, PathPattern::Exact(path) if &**path == "*") {
            continue;
        }
        let rule = table.rule(matched);
        let backend =
            |(weight, index)| Backend { service: snapshot.upstream(index).label.to_string(), weight };
        let route = routes.entry(&rule.label).or_insert_with(|| Route {
            rule: rule.label.to_string(),
            name: rule.name.as_deref().map(str::to_owned),
            at: at.to_owned(),
            matches: Vec::new(),
            filters: rule.filters.iter().flat_map(|filters| described(filters, snapshot)).collect(),
            backends: rule.backends.weights().map(backend).collect(),
        });
        let conditions = &matched.conditions;
        route.matches.push(Match {
            host: matched.host.to_string(),
            path: matched.path.to_string(),
            method: conditions.method.as_deref().map(str::to_owned),
            headers: conditions.headers.iter().map(|(name, _)| name.to_string()).collect(),
            query: conditions.params.iter().map(|(name, _)| name.to_string()).collect(),
        });
    }
    routes.into_values().collect()
}

fn described(filters: &Filters, snapshot: &Snapshot) -> Vec<String> {
    let lines = filters.described(|upstream| snapshot.upstream(upstream).label.to_string());
    lines.into_iter().map(without_value).collect()
}

/// What a filter does, without the value that it gives a field: that may be secret.
fn without_value(line: String) -> String {
    let is_field = ["request field: ", "response field: "].iter().any(|what| line.starts_with(what));
    match line.match_indices(": ").nth(1) {
        Some((at, _)) if is_field => line[..at].to_owned(),
        _ => line,
    }
}

fn upstreams(snapshot: &Snapshot, filter: &Filter) -> (Vec<UpstreamView>, usize) {
    let wanted = |upstream: &&std::sync::Arc<Upstream>| is_wanted(filter.service.as_ref(), &upstream.label);
    let mut wanted = snapshot.upstreams().iter().filter(wanted);
    let mut endpoints_left = ENDPOINTS_MAX;
    let shown =
        wanted.by_ref().take(UPSTREAMS_MAX).map(|upstream| view(upstream, &mut endpoints_left)).collect();
    (shown, wanted.count())
}

fn view(upstream: &Upstream, endpoints_left: &mut usize) -> UpstreamView {
    let shown = upstream.endpoints.len().min(*endpoints_left);
    *endpoints_left -= shown;
    let ms = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let endpoints = upstream.endpoints[..shown].iter().map(|endpoint| EndpointView {
        id: endpoint.id.to_string(),
        address: endpoint.addr,
        weight: endpoint.weight,
        health: word(&endpoint.health),
        draining: endpoint.draining,
        avoided: endpoint.state.is_avoided(),
        ejected: upstream.state.ejection().described(endpoint.state.key(), process_now()),
        sidecar: endpoint.inbound,
        in_flight: endpoint.state.in_flight(),
        requests: endpoint.state.requests(),
        failures: endpoint.state.failures(),
    });
    UpstreamView {
        service: upstream.label.to_string(),
        known: upstream.known,
        protocol: word(&upstream.protocol()),
        protocol_declared: upstream.declared.is_some(),
        balance: upstream.settings.balance.policy.as_str().to_owned(),
        retries: upstream.settings.retries,
        connect_timeout_ms: ms(upstream.settings.connect_timeout),
        request_timeout_ms: upstream.settings.request_timeout.map(ms),
        panicking: upstream.is_panicking(),
        endpoints: endpoints.collect(),
        endpoints_omitted: upstream.endpoints.len() - shown,
        unresolved: upstream.unresolved.to_vec(),
    }
}

/// A value of an enumeration as documents have it.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => other.map(|value| value.to_string()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_fields_are_left_out() {
        let check = |line: &str, expected: &str| assert_eq!(without_value(line.to_owned()), expected);
        check("request field: set authorization: Bearer a: b", "request field: set authorization");
        check("response field: add x: 1", "response field: add x");
        check("request field: remove cookie", "request field: remove cookie");
        check("rewrite: host a", "rewrite: host a");
    }
}
