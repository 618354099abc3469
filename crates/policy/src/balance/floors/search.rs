//! The way of one pick down the tree, and the floors raised on the way back.

use std::array::from_fn;

use rand::Rng;

use super::seen::{Seen, equals, floors, least};
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
    pub(super) fn look_below<const N: usize>(
        &mut self,
        level: usize,
        above: usize,
        mut lows: [u64; N],
        mut seen: Seen<N>,
        rng: &mut impl Rng,
    ) -> bool {
        let groups = self.floors.groups_at::<N>(level, above);
        let mut changed = false;
        while seen.least < self.least {
            let at = seen.draw(&lows, rng);
            let group = above * N + at;
            changed |= match level.checked_sub(1) {
                Some(below) => self.look_at_groups(below, group, seen.least, rng),
                None => self.look_at_endpoints(group, seen.least, rng),
            };
            if self.least <= seen.least {
                break;
            }
            lows[at] = NOBODY;
            seen = Seen::of(&lows, &equals(groups));
        }
        changed
    }

    /// Looks at the groups of a level that are in a group whose floor was this.
    fn look_at_groups(&mut self, level: usize, group: usize, floor: u64, rng: &mut impl Rng) -> bool {
        let groups = self.floors.groups_at::<FAN>(level, group);
        let lows = floors(groups);
        let seen = Seen::of(&lows, &equals(groups));
        let stale = seen.least != floor;
        if !self.look_below(level, group, lows, seen, rng) && !stale {
            return false;
        }
        let seen = Seen::of(&floors(groups), &equals(groups));
        self.floors.correct((level + 1, group), floor, &seen, || least(&floors(groups)))
    }

    /// Looks at the endpoints of a group whose floor was this.
    #[inline]
    fn look_at_endpoints(&mut self, group: usize, floor: u64, rng: &mut impl Rng) -> bool {
        let (floors, candidates) = (self.floors, self.candidates);
        let (loads, weights) = (floors.loads_in(group, candidates), floors.weights_in(group));
        let seen = Seen::of(&loads, &weights);
        if self.tried.is_empty() {
            self.take(group, &loads, &seen, rng);
        } else {
            let open = self.untried(group, loads);
            self.take(group, &open, &Seen::of(&open, &weights), rng);
        }
        floors.correct((0, group), floor, &seen, || least(&floors.loads_in(group, candidates)))
    }

    /// Takes one of a group if it is less busy than the one found.
    #[inline]
    fn take(&mut self, group: usize, loads: &[u64; FAN], seen: &Seen<FAN>, rng: &mut impl Rng) {
        if seen.least < self.least {
            self.least = seen.least;
            self.index = Some(group * FAN + seen.draw(loads, rng));
        }
    }

    /// The loads of those that this request has not tried.
    #[cold]
    fn untried(&self, group: usize, loads: [u64; FAN]) -> [u64; FAN] {
        from_fn(|at| if self.tried.has(group * FAN + at) { NOBODY } else { loads[at] })
    }
}
