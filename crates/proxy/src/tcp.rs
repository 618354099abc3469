//! Connections whose bytes are nobody's requests: those of TCP and TLS routes.
//!
//! ```text
//!  server name (or none) -> rule -> service by weight -> endpoint by balancer, connected to -> tunnel -> log
//! ```
//!
//! A connection that cannot be served is reset: nothing is known of what would be understood. This module must not look
//! at what the bytes mean.

mod observe;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::attempt::{LocalUpstream, Reached, Seeker, reach};
use crate::listen::proxy_protocol::Addresses;
use crate::listen::{Arrival, ListenerHandle};
use crate::observe::{OpenConnection, Wire};
use crate::respond::{Reason, Refusal};
use crate::runtime::{Io, TimerSlot, View, Worker};
use crate::snapshot::StreamDecision;
use crate::tunnel;
use observe::Notes;

/// A client's connection.
struct Stream {
    worker: Rc<Worker>,
    listener: Rc<ListenerHandle>,
    client: Io,
    timer: TimerSlot,
    peer: SocketAddr,
    destination: Option<Box<SocketAddr>>,
    server_name: Option<Box<str>>,
    notes: Notes,
    _counted: OpenConnection,
}

/// Serves a connection until it ends: everything that was read so far, and all that comes, goes to where the listener's
/// routes say.
pub(crate) fn serve(arrival: Arrival, server_name: Option<Box<str>>) -> impl Future<Output = ()> {
    let Arrival { worker, listener, io, peer, destination, ahead, secure: _, counted: _ } = arrival;
    let wire = if server_name.is_some() { Wire::TlsPassthrough } else { Wire::Tcp };
    worker.connection_opened();
    let stream = Stream {
        timer: worker.timers.slot(),
        notes: Notes::new(&worker),
        _counted: listener.counters.open(wire),
        worker,
        listener,
        client: io,
        peer,
        destination,
        server_name,
    };
    stream.run(ahead)
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.worker.connection_closed();
    }
}

impl Stream {
    async fn run(mut self, ahead: Vec<u8>) {
        self.timer.wakes_this().await;
        let served = match self.way() {
            Ok(local) => self.reach(&local).await,
            Err(refusal) => Err(refusal),
        };
        match served {
            Ok(Reached { mut io, held }) => {
                let idle_max = self.worker.config().timeouts.tunnel_idle;
                let carried =
                    tunnel::carry(&self.worker, &self.timer, &mut self.client, &mut io, ahead, idle_max)
                        .await;
                drop(held);
                self.ended(&carried);
            }
            Err(refusal) => {
                self.client.abort();
                self.refused(&refusal);
            }
        }
    }

    /// The service that it is for.
    fn way(&mut self) -> Result<Rc<LocalUpstream>, Refusal> {
        let present = self.worker.view();
        // The listener may have been removed while the connection waited for it.
        let view = if self.listener.config(&present).is_some() {
            present
        } else {
            self.listener.last().unwrap_or(present)
        };
        self.notes.position = view.snapshot.position;
        let config = self.listener.config(&view);
        let Some(table) = config.and_then(|config| config.streams.as_deref()) else {
            return Err(Refusal::new(Reason::NoRoute, "no route is configured at this address any more"));
        };
        let name = self.server_name.as_deref().map(str::as_bytes);
        let decision = view.snapshot.stream(table, name, &mut *self.worker.rng.borrow_mut());
        self.decided(&view, decision)
    }

    fn decided(&mut self, view: &View, decision: StreamDecision<'_>) -> Result<Rc<LocalUpstream>, Refusal> {
        match decision {
            StreamDecision::Forward { upstream, rule } => {
                self.notes.route = Some(Arc::clone(&rule.label));
                self.notes.upstream = Some(Arc::clone(&upstream.label));
                let local = self.worker.local(view, upstream);
                local.counters.streams.add(1);
                self.notes.counters = Some(Arc::clone(&local.counters));
                Ok(local)
            }
            StreamDecision::NoRoute => {
                Err(Refusal::new(Reason::NoRoute, "no route is for the connection's server name"))
            }
            StreamDecision::NoBackend { rule, service } => {
                self.notes.route = Some(Arc::clone(&rule.label));
                let message = match service {
                    Some(service) => format!("{} names service {service}, which does not exist", rule.label),
                    None => format!("{} names no service that takes connections", rule.label),
                };
                Err(Refusal::new(Reason::NoBackend, message))
            }
        }
    }

    async fn reach(&mut self, local: &LocalUpstream) -> Result<Reached, Refusal> {
        let here = self.client.local_addr();
        let destination = self.destination.as_deref().copied().or(here);
        let addresses = match destination {
            Some(destination) => Addresses::Of { source: self.peer, destination },
            None => Addresses::Own,
        };
        let seeker = Seeker { worker: &self.worker, timer: &self.timer, addresses, here };
        reach(local, &seeker, &mut self.notes.tries).await
    }
}
