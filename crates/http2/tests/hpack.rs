//! The field compression against itself and against the `h2` crate, in both directions.
//!
//! Proptest prints the seed of a failure; `PROPTEST_RNG_SEED=<seed>` replays it.

#[path = "hpack/peer.rs"]
mod peer;

use proptest::prelude::*;
use weir_http1::KnownField;
use weir_http2::hpack::{Decoder, Encoder, Field, HpackError, Name, Scratch};

const LIST_BYTES_MAX: u32 = 64 * 1024;

/// Names of all kinds: of the static table, known, unknown, in mixed case.
const NAMES: &[&str] = &[
    "content-type",
    "User-Agent",
    "te",
    "date",
    "etag",
    "authorization",
    "Cookie",
    "set-cookie",
    "accept-encoding",
    "Cache-Control",
    "grpc-timeout",
    "X-Request-Id",
    "grpc-status",
    "x-forwarded-for",
    "x-forwarded-client-cert",
    "X-Weir-Revision",
    "x-custom",
    "x-CUSTOM-two",
    "a",
    "x_forwarded_for",
];

type Sent = (String, Vec<u8>);

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => "(trailers|application/grpc|0|gzip|a, b)".prop_map(String::into_bytes),
        3 => "[!-~]([ -~]{0,40}[!-~])?".prop_map(String::into_bytes),
        1 => proptest::collection::vec(0x80..=0xffu8, 0..20),
        1 => (0..3000usize).prop_map(|len| vec![b'v'; len]),
    ]
}

fn section() -> impl Strategy<Value = Vec<Sent>> {
    let name = prop_oneof![
        9 => (0..NAMES.len()).prop_map(|at| NAMES[at].to_owned()),
        1 => "x-[a-z]{1,3}".prop_map(|name| name),
    ];
    proptest::collection::vec((name, value()), 0..12)
}

#[derive(Clone, Debug)]
enum Op {
    Section(u16, Vec<Sent>),
    TableBytes(u32),
}

fn op() -> impl Strategy<Value = Op> {
    let bytes = prop_oneof![Just(0), Just(4096), Just(u32::MAX), 0..400u32, 0..9000u32];
    prop_oneof![
        5 => (0..8u16, section()).prop_map(|(status, section)| Op::Section(200 + status, section)),
        1 => bytes.prop_map(Op::TableBytes),
    ]
}

fn known(name: &str) -> KnownField {
    KnownField::of(name.as_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// What is encoded is decoded, whatever was encoded before and however the table's size changes.
    #[test]
    fn what_was_encoded_is_decoded(ops in proptest::collection::vec(op(), 1..40)) {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(LIST_BYTES_MAX));
        let (mut block, mut scratch) = (Vec::new(), Scratch::default());
        for op in ops {
            let (status, section) = match op {
                Op::Section(status, section) => (status, section),
                Op::TableBytes(bytes) => {
                    // As the acknowledgement says that the setting is in force.
                    encoder.set_table_bytes(bytes);
                    decoder.acknowledge_table_bytes(bytes);
                    continue;
                }
            };
            block.clear();
            let mut fields = encoder.block(&mut block);
            fields.status(status);
            for (name, value) in &section {
                fields.field(known(name), name.as_bytes(), value);
            }
            let mut seen = Vec::new();
            let given = decoder.decode(&block, &mut scratch, |field: Field<'_>| {
                seen.push((field.id, field.name.to_vec(), field.value.to_vec(), field.never_indexed, field.valid));
            });
            let list_bytes = given.unwrap().list_bytes;
            let counted: usize = seen.iter().map(|(_, name, value, ..)| name.len() + value.len() + 32).sum();
            prop_assert_eq!(list_bytes, counted as u64);
            let mut seen = seen.into_iter();
            let (id, name, digits, ..) = seen.next().unwrap();
            prop_assert_eq!((id, name, digits), (Name::Status, b":status".to_vec(), status.to_string().into_bytes()));
            for (name, value) in section {
                let secret = ["authorization", "Cookie", "set-cookie"].contains(&&name[..]);
                let expect = (Name::Field(known(&name)), name.to_ascii_lowercase().into_bytes(), value, secret, true);
                prop_assert_eq!(seen.next(), Some(expect));
            }
            prop_assert_eq!(seen.next(), None);
        }
    }

    /// Any bytes end in fields or in an error.
    #[test]
    fn arbitrary_blocks_do_no_harm(blocks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..120), 1..8)) {
        weir_http2::fuzzing::hpack(&blocks.concat());
        let mut decoder = Decoder::new(300);
        for block in blocks {
            let mut given = 0;
            let decoded = decoder.decode(&block, &mut Scratch::default(), |field| {
                given += field.name.len() + field.value.len() + 32;
            });
            prop_assert!(given <= 300);
            if decoded.is_err() {
                break;
            }
        }
    }
}

