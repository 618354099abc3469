use super::super::name::Name;
use super::*;

/// A block in hexadecimal, its fields, and what the table holds behind it: entries and size.
type Example = (&'static str, &'static [(&'static str, &'static str)], usize, usize);

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|byte| (byte as char).to_digit(16).unwrap() as u8)
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn decoder(table_bytes: u32) -> Decoder {
    Decoder { table: Table::new(table_bytes), table_bytes_max: table_bytes, ..Decoder::new(16 * 1024) }
}

fn decoded(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, String, bool)>, HpackError> {
    let mut fields = Vec::new();
    decoder.decode(block, &mut Scratch::default(), |field| {
        assert!(field.valid);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        fields.push((text(field.name), text(field.value), field.never_indexed));
    })?;
    Ok(fields)
}

fn check(table_bytes: u32, examples: &[Example]) {
    let mut decoder = decoder(table_bytes);
    for (block, expect, entries, size) in examples {
        let fields = decoded(&mut decoder, &unhex(block)).unwrap();
        let fields: Vec<(&str, &str)> =
            fields.iter().map(|(name, value, _)| (&name[..], &value[..])).collect();
        assert_eq!(fields, *expect, "{block}");
        assert_eq!((decoder.table.len(), decoder.table.size()), (*entries, *size), "{block}");
    }
}

/// RFC 7541 appendix C.2.
#[test]
fn representations() {
    let custom = "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572";
    check(4096, &[(custom, &[("custom-key", "custom-header")], 1, 55)]);
    check(4096, &[("040c 2f73 616d 706c 652f 7061 7468", &[(":path", "/sample/path")], 0, 0)]);
    check(4096, &[("1008 7061 7373 776f 7264 0673 6563 7265 74", &[("password", "secret")], 0, 0)]);
    check(4096, &[("82", &[(":method", "GET")], 0, 0)]);
    let secret = decoded(&mut decoder(4096), &unhex("1008 7061 7373 776f 7264 0673 6563 7265 74")).unwrap();
    assert!(secret[0].2);
}

const REQUEST_1: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
const REQUEST_2: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "www.example.com"),
    ("cache-control", "no-cache"),
];
const REQUEST_3: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/index.html"),
    (":authority", "www.example.com"),
    ("custom-key", "custom-value"),
];

/// RFC 7541 appendices C.3 and C.4.
#[test]
fn requests() {
    let (second, third) = (
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    );
    let first = "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d";
    check(4096, &[(first, REQUEST_1, 1, 57), (second, REQUEST_2, 2, 110), (third, REQUEST_3, 3, 164)]);
    let first = "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff";
    let second = "8286 84be 5886 a8eb 1064 9cbf";
    let third = "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf";
    check(4096, &[(first, REQUEST_1, 1, 57), (second, REQUEST_2, 2, 110), (third, REQUEST_3, 3, 164)]);
}

const RESPONSE_1: &[(&str, &str)] = &[
    (":status", "302"),
    ("cache-control", "private"),
    ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
    ("location", "https://www.example.com"),
];
const RESPONSE_2: &[(&str, &str)] = &[
    (":status", "307"),
    ("cache-control", "private"),
    ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
    ("location", "https://www.example.com"),
];
const RESPONSE_3: &[(&str, &str)] = &[
    (":status", "200"),
    ("cache-control", "private"),
    ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
    ("location", "https://www.example.com"),
    ("content-encoding", "gzip"),
    ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
];

/// RFC 7541 appendices C.5 and C.6.
#[test]
fn responses_that_evict() {
    let first = "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e
        1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d";
    let second = "4803 3330 37c1 c0bf";
    let third = "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d
        4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e
        3d31";
    check(256, &[(first, RESPONSE_1, 4, 222), (second, RESPONSE_2, 4, 222), (third, RESPONSE_3, 3, 215)]);
    let first = "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b
        97c8 e9ae 82ae 43d3";
    let second = "4883 640e ffc1 c0bf";
    let third = "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf
        cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07";
    check(256, &[(first, RESPONSE_1, 4, 222), (second, RESPONSE_2, 4, 222), (third, RESPONSE_3, 3, 215)]);
}

#[test]
fn a_bad_block_is_named() {
    for (block, expect) in [
        ("80", HpackError::IndexZero),
        ("be", HpackError::Index(62)),
        ("7e 0161", HpackError::Index(62)),
        ("ffff ffff ff7f", HpackError::Integer),
        ("ffff ffff 7f", HpackError::Index(127 + (1 << 28) - 1)),
        ("ffff ffff ffff", HpackError::Integer),
        ("41", HpackError::Truncated),
        ("410f 77", HpackError::Truncated),
        ("4003 61", HpackError::Truncated),
        ("0001 61", HpackError::Truncated),
        ("41 8118", HpackError::Padding),
        ("41 81ff", HpackError::Padding),
        ("41 84ff ffff ff", HpackError::Eos),
        ("8220", HpackError::UpdateLate),
        ("2020 20", HpackError::UpdateRepeated),
        ("3fe2 1f", HpackError::UpdateTooLarge { wanted: 4097, allowed: 4096 }),
    ] {
        assert_eq!(decoded(&mut decoder(4096), &unhex(block)), Err(expect), "{block}");
    }
}

