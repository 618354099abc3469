//! The client of the native HTTP API: what the command line and other programs use to talk to a server.
//!
//! One connection per request: its users send a handful of requests and end. Every wait has an end, and every error
//! says which server was meant and what to try. It must not be used on a request path.

mod one;
pub mod server_url;
mod servers;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use weir_tls::Connector;

pub use server_url::{BadServer, Scheme, ServerUrl};
pub use servers::Servers;

use crate::native::Problem;
use one::One;

/// What is spoken inside TLS, for [`Connector::load`].
pub const HTTP_PROTOCOL: &[u8] = b"http/1.1";
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
    /// An agent answers there, and none of its servers does. Nothing was changed.
    #[error("{reason} (asked by the agent at {agent})")]
    NoServer {
        /// The agent.
        agent: String,
        /// What it says.
        reason: String,
    },
    /// There is a connection, but no TLS on it.
    #[error("no TLS with the weir server at {server}: {reason}")]
    Tls {
        /// The server.
        server: String,
        /// Who does not accept whom, and what to name.
        reason: String,
    },
    /// The request was sent, and the connection ended before there was an answer: nobody knows whether it was done.
    #[error("the answer of {server} is lost: {reason}")]
    Lost {
        /// The server.
        server: String,
        /// What happened.
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
    /// The answer broke off, or could not be kept.
    #[error("the answer of {server} broke off: {reason}")]
    Broken {
        /// The server.
        server: String,
        /// What happened.
        reason: String,
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

impl ClientError {
    /// Whether what was asked for may have been done, though nobody said so.
    pub fn may_be_done(&self) -> bool {
        match self {
            Self::Lost { .. } | Self::Timeout { .. } | Self::Broken { .. } | Self::BadAnswer { .. } => true,
            // A server that has lost its store says so, and it may be that only its answer was lost.
            Self::Refused { status, .. } => status.is_server_error(),
            Self::Unreachable { .. } | Self::NoServer { .. } | Self::Tls { .. } => false,
        }
    }
}

fn problems_text(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A client of one server, or of several that are alike: one is asked as long as it answers, then the next. Clones share which
/// one that is.
#[derive(Clone, Debug)]
pub struct Client {
    servers: Vec<One>,
    current: Arc<AtomicUsize>,
}

impl Client {
    /// A client of the server at this address. Does not connect yet. Over `https` it believes the system's authorities.
    pub fn new(server: ServerUrl) -> Self {
        Self::of(Servers::from(server))
    }

    /// A client of several servers.
    pub fn of(servers: Servers) -> Self {
        let servers = servers.into_iter().map(|server| One { server, tls: None }).collect();
        Self { servers, current: Arc::default() }
    }

    /// The same with what `https` needs; see [`HTTP_PROTOCOL`].
    #[must_use]
    pub fn tls(mut self, connector: &Connector) -> Self {
        for one in &mut self.servers {
            one.tls = Some(connector.clone());
        }
        self
    }

    /// The server that is asked next.
    pub fn server(&self) -> &ServerUrl {
        &self.one(self.current.load(Ordering::Relaxed)).server
    }

    /// All servers.
    pub fn servers(&self) -> impl Iterator<Item = &ServerUrl> {
        self.servers.iter().map(|one| &one.server)
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
        let body = serde_json::to_vec(body).map_err(|error| self.one(0).bad(&error))?;
        self.read(&self.send(method, path, Some(content_type), body.into()).await?)
    }

    /// Sends a request and returns the body of a successful answer. What was sent to one server and not answered is sent to
    /// another only if it changes, or has changed, nothing.
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
        for left in (0..self.servers.len()).rev() {
            let turn = Turn::of(self);
            let one = self.one(turn.at);
            let io = match one.connect().await {
                Err(_) if left > 0 => continue,
                other => other?,
            };
            let exchange = one.exchange(io, method.clone(), path, content_type, body.clone());
            let answer = timeout(ANSWER_TIMEOUT, exchange).await.unwrap_or_else(|_| Err(one.late()));
            if !answer.as_ref().is_err_and(others_may_do_better) {
                turn.stay();
                return answer;
            }
            let is_repeatable =
                method == Method::GET || answer.as_ref().is_err_and(|error| !error.may_be_done());
            if left == 0 || !is_repeatable {
                return answer;
            }
        }
        Err(self.one(0).unreachable(&"no server is named"))
    }

    /// Gets `path` and gives its body away piece by piece, however long that takes as long as pieces come.
    ///
    /// # Errors
    /// As [`ClientError`] says; [`ClientError::Broken`] if the body ends early or `take` fails. Whether what came is whole is for the
    /// caller to find out.
    pub async fn download(
        &self,
        path: &str,
        take: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), ClientError> {
        for left in (0..self.servers.len()).rev() {
            let turn = Turn::of(self);
            let one = self.one(turn.at);
            match one.connect().await {
                Err(_) if left > 0 => {}
                Err(error) => return Err(error),
                Ok(io) => {
                    let answer = one.download(io, path, take).await;
                    if answer.is_ok() {
                        turn.stay();
                    }
                    return answer;
                }
            }
        }
        Err(self.one(0).unreachable(&"no server is named"))
    }

    /// Never empty: a list of servers is not.
    fn one(&self, at: usize) -> &One {
        &self.servers[at % self.servers.len()]
    }

    fn read<T: DeserializeOwned>(&self, body: &Bytes) -> Result<T, ClientError> {
        self.one(self.current.load(Ordering::Relaxed)).read(body)
    }
}

/// Whether the fault is the server's own, and not the request's.
fn others_may_do_better(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. }
        | ClientError::NoServer { .. }
        | ClientError::Tls { .. }
        | ClientError::Lost { .. }
        | ClientError::Timeout { .. } => true,
        ClientError::Refused { status, .. } => *status == StatusCode::SERVICE_UNAVAILABLE,
        ClientError::Broken { .. } | ClientError::BadAnswer { .. } => false,
    }
}

