//! Mutated packets, seeded: the body of the fuzz target on stable Rust.
//!
//! A failure prints its seed and input; `WEIR_SEED=<seed>` runs that one first. `WEIR_ROUNDS=<n>` asks for more rounds.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
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

fn mutate(seeds: &[Vec<u8>], rng: &mut SmallRng) -> Vec<u8> {
    let mut input = seeds[rng.random_range(0..seeds.len())].clone();
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

/// What the fuzzer begins with, too.
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

#[test]
fn dns_packets() {
    let seeds = seeds("dns");
    let first = number("WEIR_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish());
    for round in 0..number("WEIR_ROUNDS").unwrap_or(20_000) {
        let seed = first.wrapping_add(round);
        let input = mutate(&seeds, &mut SmallRng::seed_from_u64(seed));
        if catch_unwind(AssertUnwindSafe(|| fuzzing::dns(&input))).is_err() {
            panic!("WEIR_SEED={seed} fails with the input b\"{}\"", input.escape_ascii());
        }
    }
}
