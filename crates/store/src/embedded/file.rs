//! The file: opening it with care, making changes durable, and going on after storage failed.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redb::{
    AccessGuard, Database, DatabaseError, ReadOnlyTable, ReadableDatabase, ReadableTable, StorageError,
    TableError,
};

use super::layout::{
    COUNTERS, Counters, ENTRIES, FORMAT, Format, LEASES, META, create, decode, is_there, millis, put,
    put_counters, write,
};
use super::storage::{Opener, Storage, sync_folder};
use crate::shared::Shared;
use crate::state::{Changes, Entries, LeaseChange, Stored};
use crate::{Error, Key, KeyRange, LeaseId, Position, Record, in_order};

/// Memory redb may use to cache pages. Small: the file is read once, and written from memory.
const CACHE_BYTES: usize = 16 << 20;

/// Where the file is, and how it is opened.
pub(super) struct File {
    path: PathBuf,
    opener: Opener,
    flush_failed: Arc<AtomicBool>,
}

impl File {
    pub(super) fn new(path: &Path, opener: Opener) -> Self {
        Self { path: path.to_owned(), opener, flush_failed: Arc::default() }
    }

    pub(super) fn path(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    /// Opens the file and reads all of it; a new file gets an epoch above `epoch_above`.
    pub(super) fn open(&self, epoch_above: u64) -> Result<(Database, Stored), Error> {
        self.guarded(|| {
            if !self.path.exists() {
                return self.create(epoch_above);
            }
            let recovered = Arc::new(AtomicBool::new(false));
            let database =
                self.database(&self.path, Arc::clone(&recovered)).map_err(|error| self.open_error(&error))?;
            // Recovery after a crash has checked every page already. After a clean end nobody has, and a damaged
            // value would go unnoticed.
            let (database, whole) = if recovered.load(Ordering::Relaxed) {
                (database, true)
            } else {
                self.check_pages(database)?
            };
            // A file that was there already, and empty.
            if !self.check_format(&database)? {
                let counters = Counters::new(crate::epoch::next(epoch_above));
                create(&database, &counters, &[], std::iter::empty()).map_err(|error| self.failed(&error))?;
                sync_folder(&self.path).map_err(|error| self.failed(&error))?;
            }
            let mut stored = self.load(&database)?;
            if !whole {
                // What was found may be older than what was acknowledged: a history of its own.
                stored.epoch = crate::epoch::next(stored.epoch.max(epoch_above));
                self.set_epoch(&database, stored.epoch)?;
                tracing::error!(path = %self.path(), epoch = stored.epoch,
                    "the file was damaged and is repaired, the last writes may be missing");
            }
            Ok((database, stored))
        })
    }

    /// Makes a new store under another name and gives it its own when it is whole: half of one could not be opened
    /// again. The name is given only if it is still free, so that of two who do this at once one is refused.
    fn create(&self, epoch_above: u64) -> Result<(Database, Stored), Error> {
        let new_path = self.beside(&format!(".new-{}", std::process::id()));
        remove_if_there(&new_path).map_err(|error| self.failed(&error))?;
        let epoch = crate::epoch::next(epoch_above);
        let database = self.database(&new_path, Arc::default()).map_err(|error| self.open_error(&error))?;
        let made = create(&database, &Counters::new(epoch), &[], std::iter::empty())
            .map_err(|error| self.failed(&error))
            .and_then(|()| {
                std::fs::hard_link(&new_path, &self.path).map_err(|error| match error.kind() {
                    std::io::ErrorKind::AlreadyExists => Error::InUse { path: self.path().to_string() },
                    _ => self.failed(&error),
                })
            });
        remove_if_there(&new_path).and(sync_folder(&self.path)).map_err(|error| self.failed(&error))?;
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
            remove_if_there(&new_path).map_err(|error| refused(&error))?;
            let database = self.database(&new_path, Arc::default()).map_err(|error| refused(&error))?;
            let (counters, leases) = {
                let state = shared.state();
                (Counters::of(&state), state.leases.iter().collect::<Vec<_>>())
            };
            create(&database, &counters, &leases, entries_of(shared)).map_err(|error| refused(&error))?;
            self.take_place(&new_path)?;
            Ok(database)
        })
    }

    /// Fills a new file with entries that have no leases.
    pub(super) fn fill(
        &self,
        position: Position,
        entries: impl Iterator<Item = Record>,
    ) -> Result<(), Error> {
        self.guarded(|| {
            remove_if_there(&self.path).map_err(|error| refused(&error))?;
            let database =
                self.database(&self.path, Arc::default()).map_err(|error| self.open_error(&error))?;
            let counters = Counters { epoch: position.epoch, revision: position.revision, lease_counter: 0 };
            create(&database, &counters, &[], entries).map_err(|error| refused(&error))
        })
    }

    /// Lets a whole file take the place of this one.
    pub(super) fn take_place(&self, new: &Path) -> Result<(), Error> {
        std::fs::rename(new, &self.path).map_err(|error| refused(&error))?;
        sync_folder(&self.path).map_err(|error| refused(&error))
    }

    /// The same where there was none: not if somebody has made one meanwhile.
    pub(super) fn take_free_place(&self, new: &Path) -> Result<(), Error> {
        std::fs::hard_link(new, &self.path).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => Error::InUse { path: self.path().to_string() },
            _ => refused(&error),
        })?;
        remove_if_there(new).and(sync_folder(&self.path)).map_err(|error| refused(&error))
    }

    /// Opens a database, and notes if that meant to recover from a crash.
    fn database(&self, path: &Path, recovered: Arc<AtomicBool>) -> Result<Database, DatabaseError> {
        let bytes = (self.opener)(path)?;
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

    /// Whether the file is a store already; an error if it is one that this version must not use.
    fn check_format(&self, database: &Database) -> Result<bool, Error> {
        let transaction = database.begin_read().map_err(|error| self.read_error(&error))?;
        let mut tables = transaction.list_tables().map_err(|error| self.read_error(&error))?;
        let meta = match transaction.open_table(META) {
            Ok(meta) => meta,
            Err(TableError::TableDoesNotExist(_)) if tables.next().is_none() => return Ok(false),
            Err(TableError::TableDoesNotExist(_)) => return Err(self.corrupt("it has no table \"meta\"")),
            Err(error) => return Err(self.read_error(&error)),
        };
        let format = meta.get("format").map_err(|error| self.read_error(&error))?;
        let format = format.ok_or_else(|| self.corrupt("it names no format"))?;
        let format: Format = serde_json::from_slice(format.value())
            .map_err(|error| self.corrupt(&format!("its format: {error}")))?;
        let found = format.reader_min.max(format.writer_min);
        if found > FORMAT {
            return Err(Error::NewerFormat { path: self.path().to_string(), found, supported: FORMAT });
        }
        Ok(true)
    }

    fn load(&self, database: &Database) -> Result<Stored, Error> {
        let read = || -> Result<Result<Stored, String>, redb::Error> {
            let transaction = database.begin_read()?;
            let counters = transaction.open_table(COUNTERS)?;
            let counter = |name| Ok::<_, redb::Error>(counters.get(name)?.map_or(0, |value| value.value()));
            let mut leases = Vec::new();
            for lease in transaction.open_table(LEASES)?.iter()? {
                let (id, ttl_ms) = lease?;
                let Some(id) = LeaseId::from_u64(id.value()) else {
                    return Ok(Err("a lease without a number".into()));
                };
                leases.push((id, Duration::from_millis(ttl_ms.value())));
            }
            let entries = match records(&transaction.open_table(ENTRIES)?)? {
                Ok(entries) => entries,
                Err(reason) => return Ok(Err(reason)),
            };
            let stored = Stored {
                epoch: counter("epoch")?,
                revision: counter("revision")?,
                lease_counter: counter("lease")?,
                entries: Entries::from_iter(entries),
                leases,
            };
            Ok(Ok(stored))
        };
        let stored =
            read().map_err(|error| self.read_error(&error))?.map_err(|reason| self.corrupt(&reason))?;
        self.check(&stored)?;
        Ok(stored)
    }

    /// Refuses what no version of this engine would have written.
    fn check(&self, stored: &Stored) -> Result<(), Error> {
        if stored.epoch == 0 {
            return Err(self.corrupt("it has no epoch"));
        }
        let leases: BTreeSet<LeaseId> = stored.leases.iter().map(|(id, _)| *id).collect();
        for record in &stored.entries {
            let (created, modified) = (record.create_revision(), record.mod_revision());
            if modified > stored.revision || created > modified {
                return Err(self.corrupt(&format!("the revisions of {} are impossible", record.path())));
            }
            if record.lease().is_some_and(|lease| !leases.contains(&lease)) {
                return Err(self.corrupt(&format!("the lease of {} does not exist", record.path())));
            }
        }
        Ok(())
    }

    /// Makes changes durable: all of them, with one flush, or an error.
    pub(super) fn write(&self, database: &Database, changes: &Changes) -> Result<(), Error> {
        let written = catch_unwind(AssertUnwindSafe(|| {
            write(database, |transaction| {
                let mut buffer = Vec::new();
                let mut entries = transaction.open_table(ENTRIES)?;
                for (key, record) in &changes.entries {
                    put(&mut entries, &mut buffer, key.as_str(), record.as_ref())?;
                }
                if !changes.leases.is_empty() {
                    let mut leases = transaction.open_table(LEASES)?;
                    for (id, change) in &changes.leases {
                        match change {
                            LeaseChange::Granted { ttl, .. } => drop(leases.insert(id.get(), millis(*ttl))?),
                            LeaseChange::Ended => drop(leases.remove(id.get())?),
                        }
                    }
                }
                put_counters(transaction, &Counters::after(changes))
            })
        }));
        written.map_or_else(
            |_| Err(self.corrupt("writing it panicked")),
            |written| written.map_err(|e| refused(&e)),
        )
    }

    /// Puts these keys and leases, and the counters, back to what they are in the committed state.
    pub(super) fn restore(
        &self,
        database: &Database,
        shared: &Shared,
        keys: &BTreeSet<Key>,
        leases: &BTreeSet<LeaseId>,
    ) -> Result<(), Error> {
        // Copied first: the state must not be locked while the disk works.
        let (entries, ttls, counters) = {
            let state = shared.state();
            let entries: Vec<_> =
                keys.iter().map(|key| (key, state.entries.get(key.as_bytes()).cloned())).collect();
            let ttls: Vec<_> = leases.iter().map(|id| (id.get(), state.leases.ttl(*id))).collect();
            (entries, ttls, Counters::of(&state))
        };
        write(database, |transaction| {
            let mut buffer = Vec::new();
            let mut table = transaction.open_table(ENTRIES)?;
            for (key, record) in &entries {
                // Mostly they are there: writing them again may need more room than a full disk has.
                if !is_there(&table, &mut buffer, key.as_str(), record.as_ref())? {
                    put(&mut table, &mut buffer, key.as_str(), record.as_ref())?;
                }
            }
            let mut table = transaction.open_table(LEASES)?;
            for (id, ttl) in &ttls {
                if table.get(id)?.map(|there| there.value()) == ttl.map(millis) {
                    continue;
                }
                match ttl {
                    Some(ttl) => drop(table.insert(id, millis(*ttl))?),
                    None => drop(table.remove(id)?),
                }
            }
            put_counters(transaction, &counters)
        })
        .map_err(|error| refused(&error))
    }

    fn corrupt(&self, reason: &str) -> Error {
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
                self.corrupt(&error.to_string())
            }
            DatabaseError::UpgradeRequired(_) | DatabaseError::RepairAborted => {
                self.corrupt(&error.to_string())
            }
            other => Error::Open { path, reason: other.to_string() },
        }
    }

    fn failed(&self, error: &(impl std::error::Error + ?Sized)) -> Error {
        Error::Open { path: self.path().to_string(), reason: error.to_string() }
    }

    fn read_error(&self, error: &(impl std::error::Error + ?Sized)) -> Error {
        self.corrupt(&error.to_string())
    }
}

