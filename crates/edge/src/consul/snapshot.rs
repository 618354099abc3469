//! `/v1/snapshot`: everything that the store holds in one file, and the way back, both while the server goes on.
//!
//! ```text
//! GET: Control::backup, measured -> once more, state.bin -> archive (gzip of a tar, as Consul's) -> body
//! PUT: body -> archive, whole and unaltered? -> state.bin -> Control::restore
//! ```
//!
//! The outside is that of Consul's archives, so that what checks `SHA256SUMS` finds a sound one. Inside is Weir's own backup:
//! the state of Consul's Raft means nothing here, and is refused by name.

mod archive;
mod tar;

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, HeaderValue};
use serde_json::json;
use tokio::sync::mpsc::Sender;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;
use weir_control::{Backup, Control};
use weir_model::Position;

use self::archive::{Archive, Measure, Unfit};
use super::answer::{self, Answer};
use super::options::check_place;
use super::refusal::Refusal;
use super::{ConsulApi, status};
use crate::http::{Request, Response};
use crate::native::BACKUP_TIME_MAX;

/// Snapshots that are written or read at a time: one that is restored is in memory, compressed, and what it replaces too.
pub(super) const SNAPSHOTS_MAX: usize = 1;
/// The largest snapshot that is read, compressed as it is.
pub(super) const BODY_BYTES_MAX: usize = 128 << 20;

/// How much of a snapshot is given to the connection at a time.
const PIECE_BYTES: usize = 64 << 10;

const GZIP: HeaderValue = HeaderValue::from_static("application/x-gzip");

/// Says that a snapshot is too large, and what to do instead.
pub(super) fn too_large(length: Option<u64>, max: usize) -> String {
    let length =
        length.map_or_else(|| "a snapshot".to_owned(), |length| format!("a snapshot of {length} bytes"));
    format!("{length} is too large: at most {max} bytes; unpack it and use `weir store restore state.bin`")
}

/// `GET snapshot`, with `stale`.
pub(super) async fn save(api: Arc<ConsulApi>, request: Request) -> Answer {
    check_place(&request.query, api.here().datacenter)?;
    let turn = turn(&api)?;
    if !request.query.has("stale") {
        api.control.consistent().await?;
    }
    let (mut response, pieces) = Response::stream(StatusCode::OK, GZIP);
    let (measured, known) = oneshot::channel();
    tokio::spawn(async move {
        if timeout(BACKUP_TIME_MAX, written(&api, turn, measured, pieces)).await.is_err() {
            let seconds = BACKUP_TIME_MAX.as_secs();
            tracing::error!(seconds, "a snapshot was broken off: its reader did not take all of it in time");
        }
    });
    let (position, length) = known.await.map_err(|error| failed(&error))??;
    response.headers.insert(CONTENT_LENGTH, length.into());
    answer::stamp(&mut response.headers, position.revision);
    Ok(response)
}

/// Where the store stood, and how long the archive will be; or why there is none.
type Measured = Result<(Position, u64), Refusal>;

/// Measures the archive, says what came of that, and sends it. It is never in memory as a whole. A reader that hangs up is no
/// error; to one that gets less than was said, that is one.
async fn written(
    api: &ConsulApi,
    turn: OwnedSemaphorePermit,
    mut measured: oneshot::Sender<Measured>,
    pieces: Sender<Bytes>,
) {
    let known = tokio::select! {
        known = measure(api) => known,
        // Whoever asked has gone: the next one is not to wait for what nobody takes.
        () = measured.closed() => return,
    };
    let (mut backup, measure, meta) = match known {
        Ok(known) => known,
        Err(refusal) => return drop(measured.send(Err(refusal))),
    };
    let (before, after) = match measure.frame(meta.as_bytes()) {
        Ok(frame) => frame,
        Err(error) => return drop(measured.send(Err(failed(&error)))),
    };
    let length = before.len() as u64 + measure.compressed + after.len() as u64;
    if measured.send(Ok((backup.position(), length))).is_err() {
        return;
    }
    match send(&mut backup, &measure, before, &pieces).await {
        Ok(true) => {
            drop(backup);
            // Before the reader can have everything, so that it finds a turn.
            drop(turn);
            let _ = pieces.send(after.into()).await;
        }
        Ok(false) => {}
        Err(reason) => tracing::error!(reason, "a snapshot was broken off"),
    }
}

