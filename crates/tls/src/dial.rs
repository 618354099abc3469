//! Connections with TLS for a gRPC transport, which asks for one by its address and is not told that its bytes are encrypted.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::{Connectors, Io, TlsError};

/// Connects to host and port of an address, whatever its scheme, with TLS. Each connection is made from what the files say by then.
#[derive(Clone, Debug)]
pub struct Dial(pub Arc<Connectors>);

impl Service<Uri> for Dial {
    type Response = TokioIo<Io>;
    type Error = TlsError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<Io>, TlsError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TlsError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.0.current();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
            let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(443))).await?;
            stream.set_nodelay(true)?;
            connector.connect(host, stream).await.map(TokioIo::new)
        })
    }
}
