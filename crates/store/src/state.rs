//! The state machine that the local engines share: live entries, leases and recent history, in memory.
//!
//! Pure: no clock, no IO, no locks. A change is made in two steps, so that an engine can make it durable in between:
//!
//! ```text
//! Staging::new(&state) -> execute(command, now)* -> finish() -> Changes -> (made durable) -> State::apply(changes)
//! ```
//!
//! Why all live values are in memory: what a store holds is small (about a kilobyte per instance), compares and reads
//! then never wait for the disk, and reads go on when the disk fails. A state that does not fit must be refused by
//! its owner; the engine reports its size in [`crate::Stats`].

mod history;
mod leases;
mod merge;
mod staging;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub(crate) use history::History;
pub(crate) use leases::{LeaseChange, Leases};
pub(crate) use staging::{Answer, Changes, Command, Contents, Staging, validate_ttl};

use crate::{Entry, Error, Event, Key, KeyRange, KeyValue, Limits, Page, Position, Read, Record, Revision};

/// What is live, in the order of keys.
pub(crate) type Entries = BTreeSet<Record>;
/// Changes over [`Entries`]; `None` means "deleted".
pub(crate) type Overlay = BTreeMap<Key, Option<Record>>;

/// The transaction that made one revision.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) revision: Revision,
    /// In the order of their keys.
    pub(crate) changes: Box<[Change]>,
}

/// What became of a key: held as records, and made into an [`Event`] for whoever watches, which takes several times the memory.
#[derive(Debug)]
pub(crate) struct Change {
    /// What it holds now; `None` if it was deleted.
    pub(crate) now: Option<Record>,
    /// What it held before; `None` if it was created. One of both is there.
    pub(crate) before: Option<Record>,
}

impl Change {
    fn record(&self) -> &Record {
        self.now.as_ref().or(self.before.as_ref()).expect("what neither is nor was there does not change")
    }

    /// The key's path.
    pub(crate) fn path_bytes(&self) -> &[u8] {
        self.record().path_bytes()
    }

    /// The key, which it shares with what is live.
    pub(crate) fn key(&self) -> Key {
        self.record().key()
    }

    /// The same for whoever watches.
    pub(crate) fn event(&self) -> Event {
        let entry = |record: &Option<Record>| record.as_ref().map(Record::entry);
        Event { key: self.key(), now: entry(&self.now), before: entry(&self.before) }
    }
}

/// What a store holds at one revision, and how it came there.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) limits: Limits,
    pub(crate) epoch: u64,
    pub(crate) revision: Revision,
    /// The number of the last lease granted in this epoch.
    pub(crate) lease_counter: u64,
    pub(crate) entries: Entries,
    /// Bytes of all live keys and values.
    pub(crate) bytes: u64,
    pub(crate) leases: Leases,
    pub(crate) history: History,
}

impl State {
    /// A state from what was stored. Every lease gets its full time to live, counted from `now`.
    pub(crate) fn new(limits: Limits, stored: Stored, now: Duration) -> Self {
        let history = History::new(limits.history_events_max, limits.history_bytes_max, stored.revision);
        let mut leases = Leases::default();
        for (id, ttl) in stored.leases {
            leases.apply(id, LeaseChange::Granted { ttl, deadline: now + ttl });
        }
        let mut bytes = 0;
        for record in &stored.entries {
            bytes += record.size();
            if let Some(lease) = record.lease() {
                leases.attach(lease, &record.key());
            }
        }
        Self {
            limits,
            epoch: stored.epoch,
            revision: stored.revision,
            lease_counter: stored.lease_counter,
            entries: stored.entries,
            bytes,
            leases,
            history,
        }
    }

    pub(crate) fn position(&self) -> Position {
        Position::new(self.epoch, self.revision)
    }

    /// Makes staged changes visible.
    pub(crate) fn apply(&mut self, changes: Changes) {
        for (key, record) in changes.entries {
            let lease = record.as_ref().and_then(Record::lease);
            let before = match record {
                Some(record) => {
                    self.bytes += record.size();
                    self.entries.replace(record)
                }
                None => self.entries.take(key.as_bytes()),
            };
            let lease_before = before.as_ref().and_then(Record::lease);
            self.bytes -= before.as_ref().map_or(0, Record::size);
            if lease_before != lease {
                lease_before.inspect(|lease| self.leases.detach(*lease, &key));
            }
            if let Some(lease) = lease {
                // The grant may be in these very changes, and is applied below: attaching is enough.
                self.leases.attach(lease, &key);
            }
        }
        for (id, change) in changes.leases {
            self.leases.apply(id, change);
        }
        self.epoch = changes.epoch;
        self.revision = changes.revision;
        self.lease_counter = changes.lease_counter;
        if let Some(replaced) = changes.replaced {
            self.history =
                History::new(self.limits.history_events_max, self.limits.history_bytes_max, replaced);
        }
        for commit in changes.commits {
            self.history.push(commit);
        }
        debug_assert_eq!(self.history.newest(), self.revision);
    }

    /// Answers a read from the committed state, or from the history if it asks for the past.
    pub(crate) fn read(&self, read: &Read) -> Result<Page, Error> {
        let at = read.at.unwrap_or(self.revision);
        if at > self.revision {
            return Err(Error::FutureRevision { asked: at, current: self.revision });
        }
        let past = self.history.undo_to(at, &read.range)?;
        Ok(page(&self.entries, &past, read, &self.limits, Position::new(self.epoch, at)))
    }

    /// Forgets how the state before `revision` was.
    pub(crate) fn compact(&mut self, revision: Revision) -> Result<(), Error> {
        if revision > self.revision {
            return Err(Error::FutureRevision { asked: revision, current: self.revision });
        }
        self.history.compact(revision);
        Ok(())
    }
}

/// What a durable engine keeps.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) epoch: u64,
    pub(crate) revision: Revision,
    pub(crate) lease_counter: u64,
    pub(crate) entries: Entries,
    /// How long each lives after a renewal.
    pub(crate) leases: BTreeMap<crate::LeaseId, Duration>,
}

/// One page of what `overlay` makes of `entries`.
fn page(entries: &Entries, overlay: &Overlay, read: &Read, limits: &Limits, position: Position) -> Page {
    let limit = read.limit.unwrap_or(usize::MAX).min(limits.range_entries_max);
    let mut found = Page { entries: Vec::new(), more: false, position };
    let no_value = crate::Value::default();
    for record in merge::merged(entries, overlay, &read.range) {
        if found.entries.len() == limit {
            found.more = true;
            break;
        }
        let KeyValue { key, entry } = record.key_value();
        let entry = if read.keys_only { Entry { value: no_value.clone(), ..entry } } else { entry };
        found.entries.push(KeyValue { key, entry });
    }
    found
}

/// What a key holds under an overlay.
fn lookup<'a>(entries: &'a Entries, overlay: &'a Overlay, key: &Key) -> Option<&'a Record> {
    match overlay.get(key) {
        Some(changed) => changed.as_ref(),
        None => entries.get(key.as_bytes()),
    }
}

/// The records of a range under an overlay.
fn records_in(entries: &Entries, overlay: &Overlay, range: &KeyRange, max: usize) -> Vec<Record> {
    merge::merged(entries, overlay, range).take(max).cloned().collect()
}
