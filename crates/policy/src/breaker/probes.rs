//! The probes of a breaker that is half open: leases, so that one that is never heard of again is not missed for ever.

use std::time::Duration;

use super::event::ProbesState;
use crate::time::Nanos;

/// Probes under way and what became of the others.
#[derive(Clone, Debug)]
pub(super) struct Probes {
    needed: u32,
    leases: Vec<Lease>,
    next_id: u32,
    pub(super) successes: u32,
    /// Of the successes.
    pub(super) slow: u32,
    pub(super) failures: u32,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    id: u32,
    expires: Nanos,
}

impl Probes {
    pub(super) fn new(needed: u32) -> Self {
        Self {
            needed,
            leases: Vec::with_capacity(needed as usize),
            next_id: 0,
            successes: 0,
            slow: 0,
            failures: 0,
        }
    }

    /// The identity of one more probe, if those under way are too few to close the breaker.
    pub(super) fn lease(&mut self, now: Nanos, length: Duration) -> Option<u32> {
        if self.leases.len() as u32 + self.successes >= self.needed {
            return None;
        }
        // 0 is no probe.
        self.next_id = self.next_id.wrapping_add(1).max(1);
        self.leases.push(Lease { id: self.next_id, expires: now + length });
        self.check();
        Some(self.next_id)
    }

    /// Ends leases whose time is over; how many.
    pub(super) fn expire(&mut self, now: Nanos) -> u64 {
        let before = self.leases.len();
        self.leases.retain(|lease| lease.expires > now);
        (before - self.leases.len()) as u64
    }

    /// Ends a probe's lease; whether it had one.
    pub(super) fn end(&mut self, id: u32) -> bool {
        let position = self.leases.iter().position(|lease| lease.id == id);
        position.map(|position| self.leases.swap_remove(position)).is_some()
    }

    /// When the first lease ends.
    pub(super) fn first_expiry(&self) -> Option<Nanos> {
        self.leases.iter().map(|lease| lease.expires).min()
    }

    pub(super) fn state(&self) -> ProbesState {
        ProbesState {
            under_way: self.leases.len() as u32,
            successes: self.successes,
            failures: self.failures,
            needed: self.needed,
        }
    }

    pub(super) const fn needed(&self) -> u32 {
        self.needed
    }

    fn check(&self) {
        debug_assert!(self.leases.len() as u32 + self.successes <= self.needed);
    }
}
