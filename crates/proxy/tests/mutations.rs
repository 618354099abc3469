//! Mutated beginnings of connections, seeded: the bodies of the fuzz targets on stable Rust.
//!
//! A failure prints its seed and input; `WEIR_SEED=<seed>` runs that one first. `WEIR_ROUNDS=<n>` asks for more rounds.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use weir_proxy::fuzzing;

const HELLOS: &[&[u8]] = &[
    b"\x16\x03\x01\x00\x4d\x01\x00\x00\x49\x03\x03\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\
      \x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x00\x00\x04\x13\x01\x13\x02\x01\x00\x00\x1c\
      \x00\x00\x00\x0b\x00\x09\x00\x00\x06db.a.b\x00\x10\x00\x05\x00\x03\x02h2\x00\x2b\x00\x00",
    b"\x16\x03\x03\x00\x05\x01\x00\x00\x2b\x03\x16\x03\x03\x00\x2a\x03\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\
      \x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x20\x00\x00\x02\x13\x01\x01\x00\x00\x00",
    b"GET / HTTP/1.1\r\n\r\n",
];

const HEADERS: &[&[u8]] = &[
    b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 5432\r\nrest",
    b"PROXY TCP6 2001:db8::7 ::1 0 65535\r\n",
    b"PROXY UNKNOWN ffff:f\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x9c\x40\x15\x38rest",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11\xc0\0\x02\x07\xc6\x33\x64\x01\x9c\x40\x15\x38\x04\0\x02ab",
    b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\x03abc",
];

const REQUESTS: &[&[u8]] = &[
    b"GET /a/b HTTP/1.1\r\nHost: a.shop.example\r\n\r\n",
    b"POST /a/42/x?q HTTP/1.1\r\nHost: x.b.shop.example:8080\r\nContent-Length: 1\r\n\r\n",
    b"GET /old/x?a=1+2&b=abc HTTP/1.1\r\nHost: c.example\r\n\r\n",
    b"GET /old HTTP/1.1\r\nHost: c.example\r\nX-A: 1\r\nx-a: 2\r\nx-b: v7\r\n\r\n",
    b"GET /strip/../strip/%61?x HTTP/1.1\r\nHost: c.example\r\nCookie: a=b\r\nX-A: old\r\n\r\n",
    b"OPTIONS /x HTTP/1.1\r\nHost: h\r\nOrigin: https://a.example\r\nAccess-Control-Request-Method: PUT\r\n\r\n",
    b"PUT http://h/x.png HTTP/1.1\r\nHost: h\r\nOrigin: http://[::1]:8080\r\n\r\n",
    b"GET /go/x HTTP/1.0\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a.shop.example\r\n\r\n",
];

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

fn mutate(seeds: &[&[u8]], rng: &mut SmallRng) -> Vec<u8> {
    let mut input = seeds[rng.random_range(0..seeds.len())].to_vec();
    for _ in 0..rng.random_range(0..6) {
        let at = rng.random_range(0..=input.len());
        let end = at + rng.random_range(0..=(input.len() - at).min(12));
        match rng.random_range(0..6) {
            0 if at < input.len() => input[at] = rng.random(),
            1 if at < input.len() => input[at] ^= 1 << rng.random_range(0..8),
            2 => drop(input.drain(at..end)),
            3 => {
                let copy = input[at..end].to_vec();
                let to = rng.random_range(0..=input.len());
                input.splice(to..to, copy);
            }
            4 => {
                let other = seeds[rng.random_range(0..seeds.len())];
                input.truncate(at);
                input.extend_from_slice(&other[rng.random_range(0..other.len())..]);
            }
            _ => {
                let piece = PIECES[rng.random_range(0..PIECES.len())];
                input.splice(at..at, piece.iter().copied());
            }
        }
    }
    input
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} must be a number")))
}

fn run(seeds: &[&[u8]], target: fn(&[u8])) {
    let first = number("WEIR_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish());
    for round in 0..number("WEIR_ROUNDS").unwrap_or(20_000) {
        let seed = first.wrapping_add(round);
        let input = mutate(seeds, &mut SmallRng::seed_from_u64(seed));
        if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
            panic!("WEIR_SEED={seed} fails with the input b\"{}\"", input.escape_ascii());
        }
    }
}

#[test]
fn client_hellos() {
    run(HELLOS, fuzzing::client_hello);
}

#[test]
fn proxy_protocol_headers() {
    run(HEADERS, fuzzing::proxy_protocol);
}

#[test]
fn requests_that_are_routed() {
    run(REQUESTS, fuzzing::routing);
}
