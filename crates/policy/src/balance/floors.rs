//! Where the least busy endpoint is, found without looking at all: a tree of lower bounds.
//!
//! ```text
//!                     whole: 1                  a floor: nobody in the group is less busy than this
//!           +------------+------------+
//!        group: 1     group: 3     group: 2     up to FAN groups, or endpoints, to a group
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

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rand::{Rng, RngExt};

use super::weighted::Weighted;
use super::{Candidates, Tried};

/// How many endpoints, or groups of the level below, a group has.
const FAN: usize = 8;

/// The floor of a group in which nobody is fresh.
const NOBODY: u64 = u64::MAX;

/// What is the same for all who pick by `least_connections` among the same endpoints with the same shares.
#[derive(Debug)]
pub struct Floors {
    /// By the endpoint's index, filled up to whole groups; 0 for those that take no part.
    weights: Box<[u32]>,
    /// As many as there are endpoints.
    endpoints: usize,
    /// Whether all that take part have the same weight: loads are then numbers of requests, else the bits of fractions, which are
    /// in the same order.
    even: bool,
    total: u64,
    /// All levels, that of the smallest groups first and one of a single group last, each filled up to whole groups.
    groups: Box<[Group]>,
    /// Where each level begins in `groups`.
    levels: Box<[usize]>,
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
        let mut positive = shares.iter().filter(|share| **share > 0);
        let first = positive.next();
        let even = positive.all(|share| Some(share) == first);
        let (mut groups, mut levels) = (Vec::new(), Vec::new());
        let mut below: Vec<u64> = weights.iter().map(|weight| u64::from(*weight)).collect();
        loop {
            let sums: Vec<u64> = below.chunks(FAN).map(|chunk| chunk.iter().sum()).collect();
            levels.push(groups.len());
            groups.extend(sums.iter().map(|sum| Group::new(*sum)));
            groups.resize_with(groups.len().next_multiple_of(FAN), || Group::new(0));
            if let [total] = sums[..] {
                let (weights, groups, levels) = (weights.into(), groups.into(), levels.into());
                let endpoints = shares.len();
                return Self {
                    weights,
                    endpoints,
                    even,
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
            self.lower_from(0, index / FAN, self.load(in_flight, weight), u64::from(weight));
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

    /// The least busy that is fresh; none if nobody is.
    pub(super) fn least<C: Candidates>(
        &self,
        candidates: &C,
        tried: &Tried,
        rng: &mut impl Rng,
    ) -> Option<usize> {
        if !self.is_watched() {
            self.forget();
        }
        let mut search = Search { floors: self, candidates, tried, least: NOBODY, index: None };
        search.look(self.levels.len() - 1, 0, rng);
        search.index
    }

    /// What nobody is less busy than, if at least half of the weights are likely to stand there: worth drawing blindly.
    #[inline]
    pub(super) fn common(&self) -> Option<u64> {
        if !self.is_watched() {
            return None;
        }
        let whole = &self.groups[self.levels[self.levels.len() - 1]];
        let equals = whole.equals.load(Ordering::Relaxed);
        let floor = whole.floor.load(Ordering::SeqCst);
        (equals.saturating_mul(2) >= self.total && floor != NOBODY).then_some(floor)
    }

    /// How busy an endpoint is for its weight, in the terms of floors; [`NOBODY`] for one that is not fresh.
    #[inline]
    pub(super) fn load_of<C: Candidates>(&self, index: usize, candidates: &C) -> u64 {
        let weight = self.weights[index];
        if weight == 0 || candidates.avoided(index) {
            return NOBODY;
        }
        self.load(candidates.in_flight(index), weight)
    }

    /// Equal fractions round to equal numbers.
    #[inline]
    fn load(&self, in_flight: u32, weight: u32) -> u64 {
        if self.even { u64::from(in_flight) } else { (f64::from(in_flight) / f64::from(weight)).to_bits() }
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
        seen: Seen,
        again: impl FnOnce() -> Seen,
    ) -> bool {
        let group = &self.groups[self.levels[level] + at];
        if seen.least <= floor {
            if seen.least < floor {
                self.lower_from(level, at, seen.least, seen.equals);
                return true;
            }
            let changed = group.equals.load(Ordering::Relaxed) != seen.equals;
            if changed {
                group.equals.store(seen.equals, Ordering::Relaxed);
            }
            return changed;
        }
        group.equals.store(seen.equals, Ordering::Relaxed);
        if group.floor.compare_exchange(floor, seen.least, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            let now = again();
            if now.least < seen.least {
                self.lower_from(level, at, now.least, now.equals);
            }
        }
        true
    }

    /// The groups below one.
    #[inline]
    fn below(&self, level: usize, group: usize) -> &[Group; FAN] {
        let begin = self.levels[level - 1] + group * FAN;
        self.groups[begin..].first_chunk().expect("levels are filled up to whole groups")
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
}

/// The least of several loads or floors, and the weights of those that have it.
#[derive(Clone, Copy)]
struct Seen {
    least: u64,
    equals: u64,
}

impl Seen {
    #[inline]
    fn of(loads: &[u64; FAN], weights: &[u64; FAN]) -> Self {
        let least = least(loads);
        let weight = |(load, weight): (&u64, &u64)| if *load == least { *weight } else { 0 };
        let equals = if least == NOBODY { 0 } else { loads.iter().zip(weights).map(weight).sum() };
        Self { least, equals }
    }

    #[inline]
    fn of_groups(groups: &[Group; FAN]) -> Self {
        Self::of(&floors(groups), &equals(groups))
    }
}

#[inline]
fn least(loads: &[u64; FAN]) -> u64 {
    loads.iter().copied().fold(NOBODY, u64::min)
}

#[inline]
fn floors(groups: &[Group; FAN]) -> [u64; FAN] {
    groups.each_ref().map(|group| group.floor.load(Ordering::SeqCst))
}

#[inline]
fn equals(groups: &[Group; FAN]) -> [u64; FAN] {
    groups.each_ref().map(|group| group.equals.load(Ordering::Relaxed))
}

/// Where the least of several loads is; by weight if there are several.
#[inline]
fn draw(loads: &[u64; FAN], least: u64, weights: impl FnOnce() -> [u64; FAN], rng: &mut impl Rng) -> usize {
    let is_least = |at: &usize| loads[*at] == least;
    let alike =
        loads.iter().enumerate().fold(0u32, |alike, (at, load)| alike | u32::from(*load == least) << at);
    let first = alike.trailing_zeros() as usize;
    if alike & (alike - 1) == 0 {
        return first;
    }
    let weights = weights();
    let sum: u64 = (0..FAN).filter(is_least).map(|at| weights[at]).sum();
    let mut rest = rng.random_range(0..sum.max(1));
    let drawn = (first..FAN).filter(is_least).find(|at| match rest.checked_sub(weights[*at]) {
        Some(less) => {
            rest = less;
            false
        }
        None => true,
    });
    drawn.unwrap_or(first)
}

/// One pick.
struct Search<'a, C> {
    floors: &'a Floors,
    candidates: &'a C,
    tried: &'a Tried,
    /// The least load found, and whose.
    least: u64,
    index: Option<usize>,
}

impl<C: Candidates> Search<'_, C> {
    /// Looks into a group of a level as long as somebody there may be less busy than the one found. Gives whether floors in it
    /// have changed.
    fn look(&mut self, level: usize, group: usize, rng: &mut impl Rng) -> bool {
        let floors = self.floors;
        let floor = floors.groups[floors.levels[level] + group].floor.load(Ordering::SeqCst);
        if level == 0 {
            return self.look_at_endpoints(group, floor, rng);
        }
        let below = floors.below(level, group);
        let (mut looked_at, mut stale) = ([false; FAN], false);
        loop {
            let mut lows = self::floors(below);
            stale |= least(&lows) != floor;
            for (low, looked_at) in lows.iter_mut().zip(looked_at) {
                *low = if looked_at { NOBODY } else { *low };
            }
            let low = least(&lows);
            if low >= self.least {
                break;
            }
            let at = draw(&lows, low, || equals(below), rng);
            looked_at[at] = true;
            stale |= self.look(level - 1, group * FAN + at, rng);
            if self.least <= low {
                break;
            }
        }
        stale && floors.correct((level, group), floor, Seen::of_groups(below), || Seen::of_groups(below))
    }

    fn look_at_endpoints(&mut self, group: usize, floor: u64, rng: &mut impl Rng) -> bool {
        let floors = self.floors;
        let begin = group * FAN;
        let weights = || std::array::from_fn(|at| u64::from(floors.weights[begin + at]));
        let candidates = self.candidates;
        let loads = || std::array::from_fn(|at| floors.load_of(begin + at, candidates));
        let seen_loads: [u64; FAN] = loads();
        let mut open = seen_loads;
        if !self.tried.is_empty() {
            for (at, load) in open.iter_mut().enumerate() {
                *load = if self.tried.has(begin + at) { NOBODY } else { *load };
            }
        }
        let least = least(&open);
        if least < self.least {
            self.least = least;
            self.index = Some(begin + draw(&open, least, weights, rng));
        }
        let seen = Seen::of(&seen_loads, &weights());
        floors.correct((0, group), floor, seen, || Seen::of(&loads(), &weights()))
    }
}

#[cfg(test)]
mod tests;
