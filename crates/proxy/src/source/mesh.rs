//! Snapshots from a control plane, by one stream of the mesh protocol (`weir.mesh.v1`).
//!
//! ```text
//! connect -> hello (resume position, subscriptions) -> welcome -> update* -> ack each
//!     ^                                                          subscribe when the request path asks
//!     +---- backoff, next server <------------------------------ broken, silent or out of order
//! ```
//!
//! Losing the control plane changes nothing for requests: what is in force stays, and is on disk for the next start.

mod demand;
#[cfg(test)]
mod messages;
mod reports;
mod session;
#[cfg(test)]
mod tests;
mod wanted;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use weir_model::ServiceRef;
use weir_tls::Connectors;

use super::disk::{self, Keeper};
use super::kept::Kept;
use super::names::REFRESH_EVERY;
use super::publish::Publisher;
use super::{Shared, SourceError};
use crate::Metrics;
use crate::observe::process_now;
use crate::snapshot::{Inputs, Rejection, Role};
use session::SessionError;
use wanted::Wanted;

/// The least and the most that is waited between two attempts to reach a control plane, before jitter.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// How long after having been replaced by another proxy of the same id this counts as the same quarrel, which is
/// reported once.
const REPLACED_MEMORY: Duration = Duration::from_secs(60);
/// How often to look whether another process is still taking this one's place.
const SUCCESSOR_LOOK_EVERY: Duration = Duration::from_millis(500);

/// How a proxy takes part in the mesh.
#[derive(Clone, Debug)]
pub(super) struct MeshSettings {
    /// Control planes, as `http://HOST:PORT` or `https://HOST:PORT`; tried in turn.
    pub(super) servers: Vec<String>,
    /// How this proxy names itself.
    pub(super) id: String,
    /// What it is.
    pub(super) role: Role,
    /// Its admin listener, for people who look at it from elsewhere; empty if none.
    pub(super) admin: String,
    /// Where the state in force is kept, if anywhere.
    pub(super) data_dir: Option<PathBuf>,
    /// How often the control plane is asked for a sign of life, and how long it has to give one.
    pub(super) keepalive: Duration,
    /// How long an unused service stays subscribed.
    pub(super) idle_max: Duration,
    /// What the process has in force that this one takes over from.
    pub(super) inherited: Option<Kept>,
    /// For how long control planes are asked before the state on disk is taken: not at all when absent.
    pub(super) ask_first: Option<Duration>,
    /// Services that are subscribed to from the start and for good.
    pub(super) declared: Vec<ServiceRef>,
    /// What `https` needs.
    pub(super) tls: Option<Arc<Connectors>>,
    /// What is reported to the control plane; nothing is when absent.
    pub(super) metrics: Option<Arc<Metrics>>,
}

impl MeshSettings {
    /// Settings with the defaults for everything that concerns time.
    pub(super) const fn new(servers: Vec<String>, id: String, role: Role) -> Self {
        Self {
            servers,
            id,
            role,
            admin: String::new(),
            data_dir: None,
            keepalive: Duration::from_secs(5),
            idle_max: Duration::from_secs(600),
            inherited: None,
            ask_first: None,
            declared: Vec::new(),
            tls: None,
            metrics: None,
        }
    }
}

/// Snapshots from a control plane.
pub(super) struct MeshSource {
    settings: MeshSettings,
    publisher: Publisher,
    wanted: Wanted,
    keeper: Option<Keeper>,
    /// Whether `wanted` is whole, so that a stream may go on from its position.
    resumable: bool,
    /// When each service that was asked for on demand was, in seconds of the proxy's clock.
    asked_s: HashMap<ServiceRef, u32>,
    rejections: Vec<Rejection>,
    /// Whether a control plane has said what is wanted since the proxy started.
    live: bool,
    /// When another proxy of the same id last took this one's place.
    replaced: Option<Instant>,
}

impl MeshSource {
    /// A source that starts from what the process had in force that this one takes over from, or else from the state on
    /// disk, if there is one and it need not ask first: that is in force when this returns.
    ///
    /// # Errors
    /// What the other process has in force is refused here, in whole or in part: it had better go on.
    pub(super) async fn start(settings: MeshSettings, publisher: Publisher) -> Result<Self, SourceError> {
        let keeper = settings.data_dir.clone().map(Keeper::start);
        let mut source = Self {
            settings,
            publisher,
            wanted: Wanted::default(),
            keeper,
            resumable: false,
            asked_s: HashMap::new(),
            rejections: Vec::new(),
            live: false,
            replaced: None,
        };
        source.shared().set_status(|status| status.kind = "mesh");
        source.shared().checks.control_plane_lost(process_now());
        if let Some(inherited) = source.settings.inherited.take() {
            source.inherit(inherited).await?;
        } else if source.settings.ask_first.is_none() {
            source.load().await;
        }
        Ok(source)
    }

    fn shared(&self) -> Arc<Shared> {
        Arc::clone(self.publisher.shared())
    }

