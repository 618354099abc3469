//! Waiting for conditions instead of sleeping for guesses, and finding free ports.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Returns the first `Some` that `condition` gives.
///
/// # Panics
/// With `what` when there is none within `limit`.
pub fn eventually<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain for: {what}");
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Ports that [`free_port`] gives out: below those that the system gives to outgoing connections, of which one could
/// take the port before it is listened on, and below those that a demo gives to its children.
const PORTS: std::ops::Range<u32> = 10_000..20_000;

/// How many ports this process has tried.
static TRIED: AtomicU32 = AtomicU32::new(0);

/// A TCP port on loopback that nobody uses, and that is given out once in this process.
pub fn free_port() -> u16 {
    // Test binaries that run side by side begin at different places.
    let first = std::process::id().wrapping_mul(211);
    loop {
        let tried = TRIED.fetch_add(1, Ordering::Relaxed);
        assert!(tried < PORTS.len() as u32, "no port is free");
        let port = (PORTS.start + first.wrapping_add(tried) % PORTS.len() as u32) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Several distinct free ports.
pub fn free_ports<const N: usize>() -> [u16; N] {
    std::array::from_fn(|_| free_port())
}
