//! The bytes under the database, with one question answered that redb does not: did a flush fail?
//!
//! After a failed flush the system may have dropped what it could not write, and still show it to readers of the same
//! file until the next power failure (see "Can Applications Recover from fsync Failures?", Rebello et al., USENIX ATC
//! 2020). Such a file must not be built upon; see [`super::file::File::rebuild`].

use std::fs::OpenOptions;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};

/// The files of a store and their names. A name that was given or taken away may be as before after a power cut, until its
/// folder was flushed. Tests put in its place what fails and forgets.
pub trait Files: Send + Sync {
    /// Opens the bytes of a file, and creates it if there is none. Called again after each storage failure.
    ///
    /// # Errors
    /// What opening it fails with.
    fn open(&self, path: &Path) -> Result<Box<dyn StorageBackend>, DatabaseError>;

    /// Gives a file another name, and takes that from the one that had it, in one step.
    ///
    /// # Errors
    /// As [`std::fs::rename`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    /// Gives a file one more name.
    ///
    /// # Errors
    /// As [`std::fs::hard_link`]: if there is a file of that name, too.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::hard_link(from, to)
    }

    /// Takes a name away; it may be gone already.
    ///
    /// # Errors
    /// As [`std::fs::remove_file`], but for that.
    fn remove(&self, path: &Path) -> io::Result<()> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes the names in the folder of a file as durable as what was flushed of their contents.
    ///
    /// # Errors
    /// What flushing it fails with.
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(folder)?.sync_all()
    }
}

/// Plain files, readable by their owner only: a store may hold secrets.
pub(super) fn plain() -> Arc<dyn Files> {
    Arc::new(Plain)
}

struct Plain;

impl Files for Plain {
    fn open(&self, path: &Path) -> Result<Box<dyn StorageBackend>, DatabaseError> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        Ok(Box::new(FileBackend::new(file)?))
    }
}

/// Storage that remembers a failed flush.
#[derive(Debug)]
pub(super) struct Storage {
    pub(super) bytes: Box<dyn StorageBackend>,
    pub(super) flush_failed: Arc<AtomicBool>,
}

impl StorageBackend for Storage {
    fn sync_data(&self) -> io::Result<()> {
        self.bytes.sync_data().inspect_err(|_| self.flush_failed.store(true, Ordering::Release))
    }

    fn len(&self) -> io::Result<u64> {
        self.bytes.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.bytes.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes.set_len(len)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.bytes.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.bytes.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.bytes.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.bytes.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.bytes.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.bytes.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.bytes.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.bytes.query_lock_range(start, end)
    }
}
