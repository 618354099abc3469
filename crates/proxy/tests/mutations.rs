//! Mutated beginnings of connections, seeded: the bodies of the fuzz targets on stable Rust.

#[path = "../../../fuzz/mutations.rs"]
mod mutations;

use mutations::run;
use weir_proxy::fuzzing;

const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\0",
    b" ",
    b"\xff",
    b"\x16\x03\x01",
    b"\x03\0\x04\0\0\0\0",
    b"\0\0",
    b"\x01",
    b"\x40\0",
    b"::",
    b"0",
    b"65536",
    b"PROXY ",
    b"UNKNOWN",
    b"TCP4 ",
    b"\r\n\r\n\0\r\nQUIT\n",
    b".",
    b"a",
];

#[test]
fn client_hellos() {
    run("client_hello", PIECES, fuzzing::client_hello);
}

#[test]
fn proxy_protocol_headers() {
    run("proxy_protocol", PIECES, fuzzing::proxy_protocol);
}

#[test]
fn requests_that_are_routed() {
    run("routing", PIECES, fuzzing::routing);
}
