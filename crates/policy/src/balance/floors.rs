//! Where the least busy endpoint is, found without looking at all: a tree of lower bounds.
//!
//! ```text
//!        group: 1     group: 3     group: 2     a floor: nobody in the group is less busy than this
//!       +---+-- ...                             up to FAN groups, or endpoints, to a group; up to TOPS_MAX at the top
//!       1 4 1 2 ...  3 5 3 3 ...  2 2 6 9 ...   what candidates say is in flight, for the weight
//! ```
//!
//! A pick goes down to where the floor is lowest, looks at the endpoints there, raises the floors on its way back to what it
//! has seen, and goes elsewhere as long as a floor promises less than it has found. So it takes an endpoint that nobody is
//! less busy than, whatever the floors are, as long as none is too high: a floor that is too low only costs a look. Who begins
//! a request therefore says nothing; who ends one lowers the floors above its endpoint ([`Floors::lower`]), O(log n), and
//! writes only to those that it is less than.
//!
//! **Shared by threads**, without a lock. Everything is in one order that all agree on (`SeqCst`, which the counts of what is
//! in flight have to be as well): an end counts down and then reads the floor; who raises a floor writes it and then looks
//! again. One of the two sees the other, so no floor stays too high. For as long as a raise takes to look again it may be,
//! and a third thread's pick in that moment may miss an end. Apart from this a pick goes by everything that had begun or ended
//! before it.
//!
//! Among those that are equally busy each is drawn with its share of the weights, as far as that was known when their groups
//! were looked at last.

mod search;
mod seen;
#[cfg(test)]
mod tests;

use std::array::from_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rand::Rng;

use self::search::Search;
use self::seen::{Seen, equals, floors};
use super::weighted::Weighted;
use super::{Candidates, Tried};

/// How many endpoints, or groups of the level below, a group has.
const FAN: usize = 8;

/// Most groups at the top: one level less costs less than to look at twice as many at once.
const TOPS_MAX: usize = 2 * FAN;

/// How often one is drawn blindly where that is likely to hit one of the least busy: where they have so much of all weights that it
/// takes no more draws than there would be groups to look at.
const DRAWS_MAX: usize = 8;

/// The floor of a group in which nobody is fresh.
const NOBODY: u64 = u64::MAX;

/// What is the same for all who pick by `least_connections` among the same endpoints with the same shares.
#[derive(Debug)]
pub struct Floors {
    /// By the endpoint's index, filled up to whole groups; 0 for those that take no part.
    weights: Box<[u32]>,
    /// As many as there are endpoints.
    endpoints: usize,
    /// What a request adds to the load of each, in whole numbers; empty where weights have no common multiple below 2^32. Loads are
    /// the bits of fractions then, which are in the same order as these.
    units: Box<[u32]>,
    total: u64,
    /// All levels, that of the smallest groups first, each filled up to whole groups; the last has no more than [`TOPS_MAX`], and is
    /// filled up to as many if it has more than [`FAN`].
    groups: Box<[Group]>,
    /// Where each level begins in `groups`.
    levels: Box<[usize]>,
    /// How many groups the last level has.
    tops: usize,
    /// Whether everybody who becomes less busy says so.
    watched: AtomicBool,
}

/// Some endpoints.
#[derive(Debug)]
struct Group {
    floor: AtomicU64,
    /// The weights of those that stand at the floor, added up, as last seen. Nothing but how equals are drawn depends on it.
    equals: AtomicU64,
}

