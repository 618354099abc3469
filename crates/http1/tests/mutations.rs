//! Mutated messages, seeded: the bodies of the fuzz targets on stable Rust.

#[path = "../../../fuzz/mutations.rs"]
mod mutations;

use mutations::run;
use weir_http1::fuzzing;

const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"\x7f",
    b"\x85",
    b"\r\n\r\n",
    b"\r\n ",
    b"/",
    b"..",
    b"%2e",
    b"%2f",
    b"%",
    b"\\",
    b"?",
    b"#",
    b"*",
    b"@",
    b"0",
    b"1",
    b"f",
    b"+1",
    b"0x1",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: a\r\n",
    b"Connection: close\r\n",
    b"Connection: x\r\n",
    b"chunked",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b" : ",
    b"Transfer_Encoding: chunked\r\n",
    b"Upgrade: h2c\r\n",
    b"Expect: x\r\n",
    b"0\r\n\r\n",
    b"1\r\na\r\n",
];

#[test]
fn request_heads() {
    run("request_head", PIECES, fuzzing::request_head);
}

#[test]
fn response_heads() {
    run("response_head", PIECES, fuzzing::response_head);
}

#[test]
fn chunked_bodies() {
    run("chunked_body", PIECES, fuzzing::chunked_body);
}

#[test]
fn paths() {
    run("path", PIECES, fuzzing::path);
}
