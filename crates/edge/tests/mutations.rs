//! Mutated packets and filters, seeded: the bodies of the fuzz targets on stable Rust.

#[path = "../../../fuzz/mutations.rs"]
mod mutations;

use mutations::run;
use weir_edge::fuzzing;

const DNS_PIECES: &[&[u8]] = &[
    b"\0",
    b"\xc0\x0c",
    b"\xc0\x00",
    b"\xc0\xff",
    b"\xff\xff",
    b"\x3f",
    b"\x40",
    b"\x80",
    b"\x06consul\0",
    b"\x07service",
    b"\x04node",
    b"\x02ns",
    b"\x03dc1",
    b"\x04_tcp",
    b"\x05round",
    b"\0\0\x29\x04\xd0\0\0\0\0\0\0",
    b"\0\x01\0\x01",
    b"\0\x21\0\x01",
    b"\0\xff\0\xff",
    b"\x01\0\0\x01\0\0\0\0\0\0",
];

#[test]
fn dns_packets() {
    run("dns", DNS_PIECES, fuzzing::dns);
}

const FILTER_PIECES: &[&[u8]] = &[
    b" and ",
    b" or ",
    b"not ",
    b"(",
    b")",
    b" == ",
    b" != ",
    b" in ",
    b" contains ",
    b" matches ",
    b" is empty",
    b"\"",
    b"`",
    b"[",
    b"]",
    b".",
    b"\\",
    b"(a|b)*",
    b"{9}",
    b"Service.ID",
    b"Service.Tags",
    b"Service.Meta",
];

#[test]
fn filter_expressions() {
    run("filter", FILTER_PIECES, fuzzing::filter);
}