/// Reads a backup to its end, and begins it anew.
async fn measure(api: &ConsulApi) -> Result<(Backup<'_>, Measure, String), Refusal> {
    let mut backup = api.control.backup().await?;
    let mut state = archive::State::new();
    while let Some(piece) = backup.next().await.map_err(weir_control::Error::from)? {
        state.add(&piece).map_err(|error| failed(&error))?;
        // Compressing takes its time, and others wait for this thread.
        tokio::task::yield_now().await;
    }
    let (_, measure) = state.end().map_err(|error| failed(&error))?;
    backup.rewind().map_err(weir_control::Error::from)?;
    let position = backup.position();
    let meta = json!({
        "Version": 1,
        "ID": format!("{}-{}", position.epoch, position.revision),
        "Index": position.revision,
        "Term": position.epoch,
        "Peers": null,
        "Configuration": {"Servers": [{"Suffrage": 0, "ID": api.here().node, "Address": status::address(api)}]},
        "ConfigurationIndex": position.revision,
        "Size": measure.bytes,
    });
    Ok((backup, measure, meta.to_string()))
}

/// Sends an archive but for what stands behind `state.bin`. Whether the reader is still there.
async fn send(
    backup: &mut Backup<'_>,
    measure: &Measure,
    before: Vec<u8>,
    pieces: &Sender<Bytes>,
) -> Result<bool, String> {
    let (mut state, mut ready) = (archive::State::new(), before);
    while let Some(piece) = backup.next().await.map_err(|error| error.to_string())? {
        ready.extend(state.add(&piece).map_err(|error| error.to_string())?);
        if ready.len() >= PIECE_BYTES && pieces.send(std::mem::take(&mut ready).into()).await.is_err() {
            return Ok(false);
        }
        tokio::task::yield_now().await;
    }
    let (rest, sent) = state.end().map_err(|error| error.to_string())?;
    if sent != *measure {
        return Err("the store was read twice at one revision, and differs".to_owned());
    }
    ready.extend(rest);
    Ok(pieces.send(ready.into()).await.is_ok())
}

/// `PUT snapshot`: everything is replaced, or nothing.
pub(super) async fn restore(api: Arc<ConsulApi>, request: Request) -> Answer {
    check_place(&request.query, api.here().datacenter)?;
    api.control.can_restore()?;
    let turn = turn(&api)?;
    let (control, body, programs) = (Arc::clone(&api.control), request.body.clone(), api.scripts);
    // Whoever asked may go away in between: what was begun is brought to its end.
    let restoring = tokio::spawn(async move {
        let _turn = turn;
        put_in_place(&control, body, programs).await
    });
    let position = restoring.await.map_err(|error| failed(&error))??;
    let mut response = Response::empty(StatusCode::OK);
    answer::stamp(&mut response.headers, position.revision);
    Ok(response)
}

async fn put_in_place(control: &Control, body: Bytes, programs: bool) -> Result<Position, Refusal> {
    let checking = tokio::task::spawn_blocking(move || Archive::check(body));
    let archive = checking.await.map_err(|error| failed(&error))??;
    Ok(control.restore(archive.into_state(), programs).await?)
}

impl From<Unfit> for Refusal {
    fn from(unfit: Unfit) -> Self {
        Self::bad(format!("failed to restore snapshot: {unfit}"))
    }
}

fn turn(api: &ConsulApi) -> Result<OwnedSemaphorePermit, Refusal> {
    Arc::clone(&api.snapshots).try_acquire_owned().map_err(|_| Refusal {
        status: StatusCode::SERVICE_UNAVAILABLE,
        message: "a snapshot is being written or restored already, try again".to_owned(),
    })
}

fn failed(error: &dyn std::fmt::Display) -> Refusal {
    Refusal { status: StatusCode::INTERNAL_SERVER_ERROR, message: format!("the snapshot failed: {error}") }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::sync::mpsc;
    use weir_control::Settings;

    use super::*;

    #[tokio::test]
    async fn what_nobody_waits_for_is_not_measured() {
        let control = Control::start(Arc::new(weir_store::Memory::new()), Settings::default()).await.unwrap();
        let api = ConsulApi::new(control, false);
        let (pieces, _reader) = mpsc::channel(1);
        let (measured, known) = oneshot::channel();
        let write = |measured| written(&api, turn(&api).unwrap(), measured, pieces.clone());
        assert!(write(measured).now_or_never().is_none(), "measuring takes its time");
        drop(known);
        let (measured, known) = oneshot::channel();
        drop(known);
        assert!(write(measured).now_or_never().is_some(), "nobody waits");
        assert!(turn(&api).is_ok(), "the turn is free");
    }
}
