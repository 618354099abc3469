//! Storage that fails when told to.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};
use weir_store::Files;

/// The unit in which the page cache loses what it could not write.
const PAGE: u64 = 4096;

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Flushes report an error, though the data may well arrive: the worst case for telling what is committed.
    Flush,
    /// Writes find the disk full after the first half.
    Write,
    /// The file cannot grow, and nothing can be written.
    Grow,
    /// The file cannot grow, but what it has can be written over.
    Room,
}

/// Pages of a file as the disk holds them, where it differs from what readers see.
#[derive(Debug, Default)]
struct Lost {
    /// Written since the last flush: the next one that works brings them to disk.
    waiting: BTreeMap<u64, Vec<u8>>,
    /// Dropped by a failed flush: no later flush brings them to disk, unless they are written again.
    dropped: BTreeMap<u64, Vec<u8>>,
}

/// The switches of a faulty file; outlives the file's openings.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    flush: AtomicBool,
    write: AtomicBool,
    grow: AtomicBool,
    /// Everything that changes the file fails when this many more calls were made; 0: never.
    countdown: AtomicU64,
    /// What the disk holds where the page cache shows something else, by file.
    lost: Mutex<BTreeMap<u64, Lost>>,
    /// While true, flushes wait.
    held: Mutex<bool>,
    released: Condvar,
}

impl Faults {
    pub(crate) fn set(&self, fault: Fault, on: bool) {
        match fault {
            Fault::Flush => self.flush.store(on, Ordering::SeqCst),
            Fault::Write => self.write.store(on, Ordering::SeqCst),
            Fault::Grow => {
                self.grow.store(on, Ordering::SeqCst);
                self.write.store(on, Ordering::SeqCst);
            }
            Fault::Room => self.grow.store(on, Ordering::SeqCst),
        }
    }

    /// Makes one call fail, after so many that work.
    pub(crate) fn fail_after(&self, calls: u64) {
        self.countdown.store(calls + 1, Ordering::SeqCst);
    }

    /// Says whether what was to fail had not failed yet.
    pub(crate) fn heal(&self) -> bool {
        self.countdown.swap(0, Ordering::SeqCst) > 0
    }

    pub(crate) fn hold(&self) {
        *self.held.lock().expect("not poisoned") = true;
    }

    pub(crate) fn release(&self) {
        *self.held.lock().expect("not poisoned") = false;
        self.released.notify_all();
    }

    /// Cuts the power: the file at `path`, closed before, holds what the disk holds.
    pub(crate) fn cut_power(&self, path: &Path) -> usize {
        let file = OpenOptions::new().write(true).open(path).expect("the file opens");
        let inode = file.metadata().expect("metadata").ino();
        let lost = self.lost.lock().expect("not poisoned").remove(&inode).unwrap_or_default();
        let pages = lost.waiting.iter().chain(&lost.dropped);
        pages.map(|(page, bytes)| file.write_all_at(bytes, page * PAGE).expect("written")).count()
    }

    fn count(&self) -> io::Result<()> {
        let left = |count: u64| count.checked_sub(1);
        match self.countdown.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left) {
            Ok(1) => Err(io::Error::other("injected: the last call of the countdown")),
            _ => Ok(()),
        }
    }
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "injected: no space left on device")
}

#[derive(Debug)]
struct FaultyFile {
    file: FileBackend,
    inode: u64,
    faults: Arc<Faults>,
}

/// Files whose storage fails as `faults` say. Their names are never lost, which is [`crate::disk`]'s to do, but giving one and
/// flushing a folder may fail like any other call.
pub(crate) fn files(faults: &Arc<Faults>) -> Arc<dyn Files> {
    Arc::new(FaultyFiles(Arc::clone(faults)))
}

struct FaultyFiles(Arc<Faults>);

impl Files for FaultyFiles {
    fn open(&self, path: &Path) -> Result<Box<dyn StorageBackend>, DatabaseError> {
        let faults = Arc::clone(&self.0);
        faults.count()?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let inode = file.metadata()?.ino();
        Ok(Box::new(FaultyFile { file: FileBackend::new(file)?, inode, faults }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.count().and_then(|()| std::fs::rename(from, to))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.count().and_then(|()| std::fs::hard_link(from, to))
    }

    /// Only what is there can fail to be removed.
    fn remove(&self, path: &Path) -> io::Result<()> {
        if !path.exists() {
            return Ok(());
        }
        self.0.count().and_then(|()| std::fs::remove_file(path))
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        self.0.count()
    }
}

impl FaultyFile {
    /// Remembers what the disk holds before the page cache gets to show something else.
    fn remember(&self, offset: u64, length: usize) -> io::Result<()> {
        let mut lost = self.faults.lost.lock().expect("not poisoned");
        let lost = lost.entry(self.inode).or_default();
        for page in offset / PAGE..(offset + length as u64).div_ceil(PAGE) {
            if lost.waiting.contains_key(&page) {
                continue;
            }
            let held = match lost.dropped.remove(&page) {
                Some(held) => held,
                None => {
                    let there = self.file.len()?.saturating_sub(page * PAGE).min(PAGE);
                    let mut bytes = vec![0; usize::try_from(there).expect("a page is small")];
                    self.file.read(page * PAGE, &mut bytes)?;
                    bytes
                }
            };
            lost.waiting.insert(page, held);
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.faults.count()?;
        if self.faults.flush.load(Ordering::SeqCst) {
            return Err(io::Error::other("injected: input/output error"));
        }
        self.file.sync_data()
    }
}

impl StorageBackend for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faults.count()?;
        if self.faults.grow.load(Ordering::SeqCst) && len > self.file.len()? {
            return Err(full());
        }
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let held = self.faults.held.lock().expect("not poisoned");
        drop(self.faults.released.wait_while(held, |held| *held).expect("not poisoned"));
        let flushed = self.flush();
        let mut lost = self.faults.lost.lock().expect("not poisoned");
        let lost = lost.entry(self.inode).or_default();
        let waiting = std::mem::take(&mut lost.waiting);
        if flushed.is_err() {
            lost.dropped.extend(waiting);
        }
        flushed
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.remember(offset, data.len())?;
        let failed = self.faults.count().err();
        let failed = failed.or_else(|| self.faults.write.load(Ordering::SeqCst).then(full));
        if let Some(error) = failed {
            self.file.write(offset, &data[..data.len() / 2])?;
            return Err(error);
        }
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
