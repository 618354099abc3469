//! Accepts connections and serves a [`Router`] over them until told to stop.

mod connection;
mod handover;
mod io;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderValue, RETRY_AFTER};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use weir_api::browser::{self, AllowedHosts};
use weir_tls::Acceptor;

use self::connection::connection;
use self::handover::{Asked, Handover};
pub(super) use self::io::Phase;
use super::percent;
use super::query::Query;
use super::request::Request;
use super::response::{Body, Response};
use super::router::{Route, Router};
use super::stats::{HeldBytes, ServerStats};
use crate::accept::next_connection;

/// Bytes of a body beyond its limit that are read and dropped before it is refused.
const DISCARD_BYTES_MAX: usize = 1024 * 1024;
/// What a request gets whose body does not fit beside those of others.
const BODIES_FULL: &str = "too many request bodies are under way at once, try again";
/// What a connection gets when there are too many.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n\
content-type: text/plain; charset=utf-8\r\ncontent-length: 31\r\n\r\ntoo many connections, try again";

/// Limits of a server.
#[derive(Clone, Copy, Debug)]
pub struct ServerConfig {
    /// Most connections at once; further ones are answered with 503.
    pub connections_max: usize,
    /// Most bytes of request bodies held in memory at once, of all connections; what would go beyond is answered
    /// with 503.
    pub bodies_bytes_max: u64,
    /// How long a request head may take from its first byte.
    pub head_timeout: Duration,
    /// How long a request body may take.
    pub body_timeout: Duration,
    /// How long a client may take nothing of an answer that waits for it.
    pub write_timeout: Duration,
    /// How long a connection may be idle between requests. Clients pool connections for up to 90 s; closing later
    /// than they do spares them a race.
    pub idle_timeout: Duration,
    /// How long requests under way may take after shutdown began.
    pub drain_timeout: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            connections_max: 32_768,
            bodies_bytes_max: 256 << 20,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(120),
            drain_timeout: Duration::from_secs(5),
        }
    }
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {cause}")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// The system's answer.
        #[source]
        cause: std::io::Error,
    },
}

/// A bound server that does not accept yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    config: ServerConfig,
    allowed_hosts: Vec<String>,
    tls: Option<Acceptor>,
}

impl Server {
    /// Binds an address (IPv4 or IPv6; port 0 takes a free one).
    pub async fn bind(address: SocketAddr, config: ServerConfig) -> Result<Self, ServerError> {
        let failed = |cause| ServerError::Bind { address, cause };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, config, allowed_hosts: Vec::new(), tls: None })
    }

    /// Answers to these names too where it listens on loopback; it answers to IP addresses and `localhost` anyway, and
    /// to every name where it listens beyond.
    #[must_use]
    pub fn allow_hosts(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.allowed_hosts.extend(names);
        self
    }

    /// Speaks TLS, and nothing else.
    #[must_use]
    pub fn tls(mut self, acceptor: Option<Acceptor>) -> Self {
        self.tls = acceptor;
        self
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is ready, then lets requests under way finish within the drain timeout.
    pub async fn serve(self, router: Arc<Router>, shutdown: impl Future<Output = ()>) {
        let Self { listener, address, config, allowed_hosts, tls } = self;
        let hosts = AllowedHosts::of(address, &allowed_hosts);
        let stats = Arc::new(ServerStats::new(router.parts()));
        let (closing_tx, closing) = watch::channel(false);
        let shared = Arc::new(Shared { router, config, hosts, closing, stats, tls });
        let permits = Arc::new(Semaphore::new(config.connections_max));
        let mut shutdown = std::pin::pin!(shutdown);
        let admit = |stream: TcpStream, peer| {
            let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
                if shared.tls.is_none() {
                    // Best effort: what does not fit the socket's buffer at once is not worth waiting for.
                    let _ = stream.try_write(TOO_MANY);
                }
                shared.stats.refuse();
                return;
            };
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                let counted = shared.stats.connection();
                connection(stream, peer, shared).await;
                drop((permit, counted));
            });
        };
        while let Some((stream, peer)) = next_connection(&listener, shutdown.as_mut()).await {
            admit(stream, peer);
        }
        // Whoever has connected already would be reset when the listener closes.
        if let Ok(listener) = listener.into_std() {
            while let Ok((stream, peer)) = listener.accept() {
                if stream.set_nonblocking(true).is_ok()
                    && let Ok(stream) = TcpStream::from_std(stream)
                {
                    admit(stream, peer);
                }
            }
        }
        closing_tx.send_replace(true);
        // Every connection holds a permit, so all permits back means all connections gone.
        let all = u32::try_from(config.connections_max).unwrap_or(u32::MAX);
        if tokio::time::timeout(config.drain_timeout, permits.acquire_many(all)).await.is_err() {
            tracing::warn!("requests were still under way at the end of the drain timeout");
        }
    }
}

/// What all connections of a server share.
struct Shared {
    router: Arc<Router>,
    config: ServerConfig,
    hosts: AllowedHosts,
    closing: watch::Receiver<bool>,
    stats: Arc<ServerStats>,
    tls: Option<Acceptor>,
}

/// Answers a request. Does not return if its answer is waited for without this connection's buffers.
async fn answer(
    shared: &Shared,
    request: hyper::Request<Incoming>,
    peer: SocketAddr,
    handover: &Handover,
) -> hyper::Response<Body> {
    let asked = Asked::of(&request, shared.router.part(request.uri().path()));
    // Boxed, so that it is gone while a handler waits.
    let response = match Box::pin(receive(shared, request, peer, handover.phase())).await {
        Ok((route, method, request)) => match route.handler(&method) {
            Some(handler) => handover.answer(asked, handler.call(request)).await,
            None => shared.router.wrong_method(&request.path, route, &method),
        },
        Err(refusal) => refusal,
    };
    written(shared, asked, response)
}

