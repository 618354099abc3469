//! `/backup`: everything that the store holds, as one file, while the server goes on.

use std::sync::Arc;

use http::StatusCode;
use http::header::HeaderValue;
use weir_api::native::{BACKUP_TYPE, Problem};

use super::refusal::Refusal;
use super::{NativeApi, known_parameters};
use crate::http::{Request, Response};

/// Backups that are under way at a time: each holds what is replaced while it is read.
pub(super) const BACKUPS_MAX: usize = 2;

impl NativeApi {
    /// `GET /backup`. One that breaks off has no end, by which its reader notices.
    pub(super) async fn backup(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &[])?;
        let Ok(turn) = Arc::clone(&self.backups).try_acquire_owned() else {
            let problem = Problem::new(format!("{BACKUPS_MAX} backups are being made already, try again"));
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, problem));
        };
        let control = Arc::clone(&self.control);
        // A store that cannot be read is noticed before anything is sent.
        control.consistent().await?;
        let (response, pieces) = Response::stream(StatusCode::OK, HeaderValue::from_static(BACKUP_TYPE));
        tokio::spawn(async move {
            let _turn = turn;
            let mut export = match control.backup().await {
                Ok(export) => export,
                Err(error) => return tracing::error!(%error, "a backup was broken off"),
            };
            loop {
                let piece = match export.next().await {
                    Ok(Some(piece)) => piece,
                    Ok(None) => return,
                    Err(error) => return tracing::error!(%error, "a backup was broken off"),
                };
                if pieces.send(piece.into()).await.is_err() {
                    return;
                }
            }
        });
        Ok(response)
    }
}