/// A try of the current server. Unless it is told to stay, the next one is asked from then on: also when the try is given up by
/// who made it, which is how one that stands still is left.
struct Turn<'a> {
    client: &'a Client,
    at: usize,
    leaves: bool,
}

impl<'a> Turn<'a> {
    fn of(client: &'a Client) -> Self {
        Self { client, at: client.current.load(Ordering::Relaxed), leaves: true }
    }

    fn stay(mut self) {
        self.leaves = false;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.leaves {
            let next = self.at.wrapping_add(1);
            // Unless somebody has moved on already.
            let _ = self.client.current.compare_exchange(self.at, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

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

        // The beginning of what a server of HTTP/2 says.
        let error = server_that_says("\0\0\u{6}\u{4}\0\0\0\0\0\0\u{5}\0\0@\0")
            .await
            .get::<u32>("/x")
            .await
            .unwrap_err();
        assert!(matches!(&error, ClientError::BadAnswer { .. }), "{error}");

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

    /// A server that answers every connection with this.
    async fn server_that_goes_on_saying(answer: &'static str) -> ServerUrl {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut seen = [0; 1024];
                let _ = stream.read(&mut seen).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        format!("127.0.0.1:{port}").parse().unwrap()
    }

    #[tokio::test]
    async fn of_several_the_next_is_asked_when_one_does_not_answer() {
        const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n7";
        let (hangs_up, answers) =
            (server_that_goes_on_saying("").await, server_that_goes_on_saying(OK).await);
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let servers = |list: [&dyn std::fmt::Display; 2]| {
            let list = format!("{},{}", list[0], list[1]);
            Client::of(list.parse().unwrap())
        };
        let client = servers([&gone, &answers]);
        assert_eq!(client.delete::<u32>("/").await.unwrap(), 7, "nothing was sent to the first");
        assert_eq!(client.server(), &answers);
        let client = servers([&hangs_up, &answers]);
        assert_eq!(client.get::<u32>("/").await.unwrap(), 7, "reading twice does no harm");
        let client = servers([&hangs_up, &answers]);
        let error = client.delete::<u32>("/").await.unwrap_err();
        assert!(matches!(error, ClientError::Lost { .. }) && error.may_be_done(), "{error}");
        assert_eq!(client.delete::<u32>("/").await.unwrap(), 7, "the next call goes to the next server");
        let client = servers([&gone, &gone]);
        assert!(matches!(client.get::<u32>("/").await.unwrap_err(), ClientError::Unreachable { .. }));
    }

    #[tokio::test]
    async fn a_server_that_stands_still_is_left_when_the_call_is_given_up() {
        let still = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let still_url: ServerUrl = still.local_addr().unwrap().to_string().parse().unwrap();
        let answers = server_that_goes_on_saying("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n7").await;
        let client = Client::of(format!("{still_url},{answers}").parse().unwrap());
        let waiting = timeout(Duration::from_millis(50), client.get::<u32>("/")).await;
        assert!(waiting.is_err());
        assert_eq!(client.server(), &answers);
    }
}
