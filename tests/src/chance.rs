//! Where a test draws by chance, one seed says everything.

use std::time::{SystemTime, UNIX_EPOCH};

/// The seed of a test: the same in each run, so that what chance does once in a thousand runs stops nobody who changed
/// something else. `random` in this environment variable draws one, and a number replays it; a test prints its seed.
///
/// # Panics
/// When the variable is neither.
pub fn seed(variable: &str, usual: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) if text == "random" => {
            let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            since_1970.as_nanos() as u64 | 1
        }
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is a number, or `random`")),
        Err(_) => usual,
    }
}
