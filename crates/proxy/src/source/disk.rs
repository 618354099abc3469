//! The last good state on disk, so that a proxy that restarts without a control plane serves what it served before.
//!
//! A file is written beside the old one, synced and renamed over it, so that there is always a whole one. It is written
//! at most once a second, and always ends up with the latest state. One that cannot be read is reported and ignored:
//! it is a copy, and never worth refusing to start for. A directory that nothing can be written to is: whoever named it
//! counts on the copy. What is kept is for the proxy's own user: it says what is where.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::kept::{Kept, LoadError};

/// The file's name in the data directory.
const FILE_NAME: &str = "snapshot.json";
/// The least time between two writes.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// How long the last write may take when the proxy stops.
const FINISH_MAX: Duration = Duration::from_secs(5);

/// Where the file is.
pub(super) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE_NAME)
}

/// The state kept in a directory; `None` when there is none.
pub(super) fn load(data_dir: &Path) -> Result<Option<Kept>, LoadError> {
    let text = match fs::read(path(data_dir)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Kept::from_bytes(&text).map(Some)
}

/// Makes the directory if it is not there, and tries whether it can be written to.
pub(super) fn prepare(data_dir: &Path) -> io::Result<()> {
    let _alone = alone(data_dir)?;
    let (_, aside) = create_aside(data_dir)?;
    fs::remove_file(aside)
}

/// Makes the directory if it is not there, and keeps other processes from writing there until what it gives is dropped:
/// one that takes the place of this one has the same directory.
fn alone(data_dir: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(data_dir)?;
    let directory = File::open(data_dir)?;
    match rustix::fs::flock(&directory, rustix::fs::FlockOperation::LockExclusive) {
        // Where files cannot be locked, two writers at one moment are a risk that is taken: a damaged copy is recognised.
        Ok(()) | Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::NOLCK | rustix::io::Errno::NOSYS) => {
            Ok(directory)
        }
        Err(error) => Err(error.into()),
    }
}

/// A new file beside the kept one.
fn create_aside(data_dir: &Path) -> io::Result<(File, PathBuf)> {
    let aside = path(data_dir).with_extension("json.new");
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    Ok((file, aside))
}

fn save(data_dir: &Path, kept: &Kept) -> io::Result<()> {
    let text = kept.to_bytes()?;
    let target = path(data_dir);
    let directory = alone(data_dir)?;
    let (mut file, aside) = create_aside(data_dir)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&aside, &target)?;
    // The rename itself must survive a crash, too.
    directory.sync_all()
}

/// Writes states in the background, the latest at most once a second.
pub(super) struct Keeper {
    latest: watch::Sender<Option<Kept>>,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Starts writing to a directory, which is made if it is not there.
    pub(super) fn start(data_dir: PathBuf) -> Self {
        let (latest, receiver) = watch::channel(None);
        Self { latest, task: tokio::spawn(keep(data_dir, receiver)) }
    }

    /// Makes this the state to keep.
    pub(super) fn keep(&self, kept: Kept) {
        self.latest.send_replace(Some(kept));
    }

    /// Writes what is not written yet and stops.
    pub(super) async fn finish(self) {
        drop(self.latest);
        if tokio::time::timeout(FINISH_MAX, self.task).await.is_err() {
            tracing::warn!("the last state could not be written in time");
        }
    }
}

async fn keep(data_dir: PathBuf, mut latest: watch::Receiver<Option<Kept>>) {
    let mut failing = false;
    // A state that was not seen yet is reported even after the sender is gone.
    while latest.changed().await.is_ok() {
        let Some(kept) = latest.borrow_and_update().clone() else { continue };
        let directory = data_dir.clone();
        let written = tokio::task::spawn_blocking(move || save(&directory, &kept)).await;
        match written.unwrap_or_else(|panicked| Err(io::Error::other(panicked))) {
            Ok(()) if failing => {
                failing = false;
                tracing::info!("the state in force can be written to disk again");
            }
            // Once, not every second: a full disk stays full for long.
            Err(error) if !failing => {
                failing = true;
                tracing::error!(%error, path = %path(&data_dir).display(), "cannot write the state in force to disk");
            }
            _ => {}
        }
        pause(&latest).await;
    }
}