    async fn load(&mut self) {
        let Some(data_dir) = &self.settings.data_dir else { return };
        let path = disk::path(data_dir);
        match disk::load(data_dir) {
            Ok(None) => {}
            Ok(Some(kept)) => {
                // Some of it may be refused today.
                self.publisher.remember(kept.inputs.resources.values());
                self.begin_with(kept).await;
                self.shared().set_status(|status| status.kind = "disk");
                let position = self.wanted.inputs.position;
                tracing::info!(%position, path = %path.display(), "serving the last state from disk until a control plane answers");
            }
            Err(error) => {
                tracing::error!(%error, path = %path.display(), "ignoring the state on disk");
            }
        }
    }

    /// Puts in force what the process has in force that this one takes over from: all of it, or nothing.
    async fn inherit(&mut self, kept: Kept) -> Result<(), SourceError> {
        self.publisher.resolve(&kept.inputs).await;
        if let Err(refused) = self.publisher.whole(&kept.inputs) {
            for rejection in &refused {
                tracing::error!("refused: {rejection}");
            }
            let first = refused.into_iter().next();
            return first.map_or(Ok(()), |refused| Err(SourceError::Inherited { refused: refused.into() }));
        }
        self.begin_with(kept).await;
        self.shared().set_status(|status| status.kind = "handover");
        Ok(())
    }

    /// Begins where an earlier process has ended.
    async fn begin_with(&mut self, kept: Kept) {
        let referenced = referenced(&kept.inputs);
        let on_demand = kept.inputs.services.keys().filter(|service| !referenced.contains(*service));
        self.adopt(on_demand.cloned().collect());
        // First what was in force, so that nothing can stand in its way.
        self.wanted = Wanted::starting_from(kept.inputs, kept.in_part);
        self.put_in_force(false).await;
        if !kept.refused.is_empty() {
            self.publisher.remember(&kept.refused);
            let refused = kept.refused.into_iter().map(|resource| (resource.id(), resource));
            Arc::make_mut(&mut self.wanted.inputs.resources).extend(refused);
            self.put_in_force(false).await;
        }
        self.resumable = kept.complete && self.rejections.is_empty();
        self.keep();
    }

    /// Takes over services that an earlier run was subscribed to on demand.
    fn adopt(&mut self, services: Vec<ServiceRef>) {
        let now_s = self.shared().now_s();
        self.asked_s.extend(services.iter().map(|service| (service.clone(), now_s)));
        self.shared().subscriptions.adopt(services);
    }

    /// Stays with a control plane for ever: gives up on none, and never gives up.
    pub(super) async fn follow(&mut self) {
        if let Some(within) = self.settings.ask_first.take() {
            let shared = self.shared();
            let mut staying = Box::pin(self.stay());
            tokio::select! {
                () = &mut staying => {}
                answered = tokio::time::timeout(within, shared.until_in_force()) => if answered.is_ok() {
                    return staying.await;
                }
            }
            drop(staying);
            self.load().await;
        }
        self.stay().await;
    }

    async fn stay(&mut self) {
        let mut failures = 0;
        let mut refreshed = Instant::now();
        for server in self.settings.servers.clone().iter().cycle() {
            let before = self.wanted.inputs.position;
            let error = session::run(self, server).await;
            let shared = self.shared();
            shared.subscriptions.set_online(false);
            shared.checks.control_plane_lost(process_now());
            if error.is_out_of_order() {
                self.resumable = false;
            }
            if error.is_replaced() {
                self.report_replaced();
                failures = u32::MAX;
            } else {
                self.report(server, &error);
            }
            if self.wanted.inputs.position != before && !error.is_replaced() {
                failures = 0;
            }
            if refreshed.elapsed() > REFRESH_EVERY {
                self.publisher.refresh_names().await;
                refreshed = Instant::now();
            }
            self.poll_certificates().await;
            if !self.rejections.is_empty() {
                self.put_in_force(true).await;
            }
            // Whoever takes this one's place has its id as well: to come back would be to throw it out.
            while error.is_replaced() && shared.expects_successor() {
                self.meanwhile(tokio::time::sleep(SUCCESSOR_LOOK_EVERY)).await;
            }
            let share: f64 = rand::rng().random();
            // Whoever comes back at once throws the other one out just as fast.
            let share = if error.is_replaced() { share.mul_add(0.5, 0.5) } else { share };
            self.meanwhile(tokio::time::sleep(backoff(failures, share))).await;
            failures = failures.saturating_add(1);
        }
    }

    /// Waits for something, and meanwhile puts in force what this proxy's own checks come to.
    async fn meanwhile<T>(&mut self, something: impl Future<Output = T>) -> T {
        let shared = self.shared();
        let mut something = std::pin::pin!(something);
        loop {
            tokio::select! {
                done = &mut something => return done,
                () = shared.checks.changed() => self.publisher.refresh_verdicts(),
            }
        }
    }

    /// Looks at the files of certificates. Says whether that changed what is refused.
    async fn poll_certificates(&mut self) -> bool {
        let retry = self.publisher.poll_certificates() && !self.rejections.is_empty();
        if retry {
            self.put_in_force(true).await;
        }
        retry
    }

