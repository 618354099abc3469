//! One server, and one exchange with it over a connection of its own.

use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use weir_tls::{ClientFiles, Connector, Io};

use super::{
    ANSWER_BYTES_MAX, ANSWER_TIMEOUT, CONNECT_TIMEOUT, ClientError, HTTP_PROTOCOL, Scheme, ServerUrl,
    problems_text,
};
use crate::native::{ErrorAnswer, LOST, NO_SERVER, NOBODY, Problem};

/// A server, and what TLS with it needs.
#[derive(Clone, Debug)]
pub(super) struct One {
    pub(super) server: ServerUrl,
    pub(super) tls: Option<Connector>,
}

impl One {
    pub(super) fn late(&self) -> ClientError {
        ClientError::Timeout { server: self.server.to_string(), waited: ANSWER_TIMEOUT }
    }

    /// See [`super::Client::download`].
    pub(super) async fn download(
        &self,
        io: TokioIo<Io>,
        path: &str,
        mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), ClientError> {
        let broken = |reason: String| ClientError::Broken { server: self.server.to_string(), reason };
        let begun = timeout(ANSWER_TIMEOUT, self.begin(io, Method::GET, path, None, Bytes::new()));
        let (response, connection) = begun.await.map_err(|_| self.late())??;
        let (head, mut body) = response.into_parts();
        if !head.status.is_success() {
            let body = timeout(ANSWER_TIMEOUT, Limited::new(body, ANSWER_BYTES_MAX).collect()).await;
            let body = body.map_err(|_| self.late())?.map_err(|error| self.bad(&error))?;
            return Err(self.refused(&head, &body.to_bytes()));
        }
        while let Some(frame) = timeout(ANSWER_TIMEOUT, body.frame()).await.map_err(|_| self.late())? {
            let frame = frame.map_err(|error| broken(error.to_string()))?;
            if let Some(piece) = frame.data_ref() {
                take(piece).map_err(|error| broken(error.to_string()))?;
            }
        }
        drop(connection);
        Ok(())
    }

    pub(super) async fn connect(&self) -> Result<TokioIo<Io>, ClientError> {
        let address = (self.server.host.as_str(), self.server.port);
        let stream = match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(self.unreachable(&error)),
            Err(_) => {
                let reason = format!("no connection within {} s", CONNECT_TIMEOUT.as_secs());
                return Err(self.unreachable(&reason));
            }
        };
        if self.server.scheme == Scheme::Http {
            return Ok(TokioIo::new(Io::Plain(stream)));
        }
        let connector = match &self.tls {
            Some(connector) => connector.clone(),
            None => {
                let files = ClientFiles::default();
                Connector::load(&files, HTTP_PROTOCOL).map_err(|reason| self.unreachable(&reason))?
            }
        };
        let connected = connector.connect(&self.server.host, stream).await;
        connected
            .map(TokioIo::new)
            .map_err(|error| ClientError::Tls { server: self.server.to_string(), reason: error.to_string() })
    }

    pub(super) async fn exchange(
        &self,
        io: TokioIo<Io>,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<Bytes, ClientError> {
        let (response, connection) = self.begin(io, method, path, content_type, body).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| self.bad(&error))?
            .to_bytes();
        drop(connection);
        if head.status.is_success() { Ok(body) } else { Err(self.refused(&head, &body)) }
    }

    /// Sends a request and gives the head of its answer, and what moves the bytes, which must be kept until the body is read.
    async fn begin(
        &self,
        io: TokioIo<Io>,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<(Response<Incoming>, Connection), ClientError> {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(io).await.map_err(|error| self.unreachable(&error))?;
        let mut connection = Connection(tokio::spawn(connection));
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.server.authority())
            .header(header::USER_AGENT, concat!("weir/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT, "application/json")
            .header(header::CONNECTION, "close");
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let request = request.body(Full::new(body)).map_err(|error| self.bad(&error))?;
        match sender.try_send_request(request).await {
            Ok(response) => Ok((response, connection)),
            Err(error) => {
                Err(self.unanswered(error.message().is_none(), error.into_error(), &mut connection).await)
            }
        }
    }

    /// Why a request has no answer. What became of the connection may say more than what became of the request.
    async fn unanswered(
        &self,
        was_sent: bool,
        error: hyper::Error,
        connection: &mut Connection,
    ) -> ClientError {
        if error.is_parse() || !was_sent && spoke_first(&error) {
            return self.bad(&format!("it does not speak HTTP/1: {}", causes(&error)));
        }
        let ended = timeout(LAST_WORDS_MAX, &mut connection.0).await;
        let last_words = ended.ok().and_then(Result::ok).and_then(Result::err);
        let errors: Vec<_> = last_words.iter().chain([&error]).collect();
        let server = self.server.to_string();
        let said = errors.iter().find_map(|error| weir_tls::said(*error));
        let is_refused = !was_sent || errors.iter().any(|error| weir_tls::is_refused(*error));
        let reason = match said {
            Some(reason) if is_refused => return ClientError::Tls { server, reason },
            Some(reason) => reason,
            None => causes(errors[0]),
        };
        if was_sent {
            ClientError::Lost { server, reason }
        } else {
            ClientError::Unreachable { server, reason }
        }
    }

    pub(super) fn read<T: DeserializeOwned>(&self, body: &Bytes) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|error| self.bad(&error))
    }

    pub(super) fn unreachable(&self, error: &dyn std::fmt::Display) -> ClientError {
        ClientError::Unreachable { server: self.server.to_string(), reason: error.to_string() }
    }

    /// Reads an error answer. Every error of the native API is in its form, but for that of a server with too many
    /// connections; whoever says no in another form is something else: a proxy, or another program.
    fn refused(&self, head: &Parts, body: &[u8]) -> ClientError {
        let (status, unanswered) = (head.status, head.headers.get(NO_SERVER));
        if let Ok(answer) = serde_json::from_slice::<ErrorAnswer>(body)
            && !answer.errors.is_empty()
        {
            let (server, problems) = (self.server.to_string(), answer.errors);
            return match unanswered.map(HeaderValue::as_bytes) {
                Some(said) if said == NOBODY.as_bytes() => {
                    ClientError::NoServer { agent: server, reason: problems_text(&problems) }
                }
                Some(said) if said == LOST.as_bytes() => {
                    ClientError::Lost { server, reason: problems_text(&problems) }
                }
                _ => ClientError::Refused { status, problems },
            };
        }
        let text = String::from_utf8_lossy(&body[..body.len().min(PLAIN_ERROR_BYTES_MAX)]);
        let said = format!("{status}: {}", text.trim());
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return ClientError::Refused { status, problems: vec![Problem::new(said)] };
        }
        self.bad(&said)
    }

    pub(super) fn bad(&self, error: &dyn std::fmt::Display) -> ClientError {
        ClientError::BadAnswer { server: self.server.to_string(), reason: error.to_string() }
    }
}

/// Moves the bytes of a connection until it is dropped.
struct Connection(JoinHandle<hyper::Result<()>>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How long is waited for what a connection says when it ends.
const LAST_WORDS_MAX: Duration = Duration::from_millis(100);

/// Whether the other side spoke before it was asked anything: a server of HTTP/2 may. The library tells it by its text alone.
fn spoke_first(error: &hyper::Error) -> bool {
    error.is_canceled() && causes(error).contains("unexpected message")
}

/// An error with all that caused it.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// How much of an error answer that is plain text is shown, in bytes.
const PLAIN_ERROR_BYTES_MAX: usize = 4096;
