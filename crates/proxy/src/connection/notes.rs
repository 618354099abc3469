//! What is remembered of a request for the access log, made only when there is one, and what becomes of it once the
//! request is over.

use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use weir_http1::{KnownField, RequestHead, TargetForm, Version};
use weir_model::Position;
use weir_policy::Nanos;

use super::Connection;
use super::broken::call_end;
use super::limited::outcome;
use crate::attempt::Exchange;
use crate::observe::{CLIENT_GONE, GrpcStatus, Line, NONE};
use crate::respond::Reason;
use crate::runtime::Io;

/// Bytes of a path, and of a name of a client's program, in the log.
const PATH_BYTES_MAX: usize = 2048;
const AGENT_BYTES_MAX: usize = 512;

/// The notes. Kept in a box that is used again, with its text.
#[derive(Debug)]
pub(crate) struct Notes {
    at: SystemTime,
    /// Method, host, path, user agent and caller, one behind the other.
    text: Vec<u8>,
    ends: [usize; 5],
    pub(crate) position: Position,
    pub(crate) endpoint: Option<Arc<str>>,
    pub(crate) attempts: u32,
    pub(crate) hedge: HedgeOutcome,
}

/// What became of the second copy of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum HedgeOutcome {
    /// There was none.
    #[default]
    None,
    /// The client has its answer.
    Won,
    /// The client has the first one's, or none.
    Lost,
}

impl HedgeOutcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Won => "won",
            Self::Lost => "lost",
        }
    }
}

impl Default for Notes {
    fn default() -> Self {
        Self {
            at: SystemTime::UNIX_EPOCH,
            text: Vec::new(),
            ends: [0; 5],
            position: Position::default(),
            endpoint: None,
            attempts: 0,
            hedge: HedgeOutcome::None,
        }
    }
}

impl Notes {
    /// Begins anew, with a request that was just read.
    pub(super) fn begin(&mut self, head: &RequestHead, buf: &[u8], caller: &[u8]) {
        self.at = SystemTime::now();
        self.position = Position::default();
        self.endpoint = None;
        self.attempts = 0;
        self.hedge = HedgeOutcome::None;
        self.text.clear();
        self.text.extend_from_slice(head.method_bytes(buf));
        self.ends[0] = self.text.len();
        self.text.extend_from_slice(head.host(buf).unwrap_or_default());
        self.ends[1] = self.text.len();
        match head.target_form() {
            // As in origin-form, so that a path is found however it was asked for; the host is logged already.
            TargetForm::Absolute => {
                self.text.extend_from_slice(head.path(buf));
                self.text.extend_from_slice(head.query(buf));
            }
            _ => self.text.extend_from_slice(head.target(buf)),
        }
        self.ends[2] = self.text.len().min(self.ends[1] + PATH_BYTES_MAX);
        self.text.truncate(self.ends[2]);
        let agent = head.fields().value(buf, KnownField::UserAgent).unwrap_or_default();
        self.text.extend_from_slice(&agent[..agent.len().min(AGENT_BYTES_MAX)]);
        self.ends[3] = self.text.len();
        self.text.extend_from_slice(caller);
        self.ends[4] = self.text.len();
    }

    fn part(&self, index: usize) -> &[u8] {
        let from = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.text.get(Range { start: from, end: self.ends[index] }).unwrap_or_default()
    }
}

/// An answer of the proxy itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnAnswer {
    pub(super) status: u16,
    pub(super) reason: Reason,
    /// Its size, head and body; whether the client took it all is not known yet.
    pub(super) bytes: u64,
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// The client has the upstream's response, or is in a tunnel.
    Forwarded,
    /// It has the beginning of it.
    Cut,
    /// It did not wait.
    ClientGone,
    /// The proxy answered itself.
    Own(OwnAnswer),
}

/// Responses up to this size end at the time of the latest look at the clock; longer ones are worth a look of their own.
const SHORT_BYTES_MAX: u64 = 16 * 1024;

impl Connection {
    /// Counts and logs a head that was no request.
    pub(super) fn observe_bad(&self, own: OwnAnswer, request_id: &[u8]) {
        let worker = &self.worker;
        worker.no_row().of_route.own(own.reason, own.status);
        let Some(log) = &worker.log else { return };
        let position = worker.view().snapshot.position;
        let line = Line {
            request_id,
            status: own.status,
            reason: own.reason.as_str(),
            bytes_out: own.bytes,
            ..Line::new(SystemTime::now(), position, &self.listener.name, self.peer.text())
        };
        log.log(&line, &mut *worker.rng.borrow_mut());
    }

