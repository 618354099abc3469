//! Quota leases: one limit that many proxies keep together.
//!
//! ```text
//! a proxy: what it is asked for -> Book::ask -> a lease: a share of the limit, for a while -> Limiter::hold
//! ```
//!
//! Each proxy goes by the share that it has a lease on and asks again well before that ends. Whoever keeps the book
//! divides the limit by what is wanted: so much of it as is wanted, the rest evenly; in proportion when more is wanted
//! than there is. So a share that is not used shrinks.
//!
//! **Invariant.** The shares of all leases that may still be gone by are never more than the whole, whatever messages
//! are lost, late or come twice, and whoever vanishes. A lease that was given out counts until its time is over, or
//! until its holder says that it goes by a later one. The holder counts the time from when it asked, so for it a lease
//! ends no later than in the book. A book that begins does not know what another before it gave out, and gives nothing
//! until that must be over; who asks meanwhile takes an even share, and that counts too.
//!
//! Who has no lease keeps the limit alone, as [`Alone`] says: at once if that is less than the lease was or no limit at all,
//! and when the others' leases must be over as well if it is more.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Nanos;

/// The whole of a limit, in the parts that are leased.
pub const PARTS: u32 = 1_000_000;

/// How long a lease lasts.
pub const LEASE_TTL: Duration = Duration::from_secs(3);

/// How often its holder asks for the next one.
pub const ASK_EVERY: Duration = Duration::from_secs(1);

/// When it asks again that has got less than it had, so that others may have what it gives up; and the least time between
/// two questions of one holder, however it is pressed.
pub const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Most that is taken to be wanted: a thousand times the limit.
pub const WANTED_MAX: u32 = 1000 * PARTS;

/// Most that share one limit.
pub const HOLDERS_MAX: usize = 16_384;

/// An eighth of the limit is divided evenly, whatever is wanted: who was idle has something for the first that comes.
const EVEN_ONE_IN: u32 = 8;

/// What is kept back for newcomers, so that they need not wait until others have given up some of theirs: each takes at
/// most half of what is left.
const SPARE: u32 = PARTS / 32;

/// Leases of one holder that may be gone by at a time: beyond, two count as one.
const GIVEN_MAX: usize = 4;

/// How often, at most, it is looked for what is over.
const SWEEP_EVERY: Duration = Duration::from_millis(100);

/// What a proxy does that has no lease, because whoever keeps the book cannot be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Alone {
    /// It takes an even share: the limit divided by how many shared it when it was last heard of.
    #[default]
    Share,
    /// It limits nothing.
    Open,
    /// It refuses everything.
    Closed,
}

/// What a holder says when it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// How much of the limit it could use, in [`PARTS`] of it; more than all if it is asked for more.
    pub wanted: u32,
    /// The number of the lease that it goes by; 0 for none.
    pub lease: u64,
}

/// A share of a limit, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Which it is: of two leases, the one with the higher number is gone by.
    pub number: u64,
    /// How much, of [`PARTS`].
    pub parts: u32,
    /// How long, from when it was asked for.
    pub ttl: Duration,
}

/// What is given out of one limit, and to whom.
#[derive(Debug)]
pub struct Book {
    /// Until when nothing is given: what another has given out before may be gone by.
    silent_until: Nanos,
    holders: BTreeMap<Box<str>, Holder>,
    /// The sums over all holders of what they want, and of what counts as given to them. (The latter is more than the
    /// whole while some of it is what they take alone.)
    wanted: u64,
    given: u64,
    swept: Nanos,
}

#[derive(Debug, Default)]
struct Holder {
    wanted: u32,
    /// Of the last lease.
    number: u64,
    /// When it asked last.
    asked: Nanos,
    /// The oldest first.
    given: Vec<Given>,
}

#[derive(Clone, Copy, Debug)]
struct Given {
    number: u64,
    parts: u32,
    until: Nanos,
}

impl Holder {
    /// What it may go by: it is not known by which of them.
    fn parts(&self) -> u32 {
        self.given.iter().map(|given| given.parts).max().unwrap_or(0)
    }
}

