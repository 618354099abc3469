//! The dynamic table (RFC 7541 section 2.3.2), the same for both directions.
//!
//! Entries stand one behind the other in one buffer, the newest last. What was evicted stays in front until it is as much as
//! what lives; then the living are moved to the beginning, so a byte is moved at most once for each that was evicted.

use std::collections::VecDeque;

use super::FIELD_OVERHEAD_BYTES;
use super::name::{Field, Number};

/// The buffer's first size in bytes.
const BUFFER_BYTES_MIN: usize = 256;

pub(super) struct Table {
    /// Bounded by three times `bytes_max`.
    bytes: Vec<u8>,
    /// Newest first. Bounded by `bytes_max / FIELD_OVERHEAD_BYTES`.
    entries: VecDeque<Entry>,
    size: usize,
    bytes_max: u32,
}

#[derive(Clone, Copy)]
struct Entry {
    /// Where the name begins; the value follows it.
    start: u32,
    name_len: u32,
    value_len: u32,
    number: Number,
    valid: bool,
}

impl Entry {
    fn size(&self) -> usize {
        (self.name_len + self.value_len) as usize + FIELD_OVERHEAD_BYTES
    }
}

/// Where the name of a new entry stands.
#[derive(Clone, Copy)]
pub(super) enum NameBytes<'a> {
    /// Outside of the table.
    Given(&'a [u8]),
    /// In the entry with this position.
    At(usize),
}

impl Table {
    pub(super) fn new(bytes_max: u32) -> Self {
        Self { bytes: Vec::new(), entries: VecDeque::new(), size: 0, bytes_max }
    }

    /// The size that entries may have together.
    pub(super) fn bytes_max(&self) -> u32 {
        self.bytes_max
    }

    /// The number of entries.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The size of all entries together.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The entry at a position; 0 is the newest.
    #[inline(always)]
    pub(super) fn get(&self, position: usize) -> Option<Field<'_>> {
        let entry = self.entries.get(position)?;
        let (name, value) =
            self.bytes.get(entry.start as usize..)?.split_at_checked(entry.name_len as usize)?;
        let value = value.get(..entry.value_len as usize)?;
        Some(Field { id: entry.number.name(), name, value, valid: entry.valid, never_indexed: false })
    }

    /// The number of an entry's name.
    #[inline(always)]
    pub(super) fn number(&self, position: usize) -> Option<Number> {
        self.entries.get(position).map(|entry| entry.number)
    }

    /// Whether the entry at a position has this name, which counts as `spelled` when its number stands for many, and value.
    #[inline(always)]
    pub(super) fn holds(&self, position: usize, number: Number, spelled: &[u8], value: &[u8]) -> bool {
        let Some(entry) = self.entries.get(position) else { return false };
        let begin = (entry.start + entry.name_len) as usize;
        entry.number == number
            && entry.value_len as usize == value.len()
            && self.bytes.get(begin..).is_some_and(|bytes| begins_with(bytes, value))
            && (spelled.is_empty() || self.get(position).is_some_and(|entry| same(entry.name, spelled)))
    }

    /// Changes the size allowed, and evicts what is beyond it.
    pub(super) fn resize(&mut self, bytes_max: u32) {
        self.bytes_max = bytes_max;
        self.evict(bytes_max as usize);
        if bytes_max == 0 {
            *self = Self::new(0);
        }
    }

    /// Puts a field in front; one that is larger than the table empties it (RFC 7541 section 4.4).
    pub(super) fn insert(&mut self, number: Number, name: NameBytes<'_>, value: &[u8], valid: bool) {
        let name_len = match name {
            NameBytes::Given(name) => name.len(),
            NameBytes::At(position) => self.entries[position].name_len as usize,
        };
        let size = name_len + value.len() + FIELD_OVERHEAD_BYTES;
        if size > self.bytes_max as usize {
            return self.evict(0);
        }
        self.make_room(name_len + value.len());
        let start = self.bytes.len() as u32;
        match name {
            NameBytes::Given(name) => self.bytes.extend_from_slice(name),
            NameBytes::At(position) => {
                let from = self.entries[position].start as usize;
                self.bytes.extend_from_within(from..from + name_len);
            }
        }
        self.bytes.extend_from_slice(value);
        // Only now, since the name's own entry may be the one that goes.
        self.evict(self.bytes_max as usize - size);
        let (name_len, value_len) = (name_len as u32, value.len() as u32);
        self.entries.push_front(Entry { start, name_len, value_len, number, valid });
        self.size += size;
        debug_assert!(self.size <= self.bytes_max as usize);
    }

    /// Evicts the oldest entries until the others have `bytes` together.
    fn evict(&mut self, bytes: usize) {
        while self.size > bytes {
            let Some(entry) = self.entries.pop_back() else { return };
            self.size -= entry.size();
        }
    }

    fn make_room(&mut self, more: usize) {
        if self.bytes.len() + more <= self.bytes.capacity() {
            return;
        }
        let evicted = self.entries.back().map_or(self.bytes.len(), |oldest| oldest.start as usize);
        if evicted * 2 >= self.bytes.len() {
            self.bytes.drain(..evicted);
            for entry in &mut self.entries {
                entry.start -= evicted as u32;
            }
        }
        let doubled = (2 * self.bytes.capacity()).min(2 * self.bytes_max as usize);
        let wanted = (self.bytes.len() + more).max(doubled).max(BUFFER_BYTES_MIN);
        if self.bytes.len() + more > self.bytes.capacity() {
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
    }
}

