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
    began_ns: u64,
    method: Box<str>,
    host: Box<str>,
    path: Box<str>,
    pub(crate) position: Position,
    pub(crate) route: Option<Arc<str>>,
    pub(crate) upstream: Option<Arc<str>>,
    pub(crate) endpoint: Option<Arc<str>>,
    pub(crate) attempts: u32,
}

impl Notes {
    /// Notes of a request that was just read.
    pub(super) fn new(head: &RequestHead, buf: &[u8], began_ns: u64) -> Box<Self> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(PATH_BYTES_MAX)]).into();
        Box::new(Self {
            at: SystemTime::now(),
            began_ns,
            method: text(head.method_bytes(buf)),
            host: text(head.host(buf).unwrap_or_default()),
            path: match head.target_form() {
                // As in origin-form, so that a path is found however it was asked for; the host is logged already.
                TargetForm::Absolute => text(&[head.path(buf), head.query(buf)].concat()),
                _ => text(head.target(buf)),
            },
            position: Position::default(),
            route: None,
            upstream: None,
            endpoint: None,
            attempts: 0,
        })
    }
}

/// An answer of the proxy itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnAnswer {
    pub(super) status: u16,
    pub(super) reason: Reason,
    /// Its size, head and body; whether the client took it all is not known yet.
    pub(super) bytes: u64,
}

impl Connection {
    /// Logs a head that was no request.
    pub(super) fn observe_bad(&self, own: OwnAnswer) {
        let Some(log) = &self.worker.shared.access_log else { return };
        log.log(AccessRecord {
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
        });
    }

    /// Logs a request that is over, with the proxy's own answer where it gave one.
    pub(super) fn observe(&self, exchange: &mut Exchange, own: Option<OwnAnswer>, truncated: bool) {
        self.worker.counters.bytes_out.add(exchange.bytes_out());
        let Some(notes) = exchange.notes.take() else { return };
        let Some(log) = &self.worker.shared.access_log else { return };
        let ended_ns = self.worker.timers.precise_ns();
        log.log(AccessRecord {
            at: notes.at,
            position: notes.position,
            client: self.peer.ip(),
            method: notes.method,
            host: notes.host,
            path: notes.path,
            route: notes.route,
            upstream: notes.upstream,
            endpoint: notes.endpoint,
            attempts: notes.attempts,
            status: own.map_or(exchange.status, |own| own.status),
            reason: own.map(|own| own.reason),
            truncated,
            bytes_in: exchange.bytes_in(),
            bytes_out: exchange.bytes_out() + own.map_or(0, |own| own.bytes),
            duration_us: ended_ns.saturating_sub(notes.began_ns) / 1000,
        });
    }
}
