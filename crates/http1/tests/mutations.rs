//! Mutated messages, seeded: the bodies of the fuzz targets on stable Rust.
//!
//! A failure prints its seed and input; `WEIR_SEED=<seed>` runs that one first. `WEIR_ROUNDS=<n>` asks for more rounds.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

use weir_http1::fuzzing;

const REQUESTS: &[&[u8]] = &[
    b"GET /a/b?c=d HTTP/1.1\r\nHost: example.com:8080\r\nAccept: */*\r\nUser-Agent: x\r\n\r\n",
    b"POST /%2e%2e/a//b HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 12\r\nConnection: keep-alive, X-A\r\nX-A: 1\r\n\r\nhello, world",
    b"PUT http://a.b/c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\nTE: trailers\r\n\r\n",
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a==\r\n\r\n",
    b"\r\nOPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\nX-Forwarded-For: 1.2.3.4\r\nx_weir_a: b\r\n\r\n",
    b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
];

const RESPONSES: &[&[u8]] = &[
    b"\0HTTP/1.1 200 OK\r\nContent-Length: 5\r\nDate: now\r\nServer: s\r\n\r\nhello",
    b"\x01HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
    b"\x04HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"\x03HTTP/1.0 304 Not Modified\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n",
    b"\0HTTP/1.1 204 No Content\r\n\r\n",
    b"\0HTTP/1.1 103\r\nLink: </a>\r\n\r\n",
];

const BODIES: &[&[u8]] = &[
    b"\x035\r\nhello\r\n0\r\n\r\n",
    b"\x0a1;a=b\r\nx\r\n0A\r\n0123456789\r\n00\r\nX-Sum: 1\r\nHost: no\r\n\r\nGET",
    b"\x00fffffffffffffff0\r\nabc",
    b"\x012\r\n\r\n\r\n1\r\n\n\r\n0\r\na: b\r\n\r\n",
];

const PATHS: &[&[u8]] = &[
    b"/a/b/c.d",
    b"/a/%2e%2e/./b//c",
    b"/..;x/%2f%5C/;/.;",
    b"/%25%32%65/%41%7e/...",
    b"/a;b/;c",
    b"//%00/\\",
];

/// Pieces that matter to a parser.
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

struct Rng(u64);

impl Rng {
    /// splitmix64
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

fn mutate(seeds: &[&[u8]], rng: &mut Rng) -> Vec<u8> {
    let mut input = seeds[rng.below(seeds.len())].to_vec();
    for _ in 0..rng.below(6) {
        let at = rng.below(input.len() + 1);
        let end = at + rng.below((input.len() - at).min(12) + 1);
        match rng.below(6) {
            0 if at < input.len() => input[at] = rng.next() as u8,
            1 if at < input.len() => input[at] ^= 1 << rng.below(8),
            2 => drop(input.drain(at..end)),
            3 => {
                let copy = input[at..end].to_vec();
                let to = rng.below(input.len() + 1);
                input.splice(to..to, copy);
            }
            4 => {
                let other = seeds[rng.below(seeds.len())];
                let from = rng.below(other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => {
                let piece = PIECES[rng.below(PIECES.len())];
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
        let input = mutate(seeds, &mut Rng(seed));
        if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
            panic!("WEIR_SEED={seed} fails with the input b\"{}\"", input.escape_ascii());
        }
    }
}

#[test]
fn request_heads() {
    run(REQUESTS, fuzzing::request_head);
}

#[test]
fn response_heads() {
    run(RESPONSES, fuzzing::response_head);
}

#[test]
fn chunked_bodies() {
    run(BODIES, fuzzing::chunked_body);
}

#[test]
fn paths() {
    run(PATHS, fuzzing::path);
}
