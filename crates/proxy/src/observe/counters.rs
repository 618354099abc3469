//! What one worker counts. Only that worker writes; whoever asks reads and adds the workers up.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::grpc::{self, GrpcStatus};
use super::histogram::Histogram;
use super::rows::{ListenerKey, OTHER, RouteKey, Table};
use crate::filter::FilterCounters;
use crate::listen::{Place, Role};
use crate::respond::Reason;

/// A number with one writer. Others may read it at any time.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds. As there is one writer only, a load and a store do, which cost a tenth of an atomic addition.
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn sub(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(n), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Status classes: index 0 is 1xx (which only a tunnel ends with), 4 is 5xx.
pub(crate) const CLASSES: usize = 5;

/// The index of a status' class.
#[inline]
fn class(status: u16) -> usize {
    usize::from(status / 100).clamp(1, CLASSES) - 1
}

/// The word for a request whose client did not wait for its answer, in metrics and in the access log.
pub(crate) const CLIENT_GONE: &str = "client_gone";

/// What one worker counts of the requests that one rule sent to one service.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct RouteCounters {
    forwarded: [Counter; CLASSES],
    client_gone: Counter,
    /// By reason and class. Made with the first: most rows never have one.
    own: OnceLock<Box<[[Counter; CLASSES]; Reason::COUNT]>>,
}

impl RouteCounters {
    /// Counts a response of the upstream.
    #[inline]
    pub(crate) fn forwarded(&self, status: u16) {
        self.forwarded[class(status)].add(1);
    }

    /// Counts a request whose client did not wait for a response.
    pub(crate) fn client_gone(&self) {
        self.client_gone.add(1);
    }

    /// Counts an answer of the proxy's own.
    #[cold]
    pub(crate) fn own(&self, reason: Reason, status: u16) {
        self.own.get_or_init(Box::default)[reason as usize][class(status)].add(1);
    }

    /// Calls `each` with the decision, the index of the class and the count, wherever there is one.
    pub(super) fn each(&self, mut each: impl FnMut(&'static str, usize, u64)) {
        let mut some = |decision, class, count| {
            if count > 0 {
                each(decision, class, count);
            }
        };
        for (class, counter) in self.forwarded.iter().enumerate() {
            some("forwarded", class, counter.get());
        }
        // As if it were the peers' 499.
        some(CLIENT_GONE, 3, self.client_gone.get());
        for (reason, classes) in
            Reason::ALL.into_iter().zip(self.own.get().into_iter().flat_map(|own| &**own))
        {
            for (class, counter) in classes.iter().enumerate() {
                some(reason.as_str(), class, counter.get());
            }
        }
    }
}

/// What one worker counts of one service.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct ServiceCounters {
    /// From a request's head to the end of its response.
    pub(crate) duration: Histogram,
    /// From the beginning of the last attempt to the response's head.
    pub(crate) upstream: Histogram,
    /// Responses to gRPC calls by status. Made with the first.
    grpc: OnceLock<Box<[Counter; grpc::NAMES.len()]>>,
    /// Connections whose bytes are nobody's requests.
    pub(crate) streams: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) retries: Counter,
    pub(crate) retries_denied: Counter,
    /// Second copies of requests: sent, answered first, and not sent because of the budget.
    pub(crate) hedges: Counter,
    pub(crate) hedges_won: Counter,
    pub(crate) hedges_denied: Counter,
    pub(crate) connects: Counter,
    pub(crate) connect_failures: Counter,
    pub(crate) resets: Counter,
}

impl ServiceCounters {
    /// Counts a response to a gRPC call.
    pub(crate) fn grpc(&self, status: GrpcStatus) {
        self.grpc.get_or_init(Box::default)[status.place()].add(1);
    }

    /// How many there were of each status.
    pub(super) fn each_grpc(&self) -> impl Iterator<Item = u64> {
        self.grpc.get().into_iter().flat_map(|counters| counters.iter().map(Counter::get))
    }
}

