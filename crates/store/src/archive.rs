//! Everything that a store holds, in one file that does not depend on the engine: for backups, and for moving from one engine
//! to another.
//!
//! ```text
//! store -> Snapshot, one revision -> Export -> file | HTTP
//! file -> Reader, whole and unaltered? -> Reader again -> Embedded::restore | fill
//! ```
//!
//! Keys under a lease are not in it: what ends by itself must not come back to life. What else is left out is for the
//! caller to say, who knows what keys mean.
//!
//! # Format 1
//!
//! A line of text, `weir-store 1`, then blocks to the end of the file, each a letter, the length of what follows (4 bytes), and
//! so many bytes. Numbers are little endian.
//!
//! | block | holds |
//! |---|---|
//! | `H`, the first | JSON, see [`Head`] |
//! | `E`, one for each key, in the order of keys | create revision, modification revision and version (8 bytes each), the length of the key (2 bytes), the key, the value |
//! | `Z`, the last | the number of keys (8 bytes), and the SHA-256 of all bytes of the file before it |
//!
//! A reader refuses a file whose `reader_min` is greater than what it knows, and kinds of blocks that it does not know.

mod encode;
mod export;
mod import;
mod reader;

use std::collections::BTreeMap;
use std::io::Read;

use serde::{Deserialize, Serialize};
use weir_model::Position;

pub use export::Export;
pub use import::fill;
pub use reader::Reader;

use crate::{Entry, Error, Key, Store};

/// The format that is written, and the newest that is read.
pub const FORMAT: u32 = 1;

/// What every file begins with, before the number of its format.
const MAGIC: &str = "weir-store ";
/// The longest first line.
const FIRST_LINE_MAX: usize = 32;
const HEAD: u8 = b'H';
const ENTRY: u8 = b'E';
const END: u8 = b'Z';
/// A block's letter and length.
const BLOCK_HEAD: usize = 5;
/// What stands before an entry's key: three numbers, and the key's length.
const ENTRY_HEAD: usize = 3 * 8 + 2;
/// The number of keys, and the sum.
const END_BYTES: usize = 8 + 32;
/// The longest block: the longest value of any engine, with room to spare.
const BLOCK_BYTES_MAX: usize = 16 << 20;

/// What stands at the beginning of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The oldest format whose programs may read the file.
    pub reader_min: u32,
    /// The position at which the store was read.
    pub position: Position,
    /// The version of the program that wrote it, for people.
    #[serde(default)]
    pub version: String,
}

impl Head {
    fn of(position: Position) -> Self {
        Self { reader_min: FORMAT, position, version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// It is something else.
    #[error("it is not an export or a backup of a store")]
    Other,
    /// It was written by a newer version.
    #[error("it has format {found}, this version reads up to {supported}; use a newer weir")]
    NewerFormat {
        /// The format that a program must know at least to read the file.
        found: u32,
        /// The newest format this version knows.
        supported: u32,
    },
    /// It ends too early.
    #[error("it is cut short: it ends after {at} bytes")]
    Truncated {
        /// Its length.
        at: u64,
    },
    /// Its sum is not that of its content.
    #[error("it was altered: its checksum is not that of its content")]
    Altered,
    /// It says something that no writer would have written.
    #[error("it is damaged near byte {at}: {reason}")]
    Damaged {
        /// Where.
        at: u64,
        /// What.
        reason: String,
    },
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] std::io::Error),
}

/// What a whole file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// What stands at its beginning.
    pub head: Head,
    /// How many keys of each kind there are; keys that are not Weir's own are of kind `""`.
    pub kinds: BTreeMap<String, u64>,
    /// Bytes of keys and values.
    pub bytes: u64,
}

impl Summary {
    /// How many keys there are.
    pub fn keys(&self) -> u64 {
        self.kinds.values().sum()
    }
}

impl Summary {
    fn of(head: Head) -> Self {
        Self { head, kinds: BTreeMap::new(), bytes: 0 }
    }

    fn add(&mut self, key: &Key, entry: &Entry) {
        let kind = key.kind().unwrap_or_default();
        match self.kinds.get_mut(kind) {
            Some(count) => *count += 1,
            None => drop(self.kinds.insert(kind.to_owned(), 1)),
        }
        self.bytes += (key.as_bytes().len() + entry.value.len()) as u64;
    }
}

/// Reads a file to its end. Only then is it known to be whole and unaltered.
///
/// # Errors
/// What is wrong with it.
pub fn verify(file: impl Read) -> Result<Summary, ArchiveError> {
    let mut reader = Reader::open(file)?;
    let mut summary = Summary::of(reader.head().clone());
    while let Some((key, entry)) = reader.next().transpose()? {
        summary.add(&key, &entry);
    }
    Ok(summary)
}

/// Reads a store to its end, keys under leases included.
///
/// # Errors
/// What [`Store::snapshot`] answers.
pub async fn survey(store: &dyn Store) -> Result<Summary, Error> {
    let mut snapshot = store.snapshot().await?;
    let mut summary = Summary::of(Head::of(snapshot.position()));
    loop {
        let page = snapshot.next().await?;
        if page.is_empty() {
            return Ok(summary);
        }
        page.iter().for_each(|pair| summary.add(&pair.key, &pair.entry));
    }
}

#[cfg(test)]
mod tests;
