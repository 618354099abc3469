//! `consul snapshot`: everything that the servers keep, into a file and back.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use weir_agent::Answered;

use super::below;
use super::flags::{Said, Words};
use super::remote::{Remote, good};
use crate::commands::block_on;
use crate::exit::{Exit, Failure};
use crate::output;

const SNAPSHOT: &str = "/v1/snapshot";
/// What servers say first of a file that they do not take.
const UNFIT: &str = "failed to restore snapshot: ";
/// How long all of it may take: the largest that is restored, over a slow network, and the minute that a server waits until it
/// shows what was restored.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(900);

/// Runs `snapshot save` or `snapshot restore`.
pub(super) fn run(args: &[String]) -> Result<Exit, Failure> {
    let (command, rest) = below("snapshot", args, &["save", "restore"])?;
    if command == "save" { save(rest) } else { restore(rest) }
}

fn file(said: &Said) -> Result<&Path, Failure> {
    said.word(0, "FILE").map(Path::new)
}

fn save(args: &[String]) -> Result<Exit, Failure> {
    let (remote, said) = Remote::read(args, &[], Words::UpTo(1))?;
    let (remote, path) = (remote.waiting(SNAPSHOT_TIMEOUT), file(&said)?);
    let answered = block_on(async { good(remote.ask(Method::GET, SNAPSHOT, &[], Bytes::new()).await?) })?;
    let index = answered.headers.get("x-consul-index").and_then(|index| index.to_str().ok()).unwrap_or("0");
    write(path, &answered.body)?;
    output::print(&format!("Saved snapshot to index {index}\n"));
    Ok(Exit::Done)
}

/// Under another name first: half a snapshot must not take the place of an older one.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    let mut beside = path.as_os_str().to_owned();
    beside.push(".unverified");
    let written = || {
        // What is left of an earlier try may be another's, or lead elsewhere.
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // It holds whatever is in the KV store.
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    written().map_err(|error| {
        Failure::new(Exit::Failed, format!("cannot write the snapshot to {}: {error}", path.display()))
    })
}

fn restore(args: &[String]) -> Result<Exit, Failure> {
    let (remote, said) = Remote::read(args, &[], Words::UpTo(1))?;
    let (remote, path) = (remote.waiting(SNAPSHOT_TIMEOUT), file(&said)?);
    let bytes = std::fs::read(path).map_err(|error| {
        Failure::new(Exit::Invalid, format!("cannot read the snapshot {}: {error}", path.display()))
    })?;
    restored(block_on(remote.ask(Method::PUT, SNAPSHOT, &[], bytes))?)?;
    output::print("Restored snapshot\n");
    Ok(Exit::Done)
}

/// What the servers say of a snapshot: a refusal of the file itself ends as a wrong file does.
fn restored(answered: Answered) -> Result<(), Failure> {
    let is_file = answered.status == StatusCode::BAD_REQUEST && answered.body.starts_with(UNFIT.as_bytes());
    match good(answered) {
        Err(failure) if is_file => Err(Failure { exit: Exit::Invalid, ..failure }),
        done => done.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use http::HeaderMap;

    use super::*;

    #[test]
    fn a_file_that_is_refused_is_a_wrong_file() {
        let answer = |status, body: &str| Answered {
            status,
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        };
        let exit = |status, body| restored(answer(status, body)).err().map(|failure| failure.exit);
        let unfit = "failed to restore snapshot: it is no archive";
        assert_eq!(exit(StatusCode::OK, ""), None);
        assert_eq!(exit(StatusCode::BAD_REQUEST, unfit), Some(Exit::Invalid));
        assert_eq!(exit(StatusCode::BAD_REQUEST, "there is no datacenter dc9"), Some(Exit::Failed));
        assert_eq!(exit(StatusCode::INTERNAL_SERVER_ERROR, unfit), Some(Exit::Failed));
    }

    #[test]
    fn what_stands_in_the_way_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let (path, others) = (dir.path().join("snap"), dir.path().join("others"));
        std::fs::write(&others, "theirs").unwrap();
        symlink(&others, dir.path().join("snap.unverified")).unwrap();
        write(&path, b"mine").unwrap();
        assert_eq!(std::fs::read(&others).unwrap(), b"theirs");
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        assert!(metadata.is_file() && metadata.permissions().mode() & 0o777 == 0o600, "{metadata:?}");
        assert!(!dir.path().join("snap.unverified").exists());
    }
}