/// As `bytes.starts_with(beginning)`, without a call.
#[inline(always)]
fn begins_with(bytes: &[u8], beginning: &[u8]) -> bool {
    let Some(bytes) = bytes.get(..beginning.len()) else { return false };
    match (bytes.last_chunk::<8>(), beginning.last_chunk::<8>()) {
        (Some(last), Some(expect)) => {
            let words = bytes.as_chunks::<8>().0.iter().zip(beginning.as_chunks::<8>().0);
            last == expect && words.fold(true, |same, (a, b)| same & (a == b))
        }
        _ => bytes.iter().zip(beginning).fold(true, |same, (a, b)| same & (a == b)),
    }
}

/// Whether a name is the table's, in any case.
#[inline(always)]
fn same(entry: &[u8], name: &[u8]) -> bool {
    entry.len() == name.len() && (begins_with(entry, name) || entry.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the table holds, by the letter of the specification.
    #[derive(Default)]
    struct Model(Vec<(Vec<u8>, Vec<u8>)>);

    impl Model {
        fn size(&self) -> usize {
            self.0.iter().map(|(name, value)| name.len() + value.len() + 32).sum()
        }

        fn shrink(&mut self, bytes: usize) {
            while self.size() > bytes {
                self.0.pop();
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert(usize, usize),
        Derive(usize, usize),
        Resize(u32),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            8 => (0..80usize, 0..300usize).prop_map(|(name, value)| Op::Insert(name, value)),
            4 => (0..40usize, 0..300usize).prop_map(|(of, value)| Op::Derive(of, value)),
            1 => (0..600u32).prop_map(Op::Resize),
        ]
    }

    proptest! {
        #[test]
        fn it_is_what_the_specification_says(ops in proptest::collection::vec(op(), 0..200)) {
            let (mut table, mut model) = (Table::new(500), Model::default());
            for (turn, op) in ops.into_iter().enumerate() {
                let fill = turn as u8;
                match op {
                    Op::Resize(bytes) => {
                        table.resize(bytes);
                        model.shrink(bytes as usize);
                    }
                    Op::Derive(_, value) | Op::Insert(_, value) => {
                        let value = vec![fill ^ 0x55; value];
                        let (name, bytes) = match op {
                            Op::Derive(of, _) if of < table.len() => (model.0[of].0.clone(), NameBytes::At(of)),
                            Op::Derive(of, _) | Op::Insert(of, _) => (vec![fill; of], NameBytes::Given(&[])),
                            Op::Resize(_) => unreachable!(),
                        };
                        let bytes = if let NameBytes::Given(_) = bytes { NameBytes::Given(&name) } else { bytes };
                        let max = table.bytes_max() as usize;
                        let size = name.len() + value.len() + 32;
                        table.insert(Number::OTHER, bytes, &value, true);
                        model.shrink(max.saturating_sub(size));
                        if size <= max {
                            model.0.insert(0, (name, value));
                        }
                    }
                }
                prop_assert_eq!(table.len(), model.0.len());
                prop_assert_eq!(table.size, model.size());
                prop_assert!(table.bytes.capacity() <= 3 * 600 + BUFFER_BYTES_MIN);
                for (position, (name, value)) in model.0.iter().enumerate() {
                    let field = table.get(position).unwrap();
                    prop_assert_eq!((field.name, field.value), (&name[..], &value[..]));
                }
                prop_assert!(table.get(table.len()).is_none());
            }
        }
    }
}