    /// Counts and logs a request that is over.
    pub(crate) fn observe(&self, exchange: &mut Exchange, end: End) {
        let worker = &self.worker;
        let bytes_out = exchange.bytes_out();
        worker.counters.bytes_out.add(bytes_out);
        worker.counters.requests_ended.add(1);
        let clock = &worker.clock;
        let ended_ns = if bytes_out > SHORT_BYTES_MAX { clock.now() } else { clock.recent() };
        let duration_ns = ended_ns.saturating_sub(exchange.began_ns);
        let row = exchange.row.as_deref().unwrap_or_else(|| worker.no_row());
        let service = &row.of_service;
        service.duration.observe(duration_ns);
        if exchange.head_ns > 0 {
            service.upstream.observe(exchange.head_ns.saturating_sub(exchange.attempt_ns));
        }
        service.bytes_in.add(exchange.bytes_in());
        service.bytes_out.add(bytes_out);
        match end {
            End::Own(own) => row.of_route.own(own.reason, own.status),
            End::ClientGone if exchange.status == 0 => row.of_route.client_gone(),
            End::Forwarded | End::Cut | End::ClientGone => row.of_route.forwarded(exchange.status),
        }
        if let Some(status) = exchange.grpc_status() {
            service.grpc(status);
        }
        if exchange.notes.is_some() {
            self.log(exchange, end, duration_ns);
        }
        if !exchange.permits.is_idle() {
            exchange.permits.finish(call_end(exchange, end, &self.worker), exchange.head_ns, Nanos(ended_ns));
        }
        if !exchange.pass.is_idle() {
            exchange.pass.finish(outcome(exchange, end, &self.worker));
        }
    }

    #[inline(never)]
    fn log(&self, exchange: &Exchange, end: End, duration_ns: u64) {
        let worker = &self.worker;
        let (Some(log), Some(notes)) = (&worker.log, &exchange.notes) else { return };
        let own = match end {
            End::Own(own) => Some(own),
            _ => None,
        };
        let row = exchange.row.as_deref().unwrap_or_else(|| worker.no_row());
        let mut breaker = String::new();
        let upstream_ns = exchange.head_ns.saturating_sub(exchange.attempt_ns);
        let line = Line {
            protocol: match (&self.client, exchange.asked.version) {
                (Io::Http2(_), _) => "HTTP/2",
                (_, Version::Http10) => "HTTP/1.0",
                _ => "HTTP/1.1",
            },
            tls_version: self.secure.as_ref().map_or("", |secure| secure.version.as_str()),
            sni: self.secure.as_ref().and_then(|secure| secure.name.as_deref()).unwrap_or_default(),
            method: notes.part(0),
            host: notes.part(1),
            path: notes.part(2),
            user_agent: notes.part(3),
            caller: notes.part(4),
            request_id: exchange.marks.request_id.as_bytes(),
            trace: exchange.marks.trace.as_ref(),
            route: shown(&row.route),
            upstream: shown(&row.service),
            endpoint: notes.endpoint.as_deref().unwrap_or_default(),
            attempts: notes.attempts,
            hedge: notes.hedge.as_str(),
            status: own.map_or(exchange.status, |own| own.status),
            reason: match end {
                End::Own(own) => own.reason.as_str(),
                End::ClientGone => CLIENT_GONE,
                End::Forwarded | End::Cut => "",
            },
            fallback: exchange.fallback.as_ref().map(|fallback| fallback.logged(&mut breaker)),
            grpc_status: exchange.grpc_status().map_or("", GrpcStatus::as_str),
            truncated: match end {
                End::Cut => true,
                // Whoever left before there was a response has none that was cut off.
                End::ClientGone => exchange.status != 0,
                End::Forwarded | End::Own(_) => false,
            },
            bytes_in: exchange.bytes_in(),
            bytes_out: exchange.bytes_out() + own.map_or(0, |own| own.bytes),
            duration_us: duration_ns / 1000,
            upstream_us: (exchange.head_ns > 0).then_some(upstream_ns / 1000),
            ..Line::new(notes.at, notes.position, &self.listener.name, self.peer.text())
        };
        log.log(&line, &mut *worker.rng.borrow_mut());
    }
}

/// A label as the log shows it: nothing for none.
fn shown(label: &str) -> &str {
    if label == NONE { "" } else { label }
}
