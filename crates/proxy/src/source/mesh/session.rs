//! One stream with one control plane, from hello until it breaks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use weir_api::mesh::mesh_client::MeshClient;
use weir_api::mesh::{self, MESSAGE_BYTES_MAX, PROTOCOL_VERSION, proxy_message, server_message};
use weir_model::dns_names::DnsNames;
use weir_model::{DEFAULT_NAMESPACE, ServiceRef};
use weir_tls::{Connectors, Dial};

use super::MeshSource;
use super::demand::Demands;
use super::reports::Pace;
use super::wanted::OutOfOrder;
use crate::observe::process_now;
use crate::snapshot::{Rejection, Role};
use crate::source::certificates;
use crate::source::names::REFRESH_EVERY;

/// How long connecting may take.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How long the control plane may take to welcome a proxy.
const WELCOME_MAX: Duration = Duration::from_secs(10);
/// How long the control plane may leave messages of the proxy unread.
const SEND_MAX: Duration = Duration::from_secs(10);
/// Messages to the control plane that may wait.
const OUTBOX_MAX: usize = 64;
/// How often refused resources are tried again and idle subscriptions are looked for.
const TEND_EVERY: Duration = Duration::from_secs(5);

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("{}: {}", .0.code(), because(.0.as_ref()))]
    Status(Box<Status>),
    #[error("it answers in HTTP/1: is this the HTTP address? Proxies join on the --grpc address (8502)")]
    HttpAddress,
    #[error("the control plane closed the stream")]
    Closed,
    #[error("the control plane did not answer in time")]
    Silent,
    #[error("the control plane speaks no version of the protocol that this proxy knows")]
    Protocol,
    #[error("expected a welcome first")]
    NoWelcome,
    #[error(transparent)]
    OutOfOrder(#[from] OutOfOrder),
}

impl SessionError {
    /// Whether another proxy of the same id has taken this one's place.
    pub(super) fn is_replaced(&self) -> bool {
        matches!(self, Self::Status(status) if status.code() == Code::Aborted)
    }

    pub(super) const fn is_out_of_order(&self) -> bool {
        matches!(self, Self::OutOfOrder(_))
    }
}