impl Book {
    /// A book of which nothing is given. `silent_until`: when the last lease is over that another book may have given
    /// out.
    pub const fn new(silent_until: Nanos) -> Self {
        Self { silent_until, holders: BTreeMap::new(), wanted: 0, given: 0, swept: Nanos(0) }
    }

    /// Takes note of what a holder wants, and gives it a lease; none while the book is silent, or if too many share the
    /// limit.
    pub fn ask(&mut self, holder: &str, wish: Wish, now: Nanos) -> Option<Lease> {
        self.sweep(now);
        if !self.holders.contains_key(holder) {
            if self.holders.len() >= HOLDERS_MAX {
                return None;
            }
            self.holders.insert(holder.into(), Holder::default());
        }
        let silent = now < self.silent_until;
        let holders = self.holders.len() as u64;
        let asking = self.holders.get_mut(holder)?;
        self.wanted -= u64::from(asking.wanted);
        self.given -= u64::from(asking.parts());
        asking.asked = asking.asked.max(now);
        asking.wanted = wish.wanted.min(WANTED_MAX);
        self.wanted += u64::from(asking.wanted);
        // It will not go back to an earlier one, and another book may have numbered it.
        asking.given.retain(|given| given.number >= wish.lease && given.until > now);
        asking.number = asking.number.max(wish.lease);
        let lease = if silent {
            // It goes on alone, and may take an even share.
            let parts = PARTS / u32::try_from(holders).unwrap_or(u32::MAX);
            asking.given.retain(|given| given.number > wish.lease);
            asking.take_note(Given { number: wish.lease, parts, until: now + LEASE_TTL });
            None
        } else {
            let free = u64::from(PARTS).saturating_sub(self.given);
            let most = free.saturating_sub(SPARE.into()).max(free / 2);
            let share =
                share(asking.wanted, self.wanted, holders) * u64::from(PARTS - SPARE) / u64::from(PARTS);
            let parts = share.min(most) as u32;
            asking.number = asking.number.saturating_add(1);
            asking.take_note(Given { number: asking.number, parts, until: now + LEASE_TTL });
            Some(Lease { number: asking.number, parts, ttl: LEASE_TTL })
        };
        self.given += u64::from(asking.parts());
        lease
    }

    /// How many share the limit: those that have asked lately.
    pub fn holders(&self) -> u32 {
        u32::try_from(self.holders.len()).unwrap_or(u32::MAX)
    }

    /// Whether nobody has asked lately, and nothing is given.
    pub fn is_empty(&mut self, now: Nanos) -> bool {
        self.sweep(now);
        self.holders.is_empty()
    }

    /// Strikes out what is over. Until then it counts.
    fn sweep(&mut self, now: Nanos) {
        if now < self.swept + SWEEP_EVERY {
            return;
        }
        self.swept = now;
        let (mut wanted, mut given) = (0, 0);
        self.holders.retain(|_, holder| {
            holder.given.retain(|given| given.until > now);
            let stays = !holder.given.is_empty() || now < holder.asked + LEASE_TTL;
            if stays {
                wanted += u64::from(holder.wanted);
                given += u64::from(holder.parts());
            }
            stays
        });
        (self.wanted, self.given) = (wanted, given);
    }
}

impl Holder {
    fn take_note(&mut self, given: Given) {
        if self.given.len() >= GIVEN_MAX {
            // Both count as the more of the two, for as long as either lasts.
            let oldest = self.given.remove(0);
            let next = &mut self.given[0];
            next.parts = next.parts.max(oldest.parts);
            next.until = next.until.max(oldest.until);
        }
        self.given.push(given);
    }
}

/// What one of several should have, in parts. Of all together it is at most the whole.
fn share(wanted: u32, wanted_by_all: u64, holders: u64) -> u64 {
    let whole = u64::from(PARTS);
    let even = whole / u64::from(EVEN_ONE_IN) / holders;
    let by_demand = if wanted_by_all < whole {
        u64::from(wanted) + (whole - wanted_by_all) / holders
    } else {
        u64::from(wanted) * whole / wanted_by_all
    };
    even + (whole - even * holders) * by_demand / whole
}
