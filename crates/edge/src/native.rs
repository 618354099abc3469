//! The native HTTP API, under `/weir/v1/`, and the server's own `/metrics`, `/healthz` and `/readyz`.
//!
//! It reads what a request says, calls the domain, and writes the answer in the types of `weir_api::native`. Every
//! write answers once the own catalog shows it, so whoever writes can read what he wrote. It must not judge resources
//! or hold state of its own, but for the counters that `/metrics` shows and for what the log was told.

mod agents;
mod apply;
mod backup;
mod figures;
mod instances;
mod locks;
mod nodes;
mod operate;
mod read;
mod refusal;
mod replicas;
mod routes;
mod sessions;
mod snapshot;
mod turned_away;
mod warnings;

#[cfg(test)]
mod tests;

pub(crate) use backup::BACKUP_TIME_MAX;

use std::sync::Arc;

use http::header::HeaderName;
use http::{Method, StatusCode};
use tokio::sync::Semaphore;
use weir_api::native::{APPLY_BYTES_MAX, PREFIX};
use weir_control::Control;

use crate::dns::DnsBeside;
use crate::http::{Request, Response, Route, Router};
use crate::mesh::Mesh;
use crate::replicas::Peers;

pub use apply::apply_sources;

use operate::Counters;
use refusal::Refusal;
use turned_away::TurnedAway;

/// How old an answer may be, in milliseconds, where that is known: its server has lost the store.
const STALE_MS: HeaderName = HeaderName::from_static("x-weir-stale-ms");

/// The native API of one replica.
pub struct NativeApi {
    control: Arc<Control>,
    mesh: Mesh,
    peers: Peers,
    dns: Option<DnsBeside>,
    counters: Counters,
    backups: Arc<Semaphore>,
    turned_away: TurnedAway,
}

impl std::fmt::Debug for NativeApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NativeApi").finish_non_exhaustive()
    }
}

/// The parameter with which one replica asks another: only for what that one knows itself.
const OWN: &str = "own";

/// What a request is counted as.
#[derive(Clone, Copy, Debug)]
enum Class {
    Read,
    Write,
    Operate,
}

impl NativeApi {
    /// The API over a control plane and its mesh server.
    pub fn new(control: Arc<Control>, mesh: Mesh) -> Arc<Self> {
        let peers = Peers::new(Arc::clone(&control), None);
        Self::with(control, mesh, peers, None)
    }

    /// The same with how other replicas are asked, beside a DNS server, of which agents are told and whose figures `/metrics` is
    /// to show.
    pub fn with(control: Arc<Control>, mesh: Mesh, peers: Peers, dns: Option<DnsBeside>) -> Arc<Self> {
        let backups = Arc::new(Semaphore::new(backup::BACKUPS_MAX));
        Arc::new(Self {
            control,
            mesh,
            peers,
            dns,
            counters: Counters::default(),
            backups,
            turned_away: TurnedAway::default(),
        })
    }

    /// Adds the API's routes.
    pub fn mount(self: &Arc<Self>, router: &mut Router) {
        router.errors_under("/weir/", refusal::by_router);
        router.count_under("/weir/", "native");
        self.add(router, "/apply", Method::POST, Class::Write, Self::apply);
        self.add(router, "/delete", Method::POST, Class::Write, Self::delete_documents);
        self.add(router, "/resources", Method::GET, Class::Read, Self::resources);
        self.add_resource(router);
        self.add(router, "/services", Method::GET, Class::Read, Self::services);
        self.add(router, "/instances", Method::GET, Class::Read, Self::instances);
        self.add_instance(router);
        self.add(router, "/nodes", Method::GET, Class::Read, Self::nodes);
        self.add_node(router);
        self.add(router, "/proxies", Method::GET, Class::Read, Self::proxies);
        self.add(router, "/replicas", Method::GET, Class::Read, Self::replicas);
        self.add(router, "/heartbeats", Method::POST, Class::Write, Self::heartbeats);
        self.add(router, "/leases", Method::POST, Class::Write, Self::leases);
        self.add(router, "/figures", Method::GET, Class::Read, Self::figures);
        self.add(router, "/reports", Method::GET, Class::Read, Self::reports);
        self.add(router, "/routes", Method::GET, Class::Read, Self::routes);
        self.add(router, "/locks", Method::GET, Class::Read, Self::locks);
        self.add_lock(router);
        self.add(router, "/sessions", Method::GET, Class::Read, Self::sessions);
        self.add(router, "/changes", Method::GET, Class::Read, Self::changes);
        self.add(router, "/changes/", Method::POST, Class::Write, Self::rollback);
        self.add(router, "/snapshot", Method::GET, Class::Read, Self::snapshot);
        self.add(router, "/backup", Method::GET, Class::Read, Self::backup);
        self.add(router, "/position", Method::GET, Class::Read, Self::position);
        for (path, answer) in operate::PATHS {
            let handler =
                self.handler(Class::Operate, move |api, request| async move { Ok(answer(&api, &request)) });
            router.get(path, handler);
        }
    }

