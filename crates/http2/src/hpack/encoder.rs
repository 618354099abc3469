//! From fields to a block.
//!
//! Strings are sent as they are, never Huffman-coded: what repeats is one byte either way, and coding the rest costs more
//! instructions than the bytes saved are worth between machines of one network.

use weir_http1::KnownField;

use super::TABLE_BYTES_DEFAULT;
use super::dynamic_table::{NameBytes, Table};
use super::integer::put_integer;
use super::name::Number;
use super::rule::Rule;
use super::sightings::{Found, Hash, Sightings, Slot};
use super::static_table::{STATIC_MAX, index_of, index_of_other};

/// The most that the table is given, whatever the peer allows, in bytes.
const TABLE_BYTES_MAX: u32 = TABLE_BYTES_DEFAULT;

/// The longest value, in bytes, that an entry is made with for the sake of its name.
const NAMING_VALUE_BYTES_MAX: usize = 64;

/// One direction's encoder.
pub struct Encoder {
    table: Table,
    sightings: Sightings,
    /// The least that the table was reduced to since the last block.
    reduced: Option<u32>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// Of a new connection.
    pub fn new() -> Self {
        Self { table: Table::new(TABLE_BYTES_DEFAULT), sightings: Sightings::new(), reduced: None }
    }

    /// The peer allows a table of so many bytes (its `SETTINGS_HEADER_TABLE_SIZE`). The next block says what is made of it.
    pub fn set_table_bytes(&mut self, bytes: u32) {
        let bytes = bytes.min(TABLE_BYTES_MAX);
        if bytes != self.table.bytes_max() {
            self.reduced = Some(self.reduced.map_or(bytes, |least| least.min(bytes)));
            self.table.resize(bytes);
        }
    }

    /// Begins a block behind what `out` holds. Blocks must be sent in the order in which they were begun, and all of them.
    pub fn block<'a>(&'a mut self, out: &'a mut Vec<u8>) -> Block<'a> {
        if let Some(least) = self.reduced.take() {
            let bytes_max = self.table.bytes_max();
            if least < bytes_max {
                put_integer(out, 0x20, 5, least as usize);
            }
            put_integer(out, 0x20, 5, bytes_max as usize);
        }
        Block { encoder: self, out }
    }
}

/// A block that is being written. Pseudo-headers come first (RFC 9113 section 8.3).
pub struct Block<'a> {
    encoder: &'a mut Encoder,
    out: &'a mut Vec<u8>,
}

