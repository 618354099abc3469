//! `PUT /v1/agent/leave`: who may ask for it ends the process.

use std::future::Future;
use std::sync::Arc;

use http::{Method, StatusCode};
use tokio::sync::Notify;
use weir_edge::http::{Request, Response, Route, Router};

/// Whether somebody has asked the process to leave. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leave(Arc<Notify>);

impl Leave {
    /// Serves the request for it, which is answered when all is done that leaving `takes`. Where that fails, the process
    /// ends all the same, and whoever asked is told why.
    pub(crate) fn mount<T>(&self, router: &mut Router, takes: impl Fn() -> T + Send + Sync + 'static)
    where
        T: Future<Output = Result<(), String>> + Send + 'static,
    {
        let asked = Arc::clone(&self.0);
        let leave = move |_: Request| {
            let (asked, leaving) = (Arc::clone(&asked), takes());
            async move {
                let done = leaving.await;
                asked.notify_one();
                match done {
                    Ok(()) => Response::empty(StatusCode::OK),
                    Err(reason) => Response::text(StatusCode::INTERNAL_SERVER_ERROR, reason),
                }
            }
        };
        router.add("/v1/agent/leave", Route::new().on(Method::PUT, leave));
    }

    /// Returns when somebody has asked.
    pub(crate) async fn asked(&self) {
        self.0.notified().await;
    }
}
