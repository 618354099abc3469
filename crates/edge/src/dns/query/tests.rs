//! What is a query, and what is refused or passed over in silence.

use super::*;

/// A header with these flags and counts.
fn header(flags: u16, counts: [u16; 4]) -> Vec<u8> {
    let numbers = [0x1234, flags].into_iter().chain(counts);
    numbers.flat_map(u16::to_be_bytes).collect()
}

const WEB: &[u8] = b"\x03wEb\x07service\x06consul\0";
const A_IN: &[u8] = b"\0\x01\0\x01";

fn packet(flags: u16, counts: [u16; 4], parts: &[&[u8]]) -> Vec<u8> {
    [&header(flags, counts), &*parts.concat()].concat()
}

/// An OPT record: the owner, the size, the version and the options.
fn opt(owner: &[u8], bytes: u16, version: u8, options: &[u8]) -> Vec<u8> {
    let len = (options.len() as u16).to_be_bytes();
    [owner, b"\0\x29", &bytes.to_be_bytes(), &[0, version, 0x80, 0], &len, options].concat()
}

fn read(packet: &[u8]) -> Query {
    match decode(packet) {
        Decoded::Query(query) => query,
        other => panic!("{other:?}"),
    }
}

fn check_refused(what: &str, packet: &[u8], rcode: OptRcode, has_question: bool) {
    match decode(packet) {
        Decoded::Refused(refused) => {
            assert_eq!((refused.rcode, refused.question.is_some()), (rcode, has_question), "{what}");
            assert_eq!(refused.head.id, 0x1234, "{what}");
        }
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn queries() {
    let query = read(&packet(0x0110, [1, 0, 0, 0], &[WEB, A_IN]));
    assert_eq!(query.name.to_string(), "wEb.service.consul");
    assert_eq!((query.rtype, query.class, query.head.id), (Rtype::A, Class::IN, 0x1234));
    assert!(query.head.recursion_desired && query.head.checking_disabled);
    assert_eq!((query.head.edns, query.head.udp_bytes_max()), (None, 512));
    let root = read(&packet(0, [1, 0, 0, 0], &[b"\0", b"\0\x02\0\xff"]));
    assert_eq!((root.name.is_root(), root.rtype, root.class), (true, Rtype::NS, Class::ANY));
    assert!(!root.head.recursion_desired);
}

#[test]
fn edns() {
    for (asked, max) in [(0, 512), (511, 512), (1232, 1232), (8192, 8192), (65_535, 8192)] {
        let cookie = b"\0\x0a\0\x08abcdefgh";
        let query = read(&packet(0x0100, [1, 0, 0, 1], &[WEB, A_IN, &opt(b"\0", asked, 0, cookie)]));
        assert_eq!(query.head.edns, Some(Edns { udp_bytes: asked, dnssec_ok: true }));
        assert_eq!(query.head.udp_bytes_max(), max);
    }
    // Records that nobody asked for are read over.
    let glue = b"\xc0\x0c\0\x01\0\x01\0\0\0\x05\0\x04\x0a\0\0\x01";
    let query = read(&packet(0, [1, 1, 1, 2], &[WEB, A_IN, glue, glue, glue, &opt(b"\0", 600, 0, b"")]));
    assert_eq!(query.head.udp_bytes_max(), 600);
}

#[test]
fn silence() {
    for short in [&b""[..], b"\0", &header(0x0100, [1, 0, 0, 0])[..11]] {
        assert!(matches!(decode(short), Decoded::Ignored(Ignored::Short)));
    }
    let response = packet(0x8180, [1, 0, 0, 0], &[WEB, A_IN]);
    assert!(matches!(decode(&response), Decoded::Ignored(Ignored::Response)));
    assert!(matches!(decode(&header(0xa800, [9, 9, 9, 9])), Decoded::Ignored(Ignored::Response)));
}

#[test]
fn malformed() {
    let form =
        |what, packet: &[u8], has_question| check_refused(what, packet, OptRcode::FORMERR, has_question);
    form("no question", &header(0, [0; 4]), false);
    form("a question that is not there", &header(0, [1, 0, 0, 0]), false);
    form("two questions", &packet(0, [2, 0, 0, 0], &[WEB, A_IN, WEB, A_IN]), false);
    form("65535 questions", &packet(0, [65_535, 0, 0, 0], &[WEB, A_IN]), false);
    form("a name cut short", &packet(0, [1, 0, 0, 0], &[&WEB[..9]]), false);
    form("no type", &packet(0, [1, 0, 0, 0], &[WEB, b"\0"]), false);
    form("a name that points to itself", &packet(0, [1, 0, 0, 0], &[b"\xc0\x0c", A_IN]), false);
    form("a name that points ahead", &packet(0, [1, 0, 0, 0], &[b"\xc0\x12", A_IN, WEB]), false);
    form("a name that points into the header", &packet(0, [1, 0, 0, 0], &[b"\x01a\xc0\x04", A_IN]), false);
    form("a label of a kind that was never used", &packet(0, [1, 0, 0, 0], &[b"\x41a\0", A_IN]), false);
    let long = [&b"\x3f"[..], &[b'a'; 63]].concat().repeat(4);
    form("a name of 257 bytes", &packet(0, [1, 0, 0, 0], &[&long, b"\0", A_IN]), false);
    form("a record that is not there", &packet(0, [1, 0, 0, 1], &[WEB, A_IN]), true);
    form(
        "a record cut short",
        &packet(0, [1, 1, 0, 0], &[WEB, A_IN, b"\xc0\x0c\0\x01\0\x01\0\0\0\x05\0\x04\x0a"]),
        true,
    );
    let two = opt(b"\0", 1232, 0, b"").repeat(2);
    form("two OPT records", &packet(0, [1, 0, 0, 2], &[WEB, A_IN, &two]), true);
    form(
        "an OPT record with a name",
        &packet(0, [1, 0, 0, 1], &[WEB, A_IN, &opt(b"\x01a\0", 1, 0, b"")]),
        true,
    );
    form(
        "an OPT record among the answers",
        &packet(0, [1, 1, 0, 0], &[WEB, A_IN, &opt(b"\0", 1, 0, b"")]),
        true,
    );
    form(
        "an option cut short",
        &packet(0, [1, 0, 0, 1], &[WEB, A_IN, &opt(b"\0", 1, 0, b"\0\x0a\0\x08abc")]),
        true,
    );
    form("the type of OPT", &packet(0, [1, 0, 0, 0], &[WEB, b"\0\x29\0\x01"]), true);
    form("no type at all", &packet(0, [1, 0, 0, 0], &[WEB, b"\0\0\0\x01"]), true);
}

#[test]
fn not_here() {
    for opcode in (1..16).filter(|opcode| *opcode != 0) {
        check_refused(
            "an opcode",
            &packet(opcode << 11, [1, 0, 0, 0], &[WEB, A_IN]),
            OptRcode::NOTIMP,
            false,
        );
    }
    for rtype in [128, 249, 250, 251, 252, 253, 254_u16] {
        let question = [&rtype.to_be_bytes()[..], b"\0\x01"].concat();
        check_refused("a type", &packet(0, [1, 0, 0, 0], &[WEB, &question]), OptRcode::NOTIMP, true);
    }
    for class in [0, 2, 3, 4, 254_u16] {
        let question = [&b"\0\x01"[..], &class.to_be_bytes()].concat();
        check_refused("a class", &packet(0, [1, 0, 0, 0], &[WEB, &question]), OptRcode::REFUSED, true);
    }
    let versioned = packet(0, [1, 0, 0, 1], &[WEB, A_IN, &opt(b"\0", 1232, 1, b"")]);
    check_refused("a version of EDNS", &versioned, OptRcode::BADVERS, true);
}
