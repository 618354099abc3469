//! The bytes of a log: its header, and its records.
//!
//! ```text
//! header:  "weir store log 1", salt (16), checksum (16): the first half of the SHA-256 of the 32 bytes before it
//! record:  "weir-rec", generation (8), number (8), size of the log when it was written (8), length of the body (8),
//!          checksum of what is before it (16), checksum of the chain (16), body
//! body:    epoch, revision, lease counter (8 each), number of entries, number of leases (4 each),
//!          entries: length of the key (2), key, length of the entry (4; 0xffffffff: removed), entry as in the file,
//!          leases: number (8), time to live in milliseconds (8; 0: ended)
//! ```
//!
//! Numbers are little endian. The header has a block of its own, and every record begins with one, so that writing a record
//! never touches a block, or a sector of a disk, in which something acknowledged stands.
//!
//! A head's checksum begins with the salt, which nobody outside knows: no value that somebody stores can look like a record.
//! The chain's checksum covers the one of the record before, all of the head and the body, so that a record is believed
//! only after all before it.

use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use super::super::layout::{Counters, Delta, decode, encode, millis};
use crate::{Key, LeaseId, Record};

/// Records begin at multiples of this: what a disk, or the page cache before it, writes as a whole.
pub(crate) const BLOCK: usize = 4096;
/// Bytes of a record before its body.
pub(crate) const HEAD: usize = 72;

const LOG_MAGIC: &[u8; 16] = b"weir store log 1";
const RECORD_MAGIC: &[u8; 8] = b"weir-rec";
const SUM: usize = 16;
/// Stands for the length of an entry that is not there.
const REMOVED: u32 = u32::MAX;
/// Bytes of a body before its entries.
const BODY_HEAD: usize = 32;

/// Which records count: those of one generation, in a log that was begun with this salt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogId {
    /// Drawn for each log file: no record of another one is ever taken for one of this.
    pub(crate) salt: [u8; 16],
    /// Rises with each checkpoint.
    pub(crate) generation: u64,
}

/// Bytes of a [`LogId`] as it is kept.
const ID_BYTES: usize = 24;

impl LogId {
    /// That of a new log; nothing if the system has no random numbers.
    pub(crate) fn draw() -> Option<Self> {
        let mut salt = [0; 16];
        SystemRandom::new().fill(&mut salt).ok()?;
        Some(Self { salt, generation: 1 })
    }

    /// The one after a checkpoint.
    pub(crate) fn next(self) -> Self {
        Self { generation: self.generation + 1, ..self }
    }

    /// Salt and generation.
    pub(crate) fn to_bytes(self) -> [u8; ID_BYTES] {
        let mut bytes = [0; ID_BYTES];
        bytes[..16].copy_from_slice(&self.salt);
        bytes[16..].copy_from_slice(&self.generation.to_le_bytes());
        bytes
    }

    /// The same, back.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; ID_BYTES] = bytes.try_into().ok()?;
        let (salt, generation) = (bytes.first_chunk::<16>()?, bytes.last_chunk::<8>()?);
        Some(Self { salt: *salt, generation: u64::from_le_bytes(*generation) })
    }
}

fn sum(parts: [&[u8]; 3]) -> [u8; SUM] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut sum = [0; SUM];
    sum.copy_from_slice(&context.finish().as_ref()[..SUM]);
    sum
}

/// What a log begins with.
pub(crate) fn header(id: LogId) -> [u8; 48] {
    let mut bytes = [0; 48];
    bytes[..16].copy_from_slice(LOG_MAGIC);
    bytes[16..32].copy_from_slice(&id.salt);
    let sum = sum([&bytes[..32], &[], &[]]);
    bytes[32..].copy_from_slice(&sum);
    bytes
}

/// The salt of a log that begins with these bytes, if it does begin as one.
pub(crate) fn salt_of(log: &[u8]) -> Option<[u8; 16]> {
    let salt = *log.get(16..)?.first_chunk::<16>()?;
    log.starts_with(&header(LogId { salt, generation: 0 })).then_some(salt)
}

/// The head of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) generation: u64,
    /// Counts the records of a generation, from 0.
    pub(crate) number: u64,
    /// Bytes that the log had on disk when the record was written.
    pub(crate) size: u64,
    /// Bytes of the body.
    pub(crate) length: u64,
}

impl Head {
    /// The head at the beginning of a block, if there is one that was written to a log of this salt.
    pub(crate) fn read(block: &[u8], salt: [u8; 16]) -> Option<Self> {
        let head = block.get(..HEAD)?;
        if !head.starts_with(RECORD_MAGIC) || head[40..56] != sum([&salt, &head[..40], &[]]) {
            return None;
        }
        let [generation, number, size, length] = [8, 16, 24, 32].map(|at| number_at(head, at));
        Some(Self { generation, number, size, length })
    }
}

/// Whether a block begins as a record does, whole or not.
pub(crate) fn is_begun(block: &[u8]) -> bool {
    block.starts_with(RECORD_MAGIC)
}

fn number_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

/// Where a log's records stand: how many there are, and the checksum of the last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    id: LogId,
    sum: [u8; SUM],
    number: u64,
}

impl Chain {
    /// Before the first record.
    pub(crate) fn new(id: LogId) -> Self {
        Self { id, sum: id.salt, number: 0 }
    }

