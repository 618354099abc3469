//! A key with what it holds, in one piece of memory: how engines and copies of a store hold what is live.
//!
//! ```text
//! length of the key (2 bytes, little endian), key, create revision, modification revision - create revision, version,
//! lease (0: none), length of the value if it is folded (0: it is not), value
//! ```
//!
//! A value that is one line of JSON is folded (see [`fold`]): a million documents are much alike. Keys and values that are
//! handed out are views of a record; nothing is copied until somebody reads a folded value.

mod fold;
mod number;
mod words;

use std::borrow::{Borrow, Cow};
use std::cmp::Ordering;
use std::fmt;

use crate::held::Held;
use crate::{Entry, Key, KeyValue, LeaseId, Revision};

/// No record is longer than its key, its value and this.
const HEAD_BYTES_MAX: usize = 2 + 5 * 10;

/// A key with what it holds. Cheap to clone; ordered by its key.
#[derive(Clone)]
pub struct Record(Held);

/// What stands before a record's value.
struct Head {
    create_revision: Revision,
    mod_revision: Revision,
    version: u64,
    lease: Option<LeaseId>,
    /// The length of the value if it is folded.
    folded: usize,
    /// Where it is.
    value_at: usize,
}

impl Record {
    /// The record of a key and its entry; the very one that the entry is a view of, if that is of this key.
    pub fn of(key: &Key, entry: &Entry) -> Self {
        if let Some(record) = entry.value.record()
            && (record.is(key.bytes()) || crate::key::path_bytes(record) == key.as_bytes())
        {
            let record = Self(record.clone());
            if record.head().is_of(entry) {
                return record;
            }
        }
        let numbers = [entry.create_revision, entry.mod_revision, entry.version];
        Self::new(key.as_str(), numbers, entry.lease, &entry.value.bytes())
    }

    /// A record of a key's path; its create revision, modification revision and version; its lease and value.
    pub(crate) fn new(path: &str, numbers: [u64; 3], lease: Option<LeaseId>, value: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(HEAD_BYTES_MAX + path.len() + value.len());
        // A key has at most 1024 bytes.
        bytes.extend_from_slice(&(path.len() as u16).to_le_bytes());
        bytes.extend_from_slice(path.as_bytes());
        let [create_revision, mod_revision, version] = numbers;
        let since = mod_revision.wrapping_sub(create_revision);
        for field in [create_revision, since, version, lease.map_or(0, LeaseId::get)] {
            number::put(&mut bytes, field);
        }
        let head = bytes.len();
        if is_foldable(value) {
            number::put(&mut bytes, value.len() as u64);
            fold::fold(path.as_bytes(), value, &mut bytes);
        }
        if bytes.len() == head || bytes.len() - head > value.len() {
            bytes.truncate(head);
            bytes.push(0);
            bytes.extend_from_slice(value);
        }
        Self(Held::new(&bytes))
    }

    /// The key.
    pub fn key(&self) -> Key {
        Key::view(self.0.clone())
    }

    /// The key's path.
    pub fn path(&self) -> &str {
        crate::key::path(&self.0)
    }

    /// The key's path as bytes: for whoever compares many.
    pub fn path_bytes(&self) -> &[u8] {
        crate::key::path_bytes(&self.0)
    }

    /// What the key holds.
    pub fn entry(&self) -> Entry {
        let head = self.head();
        Entry {
            // A record is far shorter than 4 GiB.
            value: Value { held: self.0.clone(), at: head.value_at as u32, folded: head.folded as u32 },
            create_revision: head.create_revision,
            mod_revision: head.mod_revision,
            version: head.version,
            lease: head.lease,
        }
    }

    /// Both.
    pub fn key_value(&self) -> KeyValue {
        KeyValue { key: self.key(), entry: self.entry() }
    }

    /// The revision that created the key.
    pub fn create_revision(&self) -> Revision {
        self.head().create_revision
    }

    /// The revision that last wrote the key.
    pub fn mod_revision(&self) -> Revision {
        self.head().mod_revision
    }

