//! A file that is not written to until it is known to be sound: what its database writes meanwhile, a repair after a crash above
//! all, stays in memory.
//!
//! ```text
//! open ──> held: written pages are kept in memory, and every step in its order ──> sound: the steps are done, from now on all
//!                                                                                 │       goes through
//!                                                                                 └─> refused, or only read: forgotten
//! ```

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{BackendError, StorageBackend};

/// What is written is kept in pieces of this size.
const PAGE: usize = 4096;
/// More than this is not held: it goes through, also if the file is refused afterwards. A repair writes a few pages.
const HELD_BYTES_MAX: usize = 256 << 20;

/// A file, and what is to be written to it.
#[derive(Clone, Debug)]
pub(super) struct Held(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bytes: Box<dyn StorageBackend>,
    is_through: AtomicBool,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    length: u64,
    /// So many bytes of the file are still to be seen, where nothing was written over them.
    shown: u64,
    /// By number.
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
    steps: Vec<Step>,
    /// Bytes in `steps`.
    step_bytes: usize,
    /// Letting it through failed: what the file holds is not known.
    is_broken: bool,
}

/// What was asked for, to be done later in the same order: a flush keeps what is before it from what is behind it.
#[derive(Debug)]
enum Step {
    Write(u64, Vec<u8>),
    Length(u64),
    Flush,
}

/// The pieces of `length` bytes from `offset` on: the page, where in it, and how many.
fn pieces(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let mut at = offset;
    let mut left = length;
    std::iter::from_fn(move || {
        let within = (at % PAGE as u64) as usize;
        let piece = left.min(PAGE - within);
        let found = (at / PAGE as u64, within, piece);
        (at, left) = (at + piece as u64, left - piece);
        (piece > 0).then_some(found)
    })
}

impl Held {
    /// Holds what will be written to a file.
    pub(super) fn of(bytes: Box<dyn StorageBackend>) -> io::Result<Self> {
        let length = bytes.len()?;
        let written = Written {
            length,
            shown: length,
            pages: BTreeMap::new(),
            steps: Vec::new(),
            step_bytes: 0,
            is_broken: false,
        };
        Ok(Self(Arc::new(Inner { bytes, is_through: AtomicBool::new(false), written: Mutex::new(written) })))
    }

    /// Does what was held back, and holds nothing any more. After an error the file is as if its process had ended there.
    pub(super) fn let_through(&self) -> io::Result<()> {
        self.0.let_through(&mut *self.0.written()?)
    }
}

impl Inner {
    fn is_through(&self) -> bool {
        self.is_through.load(Ordering::Acquire)
    }

    fn written(&self) -> io::Result<MutexGuard<'_, Written>> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.is_broken {
            Err(io::Error::other("what was to be written could not be"))
        } else {
            Ok(written)
        }
    }

    fn let_through(&self, written: &mut Written) -> io::Result<()> {
        let mut steps = std::mem::take(&mut written.steps).into_iter();
        let done = steps.try_for_each(|step| match step {
            Step::Write(offset, data) => self.bytes.write(offset, &data),
            Step::Length(length) => self.bytes.set_len(length),
            Step::Flush => self.bytes.sync_data(),
        });
        written.pages.clear();
        written.is_broken = done.is_err();
        self.is_through.store(done.is_ok(), Ordering::Release);
        done
    }

    /// Makes one more step, unless it is too much to be held.
    fn step(&self, step: Step) -> io::Result<()> {
        let mut written = self.written()?;
        let bytes = match &step {
            Step::Write(_, data) => data.len(),
            _ => 0,
        } + size_of::<Step>();
        match &step {
            Step::Write(offset, data) => written.write(&*self.bytes, *offset, data)?,
            Step::Length(length) => written.set_len(*length),
            Step::Flush => {}
        }
        written.steps.push(step);
        written.step_bytes += bytes;
        if written.step_bytes > HELD_BYTES_MAX { self.let_through(&mut written) } else { Ok(()) }
    }
}

impl Written {
    /// What the file has there; zeros where it has nothing, or nothing that still counts.
    fn read_file(&self, file: &dyn StorageBackend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = self.shown.saturating_sub(offset).min(out.len() as u64) as usize;
        let (from_file, rest) = out.split_at_mut(there);
        rest.fill(0);
        if from_file.is_empty() { Ok(()) } else { file.read(offset, from_file) }
    }

