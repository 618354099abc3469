//! Epochs: numbers that rise whenever a store is created, imported or restored.
//!
//! The wall clock is the only thing that survives the loss of all data, so an epoch is the time of creation in
//! milliseconds since 1970. It is used as a number from then on, never as a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The last epoch given out by this process: two stores made within one millisecond must differ.
static LAST: AtomicU64 = AtomicU64::new(0);

/// A new epoch, greater than `above` and than all others given out by this process.
pub(crate) fn next(above: u64) -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wall = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
    let next = |last: u64| last.max(above).saturating_add(1).max(wall);
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
    last.map_or(wall, next)
}

#[cfg(test)]
mod tests {
    #[test]
    fn epochs_rise() {
        let first = super::next(0);
        assert!(super::next(0) > first);
        assert!(super::next(first + 1_000_000) > first + 1_000_000);
    }
}
