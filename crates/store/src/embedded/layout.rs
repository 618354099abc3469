//! How a store lies in its file: the tables, the bytes of an entry, and transactions over them.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `format` | JSON, see [`Format`] |
//! | `meta` | `log` | only while a log is open: which of its records count, see [`LogId`] |
//! | `counters` | `epoch`, `revision`, `lease` | a number |
//! | `entries` | the key | create revision, modification revision, version, lease (0: none), 8 bytes each, little endian; then the value |
//! | `leases` | the lease's number | its time to live in milliseconds |

use std::collections::BTreeSet;
use std::time::Duration;

use redb::{Database, Durability, ReadableTable, TableDefinition, WriteTransaction};
use serde::Deserialize;

use super::log::LogId;
use crate::state::{Changes, LeaseChange, State};
use crate::{Entry, Key, LeaseId, Record, key};

pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
pub(super) const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("counters");
pub(super) const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");
pub(super) const LEASES: TableDefinition<'_, u64, u64> = TableDefinition::new("leases");

/// The newest format that this version can read and write.
pub(super) const FORMAT: u32 = 2;
/// The format of a file that has everything: no log is open beside it.
const FORMAT_CLOSED: u32 = 1;
/// The format of a file whose log is open. Who does not know of logs must not use it: it would miss writes.
const FORMAT_LOGGED: u32 = 2;
/// Bytes of an entry before its value.
const ENTRY_HEAD: usize = 32;

/// Who may use the file.
#[derive(Debug, Deserialize)]
pub(super) struct Format {
    /// The oldest format version whose programs may read the file.
    pub(super) reader_min: u32,
    /// The oldest format version whose programs may write the file.
    pub(super) writer_min: u32,
}

/// The numbers of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) epoch: u64,
    pub(super) revision: u64,
    pub(super) lease_counter: u64,
}

impl Counters {
    /// Those of a new store.
    pub(super) fn new(epoch: u64) -> Self {
        Self { epoch, revision: 0, lease_counter: 0 }
    }

    pub(super) fn of(state: &State) -> Self {
        Self { epoch: state.epoch, revision: state.revision, lease_counter: state.lease_counter }
    }
}

/// Keys and leases that were changed.
#[derive(Debug, Default)]
pub(super) struct Touched {
    pub(super) keys: BTreeSet<Key>,
    pub(super) leases: BTreeSet<LeaseId>,
}

