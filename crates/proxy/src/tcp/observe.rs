//! What is counted and logged of a connection.

use std::sync::Arc;
use std::time::SystemTime;

use weir_model::Position;

use super::Stream;
use crate::attempt::Tries;
use crate::observe::{CLIENT_GONE, Line, ServiceCounters};
use crate::respond::Refusal;
use crate::runtime::Worker;
use crate::tunnel::{Carried, End};

/// The word that stands in the log where requests have their method.
const METHOD: &str = "TCP";

/// What is remembered of it.
#[derive(Debug)]
pub(super) struct Notes {
    at: SystemTime,
    began_ns: u64,
    pub(super) position: Position,
    pub(super) route: Option<Arc<str>>,
    pub(super) upstream: Option<Arc<str>>,
    pub(super) tries: Tries,
    /// Those of the service.
    pub(super) counters: Option<Arc<ServiceCounters>>,
}

impl Notes {
    pub(super) fn new(worker: &Worker) -> Self {
        Self {
            at: SystemTime::now(),
            began_ns: worker.clock.recent(),
            position: Position::default(),
            route: None,
            upstream: None,
            tries: Tries::default(),
            counters: None,
        }
    }
}

impl Stream {
    /// The tunnel is over.
    pub(super) fn ended(&mut self, carried: &Carried) {
        let counters = &self.worker.counters;
        counters.bytes_in.add(carried.up);
        counters.bytes_out.add(carried.down);
        if let Some(service) = &self.notes.counters {
            service.bytes_in.add(carried.up);
            service.bytes_out.add(carried.down);
        }
        match carried.end {
            End::Complete | End::Idle => {}
            End::ClientFailed => counters.client_gone.add(1),
            End::UpstreamFailed => counters.truncated.add(1),
        }
        let reason = if matches!(carried.end, End::ClientFailed) { CLIENT_GONE } else { "" };
        self.log(reason, carried.up, carried.down, !matches!(carried.end, End::Complete | End::Idle));
    }

    /// There is none.
    pub(super) fn refused(&mut self, refusal: &Refusal) {
        self.worker.counters.refusal(refusal.reason);
        tracing::debug!(client = %self.peer, "connection refused: {}", refusal.message);
        self.log(refusal.reason.as_str(), 0, 0, false);
    }

    fn log(&mut self, reason: &str, bytes_in: u64, bytes_out: u64, truncated: bool) {
        let Some(log) = &self.worker.log else { return };
        let notes = &self.notes;
        let ended_ns = self.worker.clock.now();
        let name = self.server_name.as_deref().unwrap_or_default();
        let client = self.peer.ip().to_canonical().to_string();
        let line = Line {
            protocol: if self.encrypted { "tls" } else { "tcp" },
            tls_version: self.secure.as_ref().map_or("", |secure| secure.version.as_str()),
            sni: name,
            method: METHOD.as_bytes(),
            host: name.as_bytes(),
            route: notes.route.as_deref().unwrap_or_default(),
            upstream: notes.upstream.as_deref().unwrap_or_default(),
            endpoint: notes.tries.endpoint.as_deref().unwrap_or_default(),
            attempts: notes.tries.attempts,
            reason,
            truncated,
            bytes_in,
            bytes_out,
            duration_us: ended_ns.saturating_sub(notes.began_ns) / 1000,
            ..Line::new(notes.at, notes.position, &self.listener.name, client.as_bytes())
        };
        log.log(&line, &mut *self.worker.rng.borrow_mut());
    }
}
