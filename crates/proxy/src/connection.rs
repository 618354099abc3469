//! Phases `decode` and `respond`: a client's connection, from accept to its end, in one task.
//!
//! ```text
//!  head -> where to (decode) -> attempts -> response relayed, or refused -> next head
//!                                        -> tunnel
//! ```
//!
//! While it waits for a head it holds no buffer and none of what serving takes, which an [`Attendant`] lends. What was
//! read beyond a message is kept in its `carry`.

mod attendant;
mod decode;
mod filtered;
mod way;

mod grpc;
mod limited;

mod head;
mod outside;
mod refuse;

mod broken;
mod cached;
mod carry;
mod copies;
mod fallback;
mod marks;
mod notes;
mod time_left;

use std::future::poll_fn;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use weir_policy::Nanos;

use crate::attempt::{Exchange, Held, LocalUpstream, Outcome, leads_back, say_load};
use crate::http2;
use crate::listen::proxy_protocol::Addresses;
use crate::listen::{Arrival, Destination, ListenerHandle, Secure};
use crate::observe::OpenConnection;
use crate::respond::{Reason, Refusal};
use crate::runtime::{Io, TimerSlot, Worker};
use crate::source::Subscribed;
use crate::tunnel;

pub(crate) use attendant::Attendant;
use attendant::Done;
pub(crate) use broken::{answered, refusal as broken_off, status_like, status_of_call};
pub(crate) use carry::Carry;
pub(crate) use copies::{Copies, CopiesUnderWay};
use decode::Next;
pub(crate) use fallback::Fallback;
pub(crate) use grpc::{ROOM_BYTES, write_timeout};
use limited::Spent;
pub(crate) use marks::Marks;
pub(crate) use notes::{End, HedgeOutcome, Notes};
pub(crate) use outside::Lookups;
pub(crate) use time_left::Told;

/// A client's connection.
pub(crate) struct Connection {
    pub(crate) worker: Rc<Worker>,
    pub(crate) listener: Rc<ListenerHandle>,
    pub(crate) client: Io,
    pub(crate) timer: TimerSlot,
    /// What was read and not dealt with.
    pub(crate) carry: Carry,
    /// The parser's state of a head that has begun in `carry`.
    head: Option<Box<weir_http1::RequestHead>>,
    peer: Peer,
    /// Where the client was to go, where somebody else says so.
    pub(crate) destination: Option<Rc<Destination>>,
    /// What TLS has settled, where the client came by it.
    pub(crate) secure: Option<Rc<Secure>>,
    /// Counts it, unless it is a stream of one that is counted.
    pub(crate) counted: Option<OpenConnection>,
    /// What came of asking for the service that the request in `carry` is for.
    asked_for: Option<(Subscribed, u8)>,
    /// The grace for one more request has begun.
    told_to_close: bool,
    /// Nothing was understood yet: it may turn out to speak HTTP/2.
    fresh: bool,
}

/// The client's address as the text that goes into forwarding headers.
#[derive(Clone, Copy)]
struct Peer {
    text: [u8; Peer::TEXT_MAX],
    len: u8,
    port: u16,
}

impl Peer {
    /// The longest text of an address: IPv6 with an IPv4 tail.
    const TEXT_MAX: usize = 46;

    fn new(addr: SocketAddr) -> Self {
        let mut text = [0; Self::TEXT_MAX];
        let mut rest = &mut text[..];
        // It fits: see the length.
        let _ = write!(rest, "{}", addr.ip().to_canonical());
        let len = (Self::TEXT_MAX - rest.len()) as u8;
        Self { text, len, port: addr.port() }
    }

    fn text(&self) -> &[u8] {
        &self.text[..usize::from(self.len)]
    }

    /// The address again, for the log.
    fn ip(&self) -> IpAddr {
        let text = std::str::from_utf8(self.text()).ok();
        text.and_then(|text| text.parse().ok()).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }
}

/// Where a request goes.
pub(crate) enum Target {
    /// Nowhere yet.
    None,
    /// To a service.
    Upstream(Rc<LocalUpstream>),
    /// To a host outside the mesh.
    Outside(Box<outside::Outside>),
    /// Bytes both ways, to a host or a service, as CONNECT asks.
    Connect(Box<outside::ConnectTo>),
}

