//! A worker's clock: exact where it must be, free where it may be a little late.
//!
//! Reading the system's clock takes some 25 ns, and a request would need it three times: when it comes, when the response
//! begins, and when it ends. One read is enough. What a worker finds when it wakes up was there when it woke, and until it
//! sleeps again no time passes but its own work; so the latest read of this turn will do for a beginning.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use weir_policy::Nanos;

/// When time began for this process: what several threads measure by must begin at one moment.
static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The time that all threads share, read from the system.
pub(crate) fn process_now() -> Nanos {
    // Half a millennium fits.
    Nanos(STARTED.elapsed().as_nanos() as u64)
}

/// Told by the runtime that its thread has slept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slept(Arc<AtomicBool>);

impl Slept {
    /// The thread has just woken up.
    #[inline]
    pub(crate) fn woke(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The clock.
#[derive(Debug)]
pub(crate) struct Clock {
    last_ns: Cell<u64>,
    slept: Slept,
}

impl Clock {
    pub(crate) fn new(slept: Slept) -> Self {
        Self { last_ns: Cell::new(process_now().0), slept }
    }

    /// Nanoseconds since the process started.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        let ns = process_now().0;
        self.last_ns.set(ns);
        self.slept.0.store(false, Ordering::Relaxed);
        ns
    }

    /// The same as of the latest read since the worker woke up: late by no more than it has worked since, and by no more
    /// than a tick.
    #[inline]
    pub(crate) fn recent(&self) -> u64 {
        if self.slept.0.load(Ordering::Relaxed) { self.now() } else { self.last_ns.get() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_is_read_anew_after_a_sleep_only() {
        let slept = Slept::default();
        let clock = Clock::new(slept.clone());
        let first = clock.now();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert_eq!(clock.recent(), first);
        slept.woke();
        let second = clock.recent();
        assert!(second >= first + 2_000_000, "{first} {second}");
        assert_eq!(clock.recent(), second);
        assert!(clock.now() >= second);
    }
}
