//! `/v1/snapshot`: everything that the store holds in one file, and the way back, both while the server goes on.
//!
//! ```text
//! GET: Control::backup -> state.bin -> archive (gzip of a tar, as Consul's) -> body
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
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::Sender;
use tokio::time::timeout;
use weir_control::Control;
use weir_model::Position;

use self::archive::{Archive, Unfit};
use super::answer::{self, Answer};
use super::options::check_place;
use super::refusal::Refusal;
use super::{ConsulApi, status};
use crate::http::{Request, Response};
use crate::native::BACKUP_TIME_MAX;

/// Snapshots that are written or read at a time: one that is written is in memory, compressed, until its reader has it.
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
    let (archive, position) = written(&api).await?;
    let (mut response, pieces) = Response::stream(StatusCode::OK, GZIP);
    response.headers.insert(CONTENT_LENGTH, archive.len().into());
    answer::stamp(&mut response.headers, position.revision);
    tokio::spawn(async move {
        if timeout(BACKUP_TIME_MAX, send(archive, pieces, turn)).await.is_err() {
            let seconds = BACKUP_TIME_MAX.as_secs();
            tracing::error!(seconds, "a snapshot was broken off: its reader did not take all of it in time");
        }
    });
    Ok(response)
}

/// Sends all of an archive, whose turn is over once it is not in memory any more. A reader that hangs up is no error.
async fn send(archive: Bytes, pieces: Sender<Bytes>, turn: OwnedSemaphorePermit) {
    let mut left = &*archive;
    while let Some((piece, rest)) = left.split_at_checked(PIECE_BYTES) {
        // A copy: a part of the archive would keep all of it.
        if pieces.send(Bytes::copy_from_slice(piece)).await.is_err() {
            return;
        }
        left = rest;
    }
    let last = Bytes::copy_from_slice(left);
    drop(archive);
    // Before the reader can have everything, so that it finds a turn.
    drop(turn);
    let _ = pieces.send(last).await;
}

async fn written(api: &ConsulApi) -> Result<(Bytes, Position), Refusal> {
    let mut backup = api.control.backup().await?;
    let position = backup.position();
    let mut state = archive::State::new();
    while let Some(piece) = backup.next().await.map_err(weir_control::Error::from)? {
        state.add(&piece).map_err(|error| failed(&error))?;
        // Compressing takes its time, and others wait for this thread.
        tokio::task::yield_now().await;
    }
    let meta = json!({
        "Version": 1,
        "ID": format!("{}-{}", position.epoch, position.revision),
        "Index": position.revision,
        "Term": position.epoch,
        "Peers": null,
        "Configuration": {"Servers": [{"Suffrage": 0, "ID": api.here().node, "Address": status::address(api)}]},
        "ConfigurationIndex": position.revision,
        "Size": state.bytes(),
    });
    let archive = state.into_archive(meta.to_string().as_bytes()).map_err(|error| failed(&error))?;
    Ok((archive.into(), position))
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
