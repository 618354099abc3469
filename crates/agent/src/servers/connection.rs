//! One server, and the connections to it that are kept while they are idle.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;
use weir_api::client::{Scheme, ServerUrl};
use weir_tls::{Connectors, Io};

use super::exchange::{Done, Failure, Known, Live, Sent};
use super::link::Stand;
use super::{Answered, Ask};
use crate::bounds::{CONNECT_MAX, IDLE_AGE_MAX, IDLE_MAX, LINGERING_MAX};

/// One server.
pub(super) struct Server {
    url: ServerUrl,
    /// What `https` needs.
    tls: Option<Arc<Connectors>>,
    idle: Mutex<Vec<(Live, Instant)>>,
    /// How many requests are being sent, or are given a moment to be answered.
    sending: AtomicUsize,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url.authority())
    }
}

impl Server {
    pub(super) fn new(url: ServerUrl) -> Self {
        Self { url, tls: None, idle: Mutex::default(), sending: AtomicUsize::new(0) }
    }

    pub(super) fn tls(self, connectors: Arc<Connectors>) -> Self {
        Self { tls: Some(connectors), ..self }
    }

    /// Asks on an idle connection, or on a new one. `waits` is told when the answer does not come at once.
    pub(super) async fn ask(&self, ask: &Ask, waits: &(dyn Fn() + Sync)) -> Result<Answered, Failure> {
        // Boxed: who waits for long keeps nothing of what sending and reading takes.
        let bare = match Box::pin(self.send(ask)).await? {
            Sent::Done(done) => return Ok(self.keep(*done)),
            Sent::Waits(bare) => bare,
        };
        waits();
        let stand = Arc::new(Stand::default());
        let link =
            bare.answered(Arc::clone(&stand)).await.map_err(|error| Failure::Lost(error.to_string()))?;
        Box::pin(Live::resume(link, stand)).await.map(|done| self.keep(done))
    }

    async fn send(&self, ask: &Ask) -> Result<Sent, Failure> {
        let sending = Sending::of(&self.sending);
        let (host, linger) = (self.url.authority(), sending.count <= LINGERING_MAX);
        while let Some(live) = self.idle() {
            match live.send(&host, ask, Known::Speaks, linger).await {
                // It was closed meanwhile.
                Err(Failure::NotSent(_)) => {}
                done => return done,
            }
        }
        let live = self.connect().await.map_err(Failure::NotSent)?;
        live.send(&host, ask, Known::Nothing, linger).await
    }

    /// The connection that was used last, of those that are not too old.
    fn idle(&self) -> Option<Live> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        idle.retain(|(_, since)| now.duration_since(*since) < IDLE_AGE_MAX);
        idle.pop().map(|(live, _)| live)
    }

    /// Keeps the connection of an answer, if it can be used again.
    fn keep(&self, (answered, live): Done) -> Answered {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(live) = live
            && idle.len() < IDLE_MAX
        {
            idle.push((live, Instant::now()));
        }
        answered
    }

    async fn connect(&self) -> Result<Live, String> {
        let address = (self.url.host.as_str(), self.url.port);
        let late = |limit: Duration| format!("no connection within {} s", limit.as_secs());
        let stream = tokio::time::timeout(CONNECT_MAX, TcpStream::connect(address))
            .await
            .map_err(|_| late(CONNECT_MAX))?
            .map_err(|error| error.to_string())?;
        // Requests are written in one go; waiting for more to send would only add latency.
        let _ = stream.set_nodelay(true);
        Live::new(self.secured(stream).await?).await
    }

    /// The connection as the server is to be spoken to.
    async fn secured(&self, stream: TcpStream) -> Result<Io, String> {
        match (self.url.scheme, &self.tls) {
            (Scheme::Http, _) => Ok(Io::Plain(stream)),
            (Scheme::Https, None) => Err("https:// without what TLS needs".to_owned()),
            (Scheme::Https, Some(connectors)) => {
                let connected = connectors.current().connect(&self.url.host, stream).await;
                connected.map_err(|error| error.to_string())
            }
        }
    }
}

/// Counts one who is sending.
struct Sending<'a> {
    all: &'a AtomicUsize,
    /// How many there are, with this one.
    count: usize,
}

impl<'a> Sending<'a> {
    fn of(all: &'a AtomicUsize) -> Self {
        Self { all, count: all.fetch_add(1, Ordering::Relaxed) + 1 }
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
    }
}
