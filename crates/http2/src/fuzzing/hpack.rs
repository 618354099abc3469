//! Blocks, one after the other, on one connection.

use weir_http1::{KnownField, is_field_value, is_token};

use crate::hpack::{Block, Decoder, Encoder, Field, Name, Scratch, Section};

/// Small enough that inputs of a few hundred bytes exceed it.
const LIST_BYTES_MAX: u32 = 600;

/// A field that outlives its block.
#[derive(Debug, PartialEq)]
struct Kept {
    id: Name,
    name: Vec<u8>,
    value: Vec<u8>,
    valid: bool,
    never_indexed: bool,
}

impl Kept {
    fn new(field: Field<'_>) -> Self {
        let Field { id, name, value, valid, never_indexed } = field;
        Self { id, name: name.to_vec(), value: value.to_vec(), valid, never_indexed }
    }
}

/// Two connections' ends: one that decodes what is received, one that decodes what was encoded again.
struct Ends {
    received: Decoder,
    encoder: Encoder,
    sent: Decoder,
    scratch: Scratch,
}

/// Blocks, each with a byte of choices and a byte of its length in front: the verdict on a field is what its bytes deserve, limits
/// hold, and what was decoded can be encoded and decoded again.
pub fn hpack(data: &[u8]) {
    let mut ends = Ends {
        received: Decoder::new(LIST_BYTES_MAX),
        encoder: Encoder::new(),
        sent: Decoder::new(4 * LIST_BYTES_MAX),
        scratch: Scratch::default(),
    };
    let mut rest = data;
    while let [choice, len, more @ ..] = rest {
        let (block, behind) = more.split_at(usize::from(*len).min(more.len()));
        rest = behind;
        // Sizes that are a multiple of 128: 0, small, usual, above what an encoder uses.
        if choice & 0x80 != 0 {
            let bytes = u32::from(choice & 0x7f) * 128;
            ends.received.acknowledge_table_bytes(bytes);
            ends.encoder.set_table_bytes(bytes);
            ends.sent.acknowledge_table_bytes(bytes);
        }
        if !one_block(block, &mut ends) {
            return;
        }
    }
}

/// Whether the connection goes on.
fn one_block(block: &[u8], ends: &mut Ends) -> bool {
    let mut fields = Vec::new();
    let decoded = ends.received.decode(block, &mut ends.scratch, |field| fields.push(Kept::new(field)));
    let given: usize = fields.iter().map(|field| field.name.len() + field.value.len() + 32).sum();
    assert!(given <= LIST_BYTES_MAX as usize);
    fields.iter().for_each(check);
    let Ok(Section { list_bytes, too_large }) = decoded else { return false };
    assert_eq!(too_large, list_bytes > u64::from(LIST_BYTES_MAX));
    assert!(too_large || list_bytes == given as u64);
    fields.retain(|field| field.valid && can_be_put(field));

    let mut out = Vec::new();
    let mut again = ends.encoder.block(&mut out);
    fields.iter().for_each(|field| put(&mut again, field));
    let mut fields = fields.iter();
    let decoded = ends.sent.decode(&out, &mut ends.scratch, |field| {
        let expect = fields.next().expect("no more fields than were encoded");
        // A secret stays one, and some become one.
        assert!(field.never_indexed || !expect.never_indexed || !matches!(field.id, Name::Field(_)));
        assert_eq!(&Kept { never_indexed: expect.never_indexed, ..Kept::new(field) }, expect);
    });
    assert!(!decoded.expect("what was encoded").too_large);
    assert!(fields.next().is_none());
    true
}

/// The name's number and the verdict, found the slow way.
fn check(field: &Kept) {
    let name = &field.name[..];
    let pseudo = match name {
        b":method" => Some(Name::Method),
        b":scheme" => Some(Name::Scheme),
        b":authority" => Some(Name::Authority),
        b":path" => Some(Name::Path),
        b":status" => Some(Name::Status),
        b":protocol" => Some(Name::Protocol),
        _ => None,
    };
    let token = is_token(name) && !name.iter().any(u8::is_ascii_uppercase);
    let padded = field.value.trim_ascii() != field.value;
    let good_value = is_field_value(&field.value) && !padded;
    assert_eq!(field.valid, (pseudo.is_some() || token) && good_value, "{field:?}");
    match (pseudo, field.id) {
        (Some(pseudo), id) => assert_eq!(pseudo, id),
        (None, Name::Field(known)) => {
            let expect = if token { KnownField::of(name) } else { KnownField::Other };
            assert_eq!(known, expect, "{field:?}");
        }
        (None, id) => panic!("{id:?} is not {}", name.escape_ascii()),
    }
}

/// Whether a block is written with it: statuses and schemes are not arbitrary.
fn can_be_put(field: &Kept) -> bool {
    match field.id {
        Name::Scheme => matches!(&field.value[..], b"http" | b"https"),
        Name::Status => field.value.len() == 3 && field.value.iter().all(u8::is_ascii_digit),
        _ => true,
    }
}

fn put(block: &mut Block<'_>, field: &Kept) {
    let value = &field.value[..];
    match field.id {
        Name::Method => block.method(value),
        Name::Scheme => block.scheme(value == b"https"),
        Name::Authority => block.authority(value),
        Name::Path => block.path(value),
        Name::Status => {
            block.status(value.iter().fold(0, |status, digit| 10 * status + u16::from(digit - b'0')));
        }
        Name::Protocol => block.protocol(value),
        Name::Field(known) if field.never_indexed => block.secret(known, &field.name, value),
        Name::Field(known) => block.field(known, &field.name.to_ascii_uppercase(), value),
    }
}
