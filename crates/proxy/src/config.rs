//! What a proxy is told at start: the engine's settings, their defaults and bounds, all in one place.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use weir_model::resource::{Protocol, ServiceRef};
use weir_policy::balance::hash;
use weir_tls::ClientFiles;

use crate::snapshot::Origin;

/// Everything that [`crate::run`] needs.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// Worker threads; 0 means one per core.
    pub workers: usize,
    /// Which listeners there are.
    pub mode: Mode,
    /// Where snapshots come from.
    pub source: SourceConfig,
    /// Whether gateways may listen at addresses that others can reach, although there is no TLS.
    pub insecure: bool,
    /// Where `/metrics`, health and explain are served; nowhere when absent.
    pub admin: Option<SocketAddr>,
    /// Where requests are logged; nowhere when absent.
    pub access_log: Option<AccessLogConfig>,
    /// What is done to the identifiers that requests carry from hop to hop.
    pub tracing: TracingConfig,
    /// Called once, when what is to be served is in force for the first time.
    pub ready: Option<fn()>,
    /// How long in-flight requests may take to finish after the shutdown signal. Default 30 s.
    pub drain_timeout: Duration,
    /// Where a proxy that is to take this one's place connects, and where this one finds the proxy whose place it takes;
    /// nowhere when absent.
    pub handover: Option<PathBuf>,
    /// Bounds.
    pub limits: EngineLimits,
    /// Time limits for what no route or policy says.
    pub timeouts: EngineTimeouts,
    /// What the application behind a sidecar speaks.
    pub app_protocol: Protocol,
    /// How a sidecar gets at calls that its application does not make to it.
    pub interception: Interception,
    /// Where it is, so that near endpoints can go first where a policy wants that.
    pub place: PlaceConfig,
}

/// Where a proxy is. What is not said is the same as what endpoints do not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlaceConfig {
    /// The region.
    pub region: Option<String>,
    /// The zone of the region.
    pub zone: Option<String>,
    /// The name of the machine: what tells proxies apart that have no id.
    pub host: String,
}

/// How a sidecar gets at its application's calls without the application's knowledge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interception {
    /// Addresses that stand for one service each: whatever connects there is for it.
    pub upstreams: Vec<(ServiceRef, SocketAddr)>,
    /// Services that are subscribed to from the start, so that it is known which addresses are theirs.
    pub known: Vec<ServiceRef>,
    /// Where connections to anywhere arrive that the kernel redirects; it is asked where they were to go.
    pub transparent: Vec<SocketAddr>,
}

impl Interception {
    /// The services that it names.
    pub fn services(&self) -> impl Iterator<Item = &ServiceRef> {
        self.upstreams.iter().map(|(service, _)| service).chain(&self.known)
    }
}

impl ProxyConfig {
    /// A configuration with the documented defaults.
    pub fn new(mode: Mode, source: SourceConfig) -> Self {
        Self {
            workers: 0,
            mode,
            source,
            insecure: false,
            admin: None,
            access_log: None,
            ready: None,
            tracing: TracingConfig::default(),
            drain_timeout: Duration::from_secs(30),
            handover: None,
            limits: EngineLimits::default(),
            timeouts: EngineTimeouts::default(),
            app_protocol: Protocol::default(),
            interception: Interception::default(),
            place: PlaceConfig::default(),
        }
    }

    /// Who this proxy is to the services that it calls: by its id, or else by its machine and its files.
    pub(crate) fn origin(&self) -> Origin {
        let PlaceConfig { region, zone, host } = &self.place;
        let (region, zone) = (region.clone(), zone.clone());
        match &self.source {
            SourceConfig::Mesh { id, .. } => Origin::of_proxy(id, region, zone),
            SourceConfig::Static { files } => {
                let files = files.iter().map(|file| file.as_os_str().as_encoded_bytes());
                Origin { id: hash::parts(std::iter::once(host.as_bytes()).chain(files)), region, zone }
            }
        }
    }

    /// The number of worker threads that is meant.
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
            n => n,
        }
    }
}

/// Which listeners a proxy has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Those of the snapshot's gateways.
    Gateway,
    /// Beside one application.
    Sidecar {
        /// The service whose instance the application is.
        service: ServiceRef,
        /// Where calls to the application arrive.
        inbound: SocketAddr,
        /// Where the application listens.
        app: SocketAddr,
        /// Where the application sends its own calls.
        outbound: SocketAddr,
    },
}

/// Where snapshots come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceConfig {
    /// Files of documents, watched for change.
    Static {
        /// The files, read as one set.
        files: Vec<PathBuf>,
    },
    /// A control plane.
    Mesh {
        /// Its address, as `http://host:port` or `https://host:port`.
        server: String,
        /// What `https` needs.
        tls: ClientFiles,
        /// How this proxy names itself.
        id: String,
        /// The gateways to serve, as `name` or `namespace/name`.
        gateways: Vec<String>,
        /// Where the last good snapshot is kept; not kept when absent.
        data_dir: Option<PathBuf>,
    },
}

/// What is done to the identifiers that requests carry from hop to hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TracingConfig {
    /// `x-request-id`.
    pub request_id: RequestIdPolicy,
    /// W3C Trace Context (`traceparent`, `tracestate`) and B3 (`b3`, `x-b3-...`).
    pub trace_context: TracePolicy,
}