/// Where one worker counts what becomes of requests: those that one rule sends to one service.
#[derive(Debug)]
pub(crate) struct RequestRow {
    pub(crate) service: Arc<str>,
    pub(crate) route: Arc<str>,
    pub(crate) of_service: Arc<ServiceCounters>,
    pub(crate) of_route: Arc<RouteCounters>,
}

impl RequestRow {
    pub(crate) fn new(counters: &WorkerCounters, service: &Arc<str>, route: &Arc<str>) -> Rc<Self> {
        let (of_service, of_route) = (counters.service(service), counters.route(service, route));
        Rc::new(Self { service: service.clone(), route: route.clone(), of_service, of_route })
    }
}

/// What is spoken on a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Not known yet: nothing has been said.
    Unknown,
    /// HTTP/1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Bytes, for a service that speaks something else.
    Tcp,
    /// TLS that is passed through.
    TlsPassthrough,
}

impl Wire {
    const ALL: [Self; 5] = [Self::Unknown, Self::Http1, Self::Http2, Self::Tcp, Self::TlsPassthrough];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Http1 => "h1",
            Self::Http2 => "h2",
            Self::Tcp => "tcp",
            Self::TlsPassthrough => "tls",
        }
    }
}

/// What one worker counts of one listener.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct ListenerCounters {
    spoke: [Counter; Wire::ALL.len()],
    active: [Counter; Wire::ALL.len()],
}

impl ListenerCounters {
    /// Counts a client's connection until what it gives is dropped. Streams of a connection are not connections.
    pub(crate) fn open(self: &Arc<Self>, place: Option<Place>) -> OpenConnection {
        self.active[Wire::Unknown as usize].add(1);
        OpenConnection { counters: Arc::clone(self), wire: Wire::Unknown, _place: place }
    }

    /// The protocol's word, how many connections spoke it and how many do, for each protocol that was ever spoken.
    pub(super) fn each(&self) -> impl Iterator<Item = (&'static str, u64, u64)> {
        Wire::ALL.into_iter().filter_map(|wire| {
            let (spoke, active) = (self.spoke[wire as usize].get(), self.active[wire as usize].get());
            (spoke > 0 || active > 0).then_some((wire.as_str(), spoke, active))
        })
    }
}

/// A client's connection that is counted as open.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    counters: Arc<ListenerCounters>,
    wire: Wire,
    /// Its place among the listener's connections.
    _place: Option<Place>,
}

impl OpenConnection {
    /// Says what is spoken on it, once that is known. Saying it again costs next to nothing.
    #[inline]
    pub(crate) fn speaks(&mut self, wire: Wire) {
        if self.wire == Wire::Unknown {
            self.settle(wire);
        }
    }

    #[cold]
    fn settle(&mut self, wire: Wire) {
        self.counters.active[Wire::Unknown as usize].sub(1);
        self.counters.active[wire as usize].add(1);
        self.counters.spoke[wire as usize].add(1);
        self.wire = wire;
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if self.wire == Wire::Unknown {
            self.counters.spoke[Wire::Unknown as usize].add(1);
        }
        self.counters.active[self.wire as usize].sub(1);
    }
}

/// Whose connection TLS is spoken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// A client's.
    Client,
    /// One to an endpoint.
    Upstream,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsVersion {
    /// 1.2.
    V12,
    /// 1.3.
    V13,
}

impl TlsVersion {
    /// As metrics and logs show it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::V12 => "1.2",
            Self::V13 => "1.3",
        }
    }
}

/// Why a TLS handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsFailure {
    /// It took too long.
    Timeout,
    /// What came is no TLS.
    NotTls,
    /// There is no certificate for the name.
    NoCertificate,
    /// The client's certificate is missing, or was not accepted.
    ClientCertificate,
    /// The endpoint's certificate was not accepted.
    ServerCertificate,
    /// No version or cipher in common, or a fault in the protocol.
    Protocol,
    /// The peer closed.
    Closed,
    /// Too many others were under way.
    Overloaded,
}

