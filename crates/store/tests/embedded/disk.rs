//! A disk in memory whose power can go. Until a flush has worked, each sector written since the last one may or may not
//! be there afterwards, in any combination, and one may be torn. What a flush has confirmed stays.
//!
//! A file's name is a real one, in a folder: its only content is the number of the file here, so that files can be
//! found, removed and renamed as usual. Names that were given and taken away since their folder was flushed may or may not be so
//! after the power has gone: mostly the first few changes are there, for file systems write them down in order, and now and
//! then any of them.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use redb::{BackendError, DatabaseError, StorageBackend};
use weir_store::Files;

use crate::support::Random;

/// What a disk writes as a whole, unless the power goes at that very moment.
const SECTOR: usize = 512;
/// One kept sector in so many is torn.
const TORN_ONE_IN: u64 = 16;
/// Of one cut in so many any changes of names may be left, not the first few.
const ANY_NAMES_ONE_IN: u64 = 4;

/// Something that happened to a file since its last flush.
#[derive(Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

#[derive(Debug, Default)]
struct Contents {
    /// What readers see.
    seen: Vec<u8>,
    /// What the disk holds for certain.
    held: Vec<u8>,
    /// What it may hold or not, in order.
    waiting: Vec<Change>,
}

/// A change of names, which is there as a whole or not at all: which file each has, if any.
type Named = Vec<(PathBuf, Option<u64>)>;

#[derive(Debug, Default)]
struct Names {
    /// What the disk holds for certain.
    held: BTreeMap<PathBuf, u64>,
    /// What it may hold or not, in order.
    waiting: Vec<Named>,
    /// How many changes were lost by now.
    lost: u64,
}

#[derive(Debug)]
struct Inner {
    files: BTreeMap<u64, Contents>,
    names: Names,
    random: Random,
    /// The power goes with the last of so many calls that change something.
    cut_after: Option<u64>,
    off: bool,
    /// One call in so many that change something fails; 0: none.
    fault_one_in: u64,
    /// How often a flush was reported to have failed, and other calls.
    failed: (u64, u64),
}

/// The disk.
#[derive(Debug)]
pub(crate) struct Disk(Mutex<Inner>);

impl Disk {
    /// An empty disk; the seed decides what is lost and what fails.
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inner {
            files: BTreeMap::new(),
            names: Names::default(),
            random: Random(seed),
            cut_after: None,
            off: false,
            fault_one_in: 0,
            failed: (0, 0),
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("not poisoned")
    }

    /// The files of this disk.
    pub(crate) fn files(self: &Arc<Self>) -> Arc<dyn Files> {
        Arc::new(DiskFiles(Arc::clone(self)))
    }

    /// The power goes with the last of so many calls that change something.
    pub(crate) fn cut_after(&self, calls: u64) {
        self.inner().cut_after = Some(calls);
    }

    /// From now on one call in so many fails; 0: none.
    pub(crate) fn fail_one_in(&self, calls: u64) {
        self.inner().fault_one_in = calls;
    }

    /// Whether the power has gone.
    pub(crate) fn is_off(&self) -> bool {
        self.inner().off
    }

    /// How many flushes were made to fail, and how many other calls.
    pub(crate) fn failed(&self) -> (u64, u64) {
        self.inner().failed
    }

    /// How many changes of names were lost with the power.
    pub(crate) fn names_lost(&self) -> u64 {
        self.inner().names.lost
    }

    /// The power has gone, at the latest now, and comes back: what was not flushed may be lost. Nothing fails any more.
    pub(crate) fn restart(&self) {
        let mut inner = self.inner();
        let Inner { files, names, random, .. } = &mut *inner;
        names.settle(random);
        for contents in files.values_mut() {
            contents.settle(random, false);
            contents.seen.clone_from(&contents.held);
        }
        (inner.off, inner.cut_after, inner.fault_one_in) = (false, None, 0);
    }

    /// Changes names, in the folder and here: unless that fails, and perhaps not if the power goes meanwhile.
    fn name(&self, change: impl FnOnce() -> io::Result<()>, named: Named) -> io::Result<()> {
        let mut inner = self.inner();
        inner.powered()?;
        let fate = inner.fate();
        inner.failed.1 += u64::from(fate == Fate::Fails);
        if fate != Fate::Fails {
            change()?;
            inner.names.waiting.push(named);
        }
        failure(fate, io::ErrorKind::StorageFull)
    }

