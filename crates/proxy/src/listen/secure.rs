//! The TLS step of the accept phase: the name that the client asks for chooses the section, and the section's TLS takes
//! the handshake.
//!
//! One deadline covers all of it, so a client that is slow on purpose holds its place for that long and no longer. A
//! client that cannot be served is told by an alert, where there is one that says why.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use super::client_hello::{CLIENT_HELLO_BYTES_MAX, ClientHello, Sniffed, sniff};
use super::{Arrival, Secure};
use crate::observe::Side;
use crate::runtime::{Io, TimerSlot, Worker};
use crate::tls::{self, HandshakeFault, TlsAction, TlsPort};

/// Handshakes under way at a time, per worker. Beyond: the connection is closed.
const HANDSHAKES_MAX: usize = 16_384;
/// The fatal alert `unrecognized_name` (RFC 6066 section 3) in a record of its own.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
/// The fatal alert `decode_error`.
const DECODE_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 50];

/// The handshakes of one worker.
#[derive(Debug, Default)]
pub(crate) struct Handshakes(Cell<usize>);

/// One of them, for as long as it lives.
struct UnderWay(Rc<Worker>);

impl UnderWay {
    fn begin(worker: &Rc<Worker>) -> Option<Self> {
        let Handshakes(under_way) = &worker.handshakes;
        if under_way.get() >= HANDSHAKES_MAX {
            return None;
        }
        under_way.set(under_way.get() + 1);
        Some(Self(worker.clone()))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let Handshakes(under_way) = &self.0.handshakes;
        under_way.set(under_way.get() - 1);
    }
}

/// A connection whose section is known.
pub(super) enum Secured {
    /// Requests come from it.
    Http(Arrival),
    /// Bytes do, perhaps still encrypted, from a client that asked for this name.
    Stream(Arrival, Option<Box<str>>),
}

/// Finds the section that a client is for, and ends its TLS if that is the section's way. None when that failed.
pub(super) async fn secure(arrival: Arrival, port: &TlsPort) -> Option<Secured> {
    let (worker, peer, listener) = (arrival.worker.clone(), arrival.peer, arrival.listener.addr);
    let timer = worker.timers.slot();
    timer.wakes_this().await;
    timer.arm(arrival.listener.bounds().handshake);
    match shake(arrival, port, &timer).await {
        Ok(secured) => Some(secured),
        Err(fault) => {
            let failure = fault.failure(Side::Client);
            worker.counters.tls.failure(Side::Client, failure);
            tracing::debug!(%listener, %peer, reason = failure.as_str(), %fault, "a TLS handshake failed");
            None
        }
    }
}

async fn shake(mut arrival: Arrival, port: &TlsPort, timer: &TimerSlot) -> Result<Secured, HandshakeFault> {
    let Some(_under_way) = UnderWay::begin(&arrival.worker) else { return Err(HandshakeFault::Overloaded) };
    let hello = client_hello(&mut arrival, timer).await?;
    let name = hello.server_name;
    let Some(section) = port.select(name.as_deref().map(str::as_bytes)) else {
        say(&arrival.io, &UNRECOGNIZED_NAME);
        return Err(HandshakeFault::UnknownName(name.unwrap_or_default()));
    };
    let TlsAction::Terminate(server) = &section.action else {
        return Ok(Secured::Stream(arrival, name));
    };
    let Arrival { worker, listener, io, peer, destination, ahead, secure: _, counted, place } = arrival;
    let Io::Tcp(tcp) = io else { return Err(HandshakeFault::NotTls("TLS within TLS")) };
    let stream = tls::accept(tcp, ahead, server.config(), worker.tls.clone(), timer).await?;
    let (version, resumed) = stream.version();
    worker.counters.tls.handshake(Side::Client, version, resumed);
    let secure = Some(Rc::new(Secure { version, name: name.clone(), server: server.clone() }));
    let io = Io::Tls(Box::new(stream));
    let arrival =
        Arrival { worker, listener, io, peer, destination, ahead: Vec::new(), secure, counted, place };
    Ok(if section.http { Secured::Http(arrival) } else { Secured::Stream(arrival, name) })
}

/// Reads until the ClientHello is whole. What was read stays in `ahead`.
async fn client_hello(arrival: &mut Arrival, timer: &TimerSlot) -> Result<ClientHello, HandshakeFault> {
    poll_fn(|cx| {
        loop {
            match sniff(&arrival.ahead) {
                Sniffed::Found(hello) => return Poll::Ready(Ok(hello)),
                Sniffed::NotTls(why) => {
                    say(&arrival.io, &DECODE_ERROR);
                    return Poll::Ready(Err(HandshakeFault::NotTls(why)));
                }
                Sniffed::NeedMore => {}
            }
            let mut scratch = arrival.worker.scratch.borrow_mut();
            match arrival.io.poll_read(cx, &mut scratch.input[..CLIENT_HELLO_BYTES_MAX]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(HandshakeFault::Closed)),
                Poll::Ready(Ok(n)) => arrival.ahead.extend_from_slice(&scratch.input[..n]),
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(HandshakeFault::Io(fault))),
                Poll::Pending if timer.expired() => return Poll::Ready(Err(HandshakeFault::TimedOut)),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

/// Says a last word, if the socket takes it at once.
fn say(io: &Io, alert: &[u8]) {
    if let Io::Tcp(tcp) = io {
        let _ = tcp.try_write(alert);
    }
}
