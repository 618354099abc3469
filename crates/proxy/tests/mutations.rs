//! Mutated beginnings of connections, seeded: the bodies of the fuzz targets on stable Rust.
//!
//! A failure prints its seed and input; `WEIR_SEED=<seed>` runs that one first. `WEIR_ROUNDS=<n>` asks for more rounds.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
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

fn mutate(seeds: &[Vec<u8>], rng: &mut SmallRng) -> Vec<u8> {
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
                let other = &seeds[rng.random_range(0..seeds.len())];
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
        let input = mutate(&seeds, &mut SmallRng::seed_from_u64(seed));
        if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
            panic!("WEIR_SEED={seed} fails with the input b\"{}\"", input.escape_ascii());
        }
    }
}

#[test]
fn client_hellos() {
    run("client_hello", fuzzing::client_hello);
}

#[test]
fn proxy_protocol_headers() {
    run("proxy_protocol", fuzzing::proxy_protocol);
}

#[test]
fn requests_that_are_routed() {
    run("routing", fuzzing::routing);
}
