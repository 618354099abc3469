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
use super::storage::{Opener, remove_if_there, sync_folder};
pub(super) use aside::put_aside;
pub(super) use record::LogId;
use record::{BLOCK, Chain, HEAD, encode_body, header, record_bytes};

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
    /// Kept from record to record.
    buffer: Vec<u8>,
}

impl Log {
    /// Makes a new log for the store at `path`, in place of one that does not count any more. It counts once the file says so.
    pub(super) fn create(path: &Path, opener: &Opener, size_max: u64) -> io::Result<Self> {
        let path = path_of(path);
        let id = LogId::draw().ok_or_else(|| io::Error::other("the system has no random numbers"))?;
        remove_if_there(&path)?;
        let bytes = opener(&path).map_err(io::Error::other)?;
        let size = (size_max / FIRST_PART).max(LOG_BYTES_MIN);
        bytes.set_len(size)?;
        let mut first = header(id).to_vec();
        first.resize(BLOCK, 0);
        bytes.write(0, &first)?;
        write_zeros(&*bytes, BLOCK as u64, size)?;
        bytes.sync_data()?;
        sync_folder(&path)?;
        Ok(Self { bytes, id, chain: Chain::new(id), at: BLOCK as u64, size, size_max, buffer: Vec::new() })
    }

    pub(super) fn id(&self) -> LogId {
        self.id
    }

    /// Appends a batch and flushes it; says whether there was room for it.
    ///
    /// After an error what is there is not known, and nothing may be appended any more.
    pub(super) fn append(&mut self, delta: &Delta) -> io::Result<bool> {
        let end = self.at + record_bytes(delta);
        if end > self.size && !self.grow(end) {
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

    /// Makes room up to `end`, if that can be. A failure harms nothing that is there, and is not tried again.
    fn grow(&mut self, end: u64) -> bool {
        if end > self.size_max {
            return false;
        }
        let size = end.next_power_of_two().min(self.size_max);
        let grown = self.bytes.set_len(size).and_then(|()| {
            write_zeros(&*self.bytes, self.size, size)?;
            self.bytes.sync_data()
        });
        match grown {
            Ok(()) => {
                self.size = size;
                true
            }
            Err(error) => {
                tracing::warn!(%error, bytes = self.size, "the store's log cannot grow");
                self.size_max = self.size;
                false
            }
        }
    }

    /// Begins again, when the file has everything and names this generation.
    pub(super) fn restart(&mut self, id: LogId) {
        (self.id, self.chain, self.at) = (id, Chain::new(id), BLOCK as u64);
    }
}

/// Block by block: what is written at once may become one piece of the page cache, which is written again as a whole with
/// every small part of it.
fn write_zeros(bytes: &dyn StorageBackend, from: u64, to: u64) -> io::Result<()> {
    (from..to).step_by(BLOCK).try_for_each(|at| bytes.write(at, &[0; BLOCK]))
}

/// What the log of the store at `path` says, which the file names as its own; or what is wrong with it.
pub(super) fn read(path: &Path, opener: &Opener, id: LogId) -> io::Result<Result<Vec<Delta>, String>> {
    if !is_there(path)? {
        return Ok(Err("it is missing".to_owned()));
    }
    let log = match bytes_of(path, opener)? {
        Ok(log) => log,
        Err(reason) => return Ok(Err(reason)),
    };
    let deltas = replay::replay(&log, id);
    if deltas.as_ref().is_ok_and(|deltas| aside::is_cut_off(&log, id, deltas)) {
        tracing::warn!(path = %path_of(path).display(),
            "an unfinished record at the end of the store's log was left out: it was never answered, or was damaged since");
    }
    Ok(deltas)
}

/// Whether there is a log of the store at `path`.
pub(super) fn is_there(path: &Path) -> io::Result<bool> {
    path_of(path).try_exists()
}

/// All bytes of the log of the store at `path`, which are on disk; or why they cannot be those of a log.
fn bytes_of(path: &Path, opener: &Opener) -> io::Result<Result<Vec<u8>, String>> {
    let bytes = opener(&path_of(path)).map_err(io::Error::other)?;
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
pub(super) fn remove(path: &Path) {
    if let Err(error) = remove_if_there(&path_of(path)) {
        tracing::warn!(path = %path_of(path).display(), %error, "a log that is not needed any more stays");
    }
}