fn written(shared: &Shared, asked: Asked, response: Response) -> hyper::Response<Body> {
    shared.stats.answer(asked.part, response.status);
    let mut out = hyper::Response::new(response.body);
    *out.status_mut() = response.status;
    *out.headers_mut() = response.headers;
    out
}

/// Routes a request and takes its body in. An error is the refusal to send.
async fn receive<'a>(
    shared: &'a Shared,
    request: hyper::Request<Incoming>,
    peer: SocketAddr,
    phase: &Phase,
) -> Result<(&'a Route, http::Method, Request), Response> {
    let router = &shared.router;
    let (parts, body) = request.into_parts();
    let raw_path = parts.uri.path();
    let bad = |message: String| router.refuse(raw_path, StatusCode::BAD_REQUEST, &message);
    let path = percent::decode_path(raw_path).map_err(|error| bad(error.to_string()))?.into_owned();
    let Some((route, rest_at)) = router.find(&path) else {
        return Err(router.refuse(&path, StatusCode::NOT_FOUND, "Invalid URL path: not found"));
    };
    if route.handler(&parts.method).is_none() {
        return Err(router.wrong_method(&path, route, &parts.method));
    }
    if !names_one_host(&parts) {
        return Err(closing(bad("an HTTP/1.1 request names its host in exactly one Host field".to_owned())));
    }
    if let Err(message) = shared.hosts.check(&parts.headers) {
        return Err(closing(router.refuse(&path, StatusCode::FORBIDDEN, &message)));
    }
    if browser::is_foreign(&parts.method, &parts.headers) {
        return Err(closing(router.refuse(&path, StatusCode::FORBIDDEN, browser::REFUSAL)));
    }
    let query = Query::parse(parts.uri.query().unwrap_or("")).map_err(|error| bad(error.to_string()))?;
    let declared = parts.headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    let mut held = shared.stats.hold(shared.config.bodies_bytes_max);
    let collected = collect(body, declared, parts.headers.contains_key(EXPECT), route, &mut held);
    let body = match tokio::time::timeout(shared.config.body_timeout, collected).await {
        Ok(Ok(body)) => body,
        Ok(Err((status, message))) => {
            let refusal = closing(router.refuse(&path, status, &message));
            let is_busy = status == StatusCode::SERVICE_UNAVAILABLE;
            let again = HeaderValue::from_static("1");
            return Err(if is_busy { refusal.with(RETRY_AFTER, again) } else { refusal });
        }
        Err(_) => {
            let message = "the request body did not arrive in time";
            return Err(closing(router.refuse(&path, StatusCode::REQUEST_TIMEOUT, message)));
        }
    };
    let method = parts.method.clone();
    let seen = if parts.method == http::Method::HEAD { http::Method::GET } else { parts.method };
    let closing = shared.closing.clone();
    let server = Arc::clone(&shared.stats);
    let headers = parts.headers;
    let phase = phase.clone();
    let request = Request {
        method: seen,
        path,
        rest_at,
        query,
        headers,
        body,
        peer,
        closing,
        server,
        phase,
        _held: held,
    };
    Ok((route, method, request))
}

/// RFC 9112, section 3.2: none or several are a sign of a broken or a hostile client.
fn names_one_host(parts: &http::request::Parts) -> bool {
    let count = parts.headers.get_all(HOST).iter().count();
    count == 1 || (count == 0 && parts.version == http::Version::HTTP_10)
}

/// A refusal after which the connection cannot be used again, because part of the body was not read.
fn closing(response: Response) -> Response {
    response.with(CONNECTION, HeaderValue::from_static("close"))
}

/// Takes a body in, up to the route's limit.
async fn collect(
    mut body: Incoming,
    declared: Option<u64>,
    waits_for_leave: bool,
    route: &Route,
    held: &mut HeldBytes,
) -> Result<Bytes, (StatusCode, String)> {
    let max = route.body_bytes_max;
    let too_large = |length| (StatusCode::PAYLOAD_TOO_LARGE, (route.too_large)(length, max));
    if declared.is_some_and(|length| length > max as u64) {
        // Who waits for leave to send has sent nothing, and learns the answer without.
        if !waits_for_leave {
            discard(&mut body).await;
        }
        return Err(too_large(declared));
    }
    let mut whole = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|e| (StatusCode::BAD_REQUEST, format!("cannot read the request body: {e}")))?;
        let Ok(piece) = frame.into_data() else { continue };
        if whole.len() + joined.len() + piece.len() > max {
            discard(&mut body).await;
            return Err(too_large(None));
        }
        if !held.add(piece.len() as u64) {
            // What was read so far is let go before the rest is waited for.
            drop((whole, joined, piece));
            held.release();
            discard(&mut body).await;
            return Err((StatusCode::SERVICE_UNAVAILABLE, BODIES_FULL.to_owned()));
        }
        if whole.is_empty() && joined.is_empty() {
            whole = piece;
        } else {
            joined.extend_from_slice(&std::mem::take(&mut whole));
            joined.extend_from_slice(&piece);
        }
    }
    Ok(if joined.is_empty() { whole } else { joined.freeze() })
}

/// Reads on for a while after a body was found too large. Closing with unread bytes resets the connection, and the
/// sender would see a broken pipe instead of the refusal.
async fn discard(body: &mut Incoming) {
    let mut left = DISCARD_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        if left == 0 {
            return;
        }
    }
}