impl From<Status> for SessionError {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

/// Joins the mesh at a server and stays until the stream breaks.
pub(super) async fn run(source: &mut MeshSource, server: &str) -> SessionError {
    let subscribed = subscriptions(source);
    let tls = source.settings.tls.clone();
    let opening = open(server, source.settings.keepalive, tls.as_ref(), hello(source, &subscribed));
    match source.meanwhile(opening).await {
        Ok(opened) => match Session::begin(source, server, opened, subscribed).stay(source).await {
            Err(error) => error,
            Ok(never) => match never {},
        },
        Err(error) => error,
    }
}

/// A control plane of an older version does not say which domains it has.
fn names(welcome: &mesh::Welcome) -> DnsNames {
    let mut names = DnsNames { datacenter: welcome.datacenter.clone(), ..DnsNames::default() };
    if !welcome.domains.is_empty() {
        names.domains.clone_from(&welcome.domains);
    }
    names
}

/// Nothing: a stream does not end well.
enum Never {}

struct Session {
    outbox: mpsc::Sender<mesh::ProxyMessage>,
    inbox: Streaming<mesh::ServerMessage>,
    /// What this stream is subscribed to.
    subscribed: BTreeSet<ServiceRef>,
    /// By which names in DNS services are called.
    names: DnsNames,
    /// Whether everything was asked for: then the first update replaces what was there, whatever it says of itself.
    from_nothing: bool,
    /// How often the server wants reports.
    pace: Pace,
    /// What is asked of it for shared limits.
    demands: Demands,
}

/// A stream on which the control plane has welcomed the proxy.
struct Opened {
    outbox: mpsc::Sender<mesh::ProxyMessage>,
    inbox: Streaming<mesh::ServerMessage>,
    welcome: mesh::Welcome,
}

/// What a stream is to be subscribed to from the start.
fn subscriptions(source: &MeshSource) -> BTreeSet<ServiceRef> {
    let mut subscribed = source.subscriptions();
    if source.resumable {
        // Resuming says "I have these as of then". What the proxy lacks it subscribes to afterwards.
        subscribed.retain(|service| source.wanted.inputs.services.contains_key(service));
    }
    subscribed
}

async fn open(
    server: &str,
    keepalive: Duration,
    tls: Option<&Arc<Connectors>>,
    hello: mesh::Hello,
) -> Result<Opened, SessionError> {
    let channel = connect(server, keepalive, tls).await?;
    let mut client = MeshClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let (outbox, messages) = mpsc::channel(OUTBOX_MAX);
    let hello = proxy_message::Message::Hello(hello);
    // The queue is empty, so this cannot fail.
    let _ = outbox.try_send(mesh::ProxyMessage { message: Some(hello) });
    let welcome = async {
        let mut inbox = client.join(ReceiverStream::new(messages)).await?.into_inner();
        match inbox.message().await?.and_then(|message| message.message) {
            Some(server_message::Message::Welcome(welcome)) if welcome.protocol > 0 => Ok((inbox, welcome)),
            Some(server_message::Message::Welcome(_)) => Err(SessionError::Protocol),
            _ => Err(SessionError::NoWelcome),
        }
    };
    let welcomed = timeout(WELCOME_MAX, welcome).await.map_err(|_| SessionError::Silent)?;
    let (inbox, welcome) = match welcomed {
        // What the transport says of an answer that it cannot read helps nobody.
        Err(SessionError::Status(status)) if status.code() == Code::Unknown && speaks_http1(server).await => {
            return Err(SessionError::HttpAddress);
        }
        other => other?,
    };
    Ok(Opened { outbox, inbox, welcome })
}

impl Session {
    fn begin(
        source: &mut MeshSource,
        server: &str,
        opened: Opened,
        subscribed: BTreeSet<ServiceRef>,
    ) -> Self {
        let Opened { outbox, inbox, welcome } = opened;
        let names = names(&welcome);
        if source.is_disputed() {
            tracing::debug!(%server, "joined the mesh again");
        } else {
            tracing::info!(%server, datacenter = welcome.datacenter, replica = welcome.replica, "joined the mesh");
        }
        let shared = source.shared();
        shared.set_status(|status| {
            status.connected_to = Some(server.to_owned());
            status.error = None;
        });
        shared.subscriptions.set_online(true);
        let pace = Pace::new(welcome.report_every_ms);
        let demands = Demands::new(welcome.demand_every_ms, Instant::now());
        source.wanted.inputs.names = names.clone();
        Self { names, outbox, inbox, subscribed, from_nothing: !source.resumable, pace, demands }
    }

    async fn stay(&mut self, source: &mut MeshSource) -> Result<Never, SessionError> {
        let shared = source.shared();
        let mut tend = tokio::time::interval(TEND_EVERY);
        let mut refresh = tokio::time::interval(REFRESH_EVERY);
        let mut certificates = tokio::time::interval(certificates::POLL_EVERY);
        for interval in [&mut tend, &mut refresh, &mut certificates] {
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval.reset();
        }
        self.subscribe(source).await?;
        loop {
            let report_due = self.pace.due(Instant::now());
            let demand_due = self.demands.due();
            tokio::select! {
                message = self.inbox.message() => match message?.map(|message| message.message) {
                    None => return Err(SessionError::Closed),
                    Some(Some(server_message::Message::Update(update))) => self.update(source, update).await?,
                    Some(Some(server_message::Message::ReportPace(pace))) => {
                        self.pace.watch(pace, Instant::now());
                    }
                    Some(Some(server_message::Message::Leases(leases))) => {
                        let snapshot = shared.snapshot.load();
                        self.demands.take(leases, &snapshot.limits, Instant::now(), process_now());
                    }
                    // A second welcome, or something from the future.
                    Some(_) => {}
                },
                services = shared.subscriptions.next_wanted() => {
                    let now_s = shared.now_s();
                    source.asked_s.extend(services.iter().map(|service| (service.clone(), now_s)));
                    self.subscribe(source).await?;
                    // One that is known already, because a route leads there, is answered already.
                    let known = &source.wanted.inputs.services;
                    let known = services.iter().filter_map(|service| Some((service, known.get(service)?.known)));
                    shared.subscriptions.answered(known);
                }
                () = until(report_due) => self.report(source),
                () = until(demand_due) => self.demand(source),
                _ = tend.tick() => self.tend(source).await?,
                _ = refresh.tick() => source.publisher.refresh_names().await,
                () = shared.checks.changed() => source.publisher.refresh_verdicts(),
                _ = certificates.tick() => if source.poll_certificates().await {
                    self.acknowledge(source).await?;
                },
            }
        }
    }

