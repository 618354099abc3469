//! A request as handlers see it: routed, decoded, with its whole body.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::sync::watch;

use super::query::Query;
use super::server::Phase;
use super::stats::{HeldBytes, ServerStats};

/// A request whose route is known and whose body has arrived.
#[derive(Debug)]
pub struct Request {
    /// The method; `HEAD` is given to `GET` handlers as `GET`.
    pub method: Method,
    /// The decoded path.
    pub path: String,
    /// Where in `path` the part begins that a route ending in `/` left open.
    pub(super) rest_at: usize,
    /// The decoded query.
    pub query: Query,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body, at most the route's limit.
    pub body: Bytes,
    /// Who asks.
    pub peer: SocketAddr,
    /// Becomes true when the server begins to shut down: whoever waits long should answer with what it has.
    pub closing: watch::Receiver<bool>,
    /// What the server that received it counts.
    pub server: Arc<ServerStats>,
    /// Where its connection stands.
    pub(super) phase: Phase,
    /// Counts the body among those in memory until the request is done with.
    pub(super) _held: HeldBytes,
}

impl Request {
    /// The decoded part of the path behind a route that ends in `/`; empty for an exact route.
    pub fn rest(&self) -> &str {
        &self.path[self.rest_at..]
    }

    /// A header field as text, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Says that the answer may be long in coming: what the connection holds meanwhile is let go of.
    pub fn waits(&self) {
        self.phase.wait();
    }

    /// Lets go of what it says, for whoever has read it and waits.
    pub fn forget(&mut self) {
        (self.path, self.rest_at) = (String::new(), 0);
        self.query = Query::default();
        self.headers = HeaderMap::new();
        self.body = Bytes::new();
    }

    /// Returns when the server begins to shut down.
    pub async fn server_closing(&mut self) {
        // An error means that the server is gone already.
        let _ = self.closing.wait_for(|closing| *closing).await;
    }
}