impl Touched {
    pub(super) fn add(&mut self, delta: &Delta) {
        self.keys.extend(delta.entries.iter().map(|(key, _)| key.clone()));
        self.leases.extend(delta.leases.iter().map(|(id, _)| *id));
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len() + self.leases.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What is to be written: keys with what they hold by now, leases with their time to live, `None` for what is gone.
#[derive(Debug)]
pub(super) struct Delta {
    pub(super) counters: Counters,
    pub(super) entries: Vec<(Key, Option<Record>)>,
    pub(super) leases: Vec<(LeaseId, Option<Duration>)>,
}

impl Delta {
    pub(super) fn of(changes: &Changes) -> Self {
        let ttl = |change: &LeaseChange| match change {
            LeaseChange::Granted { ttl, .. } => Some(*ttl),
            LeaseChange::Ended => None,
        };
        Self {
            counters: Counters {
                epoch: changes.epoch,
                revision: changes.revision,
                lease_counter: changes.lease_counter,
            },
            entries: changes.entries.iter().map(|(key, record)| (key.clone(), record.clone())).collect(),
            leases: changes.leases.iter().map(|(id, change)| (*id, ttl(change))).collect(),
        }
    }

    /// What was touched, as it is.
    pub(super) fn present(state: &State, touched: &Touched) -> Self {
        let entry = |key: &Key| (key.clone(), state.entries.get(key.as_bytes()).cloned());
        Self {
            counters: Counters::of(state),
            entries: touched.keys.iter().map(entry).collect(),
            leases: touched.leases.iter().map(|id| (*id, state.leases.ttl(*id))).collect(),
        }
    }
}

/// Fills an empty database.
pub(super) fn create(
    database: &Database,
    counters: &Counters,
    leases: &[(LeaseId, Duration)],
    contents: impl Iterator<Item = Record>,
) -> Result<(), redb::Error> {
    write(database, |transaction| {
        put_log(transaction, None)?;
        put_counters(transaction, counters)?;
        let mut table = transaction.open_table(LEASES)?;
        for (id, ttl) in leases {
            table.insert(id.get(), millis(*ttl))?;
        }
        let mut buffer = Vec::new();
        let mut table = transaction.open_table(ENTRIES)?;
        for record in contents {
            put(&mut table, &mut buffer, record.path(), Some(&record))?;
        }
        Ok(())
    })
}

/// One durable transaction, in two phases: with one, redb would take a page of it that is damaged later for a transaction that
/// was not finished, and go back silently to the state before, which names another log, or none.
pub(super) fn write(
    database: &Database,
    change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate).map_err(redb::Error::from)?;
    transaction.set_two_phase_commit(true);
    change(&transaction)?;
    transaction.commit()?;
    Ok(())
}

/// Says which log is open, if any, and with that who may use the file.
pub(super) fn put_log(transaction: &WriteTransaction, log: Option<LogId>) -> Result<(), redb::Error> {
    let mut meta = transaction.open_table(META)?;
    match log {
        Some(id) => drop(meta.insert("log", id.to_bytes().as_slice())?),
        None => drop(meta.remove("log")?),
    }
    let format = if log.is_some() { FORMAT_LOGGED } else { FORMAT_CLOSED };
    let format = format!(r#"{{"reader_min":{format},"writer_min":{format}}}"#);
    meta.insert("format", format.as_bytes())?;
    Ok(())
}

fn put_counters(transaction: &WriteTransaction, counters: &Counters) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(COUNTERS)?;
    table.insert("epoch", counters.epoch)?;
    table.insert("revision", counters.revision)?;
    table.insert("lease", counters.lease_counter)?;
    Ok(())
}

/// Writes what a delta says; `sparing`, only where something else is there: writing the same again may need more room than
/// a full disk has.
pub(super) fn put_delta(
    transaction: &WriteTransaction,
    delta: &Delta,
    sparing: bool,
) -> Result<(), redb::Error> {
    let mut buffer = Vec::new();
    let mut entries = transaction.open_table(ENTRIES)?;
    for (key, record) in &delta.entries {
        if !(sparing && is_there(&entries, &mut buffer, key.as_str(), record.as_ref())?) {
            put(&mut entries, &mut buffer, key.as_str(), record.as_ref())?;
        }
    }
    if !delta.leases.is_empty() {
        let mut leases = transaction.open_table(LEASES)?;
        for (id, ttl) in &delta.leases {
            let there = leases.get(id.get())?.map(|there| there.value());
            match ttl.map(millis) {
                ttl_ms if ttl_ms == there => {}
                Some(ttl_ms) => drop(leases.insert(id.get(), ttl_ms)?),
                None => drop(leases.remove(id.get())?),
            }
        }
    }
    put_counters(transaction, &delta.counters)
}

fn put(
    entries: &mut redb::Table<'_, &str, &[u8]>,
    buffer: &mut Vec<u8>,
    key: &str,
    record: Option<&Record>,
) -> Result<(), redb::Error> {
    match record {
        Some(record) => {
            buffer.clear();
            encode(&record.entry(), buffer);
            entries.insert(key, buffer.as_slice())?;
        }
        None => drop(entries.remove(key)?),
    }
    Ok(())
}

/// Whether a key holds just this already.
fn is_there(
    entries: &redb::Table<'_, &str, &[u8]>,
    buffer: &mut Vec<u8>,
    key: &str,
    record: Option<&Record>,
) -> Result<bool, redb::Error> {
    let there = entries.get(key)?;
    let (Some(there), Some(record)) = (&there, record) else {
        return Ok(there.is_none() && record.is_none());
    };
    buffer.clear();
    encode(&record.entry(), buffer);
    Ok(there.value() == buffer.as_slice())
}

pub(super) fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}

/// Writes an entry behind what is there.
pub(super) fn encode(entry: &Entry, buffer: &mut Vec<u8>) {
    let lease = entry.lease.map_or(0, LeaseId::get);
    for number in [entry.create_revision, entry.mod_revision, entry.version, lease] {
        buffer.extend_from_slice(&number.to_le_bytes());
    }
    buffer.extend_from_slice(&entry.value.bytes());
}

pub(super) fn decode(key: &str, bytes: &[u8]) -> Result<Record, String> {
    key::check(key).map_err(|error| error.to_string())?;
    let Some((head, value)) = bytes.split_first_chunk::<ENTRY_HEAD>() else {
        return Err(format!("the entry of {key} is cut short"));
    };
    let number = |index: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&head[index * 8..][..8]);
        u64::from_le_bytes(bytes)
    };
    let lease = LeaseId::from_u64(number(3));
    Ok(Record::new(key, [number(0), number(1), number(2)], lease, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Key, KeyValue};

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
        assert_eq!(decode("/k", &bytes).map(|record| record.key_value()), Ok(KeyValue { key, entry }));
        assert!(decode("/k", &bytes[..31]).is_err());
        assert!(decode("k", &bytes).is_err());
    }

    /// The layout of format 1, byte by byte: whoever changes it must raise the format.
    #[test]
    fn format_1_is_read_for_ever() {
        let mut bytes = vec![0; 32];
        (bytes[0], bytes[8], bytes[16], bytes[24]) = (7, 8, 2, 5);
        bytes.extend_from_slice(b"{}");
        let entry = decode("/weir/v1/kv/default/a", &bytes).expect("format 1").entry();
        assert_eq!((entry.create_revision, entry.mod_revision, entry.version), (7, 8, 2));
        assert_eq!((entry.lease, &*entry.value.bytes()), (LeaseId::from_u64(5), b"{}".as_slice()));
        assert_eq!((FORMAT_CLOSED, FORMAT_LOGGED, FORMAT), (1, 2, 2));
    }
}