    async fn update(
        &mut self,
        source: &mut MeshSource,
        mut update: mesh::Update,
    ) -> Result<(), SessionError> {
        update.reset |= std::mem::take(&mut self.from_nothing);
        let told = source.wanted.apply(update)?;
        // Beyond a reset, too.
        source.wanted.inputs.names.clone_from(&self.names);
        // Of a service that was dropped a last word may still have been on its way; it would never be updated again.
        let wanted = source.subscriptions();
        let stray: Vec<_> = told.iter().filter(|service| !wanted.contains(*service)).cloned().collect();
        source.wanted.forget(&stray);
        source.resumable = true;
        source.live = true;
        // Its word and the end of this proxy's own are put in force together.
        source.shared().checks.control_plane_returned();
        source.put_in_force(false).await;
        self.demands.look(&source.shared().snapshot.load().limits, Instant::now());
        source.shared().set_status(|status| status.kind = "mesh");
        let services = &source.wanted.inputs.services;
        let exists = |service| services.get(service).is_some_and(|registered| registered.known);
        source.shared().subscriptions.answered(told.iter().map(|service| (service, exists(service))));
        self.acknowledge(source).await?;
        self.subscribe(source).await
    }

    /// Says what the proxy has done. A report that finds no room is not missed: the next one says the same and more.
    fn report(&mut self, source: &MeshSource) {
        self.pace.reported(Instant::now());
        if let Some(metrics) = &source.settings.metrics {
            let json = metrics.report(&source.shared()).to_json();
            let report = proxy_message::Message::Report(mesh::Report { json });
            let _ = self.outbox.try_send(mesh::ProxyMessage { message: Some(report) });
        }
    }

    /// Asks for shares of limits. A question that finds no room is asked again.
    fn demand(&mut self, source: &MeshSource) {
        let shared = source.shared();
        let demand = self.demands.ask(&shared.snapshot.load().limits, Instant::now(), process_now());
        if let Some(demand) = demand.map(proxy_message::Message::Demand) {
            let _ = self.outbox.try_send(mesh::ProxyMessage { message: Some(demand) });
        }
    }

    async fn acknowledge(&self, source: &MeshSource) -> Result<(), SessionError> {
        let ack = mesh::Ack {
            position: Some(position(source.wanted.inputs.position)),
            rejections: source.rejections.iter().map(rejection).collect(),
        };
        self.send(proxy_message::Message::Ack(ack)).await
    }

    /// Makes the subscriptions of the stream those that are to be.
    async fn subscribe(&mut self, source: &mut MeshSource) -> Result<(), SessionError> {
        let wanted = source.subscriptions();
        let add: Vec<_> = wanted.difference(&self.subscribed).cloned().collect();
        let drop: Vec<_> = self.subscribed.difference(&wanted).cloned().collect();
        if add.is_empty() && drop.is_empty() {
            return Ok(());
        }
        self.subscribed = wanted;
        let subscribe = mesh::Subscribe {
            add: add.iter().map(service_ref).collect(),
            drop: drop.iter().map(service_ref).collect(),
        };
        self.send(proxy_message::Message::Subscribe(subscribe)).await?;
        if !drop.is_empty() {
            source.wanted.forget(&drop);
            source.put_in_force(false).await;
        }
        Ok(())
    }

    /// Tries again what was refused, and gives up subscriptions that nobody uses.
    async fn tend(&mut self, source: &mut MeshSource) -> Result<(), SessionError> {
        if !source.rejections.is_empty() {
            let before = source.rejections.clone();
            source.put_in_force(true).await;
            if source.rejections != before {
                self.acknowledge(source).await?;
            }
        }
        let idle = source.idle();
        for service in &idle {
            source.asked_s.remove(service);
            source.shared().subscriptions.forget(service);
        }
        self.subscribe(source).await
    }

