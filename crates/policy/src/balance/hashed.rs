//! Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam, SODA 2018): the endpoint a hash leads to, or
//! the next that has room.
//!
//! Endpoint i has room for ceil(c * (total + 1) * w_i / W) requests in flight, where `total` are in flight to all now. As
//! c >= 1, one always has room. Who is full, or not fresh, is passed over to whoever is next on the ring or in the table,
//! which is another one for each key: its load is spread.

use std::sync::Arc;

use rand::Rng;

use super::live::Live;
use super::maglev::{Maglev, size_for};
use super::ring::Ring;
use super::weighted::Weighted;
use super::{Candidates, Note, Pick, Policy, Reasons, Standing, Why};

/// How far to walk past full and stale endpoints before all are looked through.
const WALK_MAX: usize = 16;

/// Where hashes lead: the ring of `ring_hash` or the table of `maglev`. Immutable; a clone is the same one.
#[derive(Clone, Debug)]
pub struct Table(Arc<Made>);

#[derive(Debug)]
struct Made {
    /// What it was made from: key and weight by slot, and the endpoints that the size is for.
    of: Box<[(u64, u32)]>,
    endpoints: usize,
    places: Places,
}

#[derive(Debug)]
enum Places {
    Ring(Ring),
    Maglev(Maglev),
}

impl Table {
    /// The table for endpoints with these weights and keys; none under a policy without one.
    pub fn new(policy: Policy, shares: &[u32], keys: &[u64]) -> Option<Self> {
        Self::again(None, policy, shares, keys)
    }

    /// The same, but the one that was there before if it still fits.
    pub fn again(before: Option<&Self>, policy: Policy, shares: &[u32], keys: &[u64]) -> Option<Self> {
        policy.is_hashing().then(|| Self::fitting(before, policy, &Weighted::new(shares), keys))
    }

    /// The one there is if it fits, else a new one.
    pub(super) fn fitting(there: Option<&Self>, policy: Policy, weighted: &Weighted, keys: &[u64]) -> Self {
        let key = |slot: usize| {
            let index = weighted.index(slot);
            keys.get(index).copied().unwrap_or(index as u64)
        };
        let of: Box<[(u64, u32)]> =
            (0..weighted.len()).map(|slot| (key(slot), weighted.weight(slot))).collect();
        let endpoints = weighted.endpoints();
        if let Some(there) = there
            && there.fits(policy, &of, endpoints)
        {
            return there.clone();
        }
        let mut members: Vec<(u64, u32, u32)> =
            (0u32..).zip(&of).map(|(slot, (key, weight))| (*key, *weight, slot)).collect();
        members.sort_unstable();
        let places = match policy {
            Policy::RingHash => Places::Ring(Ring::new(&members)),
            _ => Places::Maglev(Maglev::new(&members, size_for(endpoints))),
        };
        Self(Arc::new(Made { of, endpoints, places }))
    }

    fn fits(&self, policy: Policy, of: &[(u64, u32)], endpoints: usize) -> bool {
        let kind = match self.0.places {
            Places::Ring(_) => policy == Policy::RingHash,
            Places::Maglev(_) => {
                policy == Policy::Maglev && size_for(endpoints) == size_for(self.0.endpoints)
            }
        };
        kind && *self.0.of == *of
    }

    /// Whether two are one and the same.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn len(&self) -> usize {
        match &self.0.places {
            Places::Ring(ring) => ring.len(),
            Places::Maglev(maglev) => maglev.len(),
        }
    }

    fn position(&self, hash: u64) -> usize {
        match &self.0.places {
            Places::Ring(ring) => ring.position(hash),
            Places::Maglev(maglev) => maglev.position(hash),
        }
    }

    fn slot(&self, position: usize) -> usize {
        match &self.0.places {
            Places::Ring(ring) => ring.slot(position),
            Places::Maglev(maglev) => maglev.slot(position),
        }
    }

    /// The slots from a position on, once around; one may come again.
    fn walk(&self, position: usize) -> impl Iterator<Item = usize> {
        (position..self.len()).chain(0..position).map(|position| self.slot(position))
    }
}

