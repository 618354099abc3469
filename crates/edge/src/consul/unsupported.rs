//! Endpoints of Consul's API that exist there and not here yet. They are answered by name with 501, so that clients say
//! what is missing instead of "not found"; a path that Consul does not have either stays 404.

use std::sync::Arc;

use http::{Method, StatusCode};

use super::ConsulApi;
use super::answer::{self, Answer};
use super::refusal::Refusal;
use crate::http::{Request, Route, Router};

/// Paths with what it is that is missing, and its verb. One that ends in `/` stands for all below it.
const PATHS: &[(&str, &str)] = &[
    ("/v1/acl/", "ACLs are"),
    ("/v1/agent/token/", "ACLs are"),
    ("/v1/event/", "events are"),
    ("/v1/query", "prepared queries are"),
    ("/v1/query/", "prepared queries are"),
    ("/v1/connect/", "Connect is"),
    ("/v1/agent/connect/", "Connect is"),
    ("/v1/health/connect/", "Connect is"),
    ("/v1/catalog/connect/", "Connect is"),
    ("/v1/discovery-chain/", "Connect is"),
    ("/v1/exported-services", "Connect is"),
    ("/v1/health/ingress/", "gateways of Connect are"),
    ("/v1/catalog/gateway-services/", "gateways of Connect are"),
    ("/v1/config", "config entries are"),
    ("/v1/config/", "config entries are"),
    ("/v1/coordinate/", "network coordinates are"),
    ("/v1/snapshot", "snapshots are"),
    ("/v1/operator/", "the operator API is"),
    ("/v1/internal/", "the internal API is"),
    ("/v1/peering", "peering is"),
    ("/v1/peering/", "peering is"),
    ("/v1/peerings", "peering is"),
    ("/v1/namespace", "managing namespaces is"),
    ("/v1/namespace/", "managing namespaces is"),
    ("/v1/namespaces", "managing namespaces is"),
    ("/v1/partition", "partitions are"),
    ("/v1/partition/", "partitions are"),
    ("/v1/partitions", "partitions are"),
    ("/v1/agent/join/", "membership of agents is"),
    ("/v1/agent/leave", "membership of agents is"),
    ("/v1/agent/force-leave/", "membership of agents is"),
    ("/v1/agent/host", "the agent's host information is"),
    ("/v1/agent/metrics", "other metrics than those at /metrics are"),
    ("/v1/agent/metrics/stream", "other metrics than those at /metrics are"),
    ("/v1/agent/monitor", "streaming the log is"),
    ("/v1/agent/reload", "reloading the configuration is"),
    ("/v1/agent/version", "other version information than that at /v1/agent/self is"),
];

impl ConsulApi {
    /// Adds a route for each of them, which takes every method.
    pub(super) fn mount_unsupported(self: &Arc<Self>, router: &mut Router) {
        for (path, what) in PATHS {
            let mut route = Route::new();
            for method in [Method::GET, Method::PUT, Method::POST, Method::DELETE] {
                let endpoint = move |api: Arc<Self>, request| async move { refuse(&api, &request, what) };
                route = route.on(method, self.handler(endpoint));
            }
            router.add(path, route);
        }
    }
}

fn refuse(api: &ConsulApi, request: &Request, what: &str) -> Answer {
    let message = format!("{what} not supported yet ({})", request.path);
    let mut response = Refusal { status: StatusCode::NOT_IMPLEMENTED, message }.into_response();
    answer::stamp(&mut response.headers, api.catalog().position().revision);
    Ok(response)
}
