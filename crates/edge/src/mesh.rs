//! The mesh server: tells proxies what is in force, over one gRPC stream each (design of the messages: see
//! `weir.mesh.v1` in `weir_api::mesh`).
//!
//! ```text
//!  catalog change -> hub (who is concerned?) -> stream task -> session (what differs from what was sent?) -> Update
//!  proxy <- Update            Ack -> session (what is outstanding?) -> table of proxies
//! ```
//!
//! A stream sends the difference between what the proxy has and the catalog's newest state, read at one revision. So a
//! slow proxy costs no queue: while [`OUTSTANDING_MAX`] updates wait for their acknowledgement, changes only mark the
//! stream, and the next update carries the newest state.
//!
//! The other way come reports of what proxies do (`reports`): kept beside the stream, added up when somebody asks. And what they
//! could use of the limits that they keep together (`leases`), which is answered with leases.
//!
//! This module must not decide what a proxy needs (that is `weir_control::resources::closure`) nor what it makes of it.

mod convert;
mod hub;
mod leases;
mod listener;
mod moment;
mod reports;
mod service;
mod session;
mod stream;
mod views;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use weir_api::report::{Figures, ProxyReport, Wanted};
use weir_control::Control;
use weir_control::catalog::Moment;
use weir_control::proxies::Proxy;
use weir_model::Position;
use weir_tls::Connectors;

pub use listener::{MeshListenError, MeshListener};
pub use reports::{LOOK_LASTS, REPORT_EVERY, REPORTS_BYTES_MAX, WATCHED_EVERY};

pub(crate) use convert::endpoint_inputs;
pub(crate) use moment::registered_endpoints;

use crate::consul::ConsulApi;
use crate::consul::chain::{Cache, Effective};
use hub::Hub;
use reports::Reports;
use views::Views;

/// Streams at one time.
pub const STREAMS_MAX: usize = weir_control::bounds::PROXIES_MAX;
/// Services and gateways that one proxy may subscribe to.
pub const SUBSCRIPTIONS_MAX: usize = 16_384;
/// Updates that may wait for their acknowledgement before further changes are held back and merged.
pub const OUTSTANDING_MAX: usize = 8;
/// How long a stream may take to say hello.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a proxy may take to acknowledge an update before its stream is ended; it then joins anew.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a connection may be without a stream: before its first, too.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// The mesh server of one replica.
#[derive(Clone)]
pub struct Mesh {
    shared: Arc<Shared>,
}

/// A connected proxy, with what only its stream knows.
#[derive(Clone, Debug)]
pub struct ProxyStatus {
    /// Its entry in the table of proxies.
    pub proxy: Proxy,
    /// Its namespace.
    pub namespace: String,
    /// The gateways it serves.
    pub gateways: Vec<String>,
    /// `HOST:PORT` of its admin listener, empty if none.
    pub admin: String,
    /// How much it is subscribed to.
    pub subscriptions: usize,
    /// Whether something that concerns it is not acknowledged yet.
    pub behind: bool,
}

/// What all streams share.
struct Shared {
    control: Arc<Control>,
    hub: Hub,
    views: Views,
    /// The documents in force, with what config entries add to them.
    effective: Arc<Cache>,
    reports: Reports,
    /// Demands for shares of limits that other replicas keep the books of.
    forwarded: mpsc::Sender<leases::Forwarded>,
    /// The name under which this replica introduces itself.
    replica: String,
    /// Where the catalog stood at the start. What was deleted before is not known, so nobody can resume from before.
    since: Position,
    timeouts: Timeouts,
}

/// What a stream and its connection are given time for.
#[derive(Clone, Copy, Debug)]
struct Timeouts {
    ack: Duration,
    idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { ack: ACK_TIMEOUT, idle: IDLE_TIMEOUT }
    }
}

impl std::fmt::Debug for Mesh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mesh").field("replica", &self.shared.replica).finish_non_exhaustive()
    }
}

impl Mesh {
    /// A mesh server over a control plane, which must just have been started. Must be called within a tokio runtime.
    pub fn new(control: Arc<Control>, replica: impl Into<String>) -> Self {
        Self::with((control, Arc::default()), replica, Timeouts::default(), None)
    }

    /// The same over what the API of Consul is over; with `tls` other replicas are asked for leases that way.
    pub fn beside(api: &ConsulApi, replica: impl Into<String>, tls: Option<Arc<Connectors>>) -> Self {
        Self::with(api.shared(), replica, Timeouts::default(), tls)
    }

    fn with(
        (control, effective): (Arc<Control>, Arc<Cache>),
        replica: impl Into<String>,
        timeouts: Timeouts,
        tls: Option<Arc<Connectors>>,
    ) -> Self {
        let changes = control.changes();
        let since = control.position();
        let hub = Hub::new(since);
        let (forwarded, forwarding) = leases::way();
        let shared = Arc::new(Shared {
            control,
            hub,
            views: Views::default(),
            effective,
            reports: Reports::default(),
            forwarded,
            replica: replica.into(),
            since,
            timeouts,
        });
        tokio::spawn(hub::follow(Arc::downgrade(&shared), changes));
        tokio::spawn(leases::forward(forwarding, tls));
        Self { shared }
    }

    /// The documents in force at a moment, with what config entries add to them.
    pub(crate) fn effective(&self, moment: &Moment<'_>) -> Arc<Effective> {
        self.shared.effective.at(moment, self.shared.control.settings())
    }

    /// The connected proxies, by id.
    pub fn proxies(&self) -> Vec<ProxyStatus> {
        self.shared.hub.proxies(self.shared.control.proxies())
    }

    /// What all connected proxies report together. Whoever asks is taken to look on for a while: [`LOOK_LASTS`].
    pub fn figures(&self, wanted: &Wanted) -> Figures {
        let now = Instant::now();
        self.shared.reports.look(now);
        reports::together(&self.shared.hub.members(), wanted, now)
    }

    /// The newest report of each connected proxy, by id; with `base` an older one beside it. Counts as a look, too.
    pub fn reports(&self, base: bool) -> Vec<ProxyReport> {
        let now = Instant::now();
        self.shared.reports.look(now);
        let with_about =
            reports::each(&self.shared.hub.members(), base, now).into_iter().map(|(member, report)| {
                let about = member.about();
                ProxyReport {
                    role: about.role.clone(),
                    namespace: about.namespace.clone(),
                    service: about.service.clone(),
                    gateways: about.gateways.clone(),
                    ..report
                }
            });
        with_about.collect()
    }

    /// Bytes of reports that are kept.
    pub fn reports_bytes(&self) -> usize {
        self.shared.reports.bytes()
    }

    /// Up to where changes have been looked at for whom they concern. A proxy that is not behind is as new as this.
    pub fn position(&self) -> Position {
        self.shared.hub.position()
    }
}