    /// The number of the next record.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Makes a record of a body that stands behind room for its head, and fills its last block.
    pub(crate) fn seal(&mut self, record: &mut Vec<u8>, size: u64) {
        let length = (record.len() - HEAD) as u64;
        record[..8].copy_from_slice(RECORD_MAGIC);
        for (at, number) in [(8, self.id.generation), (16, self.number), (24, size), (32, length)] {
            record[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        let head_sum = sum([&self.id.salt, &record[..40], &[]]);
        record[40..56].copy_from_slice(&head_sum);
        self.advance(record);
        record[56..HEAD].copy_from_slice(&self.sum);
        record.resize(record.len().next_multiple_of(BLOCK), 0);
    }

    /// The body of the next record, if it begins here and is whole.
    pub(crate) fn read<'a>(&mut self, log: &'a [u8]) -> Option<&'a [u8]> {
        let head = Head::read(log, self.id.salt)?;
        if (head.generation, head.number) != (self.id.generation, self.number) {
            return None;
        }
        let end = usize::try_from(head.length).ok()?.checked_add(HEAD)?;
        let record = log.get(..end)?;
        let mut next = *self;
        next.advance(record);
        if record[56..HEAD] != next.sum {
            return None;
        }
        *self = next;
        Some(&record[HEAD..])
    }

    fn advance(&mut self, record: &[u8]) {
        self.sum = sum([&self.sum, &record[..56], &record[HEAD..]]);
        self.number += 1;
    }
}

/// Bytes of a record with this body, its head and what fills its last block included.
pub(crate) fn record_bytes(delta: &Delta) -> u64 {
    let entry = |(key, record): &(Key, Option<Record>)| match record {
        // An entry's head, and what `size` counts: key and value.
        Some(record) => 6 + 32 + record.size(),
        None => 6 + key.as_str().len() as u64,
    };
    let entries: u64 = delta.entries.iter().map(entry).sum();
    ((HEAD + BODY_HEAD) as u64 + entries + 16 * delta.leases.len() as u64).next_multiple_of(BLOCK as u64)
}

/// The revision that a body leads to, as far as it can be read.
pub(crate) fn revision_of(body: &[u8]) -> Option<u64> {
    body.get(8..16).map(|bytes| number_at(bytes, 0))
}

/// Writes a body behind what is there.
pub(crate) fn encode_body(delta: &Delta, out: &mut Vec<u8>) {
    let Counters { epoch, revision, lease_counter } = delta.counters;
    for number in [epoch, revision, lease_counter] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    for count in [delta.entries.len(), delta.leases.len()] {
        // A log holds far fewer.
        out.extend_from_slice(&(count as u32).to_le_bytes());
    }
    for (key, record) in &delta.entries {
        // A key has at most 1024 bytes, a value a megabyte.
        out.extend_from_slice(&(key.as_str().len() as u16).to_le_bytes());
        out.extend_from_slice(key.as_bytes());
        let Some(record) = record else {
            out.extend_from_slice(&REMOVED.to_le_bytes());
            continue;
        };
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        encode(&record.entry(), out);
        let length = (out.len() - at - 4) as u32;
        out[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }
    for (id, ttl) in &delta.leases {
        out.extend_from_slice(&id.get().to_le_bytes());
        out.extend_from_slice(&ttl.map_or(0, millis).to_le_bytes());
    }
}

/// What a body says; an error if no version of this engine would have written it.
pub(crate) fn decode_body(body: &[u8]) -> Result<Delta, String> {
    let mut rest = body;
    let numbers = take(&mut rest, BODY_HEAD)?;
    let counters = Counters {
        epoch: number_at(numbers, 0),
        revision: number_at(numbers, 8),
        lease_counter: number_at(numbers, 16),
    };
    let (entry_count, lease_count) = (length_at(&numbers[24..]), length_at(&numbers[28..]));
    let mut delta = Delta { counters, entries: Vec::new(), leases: Vec::new() };
    for _ in 0..entry_count {
        let length = take(&mut rest, 2)?;
        let key = take(&mut rest, usize::from(u16::from_le_bytes([length[0], length[1]])))?;
        let key = std::str::from_utf8(key).map_err(|error| format!("a key: {error}"))?;
        let length = length_at(take(&mut rest, 4)?);
        let record =
            if length == REMOVED as usize { None } else { Some(decode(key, take(&mut rest, length)?)?) };
        let key = match &record {
            Some(record) => record.key(),
            None => Key::parse(key).map_err(|error| error.to_string())?,
        };
        delta.entries.push((key, record));
    }
    for _ in 0..lease_count {
        let lease = take(&mut rest, 16)?;
        let id = LeaseId::from_u64(number_at(lease, 0)).ok_or("a lease without a number")?;
        let ttl_ms = number_at(lease, 8);
        delta.leases.push((id, (ttl_ms > 0).then(|| Duration::from_millis(ttl_ms))));
    }
    if rest.is_empty() { Ok(delta) } else { Err("a record goes on behind its end".to_owned()) }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], String> {
    let (taken, after) = rest.split_at_checked(length).ok_or("a record is cut short")?;
    *rest = after;
    Ok(taken)
}

fn length_at(bytes: &[u8]) -> usize {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize
}

#[cfg(test)]
mod tests;
