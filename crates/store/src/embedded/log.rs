//! The log: what makes a batch durable by one write and one flush, before the store's file gets it.
//!
//! ```text
//! batch ──> one record, appended and flushed ──> answered
//!           ... many batches later: one transaction of the file with all that was touched, which names the next generation:
//!           the log's records count no more, and it is written from its beginning again
//! ```
//!
//! The file says which log belongs to it and which generation counts ([`LogId`]). So records are made void by the very
//! transaction that puts them into the file, and there is no moment at which they count twice, or not at all.
//!
//! The log lies beside the file and has no lock of its own: who has the file has the log.

mod aside;
pub(crate) mod fuzzing;
mod record;
mod replay;

use std::io;
use std::path::{Path, PathBuf};

use redb::StorageBackend;

use super::layout::Delta;
use super::storage::Files;
pub(super) use aside::put_aside;
pub(super) use record::LogId;
use record::{BLOCK, Chain, HEAD, encode_body, header, record_bytes};
pub use replay::LeftOut;
pub(super) use replay::Replay;

/// A log begins with this part of the length that it may have. It grows by doubling, and what is gained is written over with
/// zeros and flushed before it is used: appending needs no room on the disk then, and a flush has no changes of the file
/// system's own tables to wait for.
const FIRST_PART: u64 = 64;
/// But not with less.
const LOG_BYTES_MIN: u64 = 4 * BLOCK as u64;
/// A file that is longer is no log, whatever version wrote it.
const READ_BYTES_MAX: u64 = 1 << 30;

/// Where the log of the store at `path` is.
pub(super) fn path_of(path: &Path) -> PathBuf {
    let mut log = path.to_owned().into_os_string();
    log.push(".wal");
    PathBuf::from(log)
}

/// An open log.
pub(super) struct Log {
    bytes: Box<dyn StorageBackend>,
    id: LogId,
    chain: Chain,
    /// Where the next record goes.
    at: u64,
    /// Bytes that are there and flushed.
    size: u64,
    /// It does not grow beyond this.
    size_max: u64,
    /// Not after it could not, until it begins again.
    may_grow: bool,
    /// Kept from record to record.
    buffer: Vec<u8>,
}

impl Log {
    /// Makes a new log for the store at `path`, in place of one that does not count any more. It counts once the file says so.
    pub(super) fn create(path: &Path, files: &dyn Files, size_max: u64) -> io::Result<Self> {
        let path = path_of(path);
        let id = LogId::draw().ok_or_else(|| io::Error::other("the system has no random numbers"))?;
        files.remove(&path)?;
        let bytes = files.open(&path).map_err(io::Error::other)?;
        let size_max = size_max.min(READ_BYTES_MAX);
        let size = (size_max / FIRST_PART).max(LOG_BYTES_MIN);
        bytes.set_len(size)?;
        let mut first = header(id).to_vec();
        first.resize(BLOCK, 0);
        bytes.write(0, &first)?;
        write_zeros(&*bytes, BLOCK as u64, size)?;
        bytes.sync_data()?;
        files.sync_folder(&path)?;
        let (chain, at, may_grow, buffer) = (Chain::new(id), BLOCK as u64, true, Vec::new());
        Ok(Self { bytes, id, chain, at, size, size_max, may_grow, buffer })
    }

    pub(super) fn id(&self) -> LogId {
        self.id
    }

    /// Appends a batch and flushes it; says whether there was room for it.
    ///
    /// After an error what is there is not known, and nothing may be appended any more.
    pub(super) fn append(&mut self, delta: &Delta) -> io::Result<bool> {
        let end = self.at + record_bytes(delta);
        // Also if there is just room: each record says how long the log is. If the first to say that it has grown were behind the
        // old end, a log that was cut there would look whole.
        if end >= self.size {
            self.grow(end);
        }
        if end > self.size {
            return Ok(false);
        }
        self.buffer.clear();
        self.buffer.resize(HEAD, 0);
        encode_body(delta, &mut self.buffer);
        self.chain.seal(&mut self.buffer, self.size);
        debug_assert_eq!(self.at + self.buffer.len() as u64, end, "the length was worked out before");
        self.bytes.write(self.at, &self.buffer)?;
        self.bytes.sync_data()?;
        self.at += self.buffer.len() as u64;
        Ok(true)
    }

    /// Whether a batch would have room in a log of which nothing counts.
    pub(super) fn may_hold(&self, delta: &Delta) -> bool {
        BLOCK as u64 + record_bytes(delta) <= self.size_max.max(self.size)
    }