    /// Says what went wrong, once for as long as it is the same.
    fn report(&self, server: &str, error: &SessionError) {
        let error = format!("{server}: {error}");
        let shared = self.shared();
        let status = shared.status();
        if status.connected_to.is_some() || status.error.as_ref() != Some(&error) {
            let position = self.publisher.in_force().position;
            tracing::warn!(%error, %position, "no control plane; what is in force stays");
        }
        shared.set_status(|status| {
            status.connected_to = None;
            status.error = Some(error);
        });
    }

    /// Says that another proxy of the same id is there, once for as long as the two throw each other out.
    fn report_replaced(&mut self) {
        let error = format!(
            "another proxy with the id `{}` joined; give each its own --id (what is in force stays)",
            self.settings.id
        );
        if self.shared().expects_successor() {
            tracing::info!("the process that is taking over has joined the mesh");
        } else if !self.is_disputed() {
            tracing::warn!("{error}");
        }
        self.replaced = Some(Instant::now());
        self.shared().set_status(|status| {
            status.connected_to = None;
            status.error = Some(error);
        });
    }

    /// Whether another proxy of the same id took this one's place lately.
    fn is_disputed(&self) -> bool {
        self.replaced.is_some_and(|at| at.elapsed() < REPLACED_MEMORY)
    }

    /// Puts what is wanted in force, as far as it can be.
    async fn put_in_force(&mut self, retry: bool) {
        self.publisher.resolve(&self.wanted.inputs).await;
        let refused = self.publisher.accept(&self.wanted.inputs, retry);
        let rejections: Vec<_> = self.wanted.rejections().cloned().chain(refused).collect();
        if rejections != self.rejections {
            for rejection in &rejections {
                tracing::error!("refused: {rejection}");
            }
            if !rejections.is_empty() {
                self.shared().count_refused();
            }
            self.rejections.clone_from(&rejections);
            self.shared().set_status(|status| status.rejections = rejections);
        }
        self.keep();
    }

    /// Keeps what is in force for whoever comes after this process.
    fn keep(&self) {
        let kept = self.kept();
        if let Some(keeper) = self.keeper.as_ref().filter(|_| self.live) {
            keeper.keep(kept.clone());
        }
        if self.shared().is_ready() {
            self.shared().keep(kept);
        }
    }

    /// What is in force, and what is refused now and of which nothing is in force: a port that is taken today may be free
    /// tomorrow.
    fn kept(&self) -> Kept {
        let inputs = self.publisher.in_force();
        let wanted = &self.wanted.inputs.resources;
        let mut refused = Vec::new();
        if !Arc::ptr_eq(wanted, &inputs.resources) {
            let absent = wanted.iter().filter(|(id, _)| !inputs.resources.contains_key(*id));
            let last = |(id, wanted)| Arc::clone(self.publisher.last_good(id).unwrap_or(wanted));
            refused.extend(absent.map(last));
        }
        let in_part = self.wanted.in_part(&inputs);
        Kept { inputs, refused, in_part, complete: self.resumable && self.rejections.is_empty() }
    }

    /// The services that are to be subscribed to: those that routes lead to, and those asked for.
    fn subscriptions(&self) -> BTreeSet<ServiceRef> {
        let mut services = referenced(&self.wanted.inputs);
        services.extend(self.shared().subscriptions.all());
        services.extend(self.settings.declared.iter().cloned());
        services
    }

    /// Services that were asked for on demand and have not been used for long.
    fn idle(&mut self) -> Vec<ServiceRef> {
        let shared = self.shared();
        let subscribed: BTreeSet<_> = shared.subscriptions.all().into_iter().collect();
        self.asked_s.retain(|service, _| subscribed.contains(service));
        let snapshot = shared.snapshot.load();
        let idle_max_s = u32::try_from(self.settings.idle_max.as_secs()).unwrap_or(u32::MAX);
        let now_s = shared.now_s();
        let is_idle = |service: &ServiceRef| {
            let asked_s = self.asked_s.get(service).copied().unwrap_or(0);
            let used_s = snapshot.upstream_of(service).map_or(0, |upstream| upstream.state.last_used_s());
            now_s.saturating_sub(asked_s.max(used_s)) > idle_max_s
        };
        subscribed.into_iter().filter(is_idle).collect()
    }

    /// Writes the last state to disk.
    pub(super) async fn finish(self) {
        if let Some(keeper) = self.keeper {
            keeper.finish().await;
        }
    }
}

/// The services that the rules of routes send requests to.
fn referenced(inputs: &Inputs) -> BTreeSet<ServiceRef> {
    let mut services = BTreeSet::new();
    for (id, resource) in inputs.resources.iter() {
        for backend in resource.spec.backends() {
            let namespace = backend.namespace.unwrap_or(&id.namespace);
            services.insert(ServiceRef::new(namespace, backend.name));
        }
    }
    services
}

/// How long to wait after so many failures in a row; `share` is drawn from 0 to 1 (full jitter, so that proxies that
/// lost the same server do not come back at once).
fn backoff(failures: u32, share: f64) -> Duration {
    BACKOFF_MIN.saturating_mul(1 << failures.min(16)).min(BACKOFF_MAX).mul_f64(share)
}