/// Waits between two writes, but not when there will be no more.
async fn pause(latest: &watch::Receiver<Option<Kept>>) {
    let mut latest = latest.clone();
    let finished = async { while latest.changed().await.is_ok() {} };
    let _ = tokio::time::timeout(WRITE_EVERY, finished).await;
}

#[cfg(test)]
mod tests {
    use weir_api::snapshot::SnapshotInputs;
    use weir_model::Position;

    use super::*;
    use crate::snapshot::Inputs;
    use crate::snapshot::tests::{endpoint, gateway, inputs, service, with_registered};

    fn kept(revision: u64) -> Kept {
        let inputs = with_registered(inputs([gateway("edge")]), "cart", true, &[endpoint("a/1", 9001)]);
        let refused = vec![service("mail", &[25]).into()];
        let in_part = [gateway("edge").id()].into();
        let inputs = Inputs { position: Position::new(3, revision), ..inputs };
        Kept { inputs, refused, in_part, complete: true }
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        assert!(load(directory.path()).unwrap().is_none());
        save(directory.path(), &kept(7)).unwrap();
        let loaded = load(directory.path()).unwrap().unwrap();
        assert!(loaded.complete);
        assert_eq!(loaded.inputs.position, Position::new(3, 7));
        assert_eq!(loaded.inputs.resources, kept(7).inputs.resources);
        assert_eq!(loaded.inputs.services, kept(7).inputs.services);
        assert_eq!(loaded.refused, kept(7).refused);
        assert_eq!(loaded.in_part, kept(7).in_part);
    }

    #[test]
    fn what_is_kept_is_for_the_own_user() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let made = directory.path().join("a/b");
        prepare(&made).unwrap();
        assert_eq!(fs::read_dir(&made).unwrap().count(), 0, "the trial leaves nothing behind");
        save(&made, &kept(7)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&made), mode(&path(&made))), (0o700, 0o600));
        // One that was left by a crash, or is open to all, does not stay so.
        fs::set_permissions(path(&made), fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(path(&made).with_extension("json.new"), "half").unwrap();
        save(&made, &kept(8)).unwrap();
        assert_eq!(mode(&path(&made)), 0o600);
        assert_eq!(load(&made).unwrap().unwrap().inputs.position.revision, 8);
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        assert!(prepare(&directory.path().join("file")).is_err());
        assert!(prepare(&directory.path().join("file/below")).is_err());
    }

    #[test]
    fn the_file_is_read_as_the_shared_form() {
        let directory = tempfile::tempdir().unwrap();
        save(directory.path(), &kept(7)).unwrap();
        let text = fs::read(path(directory.path())).unwrap();
        let form: SnapshotInputs = serde_json::from_slice(&text).unwrap();
        assert_eq!(form, SnapshotInputs::from(&kept(7).inputs));
    }

    #[test]
    fn damaged_and_newer_files_are_reported() {
        let directory = tempfile::tempdir().unwrap();
        save(directory.path(), &kept(7)).unwrap();
        let whole = fs::read(path(directory.path())).unwrap();
        let check = |text: &[u8], message: &str| {
            fs::write(path(directory.path()), text).unwrap();
            let error = load(directory.path()).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        };
        for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
            check(&whole[..cut], "damaged");
        }
        check(br#"{"format": 2, "everything": "else"}"#, "format 2");
        check(br#"{"position": 1}"#, "damaged");
    }

    #[tokio::test]
    async fn the_last_state_is_always_written() {
        let directory = tempfile::tempdir().unwrap();
        let keeper = Keeper::start(directory.path().join("made"));
        for revision in 1..=50 {
            keeper.keep(kept(revision));
            tokio::task::yield_now().await;
        }
        keeper.finish().await;
        let loaded = load(&directory.path().join("made")).unwrap().unwrap();
        assert_eq!(loaded.inputs.position.revision, 50);
    }

    #[tokio::test]
    async fn writes_are_spaced() {
        let directory = tempfile::tempdir().unwrap();
        let keeper = Keeper::start(directory.path().to_owned());
        let before_first = std::time::Instant::now();
        keeper.keep(kept(1));
        while load(directory.path()).ok().flatten().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        keeper.keep(kept(2));
        while load(directory.path()).unwrap().unwrap().inputs.position.revision != 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(before_first.elapsed() >= WRITE_EVERY);
    }
}
