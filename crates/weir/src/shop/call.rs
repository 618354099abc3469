//! Calls from one application to another, through the sidecar as an HTTP proxy.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, StatusCode, header, request};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Header fields of a request that its calls carry on.
const PASSED_ON: [&str; 3] = ["x-canary", "x-request-id", "x-user"];

/// What came of a call.
pub(super) struct Called {
    /// The status, 502 if there was no answer at all.
    pub(super) status: StatusCode,
    /// The answer, or what went wrong.
    pub(super) body: Value,
}

/// Calls `service` with the method and header fields of the request that is being answered.
pub(super) async fn call(
    outbound: SocketAddr,
    service: &str,
    path_and_query: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Called {
    let url = format!("http://{service}{path_and_query}");
    match timeout(CALL_TIMEOUT, exchange(outbound, service, &url, method, headers)).await {
        Ok(Ok(called)) => called,
        Ok(Err(reason)) => failed(service, &reason),
        Err(_) => failed(service, "no answer in time"),
    }
}

fn failed(service: &str, reason: &str) -> Called {
    Called {
        status: StatusCode::BAD_GATEWAY,
        body: json!({"error": format!("cannot call {service}: {reason}")}),
    }
}

async fn exchange(
    outbound: SocketAddr,
    service: &str,
    url: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Called, String> {
    let mut request = Request::builder().method(method).uri(url).header(header::HOST, service);
    for name in PASSED_ON.map(HeaderName::from_static) {
        if let Some(value) = headers.get(&name) {
            request = request.header(name, value);
        }
    }
    let (status, body) = send(outbound, request).await?;
    Ok(Called { status, body })
}

/// Sends one request without a body over a connection of its own, and reads the answer: JSON, or text as `text`.
pub(crate) async fn send(
    address: SocketAddr,
    request: request::Builder,
) -> Result<(StatusCode, Value), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let request = request.header(header::CONNECTION, "close").body(Empty::<Bytes>::new());
    let request = request.map_err(|error| text(&error))?;
    let stream = TcpStream::connect(address).await.map_err(|error| text(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| text(&error))?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| text(&error))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| text(&error))?
        .to_bytes();
    connection.abort();
    let body = serde_json::from_slice(&body)
        .unwrap_or_else(|_| json!({"text": String::from_utf8_lossy(&body).trim()}));
    Ok((status, body))
}
