//! What is stored, and the transactions and reads over it. Plain data; engines give it meaning.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

use crate::{Key, KeyRange, Position, Revision, Value};

/// Names a lease. Never used twice in one epoch of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(NonZeroU64);

impl LeaseId {
    /// The lease with this number; `None` for 0, which means "no lease".
    pub fn from_u64(id: u64) -> Option<Self> {
        NonZeroU64::new(id).map(Self)
    }

    /// The lease's number.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value; empty in an answer that was asked for keys only.
    pub value: Value,
    /// The revision that created the key; a deleted key that comes back gets a new one.
    pub create_revision: Revision,
    /// The revision that last wrote the key.
    pub mod_revision: Revision,
    /// How often the key was written since it was created, from 1.
    pub version: u64,
    /// The lease with which the key ends, if any.
    pub lease: Option<LeaseId>,
}

/// A key and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Key,
    /// What it holds.
    pub entry: Entry,
}

/// How a compare relates what is stored to its operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Equal.
    Equal,
    /// Not equal.
    NotEqual,
    /// What is stored is less.
    Less,
    /// What is stored is greater.
    Greater,
}

/// A condition of a transaction. A key that does not exist has version, create and modification revision 0; every
/// compare of its value fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The key exists.
    Exists(Key),
    /// The key does not exist.
    Absent(Key),
    /// The key's version.
    Version(Key, Relation, u64),
    /// The revision that created the key.
    CreateRevision(Key, Relation, Revision),
    /// The revision that last wrote the key.
    ModRevision(Key, Relation, Revision),
    /// The key's value, ordered by bytes.
    Value(Key, Relation, Value),
}

impl Compare {
    /// The key is as it was when it was read at this modification revision (0: it did not exist).
    pub fn unchanged(key: Key, mod_revision: Revision) -> Self {
        Self::ModRevision(key, Relation::Equal, mod_revision)
    }

    /// The key this condition is about.
    pub fn key(&self) -> &Key {
        match self {
            Self::Exists(key)
            | Self::Absent(key)
            | Self::Version(key, ..)
            | Self::CreateRevision(key, ..)
            | Self::ModRevision(key, ..)
            | Self::Value(key, ..) => key,
        }
    }
}

/// A write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Sets a key.
    Put {
        /// The key.
        key: Key,
        /// Its new value.
        value: Value,
        /// The lease with which the key ends. A put without one detaches the key from its former lease.
        lease: Option<LeaseId>,
    },
    /// Deletes a key, if it exists.
    Delete(Key),
    /// Deletes every key of a range.
    DeleteRange(KeyRange),
}

/// A read of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Which keys.
    pub range: KeyRange,
    /// At most so many entries; the engine's `range_entries_max` holds in any case.
    pub limit: Option<usize>,
    /// Leave the values out.
    pub keys_only: bool,
    /// Read the state as of this revision; the latest if `None`.
    pub at: Option<Revision>,
}

impl Read {
    /// Everything in a range, as of now.
    pub fn range(range: KeyRange) -> Self {
        Self { range, limit: None, keys_only: false, at: None }
    }

    /// One key, as of now.
    pub fn key(key: &Key) -> Self {
        Self::range(KeyRange::key(key))
    }

    /// At most so many entries.
    #[must_use]
    pub fn limit(mut self, entries: usize) -> Self {
        self.limit = Some(entries);
        self
    }

    /// Leave the values out.
    #[must_use]
    pub fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }

    /// As of this revision.
    #[must_use]
    pub fn at(mut self, revision: Revision) -> Self {
        self.at = Some(revision);
        self
    }
}

/// One page of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The entries, in the order of their keys.
    pub entries: Vec<KeyValue>,
    /// Whether the range holds more after the last entry.
    pub more: bool,
    /// The position whose state this is. A watch from the revision after it misses nothing.
    pub position: Position,
}

/// A transaction: if all conditions hold, all writes happen in one revision; else the reads are answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// The conditions; none means "always".
    pub compares: Vec<Compare>,
    /// The writes if all conditions hold. No key may be written twice.
    pub writes: Vec<Op>,
    /// The reads if one does not.
    pub otherwise: Vec<Read>,
}

impl Txn {
    /// An empty transaction.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition.
    #[must_use]
    pub fn when(mut self, compare: Compare) -> Self {
        self.compares.push(compare);
        self
    }

    /// Adds a put without a lease.
    #[must_use]
    pub fn put(mut self, key: Key, value: impl Into<Value>) -> Self {
        self.writes.push(Op::Put { key, value: value.into(), lease: None });
        self
    }

    /// Adds a put under a lease.
    #[must_use]
    pub fn put_leased(mut self, key: Key, value: impl Into<Value>, lease: LeaseId) -> Self {
        self.writes.push(Op::Put { key, value: value.into(), lease: Some(lease) });
        self
    }

    /// Adds a delete of one key.
    #[must_use]
    pub fn delete(mut self, key: Key) -> Self {
        self.writes.push(Op::Delete(key));
        self
    }

    /// Adds a delete of a range.
    #[must_use]
    pub fn delete_range(mut self, range: KeyRange) -> Self {
        self.writes.push(Op::DeleteRange(range));
        self
    }

    /// Adds a read for the case that a condition does not hold.
    #[must_use]
    pub fn otherwise(mut self, read: Read) -> Self {
        self.otherwise.push(read);
        self
    }
}

/// What a write of a transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// A put, and what the key held before.
    Put(Option<Entry>),
    /// A delete, and what the key held before.
    Deleted(Option<Entry>),
    /// A deleted range, and how many keys it held.
    RangeDeleted(u64),
}

/// The result of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether all conditions held.
    pub succeeded: bool,
    /// Where the transaction stands: its own revision if it changed something, else the one it saw.
    pub position: Position,
    /// What each write did, in order; empty if a condition did not hold.
    pub writes: Vec<Written>,
    /// The answers to the reads, in order; empty if all conditions held.
    pub reads: Vec<Page>,
}

impl Outcome {
    /// Whether anything was changed: then the position is the transaction's own.
    pub(crate) fn changes(&self) -> bool {
        self.writes.iter().any(|written| match written {
            Written::Put(_) => true,
            Written::Deleted(before) => before.is_some(),
            Written::RangeDeleted(keys) => *keys > 0,
        })
    }
}

/// A granted lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its name.
    pub id: LeaseId,
    /// How long it lives after each renewal.
    pub ttl: std::time::Duration,
}

/// What happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The key.
    pub key: Key,
    /// What it holds now; `None` if it was deleted.
    pub now: Option<Entry>,
    /// What it held before; `None` if it was created.
    pub before: Option<Entry>,
}

/// All that one transaction did, as far as a watch asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The transaction's position.
    pub position: Position,
    /// Its changes, in the order of their keys. Empty only if the position has moved without a change of a watched key,
    /// which a watch of all keys is told where a store is shared with others.
    pub events: Arc<[Event]>,
}
