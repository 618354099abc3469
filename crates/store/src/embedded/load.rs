//! Reading a file when it is opened, with distrust.

use std::collections::BTreeMap;
use std::time::Duration;

use redb::{
    AccessGuard, Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, TableError,
};

use super::file::{File, refused};
use super::layout::{COUNTERS, Delta, ENTRIES, FORMAT, Format, LEASES, META, decode};
use super::log::{LogId, Replay};
use crate::state::{Entries, Stored};
use crate::{Error, LeaseId, Record, in_order};

impl File {
    /// Whether the file is a store already; an error if it is one that this version must not use.
    pub(super) fn check_format(&self, database: &Database) -> Result<bool, Error> {
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

    /// What is in the file, and the log that has what is not in it yet.
    pub(super) fn load(&self, database: &Database) -> Result<(Stored, Option<LogId>), Error> {
        let read = || -> Result<Result<(Stored, Option<LogId>), String>, redb::Error> {
            let transaction = database.begin_read()?;
            let log = match log_in(&transaction)? {
                Some(None) => return Ok(Err("it does not say which log it has".into())),
                log => log.flatten(),
            };
            let counters = transaction.open_table(COUNTERS)?;
            let counter = |name| Ok::<_, redb::Error>(counters.get(name)?.map_or(0, |value| value.value()));
            let mut leases = BTreeMap::new();
            for lease in transaction.open_table(LEASES)?.iter()? {
                let (id, ttl_ms) = lease?;
                let Some(id) = LeaseId::from_u64(id.value()) else {
                    return Ok(Err("a lease without a number".into()));
                };
                leases.insert(id, Duration::from_millis(ttl_ms.value()));
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
            Ok(Ok((stored, log)))
        };
        read().map_err(|error| self.read_error(&error))?.map_err(|reason| self.corrupt(&reason))
    }

    /// Which log the file names, whose contents are known.
    pub(super) fn log_of(&self, database: &Database) -> Result<Option<LogId>, Error> {
        let read = || log_in(&database.begin_read()?).map(Option::flatten);
        read().map_err(|error: redb::Error| refused(&error))
    }

    /// Refuses what no version of this engine would have written.
    pub(super) fn check(&self, stored: &Stored) -> Result<(), Error> {
        if stored.epoch == 0 {
            return Err(self.corrupt("it has no epoch"));
        }
        for record in &stored.entries {
            let (created, modified) = (record.create_revision(), record.mod_revision());
            if modified > stored.revision || created > modified {
                return Err(self.corrupt(&format!("the revisions of {} are impossible", record.path())));
            }
            if record.lease().is_some_and(|lease| !stored.leases.contains_key(&lease)) {
                return Err(self.corrupt(&format!("the lease of {} does not exist", record.path())));
            }
        }
        Ok(())
    }
}

/// Which log a file names: nothing if it is closed, `Some(None)` if what stands there cannot be read.
fn log_in(transaction: &ReadTransaction) -> Result<Option<Option<LogId>>, redb::Error> {
    Ok(transaction.open_table(META)?.get("log")?.map(|id| LogId::from_bytes(id.value())))
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

impl Replay {
    /// Without what a log cannot say after what is stored: every batch goes on from the one before.
    pub(super) fn that_follows(mut self, stored: &Stored) -> Self {
        // Not above the file's epoch: that one may have been raised since, when the file was repaired.
        let mut last = (0, stored.revision, stored.lease_counter);
        for (number, delta) in self.deltas.iter().enumerate() {
            let next = (delta.counters.epoch, delta.counters.revision, delta.counters.lease_counter);
            if next.0 < last.0 || next.1 < last.1 || next.2 < last.2 {
                let reason = format!("its revision {} cannot follow revision {}", next.1, last.1);
                self.cut(number, reason);
                break;
            }
            last = next;
        }
        self
    }
}

impl Stored {
    /// Lays a batch over it.
    pub(super) fn apply(&mut self, delta: Delta) {
        for (key, record) in delta.entries {
            match record {
                Some(record) => drop(self.entries.replace(record)),
                None => drop(self.entries.take(key.as_bytes())),
            }
        }
        for (id, ttl) in delta.leases {
            match ttl {
                Some(ttl) => drop(self.leases.insert(id, ttl)),
                None => drop(self.leases.remove(&id)),
            }
        }
        (self.epoch, self.revision) = (self.epoch.max(delta.counters.epoch), delta.counters.revision);
        self.lease_counter = delta.counters.lease_counter;
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::Counters;
    use super::*;

    #[test]
    fn a_log_goes_on_from_its_file() {
        let stored = Stored { epoch: 5, revision: 10, lease_counter: 3, ..Stored::default() };
        let delta = |epoch, revision, lease_counter| Delta {
            counters: Counters { epoch, revision, lease_counter },
            entries: Vec::new(),
            leases: Vec::new(),
        };
        let follow = |deltas: Vec<Delta>| {
            let count = deltas.len();
            let Replay { deltas, broken } = Replay { deltas, broken: None }.that_follows(&stored);
            assert_eq!(broken.map_or(0, |broken| broken.records), (count - deltas.len()) as u64);
            deltas.len()
        };
        assert_eq!(follow(Vec::new()), 0);
        assert_eq!(follow(vec![delta(5, 10, 4), delta(5, 11, 4), delta(6, 12, 4)]), 3);
        // The file's epoch was raised since.
        assert_eq!(follow(vec![delta(4, 11, 3)]), 1);
        for impossible in [delta(5, 9, 3), delta(5, 11, 2)] {
            assert_eq!(follow(vec![impossible]), 0);
        }
        for impossible in [delta(4, 12, 3), delta(5, 10, 3), delta(5, 12, 2)] {
            assert_eq!(follow(vec![delta(5, 11, 3), impossible, delta(6, 13, 3)]), 1);
        }
    }
}