/// Serves a connection until it ends.
pub(crate) fn serve(arrival: Arrival) -> Serving {
    let Arrival { worker, listener, io, peer, destination, ahead, secure, counted, place: _ } = arrival;
    worker.connection_opened();
    Serving::begin(Connection {
        timer: worker.timers.slot(),
        worker,
        listener,
        client: io,
        carry: Carry::of(ahead),
        head: None,
        peer: Peer::new(peer),
        destination,
        secure,
        counted,
        asked_for: None,
        told_to_close: false,
        fresh: true,
    })
}

/// The task of a connection. There is one for each that is open, and most of them wait: this is all that they hold
/// besides the connection.
pub(crate) struct Serving(Stage);

enum Stage {
    /// Nobody is woken yet.
    Begun(Box<Connection>),
    /// A head is waited for.
    Waiting(Box<Connection>),
    /// Something came, and an attendant has the connection.
    Attended(Box<Attendant>),
    /// It speaks HTTP/2.
    Http2(Pin<Box<dyn Future<Output = ()>>>),
    Over,
}

impl Serving {
    fn begin(connection: Connection) -> Self {
        Self(Stage::Begun(Box::new(connection)))
    }
}

impl Future for Serving {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.0 = match std::mem::replace(&mut self.0, Stage::Over) {
                Stage::Begun(mut conn) => {
                    conn.timer.wakes(cx.waker());
                    conn.await_head();
                    Stage::Waiting(conn)
                }
                Stage::Waiting(mut conn) => match conn.poll_next(cx) {
                    Poll::Pending => {
                        self.0 = Stage::Waiting(conn);
                        return Poll::Pending;
                    }
                    Poll::Ready(Next::Http2) => {
                        Stage::Http2(Box::pin(async move { http2::serve(&mut conn).await }))
                    }
                    Poll::Ready(next) => {
                        let attendant = conn.worker.take_attendant();
                        attendant.give(conn, next);
                        Stage::Attended(attendant)
                    }
                },
                Stage::Attended(mut attendant) => match attendant.poll(cx) {
                    Poll::Pending => {
                        self.0 = Stage::Attended(attendant);
                        return Poll::Pending;
                    }
                    Poll::Ready(Done::GoesOn(mut conn)) => {
                        conn.worker.give_attendant(attendant);
                        conn.await_head();
                        Stage::Waiting(conn)
                    }
                    Poll::Ready(Done::Over(worker)) => {
                        worker.give_attendant(attendant);
                        return Poll::Ready(());
                    }
                },
                Stage::Http2(mut serving) => match serving.as_mut().poll(cx) {
                    Poll::Pending => {
                        self.0 = Stage::Http2(serving);
                        return Poll::Pending;
                    }
                    Poll::Ready(()) => return Poll::Ready(()),
                },
                Stage::Over => return Poll::Ready(()),
            };
        }
    }
}

/// What all streams of an HTTP/2 connection begin with.
pub(crate) struct Streams {
    pub(crate) worker: Rc<Worker>,
    listener: Rc<ListenerHandle>,
    peer: Peer,
    destination: Option<Rc<Destination>>,
    secure: Option<Rc<Secure>>,
}

impl Streams {
    pub(crate) fn of(conn: &Connection) -> Self {
        Self {
            worker: conn.worker.clone(),
            listener: conn.listener.clone(),
            peer: conn.peer,
            destination: conn.destination.clone(),
            secure: conn.secure.clone(),
        }
    }

    /// The client's address.
    pub(crate) fn peer(&self) -> SocketAddr {
        SocketAddr::new(self.peer.ip(), self.peer.port)
    }

    /// Serves one stream.
    pub(crate) fn serve(&self, io: Io) -> Serving {
        Serving::begin(self.connection(io))
    }

    /// Answers one whose request has no form that could be served.
    pub(crate) fn refuse(&self, io: Io, refusal: Refusal) -> impl Future<Output = ()> + use<> {
        let mut connection = self.connection(io);
        async move {
            connection.timer.wakes_this().await;
            connection.refuse_head(&refusal, false).await;
        }
    }

