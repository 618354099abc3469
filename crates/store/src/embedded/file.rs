//! The file: which tables it has, how entries are written in it, and opening it with care.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `format` | JSON, see [`Format`] |
//! | `counters` | `epoch`, `revision`, `lease` | a number |
//! | `entries` | the key | create revision, modification revision, version, lease (0: none), 8 bytes each, little endian; then the value |
//! | `leases` | the lease's number | its time to live in milliseconds |

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use redb::{
    Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
    TableError, WriteTransaction,
};
use serde::{Deserialize, Serialize};

use crate::state::{Changes, Entries, LeaseChange, State, Stored};
use crate::{Entry, Error, Key, LeaseId};

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("counters");
const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");
const LEASES: TableDefinition<'_, u64, u64> = TableDefinition::new("leases");

/// The format this version writes, and the newest it can read.
const FORMAT: u32 = 1;
/// Bytes of an entry before its value.
const ENTRY_HEAD: usize = 32;
/// Memory redb may use to cache pages. Small: the file is read once, and written from memory.
const CACHE_BYTES: usize = 32 << 20;

/// Who may use the file.
#[derive(Debug, Serialize, Deserialize)]
struct Format {
    /// The oldest format version whose programs may read the file.
    reader_min: u32,
    /// The oldest format version whose programs may write the file.
    writer_min: u32,
}

/// Opens the database of a store; called again after each storage failure.
pub type Opener = Arc<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

/// Opens a plain file, and creates it if there is none.
pub(super) fn plain(path: &Path) -> Opener {
    let path = path.to_owned();
    Arc::new(move || Database::builder().set_cache_size(CACHE_BYTES).create(&path))
}

pub(super) struct File {
    path: PathBuf,
    opener: Opener,
}

impl File {
    pub(super) fn new(path: &Path, opener: Opener) -> Self {
        Self { path: path.to_owned(), opener }
    }

    pub(super) fn path(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    /// Opens the file and reads all of it; a new file gets an epoch above `epoch_above`.
    pub(super) fn open(&self, epoch_above: u64) -> Result<(Database, Stored), Error> {
        self.guarded(|| {
            let database = (self.opener)().map_err(|error| self.open_error(&error))?;
            if !self.check_format(&database)? {
                self.create(&database, crate::epoch::next(epoch_above))?;
            }
            let stored = self.load(&database)?;
            Ok((database, stored))
        })
    }

    /// Opens the file again, which was in use until its storage failed.
    pub(super) fn reopen(&self) -> Result<Database, Error> {
        self.guarded(|| (self.opener)().map_err(|error| refused(&error)))
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

    fn create(&self, database: &Database, epoch: u64) -> Result<(), Error> {
        let format = serde_json::to_vec(&Format { reader_min: FORMAT, writer_min: FORMAT });
        let format = format.map_err(|error| self.corrupt(&error.to_string()))?;
        write(database, |transaction| {
            transaction.open_table(META)?.insert("format", format.as_slice())?;
            transaction.open_table(ENTRIES)?;
            transaction.open_table(LEASES)?;
            let mut counters = transaction.open_table(COUNTERS)?;
            for (name, value) in [("epoch", epoch), ("revision", 0), ("lease", 0)] {
                counters.insert(name, value)?;
            }
            Ok(())
        })
        .map_err(|error| Error::Open { path: self.path().to_string(), reason: error.to_string() })
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
            let mut entries = Vec::new();
            for found in transaction.open_table(ENTRIES)?.iter()? {
                let (key, entry) = found?;
                match decode(key.value(), entry.value()) {
                    Ok(entry) => entries.push(entry),
                    Err(reason) => return Ok(Err(reason)),
                }
            }
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
        for (key, entry) in &stored.entries {
            if entry.mod_revision > stored.revision || entry.create_revision > entry.mod_revision {
                return Err(self.corrupt(&format!("the revisions of {key} are impossible")));
            }
            if entry.lease.is_some_and(|lease| !leases.contains(&lease)) {
                return Err(self.corrupt(&format!("the lease of {key} does not exist")));
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
                for (key, entry) in &changes.entries {
                    put(&mut entries, &mut buffer, key, entry.as_ref())?;
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
                put_counters(transaction, changes.revision, changes.lease_counter)
            })
        }));
        written.map_or_else(
            |_| Err(self.corrupt("writing it panicked")),
            |written| written.map_err(|e| refused(&e)),
        )
    }

