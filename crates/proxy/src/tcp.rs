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

use crate::attempt::{Dial, Held, LocalUpstream, Reached, Seeker, Tries, connect, leads_back, reach};
use crate::listen::proxy_protocol::Addresses;
use crate::listen::{Arrival, Destination, ListenerHandle, Role, Secure};
use crate::observe::{OpenConnection, Wire};
use crate::respond::{Reason, Refusal};
use crate::runtime::{Io, TimerSlot, View, Worker};
use crate::snapshot::{MeshLookup, StreamDecision};
use crate::tunnel;
use observe::Notes;

/// A client's connection.
struct Stream {
    worker: Rc<Worker>,
    listener: Rc<ListenerHandle>,
    client: Io,
    timer: TimerSlot,
    peer: SocketAddr,
    destination: Option<Rc<Destination>>,
    server_name: Option<Box<str>>,
    /// What TLS has settled, where it ends here.
    secure: Option<Rc<Secure>>,
    /// Its TLS is passed through.
    encrypted: bool,
    notes: Notes,
    _counted: OpenConnection,
}

/// A client that speaks TLS, and what it has asked for.
pub(crate) struct Encrypted {
    pub(crate) server_name: Option<Box<str>>,
}

/// Where it goes.
enum Way {
    /// To an endpoint of a service.
    Service(Rc<LocalUpstream>),
    /// To where it was going.
    Address(SocketAddr),
}

/// Serves a connection until it ends: everything that was read so far, and all that comes, goes to where the listener's
/// routes say, or to where it was going when it was captured.
pub(crate) fn serve(arrival: Arrival, encrypted: Option<Encrypted>) -> impl Future<Output = ()> {
    // Not an async function, which would hold the arguments a second time.
    let (mut stream, ahead) = Stream::new(arrival, encrypted);
    async move { stream.run(ahead).await }
}

/// Resets a connection that cannot be served.
pub(crate) fn refuse(arrival: Arrival, refusal: &Refusal) {
    let (mut stream, _) = Stream::new(arrival, None);
    stream.client.abort();
    stream.refused(refusal);
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.worker.connection_closed();
    }
}

impl Stream {
    fn new(arrival: Arrival, encrypted: Option<Encrypted>) -> (Self, Vec<u8>) {
        let Arrival { worker, listener, io, peer, destination, ahead, secure, counted: _, place } = arrival;
        worker.connection_opened();
        let passed = encrypted.is_some() && secure.is_none();
        let mut counted = listener.counters.open(place);
        counted.speaks(if passed { Wire::TlsPassthrough } else { Wire::Tcp });
        let stream = Self {
            timer: worker.timers.slot(),
            notes: Notes::new(&worker),
            _counted: counted,
            worker,
            listener,
            client: io,
            peer,
            destination,
            server_name: encrypted.and_then(|encrypted| encrypted.server_name),
            secure,
            encrypted: passed,
        };
        (stream, ahead)
    }

    async fn run(&mut self, ahead: Vec<u8>) {
        self.timer.wakes_this().await;
        // Soon over, so its size is kept out of the connection's own.
        match Box::pin(self.open()).await {
            Ok((mut io, held)) => {
                let captured = self.destination.as_deref().is_some_and(|destination| destination.captured);
                let own = io.local_addr().filter(|_| captured);
                let _remembered = own.map(|addr| Box::new(self.worker.shared.outgoing.remember(addr)));
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

    async fn open(&mut self) -> Result<(Io, Option<Held>), Refusal> {
        match self.way()? {
            Way::Service(local) => self.reach(&local).await.map(|reached| (reached.io, Some(reached.held))),
            Way::Address(addr) => self.pass_on(addr).await.map(|io| (io, None)),
        }
    }

    fn way(&mut self) -> Result<Way, Refusal> {
        let present = self.worker.view();
        self.notes.position = present.snapshot.position;
        match self.destination.as_deref() {
            Some(Destination { service: Some(service), .. }) => {
                let MeshLookup::Known(found) = present.snapshot.mesh.service(service) else {
                    let message = format!("no service of the mesh is called {service}");
                    return Err(Refusal::new(Reason::UnknownService, message));
                };
                if let Some(table) = &found.streams {
                    let decision = present.snapshot.stream(table, None, &mut *self.worker.rng.borrow_mut());
                    return self.decided(&present, decision).map(Way::Service);
                }
                let upstream = present.snapshot.upstream(found.upstream);
                self.notes.upstream = Some(Arc::clone(&upstream.label));
                return Ok(Way::Service(self.worker.local(&present, upstream)));
            }
            Some(Destination { addr: Some(addr), captured: true, .. }) => return Ok(Way::Address(*addr)),
            _ => {}
        }
        if self.listener.role == Role::Inbound
            && let Some(app) = &self.worker.shared.app
        {
            self.notes.upstream = Some(Arc::clone(&app.label));
            return Ok(Way::Service(self.worker.local(&present, app)));
        }
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
        self.decided(&view, decision).map(Way::Service)
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
        let named = self.destination.as_deref().and_then(|destination| destination.addr);
        let addresses = match named.or(here) {
            Some(destination) => Addresses::Of { source: self.peer, destination },
            None => Addresses::Own,
        };
        let Self { worker, timer, encrypted, .. } = self;
        let client = self.peer.ip();
        let seeker = Seeker { worker, timer, client, addresses, encrypted: *encrypted, here };
        reach(local, &seeker, &mut self.notes.tries).await
    }

    /// Connects to where the connection was going.
    async fn pass_on(&mut self, addr: SocketAddr) -> Result<Io, Refusal> {
        self.notes.tries = Tries { attempts: 1, endpoint: Some(addr.to_string().into()) };
        let deadline = self.worker.timers.after(self.worker.config().timeouts.connect);
        match connect(Dial::plain(addr), deadline, &self.timer).await {
            Ok(io) if leads_back(&io, addr, self.client.local_addr()) => {
                Err(Refusal::new(Reason::Loop, "the connection leads back to this very listener"))
            }
            Ok(io) => Ok(io),
            Err(fault) => Err(Refusal::new(Reason::ConnectFailed, format!("no connection: {fault:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, F: Future>(_: impl FnOnce(A, B) -> F) -> usize {
        size_of::<F>()
    }

    /// What an idle connection costs is mostly this, and its sockets.
    #[test]
    fn a_connections_task_is_small() {
        let bytes = size_of_future(serve);
        assert!(bytes <= 800, "{bytes}");
    }
}