    async fn send(&self, message: proxy_message::Message) -> Result<(), SessionError> {
        let message = mesh::ProxyMessage { message: Some(message) };
        self.outbox.send_timeout(message, SEND_MAX).await.map_err(|error| match error {
            mpsc::error::SendTimeoutError::Timeout(_) => SessionError::Silent,
            mpsc::error::SendTimeoutError::Closed(_) => SessionError::Closed,
        })
    }
}

/// Waits until then; for ever when there is no such time.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

async fn connect(
    server: &str,
    keepalive: Duration,
    tls: Option<&Arc<Connectors>>,
) -> Result<Channel, SessionError> {
    let failed = |error: tonic::transport::Error| SessionError::Connect(because(&error));
    let secure =
        server.strip_prefix("https://").and_then(|authority| Some((authority, Dial(Arc::clone(tls?)))));
    // The transport is not told that its bytes are encrypted: its connector sees to that.
    let dialled =
        secure.as_ref().map_or_else(|| server.to_owned(), |(authority, _)| format!("http://{authority}"));
    let endpoint = Endpoint::from_shared(dialled)
        .map_err(failed)?
        .connect_timeout(CONNECT_MAX)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(keepalive)
        .keep_alive_timeout(keepalive)
        .keep_alive_while_idle(true);
    let connecting = async {
        match secure {
            None => endpoint.connect().await,
            Some((_, dial)) => endpoint.connect_with_connector(dial).await,
        }
    };
    match timeout(CONNECT_MAX, connecting).await {
        Ok(connected) => connected.map_err(failed),
        Err(_) => Err(SessionError::Silent),
    }
}

/// Whether a server answers HTTP/1, which no mesh listener does.
async fn speaks_http1(server: &str) -> bool {
    let ask = async {
        let Some(address) = server.strip_prefix("http://") else { return Ok(false) };
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n").await?;
        let mut start = [0; 7];
        stream.read_exact(&mut start).await?;
        Ok::<_, std::io::Error>(start == *b"HTTP/1.")
    };
    matches!(timeout(CONNECT_MAX, ask).await, Ok(Ok(true)))
}

/// The innermost reason: the outer ones only say "transport error". Of what a server answered, its own words.
fn because(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    match innermost.downcast_ref::<Status>() {
        Some(status) => status.message().to_owned(),
        None => innermost.to_string(),
    }
}

fn hello(source: &MeshSource, subscribed: &BTreeSet<ServiceRef>) -> mesh::Hello {
    let settings = &source.settings;
    let (role, namespace, service, gateways) = match &settings.role {
        Role::Gateway { gateways } => {
            (mesh::Role::Gateway, DEFAULT_NAMESPACE.to_owned(), String::new(), gateways.clone())
        }
        Role::Sidecar { service } => {
            (mesh::Role::Sidecar, service.namespace.clone(), service.name.clone(), Vec::new())
        }
    };
    mesh::Hello {
        protocol: PROTOCOL_VERSION,
        proxy_id: settings.id.clone(),
        role: role.into(),
        namespace,
        service,
        gateways,
        upstreams: subscribed.iter().map(service_ref).collect(),
        resume: source.resumable.then(|| position(source.wanted.inputs.position)),
        node: node_name(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        admin: settings.admin.clone(),
    }
}

/// This host's name; empty where it cannot be told.
fn node_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}

fn service_ref(service: &ServiceRef) -> mesh::ServiceRef {
    mesh::ServiceRef { namespace: service.namespace.clone(), name: service.name.clone() }
}

const fn position(position: weir_model::Position) -> mesh::Position {
    mesh::Position { epoch: position.epoch, revision: position.revision }
}

fn rejection(rejection: &Rejection) -> mesh::Rejection {
    let id = &rejection.resource;
    let resource = mesh::ResourceRef {
        kind: id.kind.to_string(),
        namespace: id.namespace.clone(),
        name: id.name.clone(),
    };
    mesh::Rejection {
        resource: Some(resource),
        path: rejection.path.clone(),
        reason: rejection.reason.clone(),
    }
}