    /// The number of the file of a name, if there is one.
    fn file_at(path: &Path) -> io::Result<Option<u64>> {
        match std::fs::read_to_string(path) {
            Ok(number) => Ok(Some(number.parse().expect("a number"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Names {
    /// Decides which of the waiting changes the disk holds, and lets the folder show that.
    fn settle(&mut self, random: &mut Random) {
        let changes = std::mem::take(&mut self.waiting);
        let is_any = random.below(ANY_NAMES_ONE_IN) == 0;
        let first = random.index(changes.len() + 1);
        let seen: Vec<PathBuf> = changes.iter().flatten().map(|(path, _)| path.clone()).collect();
        for (at, change) in changes.into_iter().enumerate() {
            let is_held = if is_any { random.below(2) == 0 } else { at < first };
            if is_held {
                self.hold(change);
            } else {
                self.lost += 1;
            }
        }
        for path in seen {
            match self.held.get(&path) {
                Some(file) => {
                    // Not into what is there: another name may be for the same.
                    let _gone = std::fs::remove_file(&path);
                    std::fs::write(&path, file.to_string()).expect("written");
                }
                None => drop(std::fs::remove_file(&path)),
            }
        }
    }

    fn hold(&mut self, change: Named) {
        for (path, file) in change {
            match file {
                Some(file) => self.held.insert(path, file),
                None => self.held.remove(&path),
            };
        }
    }

    fn flush(&mut self) {
        for change in std::mem::take(&mut self.waiting) {
            self.hold(change);
        }
    }
}

struct DiskFiles(Arc<Disk>);

impl Files for DiskFiles {
    fn open(&self, path: &Path) -> Result<Box<dyn StorageBackend>, DatabaseError> {
        let disk = Arc::clone(&self.0);
        let file = match Disk::file_at(path)? {
            Some(file) => file,
            None => {
                let file = disk.inner().add();
                disk.name(|| std::fs::write(path, file.to_string()), vec![(path.to_owned(), Some(file))])?;
                file
            }
        };
        Ok(Box::new(DiskFile { disk, file }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let named = vec![(from.to_owned(), None), (to.to_owned(), Disk::file_at(from)?)];
        self.0.name(|| std::fs::rename(from, to), named)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.name(|| std::fs::hard_link(from, to), vec![(to.to_owned(), Disk::file_at(from)?)])
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if Disk::file_at(path)?.is_none() {
            return Ok(());
        }
        self.0.name(|| std::fs::remove_file(path), vec![(path.to_owned(), None)])
    }

    /// One that fails has written down nothing.
    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        let mut inner = self.0.inner();
        inner.powered()?;
        let fate = inner.fate();
        inner.failed.0 += u64::from(fate == Fate::Fails);
        if fate == Fate::Works {
            inner.names.flush();
        }
        failure(fate, io::ErrorKind::Other)
    }
}

impl Contents {
    /// Decides what of the waiting changes the disk holds: of writes any sectors, of lengths the first few, for the file
    /// system writes these down in order; `sized`: all of them.
    fn settle(&mut self, random: &mut Random, sized: bool) {
        let changes = std::mem::take(&mut self.waiting);
        let sized = if sized { changes.len() } else { random.index(changes.len() + 1) };
        // Of some cuts nearly all arrives, of some nearly nothing.
        let lost_of_8 = random.below(9);
        for (at, change) in changes.iter().enumerate() {
            match change {
                Change::Length(length) if at < sized => self.held.resize(*length, 0),
                Change::Length(_) => {}
                Change::Write(offset, bytes) => {
                    for (start, part) in sectors(*offset, bytes) {
                        if random.below(8) >= lost_of_8 {
                            let (start, part) = tear(start, part, random);
                            put(&mut self.held, start, part);
                        }
                    }
                }
            }
        }
    }

    fn flush(&mut self) {
        for change in std::mem::take(&mut self.waiting) {
            match change {
                Change::Length(length) => self.held.resize(length, 0),
                Change::Write(offset, bytes) => put(&mut self.held, offset, &bytes),
            }
        }
    }
}

/// The parts of a write that lie in different sectors, and where each begins.
fn sectors(offset: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut rest = (offset, bytes);
    std::iter::from_fn(move || {
        let (start, bytes) = rest;
        let (part, after) = bytes.split_at(bytes.len().min(SECTOR - start % SECTOR));
        rest = (start + part.len(), after);
        (!part.is_empty()).then_some((start, part))
    })
}

/// Now and then, only the beginning or the end of a sector.
fn tear<'a>(start: usize, part: &'a [u8], random: &mut Random) -> (usize, &'a [u8]) {
    if random.below(TORN_ONE_IN) > 0 {
        return (start, part);
    }
    let at = random.index(part.len() + 1);
    if random.below(2) == 0 { (start, &part[..at]) } else { (start + at, &part[at..]) }
}

/// Writes into what is there; what would lie behind the end is lost.
fn put(bytes: &mut [u8], offset: usize, data: &[u8]) {
    let end = (offset + data.len()).min(bytes.len());
    if offset < end {
        bytes[offset..end].copy_from_slice(&data[..end - offset]);
    }
}

#[derive(Debug)]
struct DiskFile {
    disk: Arc<Disk>,
    file: u64,
}

/// What becomes of a call that changes something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Works,
    Fails,
    /// It was under way when the power went.
    Last,
}

impl Inner {
    fn powered(&self) -> io::Result<()> {
        if self.off { Err(io::Error::other("injected: no power")) } else { Ok(()) }
    }

    fn add(&mut self) -> u64 {
        let number = self.files.len() as u64;
        self.files.insert(number, Contents::default());
        number
    }

    fn file(&mut self, file: u64) -> io::Result<&mut Contents> {
        self.powered()?;
        Ok(self.files.get_mut(&file).expect("it was opened"))
    }

    fn fate(&mut self) -> Fate {
        if let Some(left) = &mut self.cut_after {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.off = true;
                return Fate::Last;
            }
        }
        if self.fault_one_in > 0 && self.random.below(self.fault_one_in) == 0 {
            Fate::Fails
        } else {
            Fate::Works
        }
    }
}

fn failure(fate: Fate, kind: io::ErrorKind) -> io::Result<()> {
    match fate {
        Fate::Works => Ok(()),
        Fate::Fails => Err(io::Error::new(kind, "injected: failure")),
        Fate::Last => Err(io::Error::other("injected: the power went")),
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("files here are small")
}

impl StorageBackend for DiskFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.inner().file(self.file)?.seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut inner = self.disk.inner();
        let contents = inner.file(self.file)?;
        let found = contents.seen.get(index(offset)..index(offset) + out.len());
        out.copy_from_slice(found.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.file(self.file)?;
        let fate = inner.fate();
        inner.failed.1 += u64::from(fate == Fate::Fails);
        if fate != Fate::Fails {
            let contents = inner.files.get_mut(&self.file).expect("it was opened");
            contents.seen.resize(index(len), 0);
            contents.waiting.push(Change::Length(index(len)));
        }
        failure(fate, io::ErrorKind::StorageFull)
    }

    /// A flush that fails has dropped what it did not write: readers go on to see it, and no later flush brings it.
    fn sync_data(&self) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.file(self.file)?;
        let fate = inner.fate();
        let Inner { files, random, failed, .. } = &mut *inner;
        let contents = files.get_mut(&self.file).expect("it was opened");
        match fate {
            Fate::Works => contents.flush(),
            Fate::Fails => {
                failed.0 += 1;
                contents.settle(random, true);
            }
            Fate::Last => {}
        }
        failure(fate, io::ErrorKind::Other)
    }

    /// A write that fails has found the disk full after some of it.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.file(self.file)?;
        let fate = inner.fate();
        inner.failed.1 += u64::from(fate == Fate::Fails);
        let written = if fate == Fate::Fails { inner.random.index(data.len()) } else { data.len() };
        let contents = inner.files.get_mut(&self.file).expect("it was opened");
        let end = index(offset) + written;
        if contents.seen.len() < end {
            contents.seen.resize(end, 0);
            contents.waiting.push(Change::Length(end));
        }
        put(&mut contents.seen, index(offset), &data[..written]);
        contents.waiting.push(Change::Write(index(offset), data[..written].to_vec()));
        failure(fate, io::ErrorKind::StorageFull)
    }

    // Nobody else can open these files.
    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn try_lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn query_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(false)
    }
}