/// A table with its bound.
#[derive(Clone, Debug)]
pub(super) struct Hashed {
    table: Table,
    load_factor: f64,
}

/// Requests in flight and weight of all that a bound is about.
#[derive(Clone, Copy)]
struct All {
    in_flight: u64,
    weight: u64,
}

impl Hashed {
    pub(super) const fn new(table: Table, load_factor: f64) -> Self {
        Self { table, load_factor }
    }

    pub(super) const fn table(&self) -> &Table {
        &self.table
    }

    /// Whether an endpoint has room: fewer in flight than [`Hashed::capacity`], without the division.
    fn has_room(&self, in_flight: u32, weight: u32, all: All) -> bool {
        let share = self.load_factor * (all.in_flight as f64 + 1.0) * f64::from(weight);
        f64::from(in_flight) * (all.weight as f64) < share
    }

    /// How many requests an endpoint may have in flight, with one more than there are now.
    fn capacity(&self, weight: u32, all: All) -> u64 {
        let all_in_flight = self.load_factor * (all.in_flight as f64 + 1.0);
        (all_in_flight * f64::from(weight) / all.weight as f64).ceil() as u64
    }

    pub(super) fn pick<C: Candidates>(
        &self,
        live: &Live<'_, C>,
        hash: u64,
        rng: &mut impl Rng,
        reasons: &mut impl Reasons,
    ) -> Option<Pick> {
        if live.weighted.len() == 0 {
            return None;
        }
        let start = self.table.position(hash);
        let first = self.table.slot(start);
        let mut all = None;
        let mut last = None;
        for slot in self.table.walk(start).take(WALK_MAX) {
            if last.replace(slot) == Some(slot) || live.standing(slot) != Standing::Fresh {
                continue;
            }
            let in_flight = live.in_flight(slot);
            // There is always room for one, so the total need not be known.
            if in_flight == 0 {
                return Some(picked(live, first, slot, Standing::Fresh));
            }
            let all = *all.get_or_insert_with(|| All {
                in_flight: live.candidates.in_flight_total(),
                weight: live.weighted.total(),
            });
            let weight = live.weighted.weight(slot);
            if self.has_room(in_flight, weight, all) {
                return Some(picked(live, first, slot, Standing::Fresh));
            }
            reasons.note(|| {
                let capacity = self.capacity(weight, all);
                Note::Full { index: live.weighted.index(slot), in_flight, capacity }
            });
        }
        self.look_through(live, start, rng)
    }

    /// The first on the way that has room among those of the best standing.
    fn look_through<C: Candidates>(
        &self,
        live: &Live<'_, C>,
        start: usize,
        rng: &mut impl Rng,
    ) -> Option<Pick> {
        let slots = 0..live.weighted.len();
        let best = live.best_standing()?;
        let mut all = All { in_flight: 0, weight: 0 };
        for slot in slots.filter(|slot| live.standing(*slot) == best) {
            all.in_flight += u64::from(live.in_flight(slot));
            all.weight += u64::from(live.weighted.weight(slot));
        }
        all.weight = all.weight.max(1);
        let has_room = |slot: &usize| {
            live.standing(*slot) == best
                && self.has_room(live.in_flight(*slot), live.weighted.weight(*slot), all)
        };
        match self.table.walk(start).find(has_room) {
            Some(slot) => Some(picked(live, self.table.slot(start), slot, best)),
            // Another thread has changed things meanwhile, or it has no place in the table.
            None => live.by_weight(rng),
        }
    }
}

fn picked<C: Candidates>(live: &Live<'_, C>, first: usize, slot: usize, standing: Standing) -> Pick {
    let why =
        if slot == first { Why::Hash } else { Why::NextToHash { instead_of: live.weighted.index(first) } };
    live.pick(slot, why, standing)
}