    /// The value.
    pub fn value(&self) -> Cow<'_, [u8]> {
        let head = self.head();
        value_in(&self.0, head.value_at, head.folded)
    }

    /// Bytes of key and value, as they were given.
    pub(crate) fn size(&self) -> u64 {
        let head = self.head();
        let value = if head.folded > 0 { head.folded } else { self.0.len() - head.value_at };
        (crate::key::path_bytes(&self.0).len() + value) as u64
    }

    /// Bytes of memory that it takes.
    pub(crate) fn held(&self) -> usize {
        self.0.len()
    }

    /// The lease with which the key ends.
    pub(crate) fn lease(&self) -> Option<LeaseId> {
        self.head().lease
    }

    fn head(&self) -> Head {
        let mut rest = &self.0[2 + crate::key::path_bytes(&self.0).len()..];
        let create_revision = number::take(&mut rest);
        let mod_revision = create_revision.wrapping_add(number::take(&mut rest));
        let version = number::take(&mut rest);
        let lease = LeaseId::from_u64(number::take(&mut rest));
        let folded = number::take(&mut rest) as usize;
        Head { create_revision, mod_revision, version, lease, folded, value_at: self.0.len() - rest.len() }
    }
}

impl Head {
    fn is_of(&self, entry: &Entry) -> bool {
        (self.create_revision, self.mod_revision) == (entry.create_revision, entry.mod_revision)
            && (self.version, self.lease) == (entry.version, entry.lease)
    }
}

/// Whether folding is worth a try: documents are, and what applications store is left as it is.
fn is_foldable(value: &[u8]) -> bool {
    (fold::TEXT_BYTES_MIN..=fold::TEXT_BYTES_MAX).contains(&value.len())
        && value.first() == Some(&b'{')
        && value.last() == Some(&b'}')
        && !value.contains(&b'\n')
}

fn value_in(record: &[u8], at: usize, folded: usize) -> Cow<'_, [u8]> {
    if folded == 0 {
        return Cow::Borrowed(&record[at..]);
    }
    Cow::Owned(fold::unfold(crate::key::path_bytes(record), &record[at..], folded))
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key_value().fmt(f)
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        crate::key::path_bytes(&self.0) == crate::key::path_bytes(&other.0)
    }
}

impl Eq for Record {}

impl PartialOrd for Record {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Record {
    fn cmp(&self, other: &Self) -> Ordering {
        crate::key::path_bytes(&self.0).cmp(crate::key::path_bytes(&other.0))
    }
}

impl Borrow<[u8]> for Record {
    fn borrow(&self) -> &[u8] {
        crate::key::path_bytes(&self.0)
    }
}

/// A value. Cheap to clone; what a store holds is a view of its record.
#[derive(Clone, Default)]
pub struct Value {
    /// The value, or the record that it is in.
    held: Held,
    /// Where in the record; 0 if there is none.
    at: u32,
    /// Its length, if it is folded.
    folded: u32,
}

impl Value {
    /// Its bytes; worked out anew at each call if they are folded.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        value_in(&self.held, self.at as usize, self.folded as usize)
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        if self.folded > 0 { self.folded as usize } else { self.held.len() - self.at as usize }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value to be read in place, again and again; shared if it is not folded.
    pub fn plain(&self) -> Plain {
        Plain(if self.folded > 0 { Self::from(self.bytes().into_owned()) } else { self.clone() })
    }

    fn record(&self) -> Option<&Held> {
        (self.at > 0).then_some(&self.held)
    }
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(bytes: &[u8; N]) -> Self {
        bytes[..].into()
    }
}

impl<const N: usize> From<[u8; N]> for Value {
    fn from(bytes: [u8; N]) -> Self {
        bytes[..].into()
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self { held: Held::new(bytes), at: 0, folded: 0 }
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from(bytes.as_slice())
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Value {}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes().fmt(f)
    }
}

/// A value that is not folded.
#[derive(Clone, PartialEq, Eq)]
pub struct Plain(Value);

impl std::ops::Deref for Plain {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.held[self.0.at as usize..]
    }
}

#[cfg(test)]
mod tests;