impl Floors {
    /// Floors over endpoints with these shares, which are not gone by before [`Floors::watch`]: until then a pick looks at all.
    pub fn new(shares: &[u32]) -> Self {
        let mut weights = shares.to_vec();
        weights.resize(shares.len().next_multiple_of(FAN).max(FAN), 0);
        let units = common_multiple(shares).map_or_else(Box::default, |multiple| {
            weights.iter().map(|weight| multiple.checked_div(*weight).unwrap_or(0)).collect()
        });
        let (mut groups, mut levels) = (Vec::new(), Vec::new());
        let mut below: Vec<u64> = weights.iter().map(|weight| u64::from(*weight)).collect();
        loop {
            let sums: Vec<u64> = below.chunks(FAN).map(|chunk| chunk.iter().sum()).collect();
            levels.push(groups.len());
            groups.extend(sums.iter().map(|sum| Group::new(*sum)));
            groups.resize_with(groups.len().next_multiple_of(FAN), || Group::new(0));
            if sums.len() <= TOPS_MAX {
                if sums.len() > FAN {
                    groups.resize_with(levels[levels.len() - 1] + TOPS_MAX, || Group::new(0));
                }
                let total = sums.iter().sum();
                let (weights, groups, levels) = (weights.into(), groups.into(), levels.into());
                let (endpoints, tops) = (shares.len(), sums.len());
                return Self {
                    weights,
                    endpoints,
                    tops,
                    units,
                    total,
                    groups,
                    levels,
                    watched: AtomicBool::new(false),
                };
            }
            below = sums;
        }
    }

    /// Whether they are of these weights.
    pub(super) fn fit(&self, weighted: &Weighted) -> bool {
        self.endpoints == weighted.endpoints()
            && (0..self.endpoints).all(|index| self.weights[index] == weighted.weight_of(index))
    }

    /// An endpoint has become less busy and has so many in flight now, or is not avoided any more.
    #[inline]
    pub fn lower(&self, index: usize, in_flight: u32) {
        let weight = self.weights.get(index).copied().unwrap_or(0);
        if weight > 0 {
            self.lower_from(0, index / FAN, self.load(index, in_flight), u64::from(weight));
        }
    }

    /// From now on everybody who becomes less busy says so with [`Floors::lower`].
    pub fn watch(&self) {
        self.forget();
        self.watched.store(true, Ordering::SeqCst);
    }

    /// Nobody says so any more: from now on each pick looks at all.
    pub fn retire(&self) {
        self.watched.store(false, Ordering::SeqCst);
    }

    /// Whether they are gone by.
    pub fn is_watched(&self) -> bool {
        self.watched.load(Ordering::SeqCst)
    }

    /// The least busy that is fresh; none if nobody is. `blindly` draws an endpoint by weight.
    #[inline]
    pub(super) fn least<C: Candidates, R: Rng>(
        &self,
        candidates: &C,
        tried: &Tried,
        blindly: impl Fn(&mut R) -> Option<usize>,
        rng: &mut R,
    ) -> Option<usize> {
        if !self.is_watched() {
            self.forget();
        }
        if self.tops <= FAN {
            self.least_of::<FAN, _, _>(candidates, tried, blindly, rng)
        } else {
            self.least_of::<TOPS_MAX, _, _>(candidates, tried, blindly, rng)
        }
    }

    /// The same with so many groups at the top.
    #[inline]
    fn least_of<const TOPS: usize, C: Candidates, R: Rng>(
        &self,
        candidates: &C,
        tried: &Tried,
        blindly: impl Fn(&mut R) -> Option<usize>,
        rng: &mut R,
    ) -> Option<usize> {
        let level = self.levels.len() - 1;
        let top = self.groups_at::<TOPS>(level, 0);
        let lows = floors(top);
        let seen = Seen::of(&lows, &equals(top));
        // Whoever stands at the lowest floor is one of the least busy, and drawing until one is hit draws by weight.
        let groups = level as u64 + 2;
        if seen.equals.saturating_mul(groups) >= self.total && seen.least < NOBODY {
            for _ in 0..DRAWS_MAX {
                let Some(index) = blindly(rng) else { break };
                if self.load_of(index, candidates) == seen.least && !tried.has(index) {
                    return Some(index);
                }
            }
        }
        let mut search = Search::new(self, candidates, tried);
        search.look_below(level, 0, lows, seen, rng);
        search.index
    }

    /// How busy an endpoint is for its weight, in the terms of floors; [`NOBODY`] for one that is not fresh.
    #[inline]
    pub(super) fn load_of<C: Candidates>(&self, index: usize, candidates: &C) -> u64 {
        if self.weights[index] == 0 || candidates.avoided(index) {
            return NOBODY;
        }
        self.load(index, candidates.in_flight(index))
    }

