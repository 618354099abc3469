//! One seed reproduces a test. It is the same in each run, so that what chance does once in a thousand runs stops nobody who
//! changed something else; `WEIR_SEED=random` draws one, which is printed when the test fails, and `WEIR_SEED=N` replays it.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const SEED: u64 = 1;

/// A random source for one test; keep the second part alive, it prints the seed if the test fails.
pub(crate) fn seeded() -> (StdRng, Seed) {
    let seed = match std::env::var("WEIR_SEED") {
        Ok(text) if text == "random" => rand::rng().random(),
        Ok(text) => text.parse().expect("WEIR_SEED is a number, or `random`"),
        Err(_) => SEED,
    };
    (StdRng::seed_from_u64(seed), Seed(seed))
}

/// The seed of a test.
pub(crate) struct Seed(u64);

impl Drop for Seed {
    #[expect(clippy::print_stderr, reason = "tells whoever runs a failing test how to repeat it")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to repeat this: WEIR_SEED={}", self.0);
        }
    }
}

/// Whether a count of `n` draws with probability `p` lies within six standard deviations (and one draw) of its mean: a
/// sound test fails about once in 500 million.
pub(crate) fn plausible(count: u64, n: u64, p: f64) -> bool {
    let mean = n as f64 * p;
    (count as f64 - mean).abs() <= 6.0 * (mean * (1.0 - p)).sqrt() + 1.0
}
