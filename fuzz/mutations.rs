//! Mutated inputs, seeded, for the bodies of the fuzz targets on stable Rust: shared by the tests of the crates that have some.
//!
//! A failure prints its seed and input; `WEIR_SEED=<seed>` runs that one first. `WEIR_ROUNDS=<n>` asks for more rounds.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// The longest part of an input that is cut out or copied, in bytes.
const PART_BYTES_MAX: usize = 24;

struct Rng(u64);

impl Rng {
    /// splitmix64: a seed means the same for ever.
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

fn mutate(seeds: &[Vec<u8>], pieces: &[&[u8]], rng: &mut Rng) -> Vec<u8> {
    let mut input = seeds[rng.below(seeds.len())].clone();
    for _ in 0..rng.below(6) {
        let at = rng.below(input.len() + 1);
        let end = at + rng.below((input.len() - at).min(PART_BYTES_MAX) + 1);
        match rng.below(if pieces.is_empty() { 5 } else { 6 }) {
            0 if at < input.len() => input[at] = rng.next() as u8,
            1 if at < input.len() => input[at] ^= 1 << rng.below(8),
            2 => drop(input.drain(at..end)),
            3 => {
                let copy = input[at..end].to_vec();
                let to = rng.below(input.len() + 1);
                input.splice(to..to, copy);
            }
            5 => {
                let piece = pieces[rng.below(pieces.len())];
                input.splice(at..at, piece.iter().copied());
            }
            _ => {
                let other = &seeds[rng.below(seeds.len())];
                input.truncate(at);
                input.extend_from_slice(&other[rng.below(other.len())..]);
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

/// Runs a target on mutants of its seeds, into which `pieces` are put as well.
///
/// # Panics
/// With the seed and the input, when the target does.
pub(crate) fn run(name: &str, pieces: &[&[u8]], target: fn(&[u8])) {
    let seeds = seeds(name);
    let first = number("WEIR_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish());
    for round in 0..number("WEIR_ROUNDS").unwrap_or(20_000) {
        let seed = first.wrapping_add(round);
        let input = mutate(&seeds, pieces, &mut Rng(seed));
        if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
            panic!("WEIR_SEED={seed} fails with the input b\"{}\"", input.escape_ascii());
        }
    }
}
