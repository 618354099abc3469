//! HTTP/2, from clients and to upstreams.

mod cancel;
mod client;
mod filters;
mod floods;
mod grpc;
mod heads;
mod malformed;
mod mutants;
mod raw;
mod silence;
mod tls;
pub(crate) mod upstream;

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request, Response};
use tokio::net::TcpStream;

use crate::support::PATIENCE;

/// Runs a client on a runtime of its own, for a bounded time.
pub(crate) fn run<T>(client: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    let outcome = runtime.block_on(local.run_until(async { tokio::time::timeout(PATIENCE, client).await }));
    outcome.expect("it takes too long")
}

/// Connects; the connection is driven by a task of its own.
pub(crate) async fn connect(addr: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    requests.ready().await.unwrap()
}

/// A request for a path of `app`.
pub(crate) fn request(method: &str, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("http://app{path}")).body(()).unwrap()
}

/// A response with everything that belongs to it.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) head: Response<()>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Got {
    pub(crate) fn status(&self) -> u16 {
        self.head.status().as_u16()
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.headers().get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Reads a response to its end.
pub(crate) async fn whole(response: Response<h2::RecvStream>) -> Result<Got, h2::Error> {
    let (head, mut body) = response.into_parts();
    let mut content = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        let _ = body.flow_control().release_capacity(piece.len());
        content.extend_from_slice(&piece);
    }
    let trailers = body.trailers().await?;
    Ok(Got { head: Response::from_parts(head, ()), body: content, trailers })
}

/// Sends a request with a body in pieces, and reads the response.
pub(crate) async fn exchange(
    requests: &SendRequest<Bytes>,
    request: Request<()>,
    body: &[&[u8]],
    trailers: Option<HeaderMap>,
) -> Result<Got, h2::Error> {
    let mut requests = requests.clone().ready().await?;
    let (response, mut stream) = requests.send_request(request, body.is_empty() && trailers.is_none())?;
    for (index, piece) in body.iter().enumerate() {
        let last = index + 1 == body.len() && trailers.is_none();
        stream.send_data(Bytes::copy_from_slice(piece), last)?;
    }
    if let Some(trailers) = trailers {
        stream.send_trailers(trailers)?;
    }
    whole(response.await?).await
}
