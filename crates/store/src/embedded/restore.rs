//! A new file from entries that come from elsewhere: from a backup, or another engine.

use std::path::{Path, PathBuf};

use redb::Database;

use super::file::{File, Opened};
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
    let made = fill(&beside, position, entries).and_then(|()| {
        let file = File::new(path, storage::plain());
        let placed = if old.is_some() { file.take_place(&beside) } else { file.take_free_place(&beside) };
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

/// Nothing if there is no file.
fn present(path: &Path, replace: bool) -> Result<Option<Old>, Error> {
    if !path.exists() {
        return Ok(None);
    }
    match File::new(path, storage::plain()).open(0) {
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
) -> Result<(), E> {
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

fn beside(path: &Path) -> PathBuf {
    let mut beside = path.to_owned().into_os_string();
    beside.push(".restore");
    PathBuf::from(beside)
}