    /// A stream as a connection of its own. It is part of the one that it is a stream of, and counted as such.
    fn connection(&self, io: Io) -> Connection {
        Connection {
            timer: self.worker.timers.slot(),
            worker: self.worker.clone(),
            listener: self.listener.clone(),
            client: io,
            carry: Carry::default(),
            head: None,
            peer: self.peer,
            destination: self.destination.clone(),
            secure: self.secure.clone(),
            counted: None,
            asked_for: None,
            told_to_close: false,
            fresh: false,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !matches!(self.client, Io::Http2(_) | Io::Nobody(_)) {
            self.worker.connection_closed();
        }
    }
}

impl Connection {
    /// The client's address.
    pub(crate) fn peer_addr(&self) -> SocketAddr {
        SocketAddr::new(self.peer.ip(), self.peer.port)
    }

    /// Whether no further request is wanted on it.
    pub(crate) fn is_closing(&self) -> bool {
        self.worker.is_draining() || self.listener.is_closing()
    }

    /// Whether a fresh connection leads back to the listener that this client came to. Asks the system only when the port
    /// is the same.
    pub(crate) fn is_loop(&self, upstream: &Io, addr: SocketAddr) -> bool {
        let port = self.listener.addr.port();
        (port == 0 || port == addr.port()) && leads_back(upstream, addr, self.client.local_addr())
    }

    /// Who the client is and what it has connected to, for upstreams that want to be told.
    pub(crate) fn addresses(&self) -> Addresses {
        let named = self.destination.as_deref().and_then(|destination| destination.addr);
        let destination = named.or_else(|| self.client.local_addr());
        match destination {
            Some(destination) => Addresses::Of { source: self.peer_addr(), destination },
            None => Addresses::Own,
        }
    }

    /// Does what comes next. Gives whether the connection goes on.
    async fn carry_out(&mut self, next: Next) -> bool {
        let goes_on = match next {
            Next::Forward(exchange) => self.forward(exchange).await,
            Next::Refuse(exchange, refusal) => self.answer(exchange, &refusal).await,
            Next::Ask(service) => {
                let shared = self.worker.shared.shared.clone();
                // Rare, so its size is kept out of what each request needs.
                let asked = Box::pin(shared.subscriptions.request(&service)).await;
                if asked != Subscribed::Answered {
                    tracing::debug!(%service, ?asked, "the control plane has not said where the service is");
                }
                let times = self.asked_for.map_or(0, |(_, times)| times);
                self.asked_for = Some((asked, times + 1));
                true
            }
            Next::Bad { refusal, head_only } => {
                self.refuse_head(&refusal, head_only).await;
                false
            }
            Next::Load => self.say_load().await,
            Next::Closed | Next::Http2 => false,
        };
        if !goes_on {
            self.flush(self.worker.config().timeouts.linger).await;
        }
        goes_on
    }

    /// Tells a caller's proxy how busy the application is. Gives whether the connection goes on.
    async fn say_load(&mut self) -> bool {
        let Some(app) = &self.worker.shared.app else { return false };
        let answer = say_load(&app.endpoints[0].state, Nanos(self.worker.clock.now()));
        self.timer.arm(self.listener.bounds().body);
        self.write_all(&answer).await && !self.is_closing()
    }

    /// Hands over to the kernel what the client's side has accepted, within bounded time.
    async fn flush(&mut self, within: Duration) {
        self.timer.arm(within);
        poll_fn(|cx| match self.client.poll_flush(cx) {
            Poll::Pending if !self.timer.expired() => Poll::Pending,
            _ => Poll::Ready(()),
        })
        .await;
    }

