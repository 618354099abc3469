//! The client of the native HTTP API: what the command line and other programs use to talk to a server.
//!
//! One connection per request: its users send a handful of requests and end. Every wait has an end, and every error
//! says which server was meant and what to try. It must not be used on a request path.

pub mod server_url;

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

pub use server_url::{BadServer, Scheme, ServerUrl};

use crate::native::{ErrorAnswer, Problem};

/// How long a connection may take to be established.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an answer may take, from the request to the last byte.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer that is read, in bytes.
pub const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Why a request to a server failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers at the address.
    #[error("cannot reach a weir server at {server}: {reason}")]
    Unreachable {
        /// The server.
        server: String,
        /// What the operating system or the protocol said.
        reason: String,
    },
    /// No answer in time.
    #[error("the server at {server} did not answer within {} s", .waited.as_secs())]
    Timeout {
        /// The server.
        server: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The server said no.
    #[error("{}", problems_text(.problems))]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// What is wrong, at least one.
        problems: Vec<Problem>,
    },
    /// The answer makes no sense: probably not a weir server.
    #[error("the answer of {server} is not that of a weir server: {reason}")]
    BadAnswer {
        /// The server.
        server: String,
        /// What is odd about it.
        reason: String,
    },
}

fn problems_text(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A client of one server.
#[derive(Clone, Debug)]
pub struct Client {
    server: ServerUrl,
}

impl Client {
    /// A client of the server at this address. Does not connect yet.
    pub const fn new(server: ServerUrl) -> Self {
        Self { server }
    }

    /// The server.
    pub const fn server(&self) -> &ServerUrl {
        &self.server
    }

    /// Gets `path` (with its query) and reads the answer as `T`.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.read(&self.send(Method::GET, path, None, Bytes::new()).await?)
    }

    /// Deletes `path` and reads the answer as `T`.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.read(&self.send(Method::DELETE, path, None, Bytes::new()).await?)
    }

    /// Sends `body` as JSON with `PUT` or `POST` and reads the answer as `T`.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn send_json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.bad(&error))?;
        self.read(&self.send(method, path, Some(content_type), body.into()).await?)
    }

    /// Sends a request and returns the body of a successful answer.
    ///
    /// # Errors
    /// As [`ClientError`] says; every status of 400 and above is [`ClientError::Refused`].
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<Bytes, ClientError> {
        let io = self.connect().await?;
        timeout(ANSWER_TIMEOUT, self.exchange(io, method, path, content_type, body))
            .await
            .map_err(|_| ClientError::Timeout { server: self.server.to_string(), waited: ANSWER_TIMEOUT })?
    }

    async fn connect(&self) -> Result<TokioIo<TcpStream>, ClientError> {
        let address = (self.server.host.as_str(), self.server.port);
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => Ok(TokioIo::new(stream)),
            Ok(Err(error)) => Err(self.unreachable(&error)),
            Err(_) => Err(ClientError::Timeout { server: self.server.to_string(), waited: CONNECT_TIMEOUT }),
        }
    }

    async fn exchange(
        &self,
        io: TokioIo<TcpStream>,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<Bytes, ClientError> {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(io).await.map_err(|error| self.unreachable(&error))?;
        let connection = tokio::spawn(connection);
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
        let response = sender.send_request(request).await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| self.bad(&error))?
            .to_bytes();
        connection.abort();
        if status.is_success() { Ok(body) } else { Err(self.refused(status, &body)) }
    }

    fn read<T: DeserializeOwned>(&self, body: &Bytes) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|error| self.bad(&error))
    }

    fn unreachable(&self, error: &dyn std::fmt::Display) -> ClientError {
        ClientError::Unreachable { server: self.server.to_string(), reason: error.to_string() }
    }

    /// Reads an error answer. Every error of the native API is in its form, but for that of a server with too many
    /// connections; whoever says no in another form is something else: a proxy, or another program.
    fn refused(&self, status: StatusCode, body: &[u8]) -> ClientError {
        if let Ok(answer) = serde_json::from_slice::<ErrorAnswer>(body)
            && !answer.errors.is_empty()
        {
            return ClientError::Refused { status, problems: answer.errors };
        }
        let text = String::from_utf8_lossy(&body[..body.len().min(PLAIN_ERROR_BYTES_MAX)]);
        let said = format!("{status}: {}", text.trim());
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return ClientError::Refused { status, problems: vec![Problem::new(said)] };
        }
        self.bad(&said)
    }

    fn bad(&self, error: &dyn std::fmt::Display) -> ClientError {
        ClientError::BadAnswer { server: self.server.to_string(), reason: error.to_string() }
    }
}

/// How much of an error answer that is plain text is shown, in bytes.
const PLAIN_ERROR_BYTES_MAX: usize = 4096;

/// Percent-encodes one segment of a path or one value of a query: everything but RFC 3986's unreserved characters.
pub fn encode_segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn server_that_says(answer: &'static str) -> Client {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = [0; 1024];
            let _ = stream.read(&mut seen).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        });
        Client::new(format!("127.0.0.1:{port}").parse().unwrap())
    }

    #[tokio::test]
    async fn answers_and_refusals_are_told_apart() {
        let client = server_that_says("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n42").await;
        assert_eq!(client.get::<u32>("/x").await.unwrap(), 42);

        let client = server_that_says("HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\ngone").await;
        let error = client.get::<u32>("/x").await.unwrap_err();
        assert!(matches!(&error, ClientError::BadAnswer { .. }), "{error}");
        let text = error.to_string();
        assert!(text.ends_with("is not that of a weir server: 404 Not Found: gone"), "{text}");

        let answer =
            "HTTP/1.1 404 Not Found\r\ncontent-length: 31\r\n\r\n{\"errors\": [{\"message\": \"no\"}]}";
        let error = server_that_says(answer).await.get::<u32>("/x").await.unwrap_err();
        assert!(matches!(&error, ClientError::Refused { status, .. } if *status == StatusCode::NOT_FOUND));
        assert_eq!(error.to_string(), "no");

        let answer = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy";
        let error = server_that_says(answer).await.get::<u32>("/x").await.unwrap_err();
        assert_eq!(error.to_string(), "503 Service Unavailable: busy");

        let client = server_that_says("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhtml").await;
        assert!(matches!(client.get::<u32>("/x").await.unwrap_err(), ClientError::BadAnswer { .. }));
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = Client::new(address.to_string().parse().unwrap()).get::<u32>("/").await.unwrap_err();
        assert!(matches!(error, ClientError::Unreachable { .. }));
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }

    #[test]
    fn segments_are_encoded() {
        assert_eq!(encode_segment("a/b c%ü"), "a%2Fb%20c%25%C3%BC");
    }
}
