//! A KV entry and its stored form: one line of JSON, then the value's raw bytes, so that values are neither copied
//! nor escaped.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_model::Revision;
use weir_store::{Entry, Plain, Value};

/// A KV key with its value.
#[derive(Clone, PartialEq, Eq)]
pub struct KvEntry {
    /// The key.
    pub key: Arc<str>,
    /// The application's own number.
    pub flags: u64,
    /// The revision that created the key.
    pub create_revision: Revision,
    /// The revision that last changed it.
    pub modify_revision: Revision,
    /// How often it was locked since it was created.
    pub lock_index: u64,
    /// The session that holds it.
    pub session: Option<Arc<str>>,
    /// Header and value as stored; shared with the store.
    stored: Plain,
    value_at: usize,
}

impl KvEntry {
    /// The value.
    pub fn value(&self) -> &[u8] {
        &self.stored[self.value_at..]
    }
}

impl std::fmt::Debug for KvEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KvEntry")
            .field("key", &self.key)
            .field("flags", &self.flags)
            .field("create_revision", &self.create_revision)
            .field("modify_revision", &self.modify_revision)
            .field("value_bytes", &self.value().len())
            .finish_non_exhaustive()
    }
}

/// What stands before a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    #[serde(default)]
    pub(crate) flags: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) lock_index: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<Arc<str>>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The stored form.
pub(crate) fn encode(header: &Header, value: &[u8]) -> Value {
    let mut stored = Vec::with_capacity(value.len() + 32);
    // A struct of numbers and a text always has a JSON form.
    serde_json::to_writer(&mut stored, header).unwrap_or_default();
    stored.push(b'\n');
    stored.extend_from_slice(value);
    stored.into()
}

/// Reads the stored form; `None` if it is none.
pub(crate) fn decode(key: &str, entry: &Entry) -> Option<KvEntry> {
    let stored = entry.value.plain();
    let line = stored.iter().position(|byte| *byte == b'\n')?;
    let header: Header = serde_json::from_slice(&stored[..line]).ok()?;
    Some(KvEntry {
        key: key.into(),
        flags: header.flags,
        create_revision: entry.create_revision,
        modify_revision: entry.mod_revision,
        lock_index: header.lock_index,
        session: header.session,
        stored,
        value_at: line + 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_read_back() {
        for value in [&b""[..], b"\n", b"plain", &[0, 255, 10, 13]] {
            let entry = Entry {
                value: encode(&Header { flags: u64::MAX, lock_index: 4, session: Some("s".into()) }, value),
                create_revision: 3,
                mod_revision: 5,
                version: 2,
                lease: None,
            };
            let read = decode("a/b", &entry).expect("readable");
            assert_eq!((read.value(), read.flags, read.modify_revision), (value, u64::MAX, 5));
            assert_eq!((read.lock_index, read.session.as_deref()), (4, Some("s")));
        }
    }

    #[test]
    fn the_stored_form_stays_readable() {
        // Golden: written by the first version. Change the reader so that it still reads this, never the text.
        let header = Header { flags: 7, ..Header::default() };
        assert_eq!(&*encode(&header, b"x").bytes(), b"{\"flags\":7}\nx");
        let locked = Header { lock_index: 2, session: Some("s".into()), ..header };
        assert_eq!(&*encode(&locked, b"x").bytes(), b"{\"flags\":7,\"lock_index\":2,\"session\":\"s\"}\nx");
    }
}
