use proptest::prelude::*;

use super::*;

fn of(source: &str, destination: &str) -> Addresses {
    Addresses::Of { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

/// A version 2 header: command and family, addresses, extra values.
fn v2(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let len = (content.len() as u16).to_be_bytes();
    [&V2_SIGNATURE[..], &[command, family, len[0], len[1]], content].concat()
}

const PAIR_V4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x9c, 0x40, 0x15, 0x38];

fn extra(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &(value.len() as u16).to_be_bytes(), value].concat()
}

fn with_checksum(mut header: Vec<u8>, at: usize) -> Vec<u8> {
    let sum = crc32c::crc32c(&header);
    header[at..at + 4].copy_from_slice(&sum.to_be_bytes());
    header
}

#[test]
fn lines_of_version_1() {
    let check = |line: &str, expected: Addresses| {
        let bytes = format!("{line}\r\nSSH-2.0");
        assert_eq!(parse(bytes.as_bytes()), Ok(Parsed::Complete(line.len() + 2, expected)), "{line}");
        for end in 0..line.len() + 2 {
            assert_eq!(parse(&bytes.as_bytes()[..end]), Ok(Parsed::Partial), "{line} up to {end}");
        }
    };
    check("PROXY TCP4 192.0.2.7 198.51.100.1 40000 5432", of("192.0.2.7:40000", "198.51.100.1:5432"));
    check("PROXY TCP6 2001:db8::7 ::1 0 65535", of("[2001:db8::7]:0", "[::1]:65535"));
    check("PROXY UNKNOWN", Addresses::Own);
    check("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535", Addresses::Own);
}

#[test]
fn malformed_lines() {
    for line in [
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 40000\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 40000 5432 \r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 40000 5432 1\r\n",
        "PROXY TCP4  192.0.2.7 198.51.100.1 40000 5432\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 40000 5432\n",
        "PROXY TCP4 192.0.2.07 198.51.100.1 40000 5432\r\n",
        "PROXY TCP4 192.0.2.256 198.51.100.1 40000 5432\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 040000 5432\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 +1 5432\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 65536 5432\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
        "PROXY TCP6 ::1%lo ::1 1 2\r\n",
        "PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
        "PROXY tcp4 192.0.2.7 198.51.100.1 1 2\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY UNKNOWN a\rb\r\n",
        "PROXY UNKNOWN \u{e9}\n",
    ] {
        assert_eq!(parse(line.as_bytes()), Err(HeaderError::Line), "{line}");
    }
    assert_eq!(parse(b"PROXY UNKNOWN \xff\r\n"), Err(HeaderError::Line));
    let long = format!("PROXY UNKNOWN {}", "x".repeat(V1_BYTES_MAX));
    assert_eq!(parse(&long.as_bytes()[..V1_BYTES_MAX - 1]), Ok(Parsed::Partial));
    assert_eq!(parse(&long.as_bytes()[..V1_BYTES_MAX]), Err(HeaderError::TooLong));
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_BYTES_MAX - 16));
    assert_eq!(longest.len(), V1_BYTES_MAX);
    assert_eq!(parse(longest.as_bytes()), Ok(Parsed::Complete(V1_BYTES_MAX, Addresses::Own)));
    for other in ["GET / HTTP/1.1\r\n", "PROXYX", "proxy TCP4", "\r\n\r\n\r", "\0", "\r\n\r\n\0\r\nQUIT\r"] {
        assert_eq!(parse(other.as_bytes()), Err(HeaderError::Missing), "{other:?}");
    }
    assert_eq!(parse(b""), Ok(Parsed::Partial));
}

#[test]
fn headers_of_version_2() {
    let check = |header: &[u8], expected: Addresses| {
        let bytes = [header, b"\0\0\0\x08"].concat();
        assert_eq!(parse(&bytes), Ok(Parsed::Complete(header.len(), expected)), "{header:?}");
        for end in 0..header.len() {
            assert_eq!(parse(&bytes[..end]), Ok(Parsed::Partial), "{header:?} up to {end}");
        }
    };
    let client = of("192.0.2.7:40000", "198.51.100.1:5432");
    check(&v2(0x21, 0x11, &PAIR_V4), client);
    check(&v2(0x21, 0x11, &[&PAIR_V4[..], &extra(0x02, b"db.example"), &extra(0x04, b"")].concat()), client);
    let v6 = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[7], &[0; 15], &[1], &[0, 1, 0, 2]].concat();
    check(&v2(0x21, 0x21, &v6), of("[2001:db8::7]:1", "[::1]:2"));
    check(&v2(0x21, 0x31, &[b'/'; 216]), Addresses::Own);
    check(&v2(0x20, 0x00, b""), Addresses::Own);
    check(&v2(0x20, 0x11, &PAIR_V4), Addresses::Own);
    check(&v2(0x20, 0xff, b"anything"), Addresses::Own);
    check(&v2(0x21, 0x00, b"anything"), Addresses::Own);
    let summed = v2(0x21, 0x11, &[&PAIR_V4[..], &extra(TLV_CRC32C, &[0; 4]), &extra(0xe0, b"x")].concat());
    check(&with_checksum(summed, V2_PREFIX + 12 + 3), client);
}

