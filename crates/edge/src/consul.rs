//! Consul's HTTP API over the domain: what agents, clients and tools that speak to Consul 1.21 send and expect.
//!
//! ```text
//! Request -> decode, options -> model types -> Control | Catalog -> views -> Response
//! ```
//!
//! An agent answers from the registry of its own node what is about that node ([`ConsulApi::of_agent`]), by the same code.
//!
//! All of Consul's names, shapes and phrases live here and go no further inward. What the domain does not have (ACLs,
//! Connect, peering) is refused by name, whole endpoints as a Consul without it refuses them or with 501, never silently
//! ignored. What means nothing to the domain (prepared queries, events, config entries, coordinates) is kept as its records.
//!
//! Where it differs from Consul on purpose:
//! - names of services and nodes consist of letters, digits, `_`, `.` and `-`;
//! - malformed input is always 400 and names the field (Consul answers some of it with 500, and ignores some);
//! - `Kind`, `Connect`, `Proxy` with content are refused: the sidecar of an instance is named by
//!   `TaggedAddresses.weir-inbound`;
//! - `Definition` of a check in `catalog/register` is ignored: nobody here carries it out;
//! - http checks follow no redirects, https ones are refused for now;
//! - an index changes only when that very answer may have changed, so a watch is never woken by something else.

mod agent;
mod agent_health;
mod agent_write;
mod answer;
mod catalog;
mod catalog_write;
pub(crate) mod chain;
mod check_write;
mod config;
mod coordinate;
mod decode;
mod defined;
mod definition;
mod duration;
mod event;
mod filter;
mod force_leave;
pub(crate) mod fuzzing;
mod health;
mod kv;
mod metrics;
mod near;
mod operator;
mod options;
pub(crate) mod own_service;
mod pattern;
pub(crate) mod query;
mod refusal;
mod rendered;
mod routes;
mod session;
mod snapshot;
mod status;
mod time;
mod txn;
mod txn_registry;
mod unsupported;
mod validate;
pub(crate) mod views;

use std::fmt::Write as _;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::Method;
use tokio::sync::Semaphore;
use weir_control::Control;
use weir_control::catalog::{Catalog, ServiceMember, Topic, View};
use weir_model::Revision;

pub use self::defined::{judge_check, judge_service};

use self::answer::Answer;
use self::near::Nearness;
use self::options::{Consistency, ReadOptions};
use self::pattern::Patterns;
use self::refusal::Refusal;
use self::rendered::{Rendered, Stamp};
use self::views::Here;
use crate::http::{Handler, Request, Response, Route, Router};

/// The API version that is answered for.
pub const CONSUL_VERSION: &str = "1.21.0";

/// What somebody finds who opens the port in a browser, or checks whether it is there.
const GREETING: &str = "Weir. The Consul-compatible API is at /v1/, the native API at /weir/v1/.\n";

/// The parts of the API whose requests are counted apart, with their names in figures.
const COUNTED: [(&str, &str); 12] = [
    ("/v1/agent/", "consul_agent"),
    ("/v1/catalog/", "consul_catalog"),
    ("/v1/health/", "consul_health"),
    ("/v1/kv/", "consul_kv"),
    ("/v1/session/", "consul_session"),
    ("/v1/txn", "consul_txn"),
    ("/v1/query", "consul_query"),
    ("/v1/event/", "consul_event"),
    ("/v1/config", "consul_config"),
    ("/v1/operator/", "consul_operator"),
    ("/v1/snapshot", "consul_snapshot"),
    ("/v1/", "consul_other"),
];

/// Consul's HTTP API of one server, or of one host's agent.
pub struct ConsulApi {
    control: Arc<Control>,
    rendered: Rendered,
    started: Instant,
    patterns: Patterns,
    is_agent: bool,
    /// Whether requests may register programs as checks.
    scripts: bool,
    /// What config entries come to; shared with the mesh, so that what does not count is said once.
    effective: Arc<chain::Cache>,
    /// Those who may write or read a snapshot now.
    snapshots: Arc<Semaphore>,
}

impl ConsulApi {
    /// The API over a control plane. `scripts` says whether requests may register programs as checks.
    pub fn new(control: Arc<Control>, scripts: bool) -> Arc<Self> {
        Self::over(control, false, scripts)
    }

    /// The part of the API that a host's agent answers by itself, over the registry of its own node. `scripts` says whether
    /// requests may register programs as checks.
    pub fn of_agent(control: Arc<Control>, scripts: bool) -> Arc<Self> {
        Self::over(control, true, scripts)
    }

    fn over(control: Arc<Control>, is_agent: bool, scripts: bool) -> Arc<Self> {
        Arc::new(Self {
            control,
            rendered: Rendered::default(),
            started: Instant::now(),
            patterns: Patterns::default(),
            is_agent,
            scripts,
            effective: Arc::default(),
            snapshots: Arc::new(Semaphore::new(snapshot::SNAPSHOTS_MAX)),
        })
    }

