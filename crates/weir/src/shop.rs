//! The demo's shop: four small applications that speak plain HTTP/1.1 and know nothing of weir.
//!
//! `front` calls the others through its sidecar, as any program does that honours `HTTP_PROXY`; `cart`, `catalog` and
//! `payments` answer from what they are. Each can be told to be slow or to fail. They are here so that the demo is
//! real: processes that can be killed, not pictures.

mod app;
mod call;
mod fault;
mod goods;

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use app::App;
pub(crate) use call::send;

/// The applications of the shop.
pub(crate) const NAMES: [&str; 4] = ["front", "cart", "catalog", "payments"];

/// Most connections at once that one application accepts; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 1024;

/// What an application is told at its start.
#[derive(Clone, Debug)]
pub(crate) struct ShopConfig {
    /// One of [`NAMES`].
    pub name: String,
    /// The version it says it is.
    pub version: String,
    /// Where its sidecar takes its calls; only `front` calls anybody.
    pub outbound: Option<SocketAddr>,
}

/// Serves one application until the future `shutdown` is ready.
pub(crate) async fn serve(config: ShopConfig, listener: TcpListener, shutdown: impl Future<Output = ()>) {
    let app = Arc::new(App::new(config));
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => return,
            accepted = accept(&listener, &permits) => accepted,
        };
        let Some((stream, permit)) = accepted else { continue };
        let app = Arc::clone(&app);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let app = Arc::clone(&app);
                async move { Ok::<_, std::convert::Infallible>(app.answer(request).await) }
            });
            // A client that breaks off is nothing that an application of a demo has to report.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(permit);
        });
    }
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            let _ = stream.set_nodelay(true);
            Some((stream, permit))
        }
        Err(_) => {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            None
        }
    }
}

#[cfg(test)]
mod tests;
