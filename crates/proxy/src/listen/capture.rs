//! Connections that an application did not make to its sidecar: to a local port that stands for a service, or to anywhere
//! at all, redirected by the kernel.
//!
//! ```text
//!  local port of a service ----------------------------------------------------> that service
//!  redirected: original destination (SO_ORIGINAL_DST) -> endpoint of a service? -> that service
//!                                                        else by Host, or on to where it was going
//!
//!  what is spoken: declared for the service? -> that
//!                  else its first bytes, for a short time -> HTTP, or (anything else, or silence) bytes
//! ```
//!
//! Nothing is looked at where a protocol is declared. An application whose server speaks first waits for the others.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;

use tokio::net::TcpStream;
use weir_model::ServiceRef;
use weir_model::resource::Protocol;

use super::client_hello::{self, Sniffed};
use super::enter::Arrival;
use crate::respond::{Reason, Refusal};
use crate::runtime::{Io, TimerSlot};
use crate::snapshot::MeshLookup;
use crate::source::Subscribed;
use crate::tcp::Encrypted;

/// Bytes that are read to find out what a connection speaks.
const SNIFFED_BYTES_MAX: usize = client_hello::CLIENT_HELLO_BYTES_MAX;

/// Which connections a listener takes besides those that were made to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Capture {
    /// None.
    #[default]
    None,
    /// Those for one service.
    Service(ServiceRef),
    /// Those that the kernel redirects to it.
    Transparent,
}

impl fmt::Display for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Service(service) => write!(f, "service {service}"),
            Self::Transparent => f.write_str("transparent"),
        }
    }
}

/// Where a connection was to go, where somebody else than the client says so.
#[derive(Debug, Default)]
pub(crate) struct Destination {
    /// The address that the client has connected to, by a PROXY header or the kernel.
    pub(crate) addr: Option<SocketAddr>,
    /// The service that this means.
    pub(crate) service: Option<ServiceRef>,
    /// The application does not know that it speaks to a proxy.
    pub(crate) captured: bool,
}

impl Destination {
    pub(super) fn named(addr: SocketAddr) -> Rc<Self> {
        Rc::new(Self { addr: Some(addr), ..Self::default() })
    }

    fn captured(addr: Option<SocketAddr>, service: Option<ServiceRef>) -> Rc<Self> {
        Rc::new(Self { addr, service, captured: true })
    }
}

/// What a captured connection is to be served as.
pub(super) enum Kind {
    /// Requests.
    Http,
    /// Bytes, with what they ask for by TLS.
    Bytes(Option<Encrypted>),
}

/// Finds out what a captured connection is and where it was to go.
pub(super) async fn look(arrival: &mut Arrival, timer: &TimerSlot) -> Result<Kind, Refusal> {
    match arrival.listener.capture.clone() {
        Capture::None => Ok(Kind::Http),
        Capture::Service(service) => {
            let kind = declared_or_sniffed(arrival, timer, &service).await;
            arrival.destination = Some(Destination::captured(None, Some(service)));
            Ok(kind)
        }
        Capture::Transparent => transparent(arrival, timer).await,
    }
}

async fn transparent(arrival: &mut Arrival, timer: &TimerSlot) -> Result<Kind, Refusal> {
    let addr = original(&arrival.io, arrival.listener.addr).map_err(|why| {
        let message = format!("no redirected connection, or its destination is not known: {why}");
        Refusal::new(Reason::Loop, message)
    })?;
    let owner = arrival.worker.view().snapshot.service_at(addr).cloned();
    let kind = match &owner {
        Some(service) => declared_or_sniffed(arrival, timer, service).await,
        None => sniff(arrival, timer).await,
    };
    // Only now: what has sent bytes is remembered for sure.
    if arrival.worker.shared.outgoing.has(arrival.peer) {
        tracing::warn!(
            destination = %addr,
            "the proxy's own connections are redirected to it: leave its user alone (`weir intercept --proxy-uid`)"
        );
        return Err(Refusal::new(Reason::Loop, "the proxy's own connection was redirected to it"));
    }
    arrival.destination = Some(Destination::captured(Some(addr), owner));
    Ok(kind)
}