    /// What it is over, and what config entries come to there.
    pub(crate) fn shared(&self) -> (Arc<Control>, Arc<chain::Cache>) {
        (Arc::clone(&self.control), Arc::clone(&self.effective))
    }

    /// Adds all routes below `/v1/`.
    pub fn mount(self: &Arc<Self>, router: &mut Router) {
        for (path, name) in COUNTED {
            router.count_under(path, name);
        }
        self.mount_agent(router);
        self.mount_reads(router);
        self.mount_sessions(router);
        self.mount_records(router);
        self.mount_operator(router);
        self.mount_unsupported(router);
        router.put("/v1/catalog/register", self.handler(catalog_write::register));
        router.put("/v1/catalog/deregister", self.handler(catalog_write::deregister));
        let kv = Route::new()
            .on(Method::GET, self.handler(kv::get))
            .on(Method::PUT, self.handler(kv::put))
            .on(Method::DELETE, self.handler(kv::delete))
            .body_bytes_max(kv::VALUE_BYTES_MAX)
            .too_large(kv::too_large);
        router.add("/v1/kv/", kv);
        let txn = Route::new()
            .on(Method::PUT, self.handler(txn::txn))
            .body_bytes_max(txn::BODY_BYTES_MAX)
            .too_large(txn::too_large);
        router.add("/v1/txn", txn);
        let snapshot = Route::new()
            .on(Method::GET, self.handler(snapshot::save))
            .on(Method::PUT, self.handler(snapshot::restore))
            .body_bytes_max(snapshot::BODY_BYTES_MAX)
            .too_large(snapshot::too_large);
        router.add("/v1/snapshot", snapshot);
    }

    /// Adds the routes of an agent: those below `/v1/agent/` that are about its own node.
    pub fn mount_of_agent(self: &Arc<Self>, router: &mut Router) {
        for (path, name) in COUNTED {
            router.count_under(path, name);
        }
        self.mount_agent(router);
        router.get("/", |_: Request| async { Response::text(http::StatusCode::OK, GREETING) });
    }

    /// Answers `agent/members` from what is registered here.
    pub fn members(self: &Arc<Self>) -> impl Handler {
        self.handler(agent::members)
    }

    fn mount_sessions(self: &Arc<Self>, router: &mut Router) {
        router.put("/v1/session/create", self.handler(session::create));
        router.put("/v1/session/destroy/", self.handler(session::destroy));
        router.put("/v1/session/renew/", self.handler(session::renew));
        router.get("/v1/session/info/", self.handler(session::info));
        router.get("/v1/session/node/", self.handler(session::node));
        router.get("/v1/session/list", self.handler(session::list));
    }

    fn mount_agent(self: &Arc<Self>, router: &mut Router) {
        router.get("/v1/agent/self", self.handler(agent::own));
        router.get("/v1/agent/members", self.handler(agent::members));
        router.get("/v1/agent/services", self.handler(agent::services));
        router.get("/v1/agent/service/", self.handler(agent::service));
        router.get("/v1/agent/checks", self.handler(agent::checks));
        router.get("/v1/agent/health/service/id/", self.handler(agent_health::by_id));
        router.get("/v1/agent/health/service/name/", self.handler(agent_health::by_name));
        router.put("/v1/agent/service/register", self.handler(agent_write::register));
        router.put("/v1/agent/service/deregister/", self.handler(agent_write::deregister));
        router.put("/v1/agent/service/maintenance/", self.handler(agent_write::service_maintenance));
        router.put("/v1/agent/maintenance", self.handler(agent_write::node_maintenance));
        router.put("/v1/agent/check/register", self.handler(check_write::register));
        router.put("/v1/agent/check/deregister/", self.handler(check_write::deregister));
        router.put("/v1/agent/check/pass/", self.handler(check_write::pass));
        router.put("/v1/agent/check/warn/", self.handler(check_write::warn));
        router.put("/v1/agent/check/fail/", self.handler(check_write::fail));
        router.put("/v1/agent/check/update/", self.handler(check_write::update));
    }

    fn mount_reads(self: &Arc<Self>, router: &mut Router) {
        router.get("/v1/catalog/datacenters", self.handler(catalog::datacenters));
        router.get("/v1/catalog/services", self.handler(catalog::services));
        router.get("/v1/catalog/service/", self.handler(catalog::service));
        router.get("/v1/catalog/nodes", self.handler(catalog::nodes));
        router.get("/v1/catalog/node/", self.handler(catalog::node));
        router.get("/v1/catalog/node-services/", self.handler(catalog::node_services));
        router.get("/v1/health/service/", self.handler(health::service));
        router.get("/v1/health/checks/", self.handler(health::checks));
        router.get("/v1/health/node/", self.handler(health::node));
        router.get("/v1/health/state/", self.handler(health::state));
        router.get("/v1/status/leader", self.handler(status::leader));
        router.get("/v1/status/peers", self.handler(status::peers));
        router.get("/", |_: Request| async { Response::text(http::StatusCode::OK, GREETING) });
    }

