//! What is remembered of a request for the access log. Made only when there is one.

use std::sync::Arc;
use std::time::SystemTime;

use weir_http1::{RequestHead, TargetForm};
use weir_model::Position;

use super::Connection;
use crate::attempt::Exchange;
use crate::observe::AccessRecord;
use crate::respond::Reason;

/// Bytes of a path in the log.
const PATH_BYTES_MAX: usize = 2048;

/// The notes.
#[derive(Debug)]
pub(crate) struct Notes {
    at: SystemTime,
    method: Box<str>,
    host: Box<str>,
    path: Box<str>,
    pub(crate) position: Position,
    pub(crate) endpoint: Option<Arc<str>>,
    pub(crate) attempts: u32,
}

impl Notes {
    /// Notes of a request that was just read.
    pub(super) fn new(head: &RequestHead, buf: &[u8]) -> Box<Self> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(PATH_BYTES_MAX)]).into();
        Box::new(Self {
            at: SystemTime::now(),
            method: text(head.method_bytes(buf)),
            host: text(head.host(buf).unwrap_or_default()),
            path: match head.target_form() {
                // As in origin-form, so that a path is found however it was asked for; the host is logged already.
                TargetForm::Absolute => text(&[head.path(buf), head.query(buf)].concat()),
                _ => text(head.target(buf)),
            },
            position: Position::default(),
            endpoint: None,
            attempts: 0,
        })
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
    pub(super) fn observe_bad(&self, own: OwnAnswer) {
        self.worker.no_row().of_route.own(own.reason, own.status);
        let Some(log) = &self.worker.shared.access_log else { return };
        log.log(
            AccessRecord {
                at: SystemTime::now(),
                position: self.worker.view().snapshot.position,
                client: self.peer.ip(),
                method: "".into(),
                host: "".into(),
                path: "".into(),
                route: None,
                upstream: None,
                endpoint: None,
                attempts: 0,
                status: own.status,
                reason: Some(own.reason),
                truncated: false,
                bytes_in: 0,
                bytes_out: own.bytes,
                duration_us: 0,
            },
            &self.worker.counters,
        );
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
        if exchange.notes.is_some() {
            self.log(exchange, end, duration_ns);
        }
    }

    #[cold]
    fn log(&self, exchange: &mut Exchange, end: End, duration_ns: u64) {
        let Some(notes) = exchange.notes.take() else { return };
        let Some(log) = &self.worker.shared.access_log else { return };
        let own = match end {
            End::Own(own) => Some(own),
            _ => None,
        };
        let row = exchange.row.as_deref().unwrap_or_else(|| self.worker.no_row());
        let some = |label: &Arc<str>| (&**label != crate::observe::NONE).then(|| label.clone());
        log.log(
            AccessRecord {
                at: notes.at,
                position: notes.position,
                client: self.peer.ip(),
                method: notes.method,
                host: notes.host,
                path: notes.path,
                route: some(&row.route),
                upstream: some(&row.service),
                endpoint: notes.endpoint,
                attempts: notes.attempts,
                status: own.map_or(exchange.status, |own| own.status),
                reason: own.map(|own| own.reason),
                truncated: matches!(end, End::Cut | End::ClientGone),
                bytes_in: exchange.bytes_in(),
                bytes_out: exchange.bytes_out() + own.map_or(0, |own| own.bytes),
                duration_us: duration_ns / 1000,
            },
            &self.worker.counters,
        );
    }
}
