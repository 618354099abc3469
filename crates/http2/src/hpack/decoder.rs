//! From a block to its fields.

use super::dynamic_table::{NameBytes, Table};
use super::error::HpackError;
use super::integer::Input;
use super::name::{Field, Number, is_valid_value};
use super::static_table::{STATIC, STATIC_MAX, StaticField};
use super::{FIELD_OVERHEAD_BYTES, TABLE_BYTES_DEFAULT, huffman};

/// Updates that a block may begin with: to the smallest size since the last block, and to the last (RFC 7541 section 4.2).
const UPDATES_MAX: usize = 2;

/// Where Huffman-coded strings are decoded to. It belongs to whoever decodes, and serves any number of decoders.
#[derive(Debug, Default)]
pub struct Scratch {
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Scratch {
    /// What each of the two buffers keeps from one block to the next, in bytes. During a block they grow to 8/5 of it at most.
    const KEPT_BYTES_MAX: usize = 16 * 1024;

    fn trim(&mut self) {
        for buffer in [&mut self.name, &mut self.value] {
            if buffer.len() > Self::KEPT_BYTES_MAX {
                buffer.truncate(Self::KEPT_BYTES_MAX);
                buffer.shrink_to_fit();
            }
        }
    }
}

/// What was decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// The size of the fields as RFC 9113 section 6.5.2 counts it, in bytes, with those that were not given.
    pub list_bytes: u64,
    /// The limit was exceeded, and the fields from there on were read for the table's sake only. The caller refuses the message, or
    /// ends the connection.
    pub too_large: bool,
}

/// One direction's decoder.
pub struct Decoder {
    table: Table,
    /// What the peer may set the table to.
    table_bytes_max: u32,
    /// What the next block's first update may ask for at most, when it must begin with one.
    due: Option<u32>,
    list_bytes_max: u64,
}

impl Decoder {
    /// Of a new connection, with a table of [`TABLE_BYTES_DEFAULT`]. Fields are given until their list has more than
    /// `list_bytes_max` bytes (RFC 9113 section 6.5.2).
    pub fn new(list_bytes_max: u32) -> Self {
        Self {
            table: Table::new(TABLE_BYTES_DEFAULT),
            table_bytes_max: TABLE_BYTES_DEFAULT,
            due: None,
            list_bytes_max: u64::from(list_bytes_max),
        }
    }

    /// The peer has acknowledged a `SETTINGS_HEADER_TABLE_SIZE` of so many bytes: it may use them from now on, and must say that it
    /// uses no more before it sends another field.
    pub fn acknowledge_table_bytes(&mut self, bytes: u32) {
        self.table_bytes_max = bytes;
        if bytes < self.table.bytes_max() {
            self.due = Some(self.due.map_or(bytes, |due| due.min(bytes)));
        }
    }

    /// Gives the fields of a whole block to `sink`, in order.
    ///
    /// # Errors
    /// Any is the connection's end: `COMPRESSION_ERROR`.
    pub fn decode(
        &mut self,
        block: &[u8],
        scratch: &mut Scratch,
        mut sink: impl FnMut(Field<'_>),
    ) -> Result<Section, HpackError> {
        let mut input = Input::new(block);
        if self.due.is_some() || block.first().is_some_and(|octet| octet & 0xe0 == 0x20) {
            self.updates(&mut input)?;
        }
        let mut list_bytes = 0;
        let list_bytes_max = self.list_bytes_max;
        let mut give = |field: Field<'_>| {
            list_bytes += (field.name.len() + field.value.len() + FIELD_OVERHEAD_BYTES) as u64;
            if list_bytes <= list_bytes_max {
                sink(field);
            }
        };
        while let Some(octet) = input.peek() {
            if octet & 0x80 != 0 {
                let index = input.integer(7)?;
                give(field_at(&self.table, index)?);
            } else if octet & 0x40 != 0 {
                let literal = Literal::read(&self.table, &mut input, 6, scratch)?;
                give(literal.field(&self.table, false));
                self.table.insert(literal.number, literal.name, literal.value, literal.valid);
            } else if octet & 0x20 != 0 {
                return Err(HpackError::UpdateLate);
            } else {
                let literal = Literal::read(&self.table, &mut input, 4, scratch)?;
                give(literal.field(&self.table, octet & 0x10 != 0));
            }
        }
        scratch.trim();
        Ok(Section { list_bytes, too_large: list_bytes > list_bytes_max })
    }

