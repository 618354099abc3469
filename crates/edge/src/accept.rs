//! Accepting connections: the same for every listener of the edge.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

/// How long accepting rests after an error, such as too many open files: it does not go away at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The next connection, or none once `shutdown` is ready. Errors of accepting are logged and outlived.
pub(crate) async fn next_connection(
    listener: &TcpListener,
    mut shutdown: Pin<&mut impl Future<Output = ()>>,
) -> Option<(TcpStream, SocketAddr)> {
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(connection) => return Some(connection),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