/// Where a connection went before the kernel redirected it. A connection that was made to the listener itself was not.
fn original(io: &Io, listener: SocketAddr) -> io::Result<SocketAddr> {
    let Io::Tcp(stream) = io else { return Err(io::ErrorKind::Unsupported.into()) };
    let addr = original_of(stream)?;
    if addr == listener || stream.local_addr().ok() == Some(addr) {
        return Err(io::Error::other("it was made to this very listener"));
    }
    Ok(addr)
}

#[cfg(target_os = "linux")]
fn original_of(stream: &TcpStream) -> io::Result<SocketAddr> {
    let socket = socket2::SockRef::from(stream);
    let is_v4 = stream.local_addr()?.is_ipv4();
    let addr = if is_v4 { socket.original_dst_v4()? } else { socket.original_dst_v6()? };
    addr.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
fn original_of(_stream: &TcpStream) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

/// What a service speaks: what is declared, else what its client turns out to.
async fn declared_or_sniffed(arrival: &mut Arrival, timer: &TimerSlot, service: &ServiceRef) -> Kind {
    match declared(arrival, service).await {
        Some(kind) => kind,
        None => sniff(arrival, timer).await,
    }
}

/// What a service is declared to speak; asks for the service if need be. One that is not there is served as HTTP, which
/// has words to say so.
async fn declared(arrival: &Arrival, service: &ServiceRef) -> Option<Kind> {
    let worker = &arrival.worker;
    for asked in [false, true] {
        let view = worker.view();
        match view.snapshot.mesh.service(service) {
            MeshLookup::Known(found) => {
                return view.snapshot.upstream(found.upstream).declared.map(|protocol| match protocol {
                    Protocol::Tcp => Kind::Bytes(None),
                    _ => Kind::Http,
                });
            }
            MeshLookup::NotSubscribed(_) if !asked => {
                let answer = worker.shared.shared.subscriptions.request(service).await;
                if answer != Subscribed::Answered {
                    tracing::debug!(%service, ?answer, "the control plane has not said what the service is");
                }
            }
            MeshLookup::NotSubscribed(_) | MeshLookup::Unknown => break,
        }
    }
    Some(Kind::Http)
}

/// Reads until it is clear what a connection speaks, or the time for that is over.
async fn sniff(arrival: &mut Arrival, timer: &TimerSlot) -> Kind {
    let worker = arrival.worker.clone();
    timer.arm(worker.config().timeouts.sniff);
    poll_fn(|cx| {
        loop {
            match guess(&arrival.ahead) {
                Guess::NeedMore => {}
                Guess::Http => return Poll::Ready(Kind::Http),
                Guess::Tls(server_name) => return Poll::Ready(Kind::Bytes(Some(Encrypted { server_name }))),
                Guess::Bytes => return Poll::Ready(Kind::Bytes(None)),
            }
            let mut scratch = worker.scratch.borrow_mut();
            match arrival.io.poll_read(cx, &mut scratch.input[..SNIFFED_BYTES_MAX]) {
                Poll::Pending if timer.expired() => return Poll::Ready(Kind::Bytes(None)),
                Poll::Pending => return Poll::Pending,
                // An end or a failure is passed on by whoever serves it.
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Kind::Bytes(None)),
                Poll::Ready(Ok(n)) => arrival.ahead.extend_from_slice(&scratch.input[..n]),
            }
        }
    })
    .await
}

/// What the first bytes look like.
#[derive(Debug, PartialEq, Eq)]
enum Guess {
    NeedMore,
    /// HTTP/1 or HTTP/2.
    Http,
    Tls(Option<Box<str>>),
    Bytes,
}