#[test]
fn updates_come_first_and_when_they_are_due() {
    let mut decoder = decoder(4096);
    assert_eq!(decoded(&mut decoder, &unhex("4001 6101 62")).unwrap().len(), 1);
    // To nothing and back, as after two changes of the setting.
    assert_eq!(decoded(&mut decoder, &unhex("203f e11f be")), Err(HpackError::Index(62)));

    let mut decoder = super::tests::decoder(4096);
    decoder.acknowledge_table_bytes(100);
    decoder.acknowledge_table_bytes(4096);
    assert_eq!(decoded(&mut decoder, &unhex("82")), Err(HpackError::UpdateMissing));
    let too_large = HpackError::UpdateTooLarge { wanted: 101, allowed: 100 };
    assert_eq!(decoded(&mut decoder, &unhex("3f46 82")), Err(too_large));

    let mut decoder = super::tests::decoder(4096);
    decoder.acknowledge_table_bytes(100);
    decoder.acknowledge_table_bytes(200);
    assert_eq!(decoded(&mut decoder, &unhex("3f45 3fa9 0182")).unwrap().len(), 1);
    assert_eq!(decoder.table.bytes_max(), 200);
    // What the peer uses less already need not be said again.
    decoder.acknowledge_table_bytes(4096);
    decoder.acknowledge_table_bytes(300);
    assert_eq!(decoded(&mut decoder, &unhex("82")).unwrap().len(), 1);
}

#[test]
fn names_are_known_wherever_they_come_from() {
    use weir_http1::KnownField;
    let mut decoder = decoder(4096);
    let mut seen = Vec::new();
    for block in ["5f01 6140 0274 6501 6240 0178 0163 4001 4101 6440 023a 7001 65", "be bf c0 c1 c2"] {
        seen.clear();
        let fields = |field: Field<'_>| seen.push((field.id, field.valid, field.value[0]));
        decoder.decode(&unhex(block), &mut Scratch::default(), fields).unwrap();
    }
    assert_eq!(
        seen,
        [
            (Name::Field(KnownField::Other), false, b'e'),
            (Name::Field(KnownField::Other), false, b'd'),
            (Name::Field(KnownField::Other), true, b'c'),
            (Name::Field(KnownField::Te), true, b'b'),
            (Name::Field(KnownField::ContentType), true, b'a'),
        ]
    );
}

#[test]
fn values_are_judged_in_each_entry_alone() {
    let mut decoder = decoder(4096);
    let mut valid = Vec::new();
    // "te" with a line feed, then another value under the name of that entry, then both by index.
    let block = unhex("4002 7465 010a 7e01 62 bebf 0f2f 0120 0f2f 0262 09");
    decoder.decode(&block, &mut Scratch::default(), |field| valid.push(field.valid)).unwrap();
    assert_eq!(valid, [false, true, true, false, false, false]);
}

#[test]
fn a_list_above_the_limit_still_feeds_the_table() {
    let mut decoder = Decoder { list_bytes_max: 70, ..decoder(4096) };
    let mut seen = 0;
    let section =
        decoder.decode(&unhex("82 4001 6101 62 be"), &mut Scratch::default(), |_| seen += 1).unwrap();
    assert_eq!((seen, section), (1, Section { list_bytes: 42 + 34 + 34, too_large: true }));
    let section = decoder.decode(&unhex("be"), &mut Scratch::default(), |_| seen += 1).unwrap();
    assert_eq!((seen, section), (2, Section { list_bytes: 34, too_large: false }));
}

#[test]
fn a_scratch_keeps_little() {
    let mut scratch = Scratch::default();
    let mut block = vec![0x00, 0x01, b'a', 0xff, 0xe1, 0x9e, 0x06];
    block.extend(std::iter::repeat_n(0x00, 127 + 0x61 + (0x1e << 7) + (6 << 14)));
    let mut len = 0;
    decoder(4096).decode(&block, &mut scratch, |field| len = field.value.len()).unwrap_err();
    decoder(4096).decode(&[0x82], &mut scratch, |_| {}).unwrap();
    assert!(scratch.value.capacity() <= 2 * Scratch::KEPT_BYTES_MAX, "{}", scratch.value.capacity());
}