/// Rows that are made into records at a time.
const ROWS: usize = 1024;

/// All entries of a file, or why one cannot be read.
fn records(
    table: &ReadOnlyTable<&'static str, &'static [u8]>,
) -> Result<Result<Vec<Record>, String>, redb::Error> {
    let mut rows = table.iter()?;
    let mut failed = None;
    let pieces = std::iter::from_fn(|| {
        let mut piece = Vec::with_capacity(ROWS);
        while piece.len() < ROWS && failed.is_none() {
            match rows.next() {
                Some(Ok(row)) => piece.push(row),
                Some(Err(error)) => failed = Some(error),
                None => break,
            }
        }
        (!piece.is_empty()).then_some(piece)
    });
    let mut records = Ok(Vec::new());
    let work = |rows: Vec<(AccessGuard<'_, &str>, AccessGuard<'_, &[u8]>)>| {
        rows.iter().map(|(key, entry)| decode(key.value(), entry.value())).collect::<Result<Vec<_>, _>>()
    };
    in_order(pieces, work, |piece| match (&mut records, piece) {
        (Ok(records), Ok(mut piece)) => records.append(&mut piece),
        (Ok(_), Err(reason)) => records = Err(reason),
        (Err(_), _) => {}
    });
    failed.map_or(Ok(records), |error| Err(error.into()))
}

fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn refused(error: &(impl std::error::Error + ?Sized)) -> Error {
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