impl Block<'_> {
    /// Adds `:method`.
    pub fn method(&mut self, method: &[u8]) {
        match method {
            b"GET" => self.indexed(2),
            b"POST" => self.indexed(3),
            _ => self.put(Number::METHOD, b"", method, Rule::of(Number::METHOD)),
        }
    }

    /// Adds `:scheme`: `https` or `http`.
    pub fn scheme(&mut self, secure: bool) {
        self.indexed(if secure { 7 } else { 6 });
    }

    /// Adds `:authority`.
    pub fn authority(&mut self, authority: &[u8]) {
        self.put(Number::AUTHORITY, b"", authority, Rule::of(Number::AUTHORITY));
    }

    /// Adds `:path`, which has the query, too.
    pub fn path(&mut self, path: &[u8]) {
        match path {
            b"/" => self.indexed(4),
            _ => self.put(Number::PATH, b"", path, Rule::of(Number::PATH)),
        }
    }

    /// Adds `:protocol` (RFC 8441).
    pub fn protocol(&mut self, protocol: &[u8]) {
        self.put(Number::PROTOCOL, b"", protocol, Rule::of(Number::PROTOCOL));
    }

    /// Adds `:status`, of three digits.
    pub fn status(&mut self, status: u16) {
        match status {
            200 => self.indexed(8),
            204 => self.indexed(9),
            206 => self.indexed(10),
            304 => self.indexed(11),
            400 => self.indexed(12),
            404 => self.indexed(13),
            500 => self.indexed(14),
            _ => {
                let digits = [status / 100, status / 10, status].map(|digit| b'0' + (digit % 10) as u8);
                self.put(Number::STATUS, b"", &digits, Rule::of(Number::STATUS));
            }
        }
    }

    /// Adds a field. `name` is what it is called, in any case, and `known` what that is known as.
    #[inline]
    pub fn field(&mut self, known: KnownField, name: &[u8], value: &[u8]) {
        let number = Number::of_field(known);
        self.put(number, if number.spelled().is_empty() { name } else { b"" }, value, Rule::of(number));
    }

    /// Adds a field whose value must never be in a table, here or further on.
    pub fn secret(&mut self, known: KnownField, name: &[u8], value: &[u8]) {
        let number = Number::of_field(known);
        self.put(number, if number.spelled().is_empty() { name } else { b"" }, value, Rule::Secret);
    }

    /// `spelled` is empty for a name that its number says.
    #[inline]
    fn put(&mut self, number: Number, spelled: &[u8], value: &[u8], rule: Rule) {
        let slot = Slot::of(number, spelled);
        let Encoder { table, sightings, .. } = &*self.encoder;
        let position = sightings.latest(slot);
        if rule.remembers() && table.holds(position, number, spelled, value) {
            return self.entry(position);
        }
        match rule {
            Rule::Secret => self.literal(0x10, 4, number, spelled, value),
            Rule::Varies => self.varying(number, spelled, value, slot),
            Rule::Eager | Rule::Repeated => self.search(number, spelled, value, slot, rule),
        }
    }

    /// A field that is not the latest under its name.
    #[inline(never)]
    fn search(&mut self, number: Number, spelled: &[u8], value: &[u8], slot: Slot, rule: Rule) {
        let Encoder { table, sightings, .. } = &mut *self.encoder;
        if Rule::of_value(number, spelled, value, table.bytes_max()) == Rule::Varies {
            return self.literal(0, 4, number, spelled, value);
        }
        let hash = Hash::of(number, spelled, value);
        let is_at = |position| table.holds(position, number, spelled, value);
        match sightings.meet(hash, slot, table.len(), is_at) {
            Found::Entry(position) => self.entry(position),
            Found::New(_) if rule == Rule::Repeated => self.literal(0, 4, number, spelled, value),
            Found::New(place) | Found::Seen(place) => {
                self.literal(0x40, 6, number, spelled, value);
                let Encoder { table, sightings, .. } = &mut *self.encoder;
                match spelled {
                    [] => table.insert(number, NameBytes::Given(number.spelled()), value, true),
                    _ => table.insert(number, NameBytes::Given(&spelled.to_ascii_lowercase()), value, true),
                }
                sightings.inserted(place, slot);
            }
        }
    }

    /// A field that is worth an entry for its name only, if that is not in the static table.
    #[inline(never)]
    fn varying(&mut self, number: Number, spelled: &[u8], value: &[u8], slot: Slot) {
        let Encoder { table, sightings, .. } = &mut *self.encoder;
        let position = sightings.latest(slot);
        let own = number.spelled();
        if own.is_empty() || index_of(number).is_some() {
            self.literal(0, 4, number, spelled, value);
        } else if table.number(position) == Some(number) {
            self.out.reserve(value.len() + 16);
            put_integer(self.out, 0, 4, STATIC_MAX + 1 + position);
            put_string(self.out, value);
        } else if value.len() > NAMING_VALUE_BYTES_MAX
            || Rule::is_long(own.len() + value.len(), table.bytes_max())
        {
            self.literal(0, 4, number, spelled, value);
        } else {
            table.insert(number, NameBytes::Given(own), value, true);
            sightings.inserted_name(slot);
            self.literal(0x40, 6, number, spelled, value);
        }
    }

    #[inline(always)]
    fn entry(&mut self, position: usize) {
        self.indexed(STATIC_MAX + 1 + position);
    }

    #[inline(always)]
    fn indexed(&mut self, index: usize) {
        put_integer(self.out, 0x80, 7, index);
    }

    #[inline(never)]
    fn literal(&mut self, pattern: u8, prefix: u32, number: Number, spelled: &[u8], value: &[u8]) {
        let (own, out) = (number.spelled(), &mut *self.out);
        out.reserve(own.len() + spelled.len() + value.len() + 16);
        match index_of(number).or_else(|| index_of_other(spelled)) {
            Some(index) => put_integer(out, pattern, prefix, index),
            None => {
                out.push(pattern);
                if spelled.is_empty() {
                    put_string(out, own);
                } else {
                    put_string(out, spelled);
                    let begin = out.len() - spelled.len();
                    out[begin..].make_ascii_lowercase();
                }
            }
        }
        put_string(out, value);
    }
}

#[inline(always)]
fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    put_integer(out, 0, 7, bytes.len());
    out.extend_from_slice(bytes);
}