#[test]
fn malformed_headers() {
    let check = |header: &[u8], fault: HeaderError| assert_eq!(parse(header), Err(fault), "{header:?}");
    check(&v2(0x11, 0x11, &PAIR_V4), HeaderError::Unknown);
    check(&v2(0x22, 0x11, &PAIR_V4), HeaderError::Unknown);
    check(&v2(0x21, 0x12, &PAIR_V4), HeaderError::Unknown);
    check(&v2(0x21, 0x10, &PAIR_V4), HeaderError::Unknown);
    check(&v2(0x21, 0x41, &PAIR_V4), HeaderError::Unknown);
    check(&v2(0x21, 0x11, &PAIR_V4[..11]), HeaderError::Length);
    check(&v2(0x21, 0x21, &PAIR_V4), HeaderError::Length);
    check(&v2(0x21, 0x11, &[&PAIR_V4[..], &[1]].concat()), HeaderError::Length);
    check(&v2(0x21, 0x11, &[&PAIR_V4[..], &[1, 0, 2, 7]].concat()), HeaderError::Length);
    check(&v2(0x21, 0x11, &[&PAIR_V4[..], &extra(TLV_CRC32C, &[0; 3])].concat()), HeaderError::Length);
    let two = [&PAIR_V4[..], &extra(TLV_CRC32C, &[0; 4]), &extra(TLV_CRC32C, &[0; 4])].concat();
    check(&v2(0x21, 0x11, &two), HeaderError::Length);
    check(&v2(0x21, 0x11, &[&PAIR_V4[..], &extra(TLV_CRC32C, &[0; 4])].concat()), HeaderError::Checksum);
    let long = v2(0x20, 0x00, &vec![0; HEADER_BYTES_MAX - V2_PREFIX + 1]);
    check(&long[..V2_PREFIX], HeaderError::TooLong);
    let longest = v2(0x20, 0x00, &vec![0; HEADER_BYTES_MAX - V2_PREFIX]);
    assert_eq!(parse(&longest), Ok(Parsed::Complete(HEADER_BYTES_MAX, Addresses::Own)));
}

#[test]
fn a_checksum_covers_every_byte() {
    let summed = v2(0x21, 0x11, &[&PAIR_V4[..], &extra(TLV_CRC32C, &[0; 4])].concat());
    let good = with_checksum(summed, V2_PREFIX + 12 + 3);
    assert!(parse(&good).is_ok());
    for at in V2_PREFIX..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x20;
        assert!(!matches!(parse(&bad), Ok(Parsed::Complete(..)) if at < V2_PREFIX + 12), "byte {at}");
    }
}

fn addr() -> impl Strategy<Value = SocketAddr> {
    (any::<std::net::IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

proptest! {
    #[test]
    fn what_is_written_is_read(source in addr(), destination in addr(), v2: bool, after: Vec<u8>) {
        let version = if v2 { Version::V2 } else { Version::V1 };
        for addresses in [Addresses::Own, Addresses::Of { source, destination }] {
            let mut bytes = Vec::new();
            write(version, addresses, &mut bytes);
            let len = bytes.len();
            prop_assert!(v2 || len <= V1_BYTES_MAX);
            bytes.extend_from_slice(&after);
            let Ok(Parsed::Complete(read, found)) = parse(&bytes) else { panic!("{bytes:?}") };
            prop_assert_eq!(read, len);
            match (addresses, found) {
                (Addresses::Own, found) => prop_assert_eq!(found, Addresses::Own),
                (Addresses::Of { .. }, Addresses::Of { source: s, destination: d }) => {
                    prop_assert_eq!(s.is_ipv4(), d.is_ipv4());
                    prop_assert_eq!((s.port(), d.port()), (source.port(), destination.port()));
                    let same = |a: SocketAddr, b: SocketAddr| a.ip().to_canonical() == b.ip().to_canonical();
                    prop_assert!(same(s, source) && same(d, destination));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
