//! How a store lies in its file: the tables, the bytes of an entry, and transactions over them.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `format` | JSON, see [`Format`] |
//! | `counters` | `epoch`, `revision`, `lease` | a number |
//! | `entries` | the key | create revision, modification revision, version, lease (0: none), 8 bytes each, little endian; then the value |
//! | `leases` | the lease's number | its time to live in milliseconds |

use std::time::Duration;

use redb::{Database, Durability, ReadableTable, TableDefinition, WriteTransaction};
use serde::Deserialize;

use crate::state::{Changes, State};
use crate::{Entry, LeaseId, Record, key};

pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
pub(super) const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("counters");
pub(super) const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");
pub(super) const LEASES: TableDefinition<'_, u64, u64> = TableDefinition::new("leases");

/// The format this version writes, and the newest it can read.
pub(super) const FORMAT: u32 = 1;
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
pub(super) struct Counters {
    pub(super) epoch: u64,
    pub(super) revision: u64,
    pub(super) lease_counter: u64,
}

impl Counters {
    /// Those that changes lead to.
    pub(super) fn after(changes: &Changes) -> Self {
        Self { epoch: changes.epoch, revision: changes.revision, lease_counter: changes.lease_counter }
    }

    /// Those of a new store.
    pub(super) fn new(epoch: u64) -> Self {
        Self { epoch, revision: 0, lease_counter: 0 }
    }

    pub(super) fn of(state: &State) -> Self {
        Self { epoch: state.epoch, revision: state.revision, lease_counter: state.lease_counter }
    }
}

/// Fills an empty database.
pub(super) fn create(
    database: &Database,
    counters: &Counters,
    leases: &[(LeaseId, Duration)],
    contents: impl Iterator<Item = Record>,
) -> Result<(), redb::Error> {
    let format = format!(r#"{{"reader_min":{FORMAT},"writer_min":{FORMAT}}}"#);
    write(database, |transaction| {
        transaction.open_table(META)?.insert("format", format.as_bytes())?;
        let mut table = transaction.open_table(COUNTERS)?;
        for (name, value) in
            [("epoch", counters.epoch), ("revision", counters.revision), ("lease", counters.lease_counter)]
        {
            table.insert(name, value)?;
        }
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

/// One durable transaction.
pub(super) fn write(
    database: &Database,
    change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate).map_err(redb::Error::from)?;
    change(&transaction)?;
    transaction.commit()?;
    Ok(())
}

pub(super) fn put_counters(transaction: &WriteTransaction, counters: &Counters) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(COUNTERS)?;
    table.insert("epoch", counters.epoch)?;
    table.insert("revision", counters.revision)?;
    table.insert("lease", counters.lease_counter)?;
    Ok(())
}

pub(super) fn put(
    entries: &mut redb::Table<'_, &str, &[u8]>,
    buffer: &mut Vec<u8>,
    key: &str,
    record: Option<&Record>,
) -> Result<(), redb::Error> {
    match record {
        Some(record) => {
            encode(&record.entry(), buffer);
            entries.insert(key, buffer.as_slice())?;
        }
        None => drop(entries.remove(key)?),
    }
    Ok(())
}

/// Whether a key holds just this already.
pub(super) fn is_there(
    entries: &redb::Table<'_, &str, &[u8]>,
    buffer: &mut Vec<u8>,
    key: &str,
    record: Option<&Record>,
) -> Result<bool, redb::Error> {
    let there = entries.get(key)?;
    let (Some(there), Some(record)) = (&there, record) else {
        return Ok(there.is_none() && record.is_none());
    };
    encode(&record.entry(), buffer);
    Ok(there.value() == buffer.as_slice())
}

pub(super) fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}

fn encode(entry: &Entry, buffer: &mut Vec<u8>) {
    buffer.clear();
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
        assert_eq!(FORMAT, 1);
    }
}