impl TlsFailure {
    const ALL: [Self; 8] = [
        Self::Timeout,
        Self::NotTls,
        Self::NoCertificate,
        Self::ClientCertificate,
        Self::ServerCertificate,
        Self::Protocol,
        Self::Closed,
        Self::Overloaded,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::NotTls => "not_tls",
            Self::NoCertificate => "no_certificate",
            Self::ClientCertificate => "client_certificate",
            Self::ServerCertificate => "server_certificate",
            Self::Protocol => "protocol",
            Self::Closed => "closed",
            Self::Overloaded => "overloaded",
        }
    }
}

/// What one worker counts of TLS.
#[derive(Debug, Default)]
pub(crate) struct TlsCounters {
    /// By side, version, and whether a session was resumed.
    handshakes: [[[Counter; 2]; 2]; 2],
    failures: [[Counter; TlsFailure::ALL.len()]; 2],
}

const SIDES: [&str; 2] = ["client", "upstream"];

impl TlsCounters {
    /// Counts a handshake that succeeded.
    pub(crate) fn handshake(&self, side: Side, version: TlsVersion, resumed: bool) {
        self.handshakes[side as usize][version as usize][usize::from(resumed)].add(1);
    }

    /// Counts one that did not.
    pub(crate) fn failure(&self, side: Side, why: TlsFailure) {
        self.failures[side as usize][why as usize].add(1);
    }

    /// Side, version, whether resumed, and how many.
    pub(super) fn handshakes(&self) -> impl Iterator<Item = ([&'static str; 3], u64)> {
        let versions = [TlsVersion::V12.as_str(), TlsVersion::V13.as_str()];
        SIDES.into_iter().zip(&self.handshakes).flat_map(move |(side, by_version)| {
            versions.into_iter().zip(by_version).flat_map(move |(version, by_resumed)| {
                let resumed = ["false", "true"].into_iter().zip(by_resumed);
                resumed.map(move |(resumed, counter)| ([side, version, resumed], counter.get()))
            })
        })
    }

    /// Side, reason, and how many.
    pub(super) fn failures(&self) -> impl Iterator<Item = ([&'static str; 2], u64)> {
        SIDES.into_iter().zip(&self.failures).flat_map(|(side, by_reason)| {
            let failures = TlsFailure::ALL.into_iter().zip(by_reason);
            failures.map(move |(why, counter)| ([side, why.as_str()], counter.get()))
        })
    }
}

/// What an HTTP/2 peer does too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Http2Flood {
    /// Streams opened and reset at once.
    RapidReset,
    /// SETTINGS.
    Settings,
    /// PING.
    Ping,
    /// CONTINUATION without an end.
    Continuation,
    /// DATA without content.
    EmptyFrames,
    /// WINDOW_UPDATE.
    WindowUpdate,
    /// PRIORITY.
    Priority,
    /// Anything else.
    Other,
}

impl Http2Flood {
    const ALL: [Self; 8] = [
        Self::RapidReset,
        Self::Settings,
        Self::Ping,
        Self::Continuation,
        Self::EmptyFrames,
        Self::WindowUpdate,
        Self::Priority,
        Self::Other,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::RapidReset => "rapid_reset",
            Self::Settings => "settings",
            Self::Ping => "ping",
            Self::Continuation => "continuation",
            Self::EmptyFrames => "empty_frames",
            Self::WindowUpdate => "window_update",
            Self::Priority => "priority",
            Self::Other => "other",
        }
    }
}

