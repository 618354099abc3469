//! A new file from entries that come from elsewhere: from a backup, or another engine.

use std::fs::metadata;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use redb::Database;

use super::file::{File, Opened};
use super::log;
use super::storage;
use crate::{Entry, Error, Key, Position, Record};

/// How a file is filled.
#[derive(Clone, Copy, Debug)]
pub struct Restore {
    /// Where the entries come from. Their revisions are kept, and the new file's epoch is above this one, so that no position is
    /// ever repeated with another meaning.
    pub from: Position,
    /// Whether a file that holds something is replaced.
    pub replace: bool,
}

/// Whether there is a store at `path`, or at least its log.
pub(super) fn is_there(path: &Path) -> bool {
    path.exists() || log::is_there(path).unwrap_or(true)
}

/// Writes a new file beside the one at `path`, and lets it take its place when it is whole.
pub(super) fn restore<E: From<Error>>(
    path: &Path,
    options: Restore,
    entries: impl Iterator<Item = Result<(Key, Entry), E>>,
) -> Result<Position, E> {
    let old = present(path, options.replace)?;
    let above = old.as_ref().map_or(0, |old| old.epoch).max(options.from.epoch);
    let position = Position::new(crate::epoch::next(above), options.from.revision);
    let beside = beside(path);
    let made = fill(&beside, position, entries).and_then(|new| {
        keep_owner(&beside, path);
        let file = File::new(path, storage::plain());
        let placed = if path.exists() { file.take_place(&beside) } else { file.take_free_place(&beside) };
        if placed.is_ok() {
            // What is left of the old file's does not count. Nobody else can have begun one: the new file is locked.
            file.remove_log();
        }
        drop(new);
        placed.map_err(E::from)
    });
    if made.is_err() {
        // It is of no use, and the error says what to know.
        let _ = std::fs::remove_file(&beside);
    }
    // Only now: until here nobody else could open the old file.
    drop(old);
    made.map(|()| position)
}

/// The file that is there already: open, so that nobody else uses it.
struct Old {
    epoch: u64,
    _database: Option<Database>,
}

/// Nothing if there is neither a file nor a log.
fn present(path: &Path, replace: bool) -> Result<Option<Old>, Error> {
    if !is_there(path) {
        return Ok(None);
    }
    match File::to_read(path).open(0) {
        Ok(Opened { stored, .. }) if !stored.entries.is_empty() && !replace => {
            Err(Error::NotEmpty { path: path.display().to_string(), keys: stored.entries.len() as u64 })
        }
        Ok(Opened { database, stored, .. }) => {
            Ok(Some(Old { epoch: stored.epoch, _database: Some(database) }))
        }
        // What cannot be read is what a backup is for; new epochs are above all old ones, as long as clocks go forward.
        Err(Error::Corrupt { reason, .. }) if replace => {
            tracing::warn!(path = %path.display(), reason, "a damaged store is replaced");
            Ok(Some(Old { epoch: 0, _database: None }))
        }
        Err(error) => Err(error),
    }
}

fn fill<E: From<Error>>(
    path: &Path,
    position: Position,
    mut entries: impl Iterator<Item = Result<(Key, Entry), E>>,
) -> Result<Database, E> {
    let mut failed = None;
    let until_failure = std::iter::from_fn(|| match entries.next()? {
        Ok((key, entry)) => Some(Record::of(&key, &entry)),
        Err(error) => {
            failed = Some(error);
            None
        }
    });
    let created = File::new(path, storage::plain()).fill(position, until_failure);
    match failed {
        Some(error) => Err(error),
        None => created.map_err(E::from),
    }
}

/// Gives a new file to whom the old one belongs, or the folder if there is none: whoever restores may be another user than the one
/// who is to open it.
fn keep_owner(new: &Path, old: &Path) {
    let folder = old.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (Ok(new_is), Ok(like)) = (metadata(new), metadata(old).or_else(|_| metadata(folder))) else { return };
    let (uid, gid) = (like.uid(), like.gid());
    if (new_is.uid(), new_is.gid()) == (uid, gid) {
        return;
    }
    // The group may do nothing with it.
    if let Err(error) = chown(new, Some(uid), Some(gid))
        && new_is.uid() != uid
    {
        tracing::warn!(path = %old.display(), uid, gid, %error,
            "the restored store belongs to another user than the one before it, who cannot open it: change its owner");
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut beside = path.to_owned().into_os_string();
    beside.push(".restore");
    PathBuf::from(beside)
}
