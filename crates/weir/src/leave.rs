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
                // Who asked may hang up: what has begun is done all the same, and the process ends.
                let done = tokio::spawn(async move {
                    let done = leaving.await;
                    asked.notify_one();
                    done
                });
                match done.await {
                    Ok(Ok(())) => Response::empty(StatusCode::OK),
                    Ok(Err(reason)) => Response::text(StatusCode::INTERNAL_SERVER_ERROR, reason),
                    Err(error) => Response::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
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