    /// Serves one request. Gives whether the connection goes on.
    async fn forward(&mut self, mut exchange: Box<Exchange>) -> bool {
        if exchange.pass.is_held_up() {
            let since_ns = exchange.began_ns;
            if let Some(refusal) = self.await_turn(&mut exchange, since_ns).await {
                return self.answer(exchange, &refusal).await;
            }
        }
        if !exchange.asked.delay.is_zero() {
            let since_ns = self.worker.clock.now();
            self.delay(std::mem::take(&mut exchange.asked.delay)).await;
            // Whoever says how long it waits has waited for this, too.
            if exchange.marks.said.is_some() {
                exchange.spend_time(&self.worker, since_ns);
            }
        }
        // One whose client has left goes nowhere, and asks nobody.
        if !exchange.permits.is_idle() && !matches!(exchange.target, Target::None) {
            let mut refused = self.ask_breakers(&mut exchange);
            if refused.is_none() && exchange.pass.is_held_up() {
                refused = self.await_turn_elsewhere(&mut exchange).await;
            }
            if let Some(refusal) = refused {
                return self.answer(exchange, &refusal).await;
            }
        }
        let outcome = match std::mem::replace(&mut exchange.target, Target::None) {
            Target::Upstream(local) => crate::attempt::run(self, &mut exchange, &local).await,
            Target::Outside(outside) => Box::pin(outside.run(self, &mut exchange)).await,
            Target::Connect(to) => return Box::pin(to.run(self, exchange)).await,
            Target::None => Outcome::ClientGone,
        };
        if exchange.copies.is_some() {
            self.send_copies(&mut exchange);
        }
        if exchange.keeping.is_some() && matches!(outcome, Outcome::Complete) {
            self.keep_answer(&mut exchange);
        }
        match outcome {
            Outcome::Complete => {
                let goes_on = exchange.client_keeps && exchange.is_request_read();
                let drains = exchange.client_keeps && !exchange.is_request_read();
                self.observe(&mut exchange, End::Forwarded);
                let goes_on = goes_on || (drains && self.discard_upload(&mut exchange).await);
                let read = exchange.is_request_read();
                self.worker.give_exchange(exchange);
                if goes_on {
                    return true;
                }
                // The end of a response may be slow, as any other part of it.
                self.flush(self.listener.bounds().body).await;
                // Asking whether there is more takes a byte of it: only when nothing more is wanted.
                if !read || !self.carry.is_empty() || self.has_more() {
                    self.linger().await;
                }
                false
            }
            Outcome::Refused(mut refusal) => {
                if !exchange.permits.is_idle() {
                    refusal = self.instead_of_failure(&mut exchange, refusal);
                }
                self.answer(exchange, &refusal).await
            }
            Outcome::Tunnel(upstream, held) => {
                // It is in flight for as long as it lives.
                let mut pass = std::mem::take(&mut exchange.pass);
                self.observe(&mut exchange, End::Forwarded);
                let ahead = self.carry.take();
                self.worker.give_exchange(exchange);
                Box::pin(self.tunnel(upstream, Some(held), ahead)).await;
                // How long it lived says nothing about how busy the service is.
                pass.finish(Spent::Failed);
                false
            }
            Outcome::ClientGone => {
                self.worker.counters.client_gone.add(1);
                self.observe(&mut exchange, End::ClientGone);
                if exchange.ends_by_close() {
                    // Should it listen after all, an end would look like the end of the response.
                    self.client.abort();
                }
                self.worker.give_exchange(exchange);
                false
            }
            Outcome::Cut => {
                self.worker.counters.truncated.add(1);
                self.observe(&mut exchange, End::Cut);
                if exchange.ends_by_close() {
                    // An end would look like the end of the response.
                    self.client.abort();
                }
                self.worker.give_exchange(exchange);
                false
            }
        }
    }

    /// Lives as a tunnel from here on.
    async fn tunnel(&mut self, mut upstream: Io, _held: Option<Held>, ahead: Vec<u8>) {
        let idle_max = self.worker.config().timeouts.tunnel_idle;
        let carried =
            tunnel::carry(&self.worker, &self.timer, &mut self.client, &mut upstream, ahead, idle_max).await;
        self.worker.counters.bytes_in.add(carried.up);
        self.worker.counters.bytes_out.add(carried.down);
    }

    /// Answers a request that was read. Gives whether the connection goes on.
    async fn answer(&mut self, mut exchange: Box<Exchange>, refusal: &Refusal) -> bool {
        if !exchange.asked.delay.is_zero() {
            self.delay(std::mem::take(&mut exchange.asked.delay)).await;
        }
        let goes_on = self.refuse(&mut exchange, refusal).await;
        self.worker.give_exchange(exchange);
        goes_on
    }
}

/// Refusals that have nothing to do with the request's own fault are counted by their reason.
pub(crate) fn count(worker: &Worker, reason: Reason) {
    worker.counters.refusal(reason);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a waiting connection costs is mostly this. The task is in a block of 128 bytes with what the runtime adds
    /// to it, for which 24 are left; the connection has a size class of the allocator to itself.
    #[test]
    fn a_connections_task_is_small() {
        assert!(size_of::<Serving>() <= 24, "{}", size_of::<Serving>());
        let bytes = size_of::<Connection>();
        assert!(bytes <= 224, "{bytes}");
    }
}
