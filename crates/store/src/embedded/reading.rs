//! Reading a file without changing it: what its database writes, a repair after a crash above all, stays in memory.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use super::storage::Opener;

/// What is written is kept in pieces of this size.
const PAGE: usize = 4096;
/// A file for which more would have to be written cannot be read without changing it. A repair writes a few pages.
const WRITTEN_BYTES_MAX: usize = 256 << 20;

/// Opens a file to read it only, also where nothing can be written. It is locked as by a reader: not while somebody else has it
/// open, and nobody can open it to write to it meanwhile.
pub(super) fn opener() -> Opener {
    Arc::new(|path| {
        let file = FileBackend::new(std::fs::File::open(path)?)?;
        let length = file.len()?;
        let written = Written { length, shown: length, pages: BTreeMap::new() };
        Ok(Box::new(Overlay { file, written: Mutex::new(written) }))
    })
}

/// A file, and what would have been written to it.
#[derive(Debug)]
struct Overlay {
    file: FileBackend,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    length: u64,
    /// So many bytes of the file are still to be seen, where nothing was written over them.
    shown: u64,
    /// By number.
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
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

impl Overlay {
    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the file has there; zeros where it has nothing, or nothing that still counts.
    fn read_file(&self, shown: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = shown.saturating_sub(offset).min(out.len() as u64) as usize;
        let (from_file, rest) = out.split_at_mut(there);
        rest.fill(0);
        if from_file.is_empty() { Ok(()) } else { self.file.read(offset, from_file) }
    }
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().length)
    }

    fn read(&self, offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > written.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if written.pages.is_empty() {
            return self.read_file(written.shown, offset, out);
        }
        for (page, within, length) in pieces(offset, out.len()) {
            let (piece, rest) = out.split_at_mut(length);
            match written.pages.get(&page) {
                Some(page) => piece.copy_from_slice(&page[within..within + length]),
                None => self.read_file(written.shown, page * PAGE as u64 + within as u64, piece)?,
            }
            out = rest;
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut written = self.written();
        (written.length, written.shown) = (length, written.shown.min(length));
        drop(written.pages.split_off(&length.div_ceil(PAGE as u64)));
        let within = (length % PAGE as u64) as usize;
        if within > 0
            && let Some(page) = written.pages.get_mut(&(length / PAGE as u64))
        {
            page[within..].fill(0);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, mut data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        for (page, within, length) in pieces(offset, data.len()) {
            if !written.pages.contains_key(&page) {
                if written.pages.len() >= WRITTEN_BYTES_MAX / PAGE {
                    let error = format!("it needs a repair of more than {WRITTEN_BYTES_MAX} bytes");
                    return Err(io::Error::other(error));
                }
                let mut bytes = Box::new([0; PAGE]);
                self.read_file(written.shown, page * PAGE as u64, &mut *bytes)?;
                written.pages.insert(page, bytes);
            }
            let (piece, rest) = data.split_at(length);
            if let Some(page) = written.pages.get_mut(&page) {
                page[within..within + length].copy_from_slice(piece);
            }
            data = rest;
            written.length = written.length.max(page * PAGE as u64 + (within + length) as u64);
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    // A file that is open to be read can only be locked as by a reader, and nobody is in another's way who only reads.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// It shows what a file would that was written to, and the file stays as it is.
        #[test]
        fn it_is_as_the_file_would_be(
            first in proptest::collection::vec(any::<u8>(), 0..3 * PAGE),
            steps in proptest::collection::vec((0..4 * PAGE, 0..2 * PAGE, any::<u8>(), any::<bool>()), 0..20),
        ) {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let path = folder.path().join("file");
            std::fs::write(&path, &first).expect("written");
            let overlay = opener()(&path).expect("opened");
            let mut expected = first.clone();
            for (at, length, byte, is_cut) in steps {
                if is_cut {
                    overlay.set_len(at as u64).expect("cut");
                    expected.resize(at, 0);
                } else {
                    overlay.write(at as u64, &vec![byte; length]).expect("written");
                    if length > 0 {
                        expected.resize(expected.len().max(at + length), 0);
                        expected[at..at + length].fill(byte);
                    }
                }
                let mut found = vec![0; usize::try_from(overlay.len().expect("a length")).expect("small")];
                overlay.read(0, &mut found).expect("read");
                prop_assert!(found == expected);
                let mut one = [0];
                prop_assert!(overlay.read(expected.len() as u64, &mut one).is_err());
            }
            prop_assert!(std::fs::read(&path).expect("read") == first);
        }
    }
}
