//! The file: opening it with care, making changes durable, and going on after storage failed.

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{Database, DatabaseError, StorageBackend, StorageError};

use super::held::Held;
use super::layout::{COUNTERS, Counters, Delta, Touched, create, put_delta, put_log, write};
use super::log::{self, LeftOut, Log, LogId, Replay};
use super::reading;
use super::storage::{Files, Storage};
use crate::shared::Shared;
use crate::state::Stored;
use crate::{Error, KeyRange, Position, Record};

/// Memory redb may use to cache pages. Small: the file is read once, and written from memory.
const CACHE_BYTES: usize = 4 << 20;

/// What a file begins with.
const MAGIC: &[u8; 4] = b"redb";

/// A file and what is in it.
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) stored: Stored,
    /// What of `stored` the file does not have, if its log was left open.
    pub(super) replayed: Option<Touched>,
    /// What of its log is neither in the file nor in `stored`.
    pub(super) left_out: Option<LeftOut>,
}

/// Where the file is, and how it is opened.
pub(super) struct File {
    path: PathBuf,
    files: Arc<dyn Files>,
    flush_failed: Arc<AtomicBool>,
    /// Else it is only read.
    may_change: bool,
    /// What is whole is enough, where its log is damaged.
    is_intact_enough: bool,
}

impl File {
    pub(super) fn new(path: &Path, files: Arc<dyn Files>) -> Self {
        Self {
            path: path.to_owned(),
            files,
            flush_failed: Arc::default(),
            may_change: true,
            is_intact_enough: false,
        }
    }

    /// One that is there, and is only read, as its log is: nothing on disk is changed.
    pub(super) fn to_read(path: &Path) -> Self {
        Self { may_change: false, ..Self::new(path, reading::files()) }
    }

    /// The same, as far as it is whole.
    pub(super) fn to_read_intact(path: &Path) -> Self {
        Self { is_intact_enough: true, ..Self::to_read(path) }
    }

