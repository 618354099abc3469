//! `PUT /v1/agent/leave`: who may ask for it ends the process.

use std::sync::Arc;

use http::{Method, StatusCode};
use tokio::sync::Notify;
use weir_edge::http::{Request, Response, Route, Router};

/// Whether somebody has asked the process to leave. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leave(Arc<Notify>);

impl Leave {
    /// Serves the request for it.
    pub(crate) fn mount(&self, router: &mut Router) {
        let asked = Arc::clone(&self.0);
        let leave = move |_: Request| {
            asked.notify_one();
            async { Response::empty(StatusCode::OK) }
        };
        router.add("/v1/agent/leave", Route::new().on(Method::PUT, leave));
    }

    /// Returns when somebody has asked.
    pub(crate) async fn asked(&self) {
        self.0.notified().await;
    }
}
