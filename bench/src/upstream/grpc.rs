//! A unary gRPC service that answers each call with its own message, and the frame of a message.

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::TcpStream;

/// Bytes of the message of a call.
const MESSAGE_BYTES: usize = 100;
const STREAMS_MAX: u32 = 1024;
const WINDOW_BYTES: u32 = 1024 * 1024;

/// A call's message in its frame: not compressed, then the length.
pub(crate) fn message() -> Bytes {
    let mut frame = vec![0];
    frame.extend((MESSAGE_BYTES as u32).to_be_bytes());
    frame.extend([b'm'; MESSAGE_BYTES]);
    frame.into()
}

/// Serves one HTTP/2 connection.
pub(crate) async fn serve(stream: TcpStream) -> Result<()> {
    let mut connection = h2::server::Builder::new()
        .max_concurrent_streams(STREAMS_MAX)
        .initial_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .handshake::<_, Bytes>(stream)
        .await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        tokio::spawn(answer(request, respond));
    }
    Ok(())
}

async fn answer(request: Request<h2::RecvStream>, mut respond: SendResponse<Bytes>) -> Result<()> {
    let mut body = request.into_body();
    let mut message = BytesMut::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        message.extend_from_slice(&part);
    }
    let head = Response::builder()
        .header(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
        .body(())
        .context("a response")?;
    let mut send = respond.send_response(head, false)?;
    send.send_data(message.freeze(), false)?;
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    send.send_trailers(trailers)?;
    Ok(())
}