    /// Puts these keys and leases, and the counters, back to what they are in `state`.
    pub(super) fn restore(
        &self,
        database: &Database,
        state: &State,
        keys: &BTreeSet<Key>,
        leases: &BTreeSet<LeaseId>,
    ) -> Result<(), Error> {
        write(database, |transaction| {
            let mut buffer = Vec::new();
            let mut entries = transaction.open_table(ENTRIES)?;
            for key in keys {
                put(&mut entries, &mut buffer, key, state.entries.get(key))?;
            }
            let mut table = transaction.open_table(LEASES)?;
            for id in leases {
                match state.leases.ttl(*id) {
                    Some(ttl) => drop(table.insert(id.get(), millis(ttl))?),
                    None => drop(table.remove(id.get())?),
                }
            }
            put_counters(transaction, state.revision, state.lease_counter)
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

    fn read_error(&self, error: &(impl std::error::Error + ?Sized)) -> Error {
        self.corrupt(&error.to_string())
    }
}

fn refused(error: &(impl std::error::Error + ?Sized)) -> Error {
    Error::WriteRefused { reason: error.to_string() }
}

/// One durable transaction.
fn write(
    database: &Database,
    change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate).map_err(redb::Error::from)?;
    change(&transaction)?;
    transaction.commit()?;
    Ok(())
}

fn put_counters(transaction: &WriteTransaction, revision: u64, lease: u64) -> Result<(), redb::Error> {
    let mut counters = transaction.open_table(COUNTERS)?;
    counters.insert("revision", revision)?;
    counters.insert("lease", lease)?;
    Ok(())
}

fn put(
    entries: &mut redb::Table<'_, &str, &[u8]>,
    buffer: &mut Vec<u8>,
    key: &Key,
    entry: Option<&Entry>,
) -> Result<(), redb::Error> {
    match entry {
        Some(entry) => {
            encode(entry, buffer);
            entries.insert(key.as_str(), buffer.as_slice())?;
        }
        None => drop(entries.remove(key.as_str())?),
    }
    Ok(())
}

fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}

fn encode(entry: &Entry, buffer: &mut Vec<u8>) {
    buffer.clear();
    let lease = entry.lease.map_or(0, LeaseId::get);
    for number in [entry.create_revision, entry.mod_revision, entry.version, lease] {
        buffer.extend_from_slice(&number.to_le_bytes());
    }
    buffer.extend_from_slice(&entry.value);
}

fn decode(key: &str, bytes: &[u8]) -> Result<(Key, Entry), String> {
    let key = Key::parse(key).map_err(|error| error.to_string())?;
    let Some((head, value)) = bytes.split_first_chunk::<ENTRY_HEAD>() else {
        return Err(format!("the entry of {key} is cut short"));
    };
    let number = |index: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&head[index * 8..][..8]);
        u64::from_le_bytes(bytes)
    };
    let entry = Entry {
        value: value.into(),
        create_revision: number(0),
        mod_revision: number(1),
        version: number(2),
        lease: LeaseId::from_u64(number(3)),
    };
    Ok((key, entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_back_as_written() {
        let entry = Entry {
            value: b"value".as_slice().into(),
            create_revision: 1,
            mod_revision: u64::MAX,
            version: 3,
            lease: LeaseId::from_u64(9),
        };
        let mut bytes = Vec::new();
        encode(&entry, &mut bytes);
        let key = Key::parse("/k").expect("valid");
        assert_eq!(decode("/k", &bytes), Ok((key, entry)));
        assert!(decode("/k", &bytes[..31]).is_err());
        assert!(decode("k", &bytes).is_err());
    }

    /// The layout of format 1, byte by byte: whoever changes it must raise the format.
    #[test]
    fn format_1_is_read_for_ever() {
        let mut bytes = vec![0; 32];
        (bytes[0], bytes[8], bytes[16], bytes[24]) = (7, 8, 2, 5);
        bytes.extend_from_slice(b"{}");
        let (_, entry) = decode("/weir/v1/kv/default/a", &bytes).expect("format 1");
        assert_eq!((entry.create_revision, entry.mod_revision, entry.version), (7, 8, 2));
        assert_eq!((entry.lease, &*entry.value), (LeaseId::from_u64(5), b"{}".as_slice()));
        assert_eq!(FORMAT, 1);
    }
}