/// The bytes of a call that comes again and again.
#[test]
fn what_repeats_is_one_byte_each() {
    let (mut encoder, mut block) = (Encoder::new(), Vec::new());
    for round in 0..4 {
        block.clear();
        let mut fields = encoder.block(&mut block);
        fields.method(b"POST");
        fields.scheme(false);
        fields.path(b"/shop.Cart/Add");
        fields.authority(b"shop:8080");
        fields.field(KnownField::ContentType, b"content-type", b"application/grpc");
        fields.field(KnownField::Te, b"TE", b"trailers");
        fields.field(KnownField::Other, b"Grpc-Encoding", b"gzip");
        fields.field(KnownField::GrpcTimeout, b"grpc-timeout", format!("{round}S").as_bytes());
        if round < 2 {
            assert!(block.len() > 30);
        }
    }
    // Seven indices; an index for the name, a length and the value.
    assert_eq!(block.len(), 7 + 2 + 1 + 2, "{}", block.escape_ascii());
    assert!(block.ends_with(b"\x023S"));
}

/// What comes once leaves alone what comes always.
#[test]
fn a_crowd_of_others_does_not_push_out_what_repeats() {
    let (mut encoder, mut block) = (Encoder::new(), Vec::new());
    let steady =
        ["user-agent", "accept-encoding", "x-a", "x-b", "content-type", "te", "x-forwarded-for", "origin"];
    let mut spelled_out = 0;
    for round in 0..1000 {
        block.clear();
        let mut fields = encoder.block(&mut block);
        for name in steady {
            fields.field(known(name), name.as_bytes(), b"always");
        }
        let indices = block.iter().take_while(|octet| **octet >= 0x80).count();
        spelled_out += usize::from(indices < steady.len());
        let mut fields = encoder.block(&mut block);
        for at in 0..20 {
            fields.field(KnownField::Other, b"x-once", format!("{round}-{at}").as_bytes());
        }
    }
    assert!(spelled_out < 10, "{spelled_out} of 1000");
}

#[test]
fn paths_with_queries_and_validators_leave_the_table_alone() {
    let (mut encoder, mut block) = (Encoder::new(), Vec::new());
    let mut one = |name: &str, value: &str| {
        block.clear();
        let mut fields = encoder.block(&mut block);
        match name {
            ":path" => fields.path(value.as_bytes()),
            _ => fields.field(known(name), name.as_bytes(), value.as_bytes()),
        }
        block.clone()
    };
    for (name, value) in
        [(":path", "/a?b=1"), ("etag", "\"1\""), ("Content-Length", "13"), ("if-none-match", "x")]
    {
        let first = one(name, value);
        assert_eq!(first[0] & 0xf0, 0, "{name}");
        for _ in 0..3 {
            assert_eq!(one(name, value), first, "{name}");
        }
    }
    assert_eq!(one("authorization", "Bearer a")[0], 0x1f);
    assert_eq!(one(":path", "/a")[0], 0x04);
    assert_eq!(one(":path", "/a")[0], 0x44);
    assert_eq!(one(":path", "/a"), [0xbe]);
}

#[test]
fn no_table_no_entries() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(LIST_BYTES_MAX));
    let mut block = Vec::new();
    encoder.set_table_bytes(0);
    decoder.acknowledge_table_bytes(0);
    for round in 0..3 {
        block.clear();
        let mut fields = encoder.block(&mut block);
        fields.field(KnownField::Te, b"te", b"trailers");
        assert_eq!(block[0], if round == 0 { 0x20 } else { 0x00 }, "{}", block.escape_ascii());
        decoder.decode(&block, &mut Scratch::default(), |_| {}).unwrap();
    }
    // Down and up between two blocks: both are said.
    encoder.set_table_bytes(100);
    encoder.set_table_bytes(50);
    encoder.set_table_bytes(4096);
    block.clear();
    encoder.block(&mut block).status(200);
    assert_eq!(block, [0x3f, 50 - 31, 0x3f, 0xe1, 0x1f, 0x88]);
    assert_eq!(
        decoder.decode(&block, &mut Scratch::default(), |_| {}).unwrap_err().to_string(),
        "the table is to hold 50 bytes, and at most 0 are allowed"
    );
}

/// A block of one-byte references to a large entry is long only for who copies it.
#[test]
fn a_bomb_is_counted_and_not_given() {
    let mut decoder = Decoder::new(16 * 1024);
    let mut block = vec![0x40, 1, b'a', 0x7f, 0x80 | ((4000 - 127) & 0x7f) as u8, ((4000 - 127) >> 7) as u8];
    block.extend_from_slice(&[b'v'; 4000]);
    block.extend_from_slice(&[0xbe; 10_000]);
    let mut given = 0;
    let section =
        decoder.decode(&block, &mut Scratch::default(), |field| given += field.value.len()).unwrap();
    assert!(section.too_large && section.list_bytes > 40_000_000);
    assert_eq!(given, 4 * 4000);
}

#[test]
fn an_error_is_said_in_words() {
    let fault = Decoder::new(100).decode(&[0x80], &mut Scratch::default(), |_| {}).unwrap_err();
    assert_eq!((fault, fault.to_string()), (HpackError::IndexZero, "index 0 names no field".to_owned()));
}