/// What one worker counts of clients' HTTP/2 connections.
#[derive(Debug, Default)]
pub(crate) struct Http2Counters {
    /// Streams that are open.
    pub(crate) streams: Counter,
    /// Streams that were opened.
    pub(crate) streams_total: Counter,
    /// GOAWAYs sent.
    pub(crate) goaways: Counter,
    /// Bytes of responses that clients do not take.
    pub(crate) kept: Counter,
    floods: [Counter; Http2Flood::ALL.len()],
}

impl Http2Counters {
    /// Counts a connection that was ended because of a flood.
    pub(crate) fn flood(&self, kind: Http2Flood) {
        self.floods[kind as usize].add(1);
    }

    pub(super) fn floods(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Http2Flood::ALL.into_iter().zip(&self.floods).map(|(kind, counter)| (kind.as_str(), counter.get()))
    }
}

/// What one worker counts.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct WorkerCounters {
    pub(crate) accepted: Counter,
    /// Connections that the worker would wait for when it drains; a stream of an HTTP/2 connection is one, too.
    pub(crate) active: Counter,
    pub(crate) requests: Counter,
    pub(crate) requests_ended: Counter,
    pub(crate) pool_idle: Counter,
    pub(crate) pool_hits: Counter,
    pub(crate) pool_stale: Counter,
    pub(crate) pool_evicted: Counter,
    pub(crate) pool_retired: Counter,
    pub(crate) tunnels: Counter,
    pub(crate) tunnels_total: Counter,
    pub(crate) client_gone: Counter,
    pub(crate) truncated: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    /// Lines of the access log that found the queue full.
    pub(crate) log_dropped: Counter,
    pub(crate) tls: TlsCounters,
    pub(crate) http2: Http2Counters,
    pub(crate) filters: FilterCounters,
    refusals: [Counter; Reason::COUNT],
    pub(super) services: Table<Arc<str>, ServiceCounters>,
    pub(super) routes: Table<RouteKey, RouteCounters>,
    pub(super) listeners: Table<ListenerKey, ListenerCounters>,
    /// When the worker last ticked, in seconds of the proxy's monotonic clock.
    beat_s: AtomicU32,
    alive: AtomicBool,
}

/// Services that a worker keeps rows for. Beyond, they share one.
const SERVICES_MAX: usize = 2048;
/// Pairs of rule and service, likewise.
const ROUTES_MAX: usize = 8192;
/// Listeners, likewise.
const LISTENERS_MAX: usize = 1024;
/// A worker that has not ticked for so many seconds hangs. It ticks twenty times a second.
const SILENT_MAX_S: u32 = 10;

impl Default for WorkerCounters {
    fn default() -> Self {
        let counter = Counter::default;
        Self {
            accepted: counter(),
            active: counter(),
            requests: counter(),
            requests_ended: counter(),
            pool_idle: counter(),
            pool_hits: counter(),
            pool_stale: counter(),
            pool_evicted: counter(),
            pool_retired: counter(),
            tunnels: counter(),
            tunnels_total: counter(),
            client_gone: counter(),
            truncated: counter(),
            bytes_in: counter(),
            bytes_out: counter(),
            log_dropped: counter(),
            tls: TlsCounters::default(),
            http2: Http2Counters::default(),
            filters: FilterCounters::default(),
            refusals: Default::default(),
            services: Table::new(SERVICES_MAX, OTHER.into()),
            routes: Table::new(ROUTES_MAX, RouteKey { service: OTHER.into(), route: OTHER.into() }),
            listeners: Table::new(LISTENERS_MAX, ListenerKey::Other),
            beat_s: AtomicU32::new(0),
            alive: AtomicBool::new(false),
        }
    }
}

impl WorkerCounters {
    /// Counts an answer that the proxy made itself.
    pub(crate) fn refusal(&self, reason: Reason) {
        self.refusals[reason as usize].add(1);
    }

    pub(super) fn refusals(&self, reason: Reason) -> u64 {
        self.refusals[reason as usize].get()
    }

    /// The counters of a service. Not for the hot path: keep what it gives.
    pub(crate) fn service(&self, label: &Arc<str>) -> Arc<ServiceCounters> {
        self.services.row(label)
    }

