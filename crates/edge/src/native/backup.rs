//! `/backup`: everything that the store holds, as one file, while the server goes on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use http::StatusCode;
use http::header::HeaderValue;
use tokio::sync::mpsc;
use tokio::time::timeout;
use weir_api::native::{BACKUP_TYPE, Problem};
use weir_control::Control;

use super::refusal::Refusal;
use super::{NativeApi, known_parameters};
use crate::http::{Request, Response};

/// Backups that are under way at a time: each holds what is replaced while it is read.
pub(super) const BACKUPS_MAX: usize = 2;
/// How long one may take: the largest store, to a reader of 10 Mbit/s. Whoever reads slower would hold a turn for ever.
pub(crate) const BACKUP_TIME_MAX: Duration = Duration::from_secs(3600);

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
            if let Err(reason) = copy(&control, pieces, BACKUP_TIME_MAX).await {
                tracing::error!(reason, "a backup was broken off");
            }
        });
        Ok(response)
    }
}

/// Sends all pieces, unless that takes longer than `limit`. A reader that hangs up is no error.
async fn copy(control: &Control, pieces: mpsc::Sender<Bytes>, limit: Duration) -> Result<(), String> {
    let copying = async {
        let mut export = control.backup().await.map_err(|error| error.to_string())?;
        while let Some(piece) = export.next().await.map_err(|error| error.to_string())? {
            if pieces.send(piece.into()).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    let late = |_| Err(format!("its reader did not take all of it within {} s", limit.as_secs()));
    timeout(limit, copying).await.unwrap_or_else(late)
}

#[cfg(test)]
mod tests {
    use weir_control::Settings;

    use super::*;

    #[tokio::test]
    async fn a_reader_that_takes_nothing_gives_its_turn_back() {
        let control = Control::start(Arc::new(weir_store::Memory::new()), Settings::default()).await.unwrap();
        let (pieces, mut taken) = mpsc::channel(1);
        // There is no room for another piece.
        pieces.send(Bytes::new()).await.unwrap();
        let reason = copy(&control, pieces, Duration::from_millis(20)).await.unwrap_err();
        assert!(reason.starts_with("its reader did not take all of it within"), "{reason}");
        assert!(taken.recv().await.is_some_and(|piece| piece.is_empty()));
        assert_eq!(taken.recv().await, None);
    }
}