    #[cold]
    fn updates(&mut self, input: &mut Input<'_>) -> Result<(), HpackError> {
        let mut updates = 0;
        while input.peek().is_some_and(|octet| octet & 0xe0 == 0x20) {
            updates += 1;
            if updates > UPDATES_MAX {
                return Err(HpackError::UpdateRepeated);
            }
            let wanted = input.integer(5)?;
            let allowed = self.due.take().unwrap_or(self.table_bytes_max);
            if wanted > allowed {
                return Err(HpackError::UpdateTooLarge { wanted, allowed });
            }
            self.table.resize(wanted);
        }
        if self.due.is_some() { Err(HpackError::UpdateMissing) } else { Ok(()) }
    }
}

/// The field at an index of both tables (RFC 7541 section 2.3.3).
#[inline(always)]
fn field_at(table: &Table, index: u32) -> Result<Field<'_>, HpackError> {
    let at = index as usize;
    match STATIC.get(at) {
        Some(_) if at == 0 => Err(HpackError::IndexZero),
        Some(StaticField { number, name, value }) => {
            Ok(Field { id: number.name(), name, value, valid: true, never_indexed: false })
        }
        None => table.get(at - STATIC_MAX - 1).ok_or(HpackError::Index(index)),
    }
}

/// A field that is spelled out, at least its value.
struct Literal<'a> {
    number: Number,
    name: NameBytes<'a>,
    value: &'a [u8],
    valid: bool,
}

impl<'a> Literal<'a> {
    /// Reads one whose name's index is in the low `prefix` bits.
    #[inline(always)]
    fn read<'b: 'a>(
        table: &Table,
        input: &mut Input<'b>,
        prefix: u32,
        scratch: &'a mut Scratch,
    ) -> Result<Self, HpackError> {
        let index = input.integer(prefix)?;
        let (number, name, valid) = if index == 0 {
            let name = string(input, &mut scratch.name)?;
            let (number, valid) = Number::of(name);
            (number, NameBytes::Given(name), valid)
        } else if let Some(field) = STATIC.get(index as usize) {
            (field.number, NameBytes::Given(field.name), true)
        } else {
            let position = index as usize - STATIC_MAX - 1;
            let field = table.get(position).ok_or(HpackError::Index(index))?;
            // The entry's verdict is on its value, too.
            let valid = field.valid || Number::of(field.name).1;
            (table.number(position).unwrap_or(Number::OTHER), NameBytes::At(position), valid)
        };
        let value = string(input, &mut scratch.value)?;
        Ok(Self { number, name, value, valid: valid && is_valid_value(value) })
    }

    fn field<'t>(&self, table: &'t Table, never_indexed: bool) -> Field<'t>
    where
        'a: 't,
    {
        let name = match self.name {
            NameBytes::Given(name) => name,
            NameBytes::At(position) => table.get(position).map_or(&b""[..], |field| field.name),
        };
        Field { id: self.number.name(), name, value: self.value, valid: self.valid, never_indexed }
    }
}

/// Takes a string (RFC 7541 section 5.2), decoded into `space` if it is coded.
#[inline(always)]
fn string<'a, 'b: 'a>(input: &mut Input<'b>, space: &'a mut Vec<u8>) -> Result<&'a [u8], HpackError> {
    let coded = input.peek().is_some_and(|octet| octet & 0x80 != 0);
    let len = input.integer(7)?;
    let bytes = input.take(len)?;
    if coded { huffman::decode(bytes, space) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests;
