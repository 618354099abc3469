//! Mutated messages, seeded: the bodies of the fuzz targets on stable Rust.
//!
//! A failure prints its seed and input; `WEIR_SEED=<seed>` runs that one first. `WEIR_ROUNDS=<n>` asks for more rounds.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use weir_http1::fuzzing;

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

fn mutate(seeds: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
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
                let other = &seeds[rng.below(seeds.len())];
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

/// What the fuzzers begin with, too.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|fault| panic!("{}: {fault}", folder.display()))
        .map(|entry| entry.expect("a file").path())
        .collect();
    // A seed means the same on every machine.
    paths.sort();
    assert!(!paths.is_empty(), "no seeds in {}", folder.display());
    paths.into_iter().map(|path| fs::read(path).expect("a seed")).collect()
}

fn run(name: &str, target: fn(&[u8])) {
    let seeds = seeds(name);
    let first = number("WEIR_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish());
    for round in 0..number("WEIR_ROUNDS").unwrap_or(20_000) {
        let seed = first.wrapping_add(round);
        let input = mutate(&seeds, &mut Rng(seed));
        if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
            panic!("WEIR_SEED={seed} fails with the input b\"{}\"", input.escape_ascii());
        }
    }
}

#[test]
fn request_heads() {
    run("request_head", fuzzing::request_head);
}

#[test]
fn response_heads() {
    run("response_head", fuzzing::response_head);
}

#[test]
fn chunked_bodies() {
    run("chunked_body", fuzzing::chunked_body);
}

#[test]
fn paths() {
    run("path", fuzzing::path);
}
