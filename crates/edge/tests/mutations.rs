//! Mutated packets, seeded: the body of the fuzz target on stable Rust.

#[path = "../../../fuzz/mutations.rs"]
mod mutations;

use mutations::run;
use weir_edge::fuzzing;

const PIECES: &[&[u8]] = &[
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
    run("dns", PIECES, fuzzing::dns);
}