    fn read(&self, file: &dyn StorageBackend, offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > self.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.pages.is_empty() {
            return self.read_file(file, offset, out);
        }
        for (page, within, length) in pieces(offset, out.len()) {
            let (piece, rest) = out.split_at_mut(length);
            match self.pages.get(&page) {
                Some(page) => piece.copy_from_slice(&page[within..within + length]),
                None => self.read_file(file, page * PAGE as u64 + within as u64, piece)?,
            }
            out = rest;
        }
        Ok(())
    }

    fn set_len(&mut self, length: u64) {
        (self.length, self.shown) = (length, self.shown.min(length));
        drop(self.pages.split_off(&length.div_ceil(PAGE as u64)));
        let within = (length % PAGE as u64) as usize;
        if within > 0
            && let Some(page) = self.pages.get_mut(&(length / PAGE as u64))
        {
            page[within..].fill(0);
        }
    }

    fn write(&mut self, file: &dyn StorageBackend, offset: u64, mut data: &[u8]) -> io::Result<()> {
        for (page, within, length) in pieces(offset, data.len()) {
            if !self.pages.contains_key(&page) {
                let mut bytes = Box::new([0; PAGE]);
                self.read_file(file, page * PAGE as u64, &mut *bytes)?;
                self.pages.insert(page, bytes);
            }
            let (piece, rest) = data.split_at(length);
            if let Some(page) = self.pages.get_mut(&page) {
                page[within..within + length].copy_from_slice(piece);
            }
            data = rest;
            self.length = self.length.max(page * PAGE as u64 + (within + length) as u64);
        }
        Ok(())
    }
}

impl StorageBackend for Held {
    fn len(&self) -> io::Result<u64> {
        if self.0.is_through() { self.0.bytes.len() } else { self.0.written().map(|written| written.length) }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.0.is_through() {
            return self.0.bytes.read(offset, out);
        }
        self.0.written()?.read(&*self.0.bytes, offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        if self.0.is_through() { self.0.bytes.set_len(length) } else { self.0.step(Step::Length(length)) }
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.0.is_through() { self.0.bytes.sync_data() } else { self.0.step(Step::Flush) }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.0.is_through() {
            return self.0.bytes.write(offset, data);
        }
        self.0.step(Step::Write(offset, data.to_vec()))
    }

    fn close(&self) -> io::Result<()> {
        self.0.bytes.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.bytes.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.bytes.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.bytes.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.bytes.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.bytes.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.bytes.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::storage;
    use super::*;

    proptest! {
        /// It shows what a file would that was written to; the file stays as it is until that is let through, and then it is the same.
        #[test]
        fn it_is_as_the_file_would_be(
            first in proptest::collection::vec(any::<u8>(), 0..3 * PAGE),
            steps in proptest::collection::vec((0..4 * PAGE, 0..2 * PAGE, any::<u8>(), any::<bool>()), 0..20),
            through_at in 0..20_usize,
        ) {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let path = folder.path().join("file");
            std::fs::write(&path, &first).expect("written");
            let held = Held::of(storage::plain().open(&path).expect("opened")).expect("held");
            let mut expected = first.clone();
            for (number, (at, length, byte, is_cut)) in steps.into_iter().enumerate() {
                if number == through_at {
                    prop_assert!(std::fs::read(&path).expect("read") == first);
                    held.let_through().expect("written");
                    prop_assert!(std::fs::read(&path).expect("read") == expected);
                }
                if is_cut {
                    held.set_len(at as u64).expect("cut");
                    expected.resize(at, 0);
                } else {
                    held.write(at as u64, &vec![byte; length]).expect("written");
                    if length > 0 {
                        expected.resize(expected.len().max(at + length), 0);
                        expected[at..at + length].fill(byte);
                    }
                }
                let mut found = vec![0; usize::try_from(held.len().expect("a length")).expect("small")];
                held.read(0, &mut found).expect("read");
                prop_assert!(found == expected);
                let mut one = [0];
                prop_assert!(held.read(expected.len() as u64, &mut one).is_err());
            }
        }
    }
}
