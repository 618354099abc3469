//! The bytes of an archive, without IO.

use aws_lc_rs::digest::{Context, SHA256};

use super::{END, END_BYTES, ENTRY, ENTRY_HEAD, FORMAT, HEAD, Head, MAGIC};
use crate::KeyValue;

/// Writes an archive into buffers.
pub(super) struct Encoder {
    sum: Context,
    keys: u64,
}

impl Encoder {
    /// Begins with the first line and the head, which are added to `out`.
    pub(super) fn begin(head: &Head, out: &mut Vec<u8>) -> Result<Self, serde_json::Error> {
        let mut encoder = Self { sum: Context::new(&SHA256), keys: 0 };
        let from = out.len();
        let json = serde_json::to_vec(head)?;
        out.extend_from_slice(format!("{MAGIC}{FORMAT}\n").as_bytes());
        block(out, HEAD, json.len());
        out.extend_from_slice(&json);
        encoder.sum.update(&out[from..]);
        Ok(encoder)
    }

    /// Adds a key. Keys come in order, each once.
    pub(super) fn entry(&mut self, pair: &KeyValue, out: &mut Vec<u8>) {
        let from = out.len();
        let (key, entry) = (pair.key.as_str().as_bytes(), &pair.entry);
        block(out, ENTRY, ENTRY_HEAD + key.len() + entry.value.len());
        for number in [entry.create_revision, entry.mod_revision, entry.version] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        // A key has at most 1024 bytes.
        out.extend_from_slice(&(key.len() as u16).to_le_bytes());
        out.extend_from_slice(key);
        out.extend_from_slice(&entry.value.bytes());
        self.sum.update(&out[from..]);
        self.keys += 1;
    }

    /// Adds the end.
    pub(super) fn end(self, out: &mut Vec<u8>) {
        let sum = self.sum.finish();
        block(out, END, END_BYTES);
        out.extend_from_slice(&self.keys.to_le_bytes());
        out.extend_from_slice(sum.as_ref());
    }
}

fn block(out: &mut Vec<u8>, kind: u8, length: usize) {
    out.push(kind);
    // Keys and values are far shorter.
    out.extend_from_slice(&(length as u32).to_le_bytes());
}
