//! Endpoints of Consul's API that exist there and not here. What Consul can do without is answered as a Consul answers
//! that does without; the others by name with 501, so that clients say what is missing instead of "not found". A path that
//! Consul does not have either stays 404.

use std::sync::Arc;

use http::{Method, StatusCode};
use weir_control::catalog::Topic;
use weir_control::records::TableRef;

use super::ConsulApi;
use super::answer::{self, Answer};
use super::refusal::Refusal;
use crate::http::{Request, Route, Router};

/// Paths with what it is that is missing, and its verb. One that ends in `/` stands for all below it.
const PATHS: &[(&str, &str)] = &[
    ("/v1/exported-services", "exporting services is"),
    ("/v1/imported-services", "importing services is"),
    ("/v1/operator/", "this part of the operator API is"),
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
    (
        "/v1/agent/join/",
        "joining is for gossip; an agent is told its servers when it is started (--server), and over HTTP that is",
    ),
    ("/v1/agent/leave", "leaving is for agents, and SIGTERM stops this server; over HTTP it is"),
    ("/v1/agent/host", "the agent's host information is"),
    ("/v1/agent/metrics/stream", "a stream of metrics is"),
    ("/v1/agent/monitor", "streaming the log is"),
    ("/v1/agent/reload", "this server reads no files of definitions; reloading them is"),
];

/// What Consul answers whose ACLs are off. Tools take this for "there is nothing to do".
const ACLS_OFF: (StatusCode, &str) = (StatusCode::UNAUTHORIZED, "ACL support disabled");

/// What Consul answers whose Connect is off.
const CONNECT_OFF: (StatusCode, &str) =
    (StatusCode::INTERNAL_SERVER_ERROR, "Connect must be enabled in order to use this endpoint");

/// Paths of what Consul can do without, and what it answers then.
const OFF: &[(&str, (StatusCode, &str))] = &[
    ("/v1/acl/", ACLS_OFF),
    ("/v1/agent/token/", ACLS_OFF),
    ("/v1/connect/", CONNECT_OFF),
    ("/v1/agent/connect/", CONNECT_OFF),
];

/// Lists of proxies and gateways of Connect, of which there are none.
const NOBODY: [&str; 4] =
    ["/v1/health/connect/", "/v1/catalog/connect/", "/v1/health/ingress/", "/v1/catalog/gateway-services/"];

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
        for (path, (status, message)) in OFF {
            let mut route = Route::new();
            for method in [Method::GET, Method::PUT, Method::POST, Method::DELETE] {
                let refuse = move |_: Arc<Self>, _: Request| async move {
                    Err(Refusal { status: *status, message: (*message).to_owned() })
                };
                route = route.on(method, self.handler(refuse));
            }
            router.add(path, route);
        }
        for path in NOBODY {
            router.get(path, self.handler(nobody));
        }
    }
}

/// An empty list. It is waited for in vain, for as long as is asked.
async fn nobody(api: Arc<ConsulApi>, mut request: Request) -> Answer {
    let options = api.options(&request)?;
    if request.rest().is_empty() {
        return Err(Refusal::bad("Missing service name"));
    }
    let topic = Topic::Table(TableRef::new(&*options.namespace, "connect"));
    api.wait(&mut request, &options, &topic).await?;
    answer::read::<[(); 0]>(&options, api.catalog().index(&topic), &[])
}

fn refuse(api: &ConsulApi, request: &Request, what: &str) -> Answer {
    let message = format!("{what} not supported yet ({})", request.path);
    let mut response = Refusal { status: StatusCode::NOT_IMPLEMENTED, message }.into_response();
    answer::stamp(&mut response.headers, api.catalog().position().revision);
    Ok(response)
}
