//! Connections to one server, kept while they are idle.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;
use weir_api::client::{Scheme, ServerUrl};
use weir_tls::{Connectors, Io};

use super::{Answered, Ask};
use crate::bounds::{ANSWER_BYTES_MAX, CONNECT_MAX, IDLE_AGE_MAX, IDLE_MAX};

/// Fields that are about the connection, or that whoever sends the answer adds himself.
const OF_THE_CONNECTION: [HeaderName; 4] = [CONNECTION, TRANSFER_ENCODING, CONTENT_LENGTH, DATE];

/// What answers there is no server's HTTP API.
const NOT_HTTP1: &str =
    "it does not speak HTTP/1; is it the port for proxies? Agents ask the HTTP address (8500)";

/// Why one server has not answered.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request cannot have arrived.
    NotSent(String),
    /// It may have.
    Lost(String),
    /// It has, and its answer is larger than [`ANSWER_BYTES_MAX`].
    TooLarge,
}

/// What is known of who is on the other end of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Nobody has answered on it yet: it may be something else than a server.
    Nothing,
    /// It has answered as a server does.
    Speaks,
}

/// One server.
pub(super) struct Server {
    url: ServerUrl,
    /// What `https` needs.
    tls: Option<Arc<Connectors>>,
    idle: Mutex<Vec<(SendRequest<Full<Bytes>>, Instant)>>,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url.authority())
    }
}

impl Server {
    pub(super) fn new(url: ServerUrl) -> Self {
        Self { url, tls: None, idle: Mutex::default() }
    }

    pub(super) fn tls(self, connectors: Arc<Connectors>) -> Self {
        Self { tls: Some(connectors), ..self }
    }

    /// Asks on an idle connection, or on a new one.
    pub(super) async fn ask(&self, ask: &Ask) -> Result<Answered, Failure> {
        while let Some(sender) = self.idle() {
            match self.exchange(sender, ask, Known::Speaks).await {
                // It was closed meanwhile.
                Err(Failure::NotSent(_)) => {}
                done => return done,
            }
        }
        let sender = self.connect().await.map_err(Failure::NotSent)?;
        self.exchange(sender, ask, Known::Nothing).await
    }

    /// The connection that was used last, of those that are still good.
    fn idle(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        idle.retain(|(sender, since)| sender.is_ready() && now.duration_since(*since) < IDLE_AGE_MAX);
        idle.pop().map(|(sender, _)| sender)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let address = (self.url.host.as_str(), self.url.port);
        let late = |limit: Duration| format!("no connection within {} s", limit.as_secs());
        let stream = tokio::time::timeout(CONNECT_MAX, TcpStream::connect(address))
            .await
            .map_err(|_| late(CONNECT_MAX))?
            .map_err(|error| error.to_string())?;
        // Requests are written in one go; waiting for more to send would only add latency.
        let _ = stream.set_nodelay(true);
        let (sender, connection) = http1::handshake(TokioIo::new(self.secured(stream).await?))
            .await
            .map_err(|error| error.to_string())?;
        tokio::spawn(async move {
            // Whoever asks on it is told.
            let _ = connection.await;
        });
        Ok(sender)
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

    async fn exchange(
        &self,
        mut sender: SendRequest<Full<Bytes>>,
        ask: &Ask,
        known: Known,
    ) -> Result<Answered, Failure> {
        let request = self.request(ask).map_err(Failure::NotSent)?;
        let response = sender.try_send_request(request).await.map_err(|error| {
            let was_sent = error.message().is_none();
            let error = error.into_error();
            match weir_tls::said(&error) {
                Some(reason) if was_sent && !weir_tls::is_refused(&error) => Failure::Lost(reason),
                Some(reason) => Failure::NotSent(reason),
                // What is no server has not done what it does not understand.
                None if error.is_parse() && known == Known::Nothing => Failure::NotSent(NOT_HTTP1.to_owned()),
                None if was_sent => Failure::Lost(error.to_string()),
                None => Failure::NotSent(error.to_string()),
            }
        })?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| match error.downcast_ref::<LengthLimitError>() {
                Some(_) => Failure::TooLarge,
                None => Failure::Lost(error.to_string()),
            })?
            .to_bytes();
        if sender.ready().await.is_ok() {
            self.keep(sender);
        }
        let mut headers = parts.headers;
        for name in OF_THE_CONNECTION {
            headers.remove(name);
        }
        Ok(Answered { status: parts.status, headers, body })
    }

    fn request(&self, ask: &Ask) -> Result<hyper::Request<Full<Bytes>>, String> {
        let mut request = hyper::Request::new(Full::new(ask.body.clone()));
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = ask.target.parse().map_err(|error| format!("{}: {error}", ask.target))?;
        let fields = request.headers_mut();
        *fields = ask.headers.clone();
        let host = HeaderValue::from_str(&self.url.authority()).map_err(|error| error.to_string())?;
        fields.insert(HOST, host);
        Ok(request)
    }

    fn keep(&self, sender: SendRequest<Full<Bytes>>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push((sender, Instant::now()));
        }
    }
}