    /// The counters of a rule's requests to a service. Not for the hot path.
    pub(crate) fn route(&self, service: &Arc<str>, route: &Arc<str>) -> Arc<RouteCounters> {
        self.routes.row(&RouteKey { service: service.clone(), route: route.clone() })
    }

    /// The counters of a listener. Not for the hot path.
    pub(crate) fn listener(&self, addr: std::net::SocketAddr, role: Role) -> Arc<ListenerCounters> {
        self.listeners.row(&ListenerKey::At(addr, role.as_str()))
    }

    /// Says that the worker lives, for as long as what it gives is kept.
    pub(crate) fn live(self: &Arc<Self>) -> Alive {
        self.alive.store(true, Ordering::Relaxed);
        Alive(Arc::clone(self))
    }

    /// Says that the worker does something.
    #[inline]
    pub(crate) fn beat(&self, now_s: u32) {
        self.beat_s.store(now_s, Ordering::Relaxed);
    }

    /// Whether its thread runs and does not hang.
    pub(super) fn is_alive(&self, now_s: u32) -> bool {
        let beat_s = self.beat_s.load(Ordering::Relaxed);
        self.alive.load(Ordering::Relaxed) && (beat_s == 0 || now_s.saturating_sub(beat_s) <= SILENT_MAX_S)
    }
}

/// A worker that lives. Dropped by a panic, too.
#[derive(Debug)]
pub(crate) struct Alive(Arc<WorkerCounters>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_alive_while_it_lives_and_beats() {
        let worker = Arc::new(WorkerCounters::default());
        assert!(!worker.is_alive(1), "not begun");
        let life = worker.live();
        assert!(worker.is_alive(100), "begun, and not ticked yet");
        worker.beat(100);
        assert!(worker.is_alive(100 + SILENT_MAX_S));
        assert!(!worker.is_alive(101 + SILENT_MAX_S), "it hangs");
        worker.beat(200);
        assert!(worker.is_alive(200));
        drop(life);
        assert!(!worker.is_alive(200));
    }

    #[test]
    fn connections_are_counted_while_they_are_open() {
        let listener = Arc::new(ListenerCounters::default());
        let (mut one, mut two, three) = (listener.open(None), listener.open(None), listener.open(None));
        assert_eq!(listener.each().collect::<Vec<_>>(), [("unknown", 0, 3)]);
        one.speaks(Wire::Http1);
        one.speaks(Wire::Http1);
        two.speaks(Wire::Http2);
        drop(one);
        assert_eq!(listener.each().collect::<Vec<_>>(), [("unknown", 0, 1), ("h1", 1, 0), ("h2", 1, 1)]);
        drop((two, three));
        assert_eq!(listener.each().collect::<Vec<_>>(), [("unknown", 1, 0), ("h1", 1, 0), ("h2", 1, 0)]);
    }

    #[test]
    fn decisions_are_told_apart() {
        let row = RouteCounters::default();
        row.forwarded(204);
        row.forwarded(200);
        row.forwarded(101);
        row.forwarded(999);
        row.client_gone();
        row.own(Reason::Timeout, 504);
        row.own(Reason::NoRoute, 404);
        let mut seen = Vec::new();
        row.each(|decision, class, count| seen.push((decision, class + 1, count)));
        let expected = [
            ("forwarded", 1, 1),
            ("forwarded", 2, 2),
            ("forwarded", 5, 1),
            ("client_gone", 4, 1),
            ("no_route", 4, 1),
            ("timeout", 5, 1),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn numbers_of_kinds_are_their_places() {
        for (i, wire) in Wire::ALL.into_iter().enumerate() {
            assert_eq!(wire as usize, i);
        }
        for (i, why) in TlsFailure::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, i);
        }
        for (i, kind) in Http2Flood::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, i);
        }
    }
}