    fn handler<F, Fut>(self: &Arc<Self>, endpoint: F) -> impl Handler
    where
        F: Fn(Arc<Self>, Request) -> Fut + Copy + Send + Sync + 'static,
        Fut: Future<Output = Answer> + Send + 'static,
    {
        let api = Arc::clone(self);
        move |request: Request| {
            let control = Arc::clone(&api.control);
            // Not an async block: it would hold the endpoint's future twice, for as long as a blocking query waits.
            endpoint(Arc::clone(&api), request).map(move |answer| {
                let mut response = answer.unwrap_or_else(Refusal::into_response);
                answer::age(&mut response.headers, control.stale_for());
                response
            })
        }
    }

    fn catalog(&self) -> &Catalog {
        self.control.catalog()
    }

    /// What views and commands must know of this server.
    fn here(&self) -> Here<'_> {
        let settings = self.control.settings();
        Here { datacenter: &settings.datacenter, node: &settings.node_name }
    }

    /// A service's members, its name in any case; the made-up ones where Consul has its own servers.
    fn service_view(&self, namespace: &str, name: &str) -> View<Vec<ServiceMember>> {
        let mut view = self.catalog().view_in_any_case(namespace, name);
        if name.eq_ignore_ascii_case(own_service::NAME) && view.entries.is_empty() {
            view.entries = own_service::members(self.catalog(), self.here().node, namespace);
        }
        view
    }

    /// The answer to a read about a service, written only if nobody asked the same since the service last changed.
    /// `write` gives the value to write with the index it was read at.
    fn about_service(
        &self,
        endpoint: &str,
        request: &Request,
        options: &ReadOptions,
        name: &str,
        write: impl FnOnce() -> Result<(Revision, Bytes), Refusal>,
    ) -> Answer {
        let question = question(endpoint, request, options, name);
        let epoch = self.catalog().position().epoch;
        let index = self.catalog().index(&Topic::service(&*options.namespace, name));
        // The made-up service also changes with its node, and the order with coordinates, of which its index does not
        // know.
        if name.eq_ignore_ascii_case(own_service::NAME) || request.query.get_filled("near").is_some() {
            let (index, written) = write()?;
            return Ok(answer::written(options, index, written));
        }
        if let Some(written) = self.rendered.get(&question, Stamp { epoch, index }) {
            return Ok(answer::written(options, index, written));
        }
        let (index, written) = write()?;
        self.rendered.put(question, Stamp { epoch, index }, written.clone());
        Ok(answer::written(options, index, written))
    }

    /// The nodes next to which a request wants to be served, if it says so.
    fn nearness(&self, request: &Request) -> Option<Nearness<'_>> {
        Nearness::of(&self.control, request.query.get_filled("near")?, Some(request.peer.ip()))
    }

    fn options(&self, request: &Request) -> Result<ReadOptions, Refusal> {
        ReadOptions::of(request, self.here().datacenter)
    }

    /// Waits as the options say: for the store's newest state, for a topic to change, for both or for nothing.
    /// A server that shuts down lets nobody wait.
    async fn wait(&self, request: &mut Request, options: &ReadOptions, topic: &Topic) -> Result<(), Refusal> {
        if options.consistency == Consistency::Consistent {
            self.control.consistent().await?;
        }
        if options.index == 0 {
            return Ok(());
        }
        // Thousands may wait: what is not needed any more goes first.
        request.headers = http::HeaderMap::new();
        request.waits();
        tokio::select! {
            waited = self.control.wait(topic, options.index, options.wait) => waited.map(drop)?,
            () = request.server_closing() => {}
        }
        Ok(())
    }
}

/// All that an answer about a service depends on beside the service itself.
fn question(endpoint: &str, request: &Request, options: &ReadOptions, name: &str) -> String {
    let mut question = String::with_capacity(64);
    let passing = request.query.get("passing");
    let flags = [options.pretty, passing.is_some()].map(|flag| if flag { '1' } else { '0' });
    question.extend(flags);
    // Lengths first: no part can be taken for the end of another.
    let mut part = |text: &str| {
        let _ = write!(question, "/{}:{text}", text.len());
    };
    part(endpoint);
    part(&options.namespace);
    part(name);
    part(passing.unwrap_or(""));
    for parameter in ["tag", "node-meta", "peer", "filter"] {
        part(parameter);
        request.query.all(parameter).for_each(&mut part);
    }
    question
}