    /// Makes room up to `end` and for more, if that can be. A failure harms nothing that is there, gives back what was gained, and
    /// is not tried again before the log begins again.
    fn grow(&mut self, end: u64) {
        let size = (end + 1).next_power_of_two().min(self.size_max);
        if !self.may_grow || end > self.size_max || size <= self.size {
            return;
        }
        let grown = self.bytes.set_len(size).and_then(|()| {
            write_zeros(&*self.bytes, self.size, size)?;
            self.bytes.sync_data()
        });
        match grown {
            Ok(()) => self.size = size,
            Err(error) => {
                tracing::warn!(%error, bytes = self.size, "the store's log cannot grow");
                self.may_grow = false;
                if let Err(error) = self.bytes.set_len(self.size) {
                    tracing::warn!(%error, bytes = self.size, "the store's log keeps room that it cannot use");
                }
            }
        }
    }

    /// Begins again, when the file has everything and names this generation.
    pub(super) fn restart(&mut self, id: LogId) {
        (self.id, self.chain, self.at, self.may_grow) = (id, Chain::new(id), BLOCK as u64, true);
    }
}

/// Block by block: what is written at once may become one piece of the page cache, which is written again as a whole with
/// every small part of it.
fn write_zeros(bytes: &dyn StorageBackend, from: u64, to: u64) -> io::Result<()> {
    (from..to).step_by(BLOCK).try_for_each(|at| bytes.write(at, &[0; BLOCK]))
}

/// What the log of the store at `path` says, which the file names as its own, and what is wrong with it.
pub(super) fn read(path: &Path, files: &dyn Files, id: LogId) -> io::Result<Replay> {
    if !is_there(path)? {
        return Ok(Replay::none("it is missing".to_owned()));
    }
    let log = match bytes_of(path, files)? {
        Ok(log) => log,
        Err(reason) => return Ok(Replay::none(reason)),
    };
    let replay = replay::replay(&log, id);
    if replay.broken.is_none() && aside::is_cut_off(&log, id, &replay.deltas) {
        tracing::warn!(path = %path_of(path).display(),
            "an unfinished record at the end of the store's log was left out: it was never answered, or was damaged since");
    }
    Ok(replay)
}

/// Whether there is a log of the store at `path`.
pub(super) fn is_there(path: &Path) -> io::Result<bool> {
    match path_of(path).try_exists() {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        found => found,
    }
}

/// All bytes of the log of the store at `path`, which are on disk; or why they cannot be those of a log.
fn bytes_of(path: &Path, files: &dyn Files) -> io::Result<Result<Vec<u8>, String>> {
    let bytes = files.open(&path_of(path)).map_err(io::Error::other)?;
    // What was written by a process that died may not be on disk yet, and is about to be shown.
    bytes.sync_data()?;
    let length = bytes.len()?;
    if length > READ_BYTES_MAX {
        return Ok(Err(format!("it has {length} bytes, more than any log")));
    }
    let mut log = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    bytes.read(0, &mut log)?;
    Ok(Ok(log))
}

/// Removes a log that does not count any more. It does no harm if it stays.
pub(super) fn remove(path: &Path, files: &dyn Files) {
    if let Err(error) = files.remove(&path_of(path)) {
        tracing::warn!(path = %path_of(path).display(), %error, "a log that is not needed any more stays");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Bytes that may be read only once they are flushed.
    #[derive(Debug)]
    struct Unflushed {
        bytes: Vec<u8>,
        is_flushed: AtomicBool,
    }

    impl StorageBackend for Unflushed {
        fn len(&self) -> io::Result<u64> {
            Ok(self.bytes.len() as u64)
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            assert!(self.is_flushed.load(Ordering::Relaxed), "what is shown may be lost");
            let offset = usize::try_from(offset).expect("small");
            out.copy_from_slice(&self.bytes[offset..offset + out.len()]);
            Ok(())
        }

        fn sync_data(&self) -> io::Result<()> {
            self.is_flushed.store(true, Ordering::Relaxed);
            Ok(())
        }

        fn set_len(&self, _: u64) -> io::Result<()> {
            unreachable!("a log is only read")
        }

        fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
            unreachable!("a log is only read")
        }
    }

    impl Files for LogId {
        fn open(&self, _: &Path) -> Result<Box<dyn StorageBackend>, redb::DatabaseError> {
            let mut bytes = header(*self).to_vec();
            bytes.resize(2 * BLOCK, 0);
            Ok(Box::new(Unflushed { bytes, is_flushed: AtomicBool::new(false) }))
        }
    }

    /// It may have been written by a process that was killed before it could flush it, and the power may go next.
    #[test]
    fn what_is_read_is_on_disk() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("store");
        std::fs::write(path_of(&path), b"").expect("written");
        let id = LogId { salt: [7; 16], generation: 1 };
        let read = read(&path, &id, id).expect("it can be read");
        assert!(read.deltas.is_empty() && read.broken.is_none());
    }
}
