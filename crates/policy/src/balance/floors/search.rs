//! The way of one pick down the tree, and the floors raised on the way back.

use rand::Rng;

use super::seen::{Seen, floors, least};
use super::{Candidates, FAN, Floors, NOBODY, Tried};

/// One pick.
pub(super) struct Search<'a, C> {
    floors: &'a Floors,
    candidates: &'a C,
    tried: &'a Tried,
    /// The least load found, and whose.
    least: u64,
    pub(super) index: Option<usize>,
}

impl<'a, C: Candidates> Search<'a, C> {
    #[inline]
    pub(super) const fn new(floors: &'a Floors, candidates: &'a C, tried: &'a Tried) -> Self {
        Self { floors, candidates, tried, least: NOBODY, index: None }
    }

    /// Looks into groups of a level, by what their floors were, as long as somebody there may be less busy than the one found.
    /// Gives whether floors in them have changed.
    #[inline]
    pub(super) fn look_below(
        &mut self,
        level: usize,
        above: usize,
        mut lows: [u64; FAN],
        mut seen: Seen,
        rng: &mut impl Rng,
    ) -> bool {
        let groups = self.floors.groups_at(level, above);
        let mut changed = false;
        while seen.least < self.least {
            lows[seen.at] = NOBODY;
            changed |= self.look(level, above * FAN + seen.at, seen.least, rng);
            if self.least <= seen.least {
                break;
            }
            seen = Seen::of(&lows, |at| groups[at].equals(), rng);
        }
        changed
    }

    /// Looks into a group whose floor was this.
    fn look(&mut self, level: usize, group: usize, floor: u64, rng: &mut impl Rng) -> bool {
        if level == 0 {
            return self.look_at_endpoints(group, floor, rng);
        }
        let groups = self.floors.groups_at(level - 1, group);
        let lows = floors(groups);
        let seen = Seen::of(&lows, |at| groups[at].equals(), rng);
        let stale = seen.least != floor;
        if !self.look_below(level - 1, group, lows, seen, rng) && !stale {
            return false;
        }
        let seen = Seen::of(&floors(groups), |at| groups[at].equals(), rng);
        self.floors.correct((level, group), floor, seen, || least(&floors(groups)))
    }

    #[inline]
    fn look_at_endpoints(&mut self, group: usize, floor: u64, rng: &mut impl Rng) -> bool {
        let (floors, candidates, begin) = (self.floors, self.candidates, group * FAN);
        let weights = floors.weights_in(group);
        let loads = || std::array::from_fn(|at| floors.load_of(begin + at, candidates));
        let all: [u64; FAN] = loads();
        let seen = Seen::of(&all, |at| u64::from(weights[at]), rng);
        let open = if self.tried.is_empty() { seen } else { self.untried(begin, all, weights, rng) };
        if open.least < self.least {
            self.least = open.least;
            self.index = Some(begin + open.at);
        }
        floors.correct((0, group), floor, seen, || least(&loads()))
    }

    /// The least of those that this request has not tried.
    #[cold]
    fn untried(&self, begin: usize, mut loads: [u64; FAN], weights: &[u32; FAN], rng: &mut impl Rng) -> Seen {
        for (at, load) in loads.iter_mut().enumerate() {
            *load = if self.tried.has(begin + at) { NOBODY } else { *load };
        }
        Seen::of(&loads, |at| u64::from(weights[at]), rng)
    }
}