    /// The loads of a group's endpoints.
    #[inline]
    fn loads_in<C: Candidates>(&self, group: usize, candidates: &C) -> [u64; FAN] {
        let weights = chunk(&self.weights, group).expect("weights are filled up to whole groups");
        let units = chunk(&self.units, group);
        from_fn(|at| {
            let index = group * FAN + at;
            if weights[at] == 0 || candidates.avoided(index) {
                return NOBODY;
            }
            match units {
                Some(units) => u64::from(candidates.in_flight(index)) * u64::from(units[at]),
                None => fraction(candidates.in_flight(index), weights[at]),
            }
        })
    }

    /// Equal fractions give equal numbers.
    #[inline]
    fn load(&self, index: usize, in_flight: u32) -> u64 {
        match self.units.get(index) {
            Some(unit) => u64::from(in_flight) * u64::from(*unit),
            None => fraction(in_flight, self.weights[index]),
        }
    }

    /// Makes a group's floor, and those above, at most as high as a load.
    #[inline]
    fn lower_from(&self, level: usize, group: usize, load: u64, equals: u64) {
        let mut at = group;
        for begin in &self.levels[level..] {
            let group = &self.groups[begin + at];
            // To the top in any case: whoever lowered this one may not have come there yet.
            if load < group.floor.load(Ordering::SeqCst) {
                group.equals.store(equals, Ordering::Relaxed);
                group.floor.fetch_min(load, Ordering::SeqCst);
            }
            at /= FAN;
        }
    }

    /// Makes a group's floor what was seen in it. `floor` is what it was before that, `again` looks again. Gives whether
    /// anything has changed.
    #[inline]
    fn correct(
        &self,
        (level, at): (usize, usize),
        floor: u64,
        seen: &Seen<FAN>,
        again: impl FnOnce() -> u64,
    ) -> bool {
        let group = &self.groups[self.levels[level] + at];
        if seen.least < floor {
            self.lower_from(level, at, seen.least, seen.equals);
            return true;
        }
        let mut changed = group.equals() != seen.equals;
        if changed {
            group.equals.store(seen.equals, Ordering::Relaxed);
        }
        if seen.least > floor {
            changed = true;
            if group.floor.compare_exchange(floor, seen.least, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                let now = again();
                if now < seen.least {
                    self.lower_from(level, at, now, seen.equals);
                }
            }
        }
        changed
    }

    /// Groups of a level that are in one group of the level above, or all of the last.
    #[inline]
    fn groups_at<const N: usize>(&self, level: usize, above: usize) -> &[Group; N] {
        let begin = self.levels[level] + above * N;
        self.groups[begin..].first_chunk().expect("levels are filled up to whole groups")
    }

    /// The weights of a group's endpoints.
    #[inline]
    fn weights_in(&self, group: usize) -> [u64; FAN] {
        chunk(&self.weights, group).expect("weights are filled up to whole groups").map(u64::from)
    }

    /// Makes all floors as low as they can be.
    #[cold]
    fn forget(&self) {
        for (group, weights) in self.weights.chunks(FAN).enumerate() {
            let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
            if sum > 0 {
                self.lower_from(0, group, 0, sum);
            }
        }
    }
}

impl Group {
    /// One in which nobody has a weight is never looked at.
    fn new(weights: u64) -> Self {
        let floor = if weights > 0 { 0 } else { NOBODY };
        Self { floor: AtomicU64::new(floor), equals: AtomicU64::new(weights) }
    }

    #[inline]
    fn equals(&self) -> u64 {
        self.equals.load(Ordering::Relaxed)
    }
}

/// What a list has for the endpoints of a group.
#[inline]
fn chunk(list: &[u32], group: usize) -> Option<&[u32; FAN]> {
    list.as_chunks().0.get(group)
}

/// The bits of a fraction, which are in the same order as fractions.
#[inline]
fn fraction(in_flight: u32, weight: u32) -> u64 {
    (f64::from(in_flight) / f64::from(weight)).to_bits()
}

/// The least common multiple of all that are not 0, if it has 32 bits.
fn common_multiple(weights: &[u32]) -> Option<u32> {
    let mut positive = weights.iter().filter(|weight| **weight > 0);
    positive.try_fold(1u32, |multiple, weight| {
        let (mut divisor, mut rest) = (multiple, *weight);
        while rest > 0 {
            (divisor, rest) = (rest, divisor % rest);
        }
        (multiple / divisor).checked_mul(*weight)
    })
}
