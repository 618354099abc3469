//! Compiling: attachment of routes, what is refused, and what carries over from snapshot to snapshot.

mod attachment;
mod carry_over;
mod conformance;
mod connections;
mod refusal;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::{Value, json};
use weir_api::snapshot::EndpointInputs;
use weir_model::Resource;
use weir_model::registry::Health;

use super::*;
use crate::route::tests::TestRequest;

/// A resource from kind, `namespace/name` and spec.
#[expect(clippy::needless_pass_by_value, reason = "calls read better without `&json!`")]
pub(crate) fn resource(kind: &str, name: &str, spec: Value) -> Resource {
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    let metadata = json!({"namespace": namespace, "name": name});
    serde_json::from_value(json!({"apiVersion": "any", "kind": kind, "metadata": metadata, "spec": spec}))
        .unwrap()
}

/// A `Service` with one static endpoint per port.
pub(crate) fn service(name: &str, ports: &[u16]) -> Resource {
    let endpoints: Vec<_> = ports.iter().map(|port| json!({"address": "127.0.0.1", "port": port})).collect();
    resource("Service", name, json!({"endpoints": endpoints}))
}

/// A `Gateway` whose only listener is `web` on port 8080.
pub(crate) fn gateway(name: &str) -> Resource {
    let listeners = json!([{"name": "web", "port": 8080, "protocol": "HTTP"}]);
    resource("Gateway", name, json!({"listeners": listeners}))
}

/// An `HTTPRoute` to one service.
#[expect(clippy::needless_pass_by_value, reason = "calls read better without `&json!`")]
pub(crate) fn route(name: &str, parents: Value, service: &str) -> Resource {
    let rules = json!([{"backendRefs": [{"name": service}]}]);
    resource("HTTPRoute", name, json!({"parentRefs": parents, "rules": rules}))
}

pub(crate) fn endpoint(id: &str, port: u16) -> EndpointInputs {
    EndpointInputs {
        id: id.to_owned(),
        address: "127.0.0.1".to_owned(),
        port,
        weight: 1,
        health: Health::Passing,
        draining: false,
        inbound: false,
        metadata: Default::default(),
        grpc_check: false,
        active_checks: None,
    }
}

/// Inputs with what is registered set for a service.
pub(crate) fn with_registered(
    mut inputs: Inputs,
    service: &str,
    known: bool,
    endpoints: &[EndpointInputs],
) -> Inputs {
    let endpoints = endpoints.iter().map(|endpoint| (endpoint.id.clone(), endpoint.clone())).collect();
    let service = ServiceRef::new("default", service);
    Arc::make_mut(&mut inputs.services)
        .insert(service, Arc::new(Registered { known, endpoints, ..Registered::default() }));
    inputs
}

pub(crate) fn inputs(resources: impl IntoIterator<Item = Resource>) -> Inputs {
    Inputs::of_resources(Position::new(0, 1), resources)
}

fn compiler() -> Compiler {
    Compiler::new(Role::Gateway { gateways: vec![] })
}

fn sidecar(namespace: &str) -> Compiler {
    Compiler::new(Role::Sidecar { service: ServiceRef::new(namespace, "front") })
}

fn compile(resources: impl IntoIterator<Item = Resource>) -> Snapshot {
    compiler().compile(&inputs(resources), None).unwrap()
}

/// The route that serves a request on a port, as its label, or the status that the Gateway API wants.
fn outcome(snapshot: &Snapshot, port: u16, request: &str) -> String {
    let Some(listener) = snapshot.listeners.iter().find(|listener| listener.addr.port() == port) else {
        return "no listener".to_owned();
    };
    decide(snapshot, &listener.routes, request)
}

fn decide(snapshot: &Snapshot, table: &RouteTable, request: &str) -> String {
    let mut rng = SmallRng::seed_from_u64(1);
    match snapshot.route(table, &TestRequest::new(request, &[]), &mut rng) {
        Decision::Forward { upstream, rule, .. } => format!("{} -> {}", rule.label, upstream.label),
        Decision::NoRoute => "404".to_owned(),
        Decision::NoBackend { rule, .. } => format!("500 by {}", rule.label),
    }
}