/// The longest method that is believed to be one.
const METHOD_BYTES_MAX: usize = 16;
/// How HTTP/2 begins (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn guess(bytes: &[u8]) -> Guess {
    let Some(&first) = bytes.first() else { return Guess::NeedMore };
    if first == 22 {
        return match client_hello::sniff(bytes) {
            Sniffed::NeedMore => Guess::NeedMore,
            Sniffed::Found(hello) => Guess::Tls(hello.server_name),
            Sniffed::NotTls(_) => Guess::Bytes,
        };
    }
    if bytes.len() >= 4 && bytes.starts_with(&PREFACE[..bytes.len().min(PREFACE.len())]) {
        return if bytes.len() >= PREFACE.len() { Guess::Http } else { Guess::NeedMore };
    }
    let method = bytes.iter().take_while(|byte| byte.is_ascii_uppercase() || **byte == b'-').count();
    match bytes.get(method) {
        None if method <= METHOD_BYTES_MAX => Guess::NeedMore,
        Some(b' ') if (3..=METHOD_BYTES_MAX).contains(&method) => match bytes.get(method + 1) {
            None => Guess::NeedMore,
            // The beginning of a target: a path, a URL, or all of it.
            Some(b'/' | b'h' | b'H') => line(&bytes[method + 1..]),
            Some(b'*') if &bytes[..method] == b"OPTIONS" => line(&bytes[method + 1..]),
            Some(_) => Guess::Bytes,
        },
        _ => Guess::Bytes,
    }
}

/// Whether the rest of a line ends as a request line does: other protocols have commands that begin alike.
fn line(rest: &[u8]) -> Guess {
    match rest.iter().position(|&byte| byte == b'\n') {
        Some(end)
            if rest[..end].trim_ascii_end().windows(8).any(|version| version.starts_with(b"HTTP/1.")) =>
        {
            Guess::Http
        }
        Some(_) => Guess::Bytes,
        // A long one is the codec's to refuse.
        None if rest.len() > SNIFFED_BYTES_MAX / 2 => Guess::Http,
        None => Guess::NeedMore,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::client_hello::build;

    #[test]
    fn the_first_bytes_tell() {
        let check = |bytes: &[u8], expected: Guess| {
            assert_eq!(guess(bytes), expected, "{}", bytes.escape_ascii());
        };
        for request in [
            "GET / HTTP/1.1\r\n",
            "POST http://a/b HTTP/1.0\n",
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n",
            "M-SEARCH /x HTTP/1.1\r\n",
        ] {
            check(request.as_bytes(), Guess::Http);
            for end in 1..request.find('\n').unwrap() {
                check(&request.as_bytes()[..end], Guess::NeedMore);
            }
        }
        check(PREFACE, Guess::Http);
        check(&PREFACE[..20], Guess::NeedMore);
        check(b"", Guess::NeedMore);
        // Redis, memcached, PostgreSQL, MQTT, NATS, Kafka, IRC.
        for other in [
            &b"PING\r\n"[..],
            b"*1\r\n$4\r\nPING\r\n",
            b"GET key\r\n",
            b"GET /key\r\n",
            b"get /a\r\n",
            b"\0\0\0\x08\x04\xd2\x16\x2f",
            b"\x10\x0c\0\x04MQTT",
            b"CONNECT {\"verbose\":false}\r\n",
            b"\0\0\0\x1f\0\x12\0\x03",
            b"NICK a\r\n",
            b"PRI * HTTP/1.1\r\n",
            b"AB /\r\n",
            b"ABCDEFGHIJKLMNOPQ",
        ] {
            check(other, Guess::Bytes);
        }
        let hello = build::records(&build::body(&[], &[build::server_name(b"db.example")]), 100);
        check(&hello, Guess::Tls(Some("db.example".into())));
        check(&hello[..40], Guess::NeedMore);
        check(&[22, 3, 1, 0, 0], Guess::Bytes);
    }
}