/// What is done to `x-request-id`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestIdPolicy {
    /// Nothing: it is passed on as it comes, and none is made.
    Off,
    /// One that came is kept if it is well-formed, else one is made. An id grants nothing, so a false one harms only who
    /// sent it; and one that a client or a balancer in front has logged is worth more than a new one.
    #[default]
    Keep,
    /// As [`Self::Keep`] behind the gateway; at the gateway one is made for every request, whatever came.
    Replace,
}

/// What is done to trace context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TracePolicy {
    /// Nothing: it is passed on as it comes. The access log shows the trace. The default, since a span that nobody records
    /// leaves a gap in the trace where it stands.
    #[default]
    Pass,
    /// A request that is part of a trace gets a span of this proxy: the access log shows it, and the next hop has it as its
    /// parent.
    Join,
    /// The same, and a trace begins here for a request that is part of none.
    Start,
}

/// The access log.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLogConfig {
    /// The file to append to; standard output when absent.
    pub path: Option<PathBuf>,
    /// How a line looks.
    pub format: AccessLogFormat,
    /// The share of requests that is logged, 0 to 1; errors are logged always. Default 1.
    pub sample: f64,
    /// Batches of lines, of some 16 KiB at most, that may wait for the writer; the lines of what comes beyond are dropped
    /// and counted. Default 512.
    pub queue_max: usize,
}

impl Default for AccessLogConfig {
    fn default() -> Self {
        Self { path: None, format: AccessLogFormat::Json, sample: 1.0, queue_max: 512 }
    }
}

/// How a line of the access log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// One JSON object.
    #[default]
    Json,
    /// `key=value` pairs.
    Text,
}

/// Upper bounds of the engine. Each is per worker unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineLimits {
    /// Client connections at a time. Beyond: answered 503 and closed. Default 65536.
    pub connections_max: usize,
    /// Streams of one HTTP/2 connection of a client at a time. Beyond: refused. Default 256.
    pub streams_max: u32,
    /// Idle pooled connections per endpoint. Beyond: the oldest is closed. Default 512.
    pub pool_idle_max: usize,
    /// Bytes of one read, and so the most that is in memory of one direction of one exchange. Default 128 KiB.
    pub read_bytes_max: usize,
    /// Bytes per second that a request body must average until its response begins, and a client's reading of a response
    /// while it is what holds it up, once either has taken longer than [`EngineTimeouts::stream_idle`]; 0 for none. Calls
    /// of gRPC may send as slowly as they like. Default 240.
    pub body_rate_min: u64,
    /// Bytes that are read after an early response, while waiting for the client to end its upload. Default 256 KiB.
    pub discard_bytes_max: u64,
    /// Bytes of an error answer's path of a request that could not be read: how much is swallowed before closing, so
    /// that the answer is not lost to a reset. Default 256 KiB.
    pub linger_bytes_max: u64,
    /// Syntax bounds of requests.
    pub request: weir_http1::Limits,
    /// Syntax bounds of responses.
    pub response: weir_http1::Limits,
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self {
            connections_max: 65_536,
            streams_max: 256,
            pool_idle_max: 512,
            read_bytes_max: 128 * 1024,
            body_rate_min: 240,
            discard_bytes_max: 256 * 1024,
            linger_bytes_max: 256 * 1024,
            request: weir_http1::Limits::DEFAULT,
            response: weir_http1::Limits::DEFAULT,
        }
    }
}

/// Time limits of the engine. Routes and policies override `connect`, `request` and `upstream_idle`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineTimeouts {
    /// A client's TLS handshake, from accept to its end. Beyond: closed. Default 10 s.
    pub handshake: Duration,
    /// A request head, from its first byte to its last. Beyond: 408. Default 10 s.
    pub head_read: Duration,
    /// A client connection between two requests. Default 300 s.
    pub downstream_idle: Duration,
    /// A pass-through connection attempt; services bring their own. Default 1 s.
    pub connect: Duration,
    /// From a pass-through request's arrival to the response head; services bring their own. Default 15 s.
    pub request: Duration,
    /// A request or response body without progress. Default 60 s.
    pub stream_idle: Duration,
    /// How long a redirected connection may be silent before it is taken for one of a protocol in which the server speaks
    /// first. Default 100 ms.
    pub sniff: Duration,
    /// A tunnel without progress in either direction. Default 1 h, since WebSockets idle long.
    pub tunnel_idle: Duration,
    /// How long an instance that is called by HTTP/2 may be silent, with requests under way, before it is asked once
    /// whether it is there. Default 10 s.
    pub upstream_silence: Duration,
    /// How long it may take to answer that. Default 5 s.
    pub upstream_ping: Duration,
    /// How long a request whose client has shut down its sending side is still worked on before the client counts as
    /// gone: the two cannot be told apart. Default 2 s.
    pub half_close_grace: Duration,
    /// How long an idle client connection may still send one more request once draining has begun. Default 1 s.
    pub drain_idle_grace: Duration,
    /// How long a connection is kept half open after an error answer, for the client to read it. Default 1 s.
    pub linger: Duration,
}

impl Default for EngineTimeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head_read: Duration::from_secs(10),
            downstream_idle: Duration::from_secs(300),
            connect: Duration::from_secs(1),
            request: Duration::from_secs(15),
            stream_idle: Duration::from_secs(60),
            sniff: Duration::from_millis(100),
            tunnel_idle: Duration::from_secs(3600),
            upstream_silence: Duration::from_secs(10),
            upstream_ping: Duration::from_secs(5),
            half_close_grace: Duration::from_secs(2),
            drain_idle_grace: Duration::from_secs(1),
            linger: Duration::from_secs(1),
        }
    }
}