    /// One route under the prefix.
    fn add<F, Fut>(
        self: &Arc<Self>,
        router: &mut Router,
        path: &str,
        method: Method,
        class: Class,
        handler: F,
    ) where
        F: Fn(Arc<Self>, Request) -> Fut + Copy + Send + Sync + 'static,
        Fut: Future<Output = Result<Response, Refusal>> + Send + 'static,
    {
        let route = Route::new().on(method, self.handler(class, handler)).body_bytes_max(APPLY_BYTES_MAX);
        router.add(&format!("{PREFIX}{path}"), route);
    }

    /// `/resources/KIND`, `/resources/KIND/NAME`: read and delete.
    fn add_resource(self: &Arc<Self>, router: &mut Router) {
        let route = Route::new()
            .on(Method::GET, self.handler(Class::Read, Self::resource))
            .on(Method::DELETE, self.handler(Class::Write, Self::delete_resource));
        router.add(&format!("{PREFIX}/resources/"), route);
    }

    /// `/instances/ID`: register and deregister.
    fn add_instance(self: &Arc<Self>, router: &mut Router) {
        let route = Route::new()
            .on(Method::GET, self.handler(Class::Read, Self::instance))
            .on(Method::PUT, self.handler(Class::Write, Self::register))
            .on(Method::DELETE, self.handler(Class::Write, Self::deregister));
        router.add(&format!("{PREFIX}/instances/"), route);
    }

    /// `/nodes/NAME`: what agents tell of theirs.
    fn add_node(self: &Arc<Self>, router: &mut Router) {
        let route = Route::new()
            .on(Method::GET, self.handler(Class::Read, Self::node))
            .on(Method::PUT, self.handler(Class::Write, Self::change_node))
            .on(Method::POST, self.handler(Class::Write, Self::alive))
            .on(Method::DELETE, self.handler(Class::Write, Self::delete_node))
            .body_bytes_max(APPLY_BYTES_MAX);
        router.add(&format!("{PREFIX}/nodes/"), route);
    }

    /// `/locks/NAME` and what is below it.
    fn add_lock(self: &Arc<Self>, router: &mut Router) {
        let route = Route::new()
            .on(Method::GET, self.handler(Class::Read, Self::lock))
            .on(Method::POST, self.handler(Class::Write, Self::change_lock));
        router.add(&format!("{PREFIX}/locks/"), route);
    }

    /// A handler that counts, and turns refusals into answers.
    fn handler<F, Fut>(
        self: &Arc<Self>,
        class: Class,
        handler: F,
    ) -> impl Fn(Request) -> std::pin::Pin<Box<dyn Future<Output = Response> + Send>> + Send + Sync + 'static
    where
        F: Fn(Arc<Self>, Request) -> Fut + Copy + Send + Sync + 'static,
        Fut: Future<Output = Result<Response, Refusal>> + Send + 'static,
    {
        let api = Arc::clone(self);
        move |request| {
            let api = Arc::clone(&api);
            Box::pin(async move {
                let counters = Arc::clone(&api);
                let mut response = handler(api, request).await.unwrap_or_else(Refusal::into_response);
                if let (Class::Read, Some(age)) = (class, counters.control.stale_for()) {
                    let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
                    response.headers.insert(STALE_MS, age_ms.into());
                }
                counters.counters.count(class, response.status);
                response
            })
        }
    }
}

/// The answer to a successful read.
fn ok<T: serde::Serialize>(answer: &T) -> Response {
    Response::json(StatusCode::OK, answer)
}

/// A body that must be text.
fn text(request: &Request) -> Result<&str, Refusal> {
    std::str::from_utf8(&request.body)
        .map_err(|_| Refusal::bad("body", "it is no text", "YAML or JSON in UTF-8"))
}

/// The value of a flag in a query: absent is false; bare, `1` and `true` are true.
fn flag(request: &Request, name: &str) -> Result<bool, Refusal> {
    match request.query.get(name) {
        None | Some("0" | "false") => Ok(false),
        Some("" | "1" | "true") => Ok(true),
        Some(other) => Err(Refusal::bad(name, format!("`{other}` is neither yes nor no"), "true or false")),
    }
}

/// Refuses parameters that a route does not know: a filter that is mistyped must not show everything.
fn known_parameters(request: &Request, known: &[&str]) -> Result<(), Refusal> {
    match request.query.names().find(|name| !known.contains(name)) {
        None => Ok(()),
        Some(unknown) => {
            let mut problem =
                weir_api::native::Problem::new(format!("unknown query parameter `{unknown}`")).at(unknown);
            problem.expected = Some(if known.is_empty() { "none".to_owned() } else { known.join(", ") });
            problem.suggestion =
                weir_model::document::nearest(unknown, known.iter().copied()).map(str::to_owned);
            Err(Refusal::new(StatusCode::BAD_REQUEST, problem))
        }
    }
}
