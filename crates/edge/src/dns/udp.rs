//! Queries in packets: a few tasks that read one socket. What can be answered at once is answered by the task that read
//! it; what others are asked for goes on in a task of its own, of which there are boundedly many.

#[cfg(target_os = "linux")]
mod message;
mod socket;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::answerer::{Answerer, Step};
use super::bounds::{QUERY_BYTES_MAX, UDP_WORKERS_MAX};
use super::compose::Transport;
use super::zone::Registry;
pub(super) use socket::Socket;

/// How long reading rests after an error.
const READ_PAUSE: Duration = Duration::from_millis(5);

/// Answers until `shutdown` is ready. Those who wait for others then get nothing, and ask again.
pub(super) async fn serve<G: Registry + Send + Sync + 'static>(
    socket: Socket,
    answerer: Arc<Answerer<G>>,
    shutdown: impl Future<Output = ()>,
) {
    let socket = Arc::new(socket);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut workers = JoinSet::new();
    for _ in 0..processors.min(UDP_WORKERS_MAX) {
        workers.spawn(work(Arc::clone(&socket), Arc::clone(&answerer)));
    }
    shutdown.await;
    workers.shutdown().await;
}

async fn work<G: Registry + Send + Sync + 'static>(socket: Arc<Socket>, answerer: Arc<Answerer<G>>) {
    let mut buffer = vec![0; QUERY_BYTES_MAX];
    let mut pending = JoinSet::new();
    loop {
        let received = tokio::select! {
            received = socket.receive(&mut buffer) => received,
            Some(_) = pending.join_next() => continue,
        };
        let (len, client) = match received {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "cannot read a packet");
                tokio::time::sleep(READ_PAUSE).await;
                continue;
            }
        };
        match answerer.begin(&buffer[..len], Transport::Udp, Instant::now()) {
            Step::Reply(bytes) => sent(socket.send(&bytes, client).await),
            Step::Pending(question) => {
                let (socket, answerer) = (Arc::clone(&socket), Arc::clone(&answerer));
                pending.spawn(async move {
                    let bytes = answerer.finish(question).await;
                    sent(socket.send(&bytes, client).await);
                });
            }
            Step::Silence => {}
        }
    }
}

fn sent(result: io::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%error, "cannot send an answer");
    }
}