    pub(super) fn path(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    /// A new log beside the file, which counts once the file says so. None of it stays after an error.
    pub(super) fn create_log(&self, bytes_max: u64) -> std::io::Result<Log> {
        Log::create(&self.path, &*self.files, bytes_max).inspect_err(|_| self.remove_log())
    }

    /// Removes the log, which does not count any more.
    pub(super) fn remove_log(&self) {
        log::remove(&self.path, &*self.files);
    }

    /// Opens the file and reads all of it, and its log; a new file gets an epoch above `epoch_above`.
    pub(super) fn open(&self, epoch_above: u64) -> Result<Opened, Error> {
        self.guarded(|| {
            self.check_not_alone()?;
            if !self.path.exists() && self.may_change {
                let (database, stored) = self.create(epoch_above)?;
                return Ok(Opened { database, stored, replayed: None, left_out: None });
            }
            let (held, database, whole) = self.held()?;
            // A file that was there already, and empty.
            let is_new = !self.check_format(&database)?;
            if is_new {
                let counters = Counters::new(crate::epoch::next(epoch_above));
                create(&database, &counters, &[], std::iter::empty()).map_err(|error| self.failed(&error))?;
            }
            let (mut stored, log) = self.load(&database)?;
            let (replayed, left_out) = log.map(|id| self.replay(id, &mut stored)).transpose()?.unzip();
            self.check(&stored)?;
            if log.is_none() {
                let at = Position::new(stored.epoch, stored.revision);
                log::put_aside(&self.path, &*self.files, at, self.may_change)
                    .map_err(|error| self.failed(&error))?;
            }
            if !whole {
                // What was found may be older than what was acknowledged: a history of its own, from the first step that is written.
                stored.epoch = crate::epoch::next(stored.epoch.max(epoch_above));
                self.set_epoch(&database, stored.epoch)?;
                tracing::error!(path = %self.path(), epoch = stored.epoch,
                    "the file was damaged and is repaired, the last writes may be missing");
            }
            if self.may_change {
                // Nothing is refused any more: what was repaired may be written.
                held.let_through().map_err(|error| self.failed(&error))?;
            }
            if is_new && self.may_change {
                self.files.sync_folder(&self.path).map_err(|error| self.failed(&error))?;
            }
            Ok(Opened { database, stored, replayed, left_out: left_out.flatten() })
        })
    }

    /// Refuses a log without its file: what was acknowledged is in both.
    fn check_not_alone(&self) -> Result<(), Error> {
        let is_empty = std::fs::metadata(&self.path).map_or(true, |file| file.len() == 0);
        if is_empty && log::is_there(&self.path).map_err(|error| self.failed(&error))? {
            let what = if self.path.exists() { "empty" } else { "missing" };
            let log = log::path_of(&self.path);
            return Err(self.corrupt(&format!(
                "it is {what}, and its log {} is there. The two belong together: put the file back as it was",
                log.display()
            )));
        }
        Ok(())
    }

    /// Opens the file's database, which writes nothing yet, and checks all its pages; says whether they were right.
    fn held(&self) -> Result<(Held, Database, bool), Error> {
        let recovered = Arc::new(AtomicBool::new(false));
        let opened = || -> Result<(Held, Database), DatabaseError> {
            let held = Held::of(self.files.open(&self.path)?)?;
            let database = self.database_on(Box::new(held.clone()), Arc::clone(&recovered))?;
            Ok((held, database))
        };
        let (held, database) = opened().map_err(|error| self.open_error(&error))?;
        // Recovery after a crash has checked every page already. After a clean end nobody has, and a damaged
        // value would go unnoticed.
        if recovered.load(Ordering::Relaxed) {
            return Ok((held, database, true));
        }
        let (database, whole) = self.check_pages(database)?;
        Ok((held, database, whole))
    }

    /// Reads the log that the file names, lays it over what the file has, and says what that touched. A log that is damaged is
    /// refused, or what is not whole of it is left out.
    fn replay(&self, id: LogId, stored: &mut Stored) -> Result<(Touched, Option<LeftOut>), Error> {
        // One that cannot be read is as one that is damaged: a backup may take its place.
        let replay = log::read(&self.path, &*self.files, id)
            .unwrap_or_else(|error| Replay::none(format!("it cannot be read: {error}")));
        let Replay { deltas, broken } = replay.that_follows(stored);
        let path = log::path_of(&self.path).display().to_string();
        if let (false, Some(broken)) = (self.is_intact_enough, &broken) {
            let reason = format!(
                "{}. The store's file and its log belong together: put both back as they were",
                broken.reason
            );
            return Err(Error::Corrupt { path, reason });
        }
        let mut touched = Touched::default();
        for delta in deltas {
            touched.add(&delta);
            stored.apply(delta);
        }
        Ok((touched, broken.map(|broken| broken.left_out(path, stored.revision))))
    }

    /// Makes a new store under another name and gives it its own when it is whole: half of one could not be opened
    /// again. The name is given only if it is still free, so that of two who do this at once one is refused.
    fn create(&self, epoch_above: u64) -> Result<(Database, Stored), Error> {
        let new_path = self.beside(&format!(".new-{}", std::process::id()));
        self.files.remove(&new_path).map_err(|error| self.failed(&error))?;
        let epoch = crate::epoch::next(epoch_above);
        let database = self.database(&new_path, Arc::default()).map_err(|error| self.open_error(&error))?;
        let made = create(&database, &Counters::new(epoch), &[], std::iter::empty())
            .map_err(|error| self.failed(&error))
            .and_then(|()| {
                self.files.link(&new_path, &self.path).map_err(|error| match error.kind() {
                    std::io::ErrorKind::AlreadyExists => Error::InUse { path: self.path().to_string() },
                    _ => self.failed(&error),
                })
            });
        self.files
            .remove(&new_path)
            .and(self.files.sync_folder(&self.path))
            .map_err(|error| self.failed(&error))?;
        made?;
        Ok((database, Stored { epoch, ..Stored::default() }))
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        PathBuf::from(path)
    }

    /// Whether a flush failed since this was last asked.
    pub(super) fn take_flush_failed(&self) -> bool {
        self.flush_failed.swap(false, Ordering::AcqRel)
    }

    /// Opens the file again, which was in use until its storage failed.
    pub(super) fn reopen(&self) -> Result<Database, Error> {
        self.guarded(|| self.database(&self.path, Arc::default()).map_err(|error| refused(&error)))
    }

    /// Writes the whole state to a new file, which takes the place of the old one.
    pub(super) fn rebuild(&self, shared: &Shared) -> Result<Database, Error> {
        let new_path = self.beside(".rebuild");
        self.guarded(|| {
            self.files.remove(&new_path).map_err(|error| refused(&error))?;
            let database = self.database(&new_path, Arc::default()).map_err(|error| refused(&error))?;
            let (counters, leases) = {
                let state = shared.state();
                (Counters::of(&state), state.leases.iter().collect::<Vec<_>>())
            };
            create(&database, &counters, &leases, entries_of(shared)).map_err(|error| refused(&error))?;
            self.take_place(&new_path)?;
            // The new file names none, and nobody else can have begun one: this process has the file.
            self.remove_log();
            Ok(database)
        })
    }

    /// Fills a new file with entries that have no leases. It stays locked.
    pub(super) fn fill(
        &self,
        position: Position,
        entries: impl Iterator<Item = Record>,
    ) -> Result<Database, Error> {
        self.guarded(|| {
            self.files.remove(&self.path).map_err(|error| refused(&error))?;
            let database =
                self.database(&self.path, Arc::default()).map_err(|error| self.open_error(&error))?;
            let counters = Counters { epoch: position.epoch, revision: position.revision, lease_counter: 0 };
            create(&database, &counters, &[], entries).map_err(|error| refused(&error))?;
            Ok(database)
        })
    }

    /// Lets a whole file take the place of this one. It names no log, so what may be left of the old one's does not count.
    pub(super) fn take_place(&self, new: &Path) -> Result<(), Error> {
        self.files.rename(new, &self.path).map_err(|error| refused(&error))?;
        self.files.sync_folder(&self.path).map_err(|error| refused(&error))
    }

    /// The same where there was none: not if somebody has made one meanwhile.
    pub(super) fn take_free_place(&self, new: &Path) -> Result<(), Error> {
        self.files.link(new, &self.path).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => Error::InUse { path: self.path().to_string() },
            _ => refused(&error),
        })?;
        self.files.remove(new).and(self.files.sync_folder(&self.path)).map_err(|error| refused(&error))
    }

    /// Opens a database, and notes if that meant to recover from a crash.
    fn database(&self, path: &Path, recovered: Arc<AtomicBool>) -> Result<Database, DatabaseError> {
        self.database_on(self.files.open(path)?, recovered)
    }

    fn database_on(
        &self,
        bytes: Box<dyn StorageBackend>,
        recovered: Arc<AtomicBool>,
    ) -> Result<Database, DatabaseError> {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        builder.set_repair_callback(move |_| recovered.store(true, Ordering::Relaxed));
        builder.create_with_backend(Storage { bytes, flush_failed: Arc::clone(&self.flush_failed) })
    }

    /// Checks the checksums of all pages. Whether they were right; if not, redb went back to a state where they are.
    fn check_pages(&self, mut database: Database) -> Result<(Database, bool), Error> {
        let whole = database.check_integrity().map_err(|error| self.open_error(&error))?;
        Ok((database, whole))
    }

    fn set_epoch(&self, database: &Database, epoch: u64) -> Result<(), Error> {
        let set = write(database, |transaction| {
            transaction.open_table(COUNTERS)?.insert("epoch", epoch)?;
            Ok(())
        });
        set.map_err(|error| self.failed(&error))
    }

    /// redb answers damage with errors, but a damaged page can still lead it astray: a panic must not get out.
    fn guarded<T>(&self, open: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|_| Err(self.corrupt("reading it panicked")))
    }

    /// Writes deltas one after the other and says which log counts from now on, all in one durable transaction; or an error.
    pub(super) fn commit(
        &self,
        database: &Database,
        deltas: &[Delta],
        log: Option<LogId>,
        sparing: bool,
    ) -> Result<(), Error> {
        let written = catch_unwind(AssertUnwindSafe(|| {
            write(database, |transaction| {
                deltas.iter().try_for_each(|delta| put_delta(transaction, delta, sparing))?;
                put_log(transaction, log)
            })
        }));
        written.map_or_else(
            |_| Err(self.corrupt("writing it panicked")),
            |written| written.map_err(|e| refused(&e)),
        )
    }

    pub(super) fn corrupt(&self, reason: &str) -> Error {
        Error::Corrupt { path: self.path().to_string(), reason: reason.to_owned() }
    }

    fn open_error(&self, error: &DatabaseError) -> Error {
        let path = self.path().to_string();
        match error {
            DatabaseError::DatabaseAlreadyOpen => Error::InUse { path },
            DatabaseError::Storage(StorageError::Corrupted(reason)) => self.corrupt(reason),
            DatabaseError::Storage(StorageError::Io(error))
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
                ) =>
            {
                self.corrupt(&self.what_is_damaged(error))
            }
            DatabaseError::UpgradeRequired(_) | DatabaseError::RepairAborted => {
                self.corrupt(&error.to_string())
            }
            other => Error::Open { path, reason: other.to_string() },
        }
    }

    /// Says of a file that is no database whether it ever was one.
    fn what_is_damaged(&self, error: &std::io::Error) -> String {
        let begins = std::fs::File::open(&self.path).and_then(|mut file| {
            let mut begin = [0; MAGIC.len()];
            file.read_exact(&mut begin).map(|()| begin == *MAGIC)
        });
        match begins {
            Ok(false) => "it does not begin as the file of a store does".to_owned(),
            _ => format!("its first page, or its end, is damaged or missing ({error})"),
        }
    }

    pub(super) fn failed(&self, error: &(impl std::error::Error + ?Sized)) -> Error {
        Error::Open { path: self.path().to_string(), reason: error.to_string() }
    }

    pub(super) fn read_error(&self, error: &(impl std::error::Error + ?Sized)) -> Error {
        self.corrupt(&error.to_string())
    }
}

pub(super) fn refused(error: &(impl std::error::Error + ?Sized)) -> Error {
    Error::WriteRefused { reason: error.to_string() }
}

/// All entries, read in steps: nothing else may change them meanwhile, but readers must not be held up.
fn entries_of(shared: &Shared) -> impl Iterator<Item = Record> + '_ {
    const STEP: usize = 1000;
    let mut rest = Some(KeyRange::all());
    std::iter::from_fn(move || {
        let range = rest.take()?;
        let state = shared.state();
        let found = state.entries.range::<[u8], _>(range.bounds()).take(STEP);
        let found: Vec<_> = found.cloned().collect();
        rest = found.last().map(|record| range.after(&record.key()));
        Some(found)
    })
    .flatten()
}
