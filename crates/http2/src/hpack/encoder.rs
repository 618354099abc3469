//! From fields to a block.
//!
//! Strings are sent as they are, never Huffman-coded: what repeats is one byte either way, and coding the rest costs more
//! instructions than the bytes saved are worth between machines of one network.

use weir_http1::KnownField;

use super::dynamic_table::{NameBytes, Table};
use super::integer::put_integer;
use super::name::Name;
use super::rule::Rule;
use super::sightings::{Found, Hash, Sightings};
use super::static_table::{STATIC, STATIC_MAX, index_of, index_of_other};
use super::{FIELD_OVERHEAD_BYTES, TABLE_BYTES_DEFAULT};

/// The most that the table is given, whatever the peer allows, in bytes.
const TABLE_BYTES_MAX: u32 = TABLE_BYTES_DEFAULT;

/// An entry may take this part of the table: a long value would push out many others.
const ENTRY_SHARE: usize = 4;

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
            _ => self.put(Name::Method, b"", method, Rule::of(Name::Method)),
        }
    }

    /// Adds `:scheme`: `https` or `http`.
    pub fn scheme(&mut self, secure: bool) {
        self.indexed(if secure { 7 } else { 6 });
    }

    /// Adds `:authority`.
    pub fn authority(&mut self, authority: &[u8]) {
        self.put(Name::Authority, b"", authority, Rule::of(Name::Authority));
    }

    /// Adds `:path`, which has the query, too.
    pub fn path(&mut self, path: &[u8]) {
        match path {
            b"/" => self.indexed(4),
            _ if path.contains(&b'?') => self.put(Name::Path, b"", path, Rule::Varies),
            _ => self.put(Name::Path, b"", path, Rule::of(Name::Path)),
        }
    }

    /// Adds `:protocol` (RFC 8441).
    pub fn protocol(&mut self, protocol: &[u8]) {
        self.put(Name::Protocol, b"", protocol, Rule::of(Name::Protocol));
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
                self.put(Name::Status, b"", &digits, Rule::of(Name::Status));
            }
        }
    }

    /// Adds a field. `name` is what it is called, in any case, and `known` what that is known as.
    #[inline]
    pub fn field(&mut self, known: KnownField, name: &[u8], value: &[u8]) {
        let rule = Rule::of(Name::Field(known));
        self.put(Name::Field(known), if known.name().is_empty() { name } else { b"" }, value, rule);
    }

    /// Adds a field whose value must never be in a table, here or further on.
    pub fn secret(&mut self, known: KnownField, name: &[u8], value: &[u8]) {
        self.put(Name::Field(known), if known.name().is_empty() { name } else { b"" }, value, Rule::Secret);
    }

    /// `spelled` is empty for a name that its number says.
    fn put(&mut self, name: Name, spelled: &[u8], value: &[u8], rule: Rule) {
        match rule {
            Rule::Secret => self.literal(0x10, 4, name, spelled, value),
            Rule::Varies => self.literal(0, 4, name, spelled, value),
            Rule::Repeated | Rule::Eager => self.remembered(name, spelled, value, rule == Rule::Eager),
        }
    }

    #[inline]
    fn remembered(&mut self, name: Name, spelled: &[u8], value: &[u8], eager: bool) {
        let Encoder { table, sightings, .. } = &mut *self.encoder;
        let found = sightings.meet(Hash::of(name, spelled, value), table.len(), |position| {
            table.get(position).is_some_and(|entry| {
                entry.id == name && entry.value == value && (spelled.is_empty() || same(entry.name, spelled))
            })
        });
        match found {
            Found::Entry(position) => self.indexed(STATIC_MAX + 1 + position),
            Found::Seen(place) => self.insert(name, spelled, value, place),
            Found::New(place) if eager => self.insert(name, spelled, value, place),
            Found::New(_) => self.literal(0, 4, name, spelled, value),
        }
    }

    fn insert(&mut self, name: Name, spelled: &[u8], value: &[u8], place: usize) {
        let Encoder { table, sightings, .. } = &mut *self.encoder;
        let own = name.spelled().as_bytes();
        let size = own.len() + spelled.len() + value.len() + FIELD_OVERHEAD_BYTES;
        let varies =
            index_of_other(spelled).is_some_and(|at| Rule::of_static(STATIC[at].name) == Rule::Varies);
        if varies || size > table.bytes_max() as usize / ENTRY_SHARE {
            return self.literal(0, 4, name, spelled, value);
        }
        if spelled.is_empty() {
            table.insert(name, NameBytes::Given(own), value, true);
        } else {
            table.insert(name, NameBytes::Given(&spelled.to_ascii_lowercase()), value, true);
        }
        sightings.inserted(place);
        self.literal(0x40, 6, name, spelled, value);
    }

    #[inline(always)]
    fn indexed(&mut self, index: usize) {
        put_integer(self.out, 0x80, 7, index);
    }

    #[inline(never)]
    fn literal(&mut self, pattern: u8, prefix: u32, name: Name, spelled: &[u8], value: &[u8]) {
        let (own, out) = (name.spelled().as_bytes(), &mut *self.out);
        out.reserve(own.len() + spelled.len() + value.len() + 16);
        match index_of(name).or_else(|| index_of_other(spelled)) {
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

/// Whether a name is the table's, in any case.
#[inline(always)]
fn same(entry: &[u8], name: &[u8]) -> bool {
    entry == name || entry.eq_ignore_ascii_case(name)
}
