//! The least busy of many endpoints, found in one look for several picks, so that a pick costs the same however many there
//! are.
//!
//! A look at all finds the least load, and lists endpoints that have it. Each pick takes one of the list that is still no
//! busier than that, and once; when none is left, it is looked anew. Between two looks an endpoint that has become less busy
//! than the listed ones waits for the next look, at most a sixteenth as many picks away as there are endpoints. Up to
//! [`EXACT_MAX`] endpoints, there is no list, and each pick looks at all.

use rand::{Rng, RngExt};

use super::Candidates;
use super::live::Live;

/// Up to so many endpoints, each pick looks at all of them.
pub(super) const EXACT_MAX: usize = 256;

/// One in so many endpoints is listed.
const LISTED_ONE_IN: usize = 16;

/// Most that are listed.
const LISTED_MAX: usize = 512;

/// Slots that were the least busy at the last look.
#[derive(Clone, Debug, Default)]
pub(super) struct Shortlist {
    slots: Vec<u32>,
    load: f64,
    listed_max: usize,
}

impl Shortlist {
    /// For so many endpoints that have a weight.
    pub(super) fn new(endpoints: usize) -> Self {
        let many = endpoints > EXACT_MAX;
        let listed_max = if many { (endpoints / LISTED_ONE_IN).min(LISTED_MAX) } else { 0 };
        Self { slots: Vec::with_capacity(listed_max), load: 0.0, listed_max }
    }

    /// The next of the least busy; none where there is no list, or nobody is fresh.
    pub(super) fn next<C: Candidates>(&mut self, live: &Live<'_, C>, rng: &mut impl Rng) -> Option<usize> {
        if self.listed_max == 0 {
            return None;
        }
        self.still_least(live).or_else(|| {
            self.look(live, rng);
            self.still_least(live)
        })
    }

    fn still_least<C: Candidates>(&mut self, live: &Live<'_, C>) -> Option<usize> {
        while let Some(slot) = self.slots.pop() {
            if live.load(slot as usize) <= self.load {
                return Some(slot as usize);
            }
        }
        None
    }

    /// Lists some of the least busy, from a place by chance on.
    #[cold]
    fn look<C: Candidates>(&mut self, live: &Live<'_, C>, rng: &mut impl Rng) {
        let count = live.weighted.len();
        self.load = (0..count).map(|slot| live.load(slot)).fold(f64::INFINITY, f64::min);
        if self.load == f64::INFINITY {
            return;
        }
        let start = rng.random_range(0..count);
        let least = (start..count).chain(0..start).filter(|slot| live.load(*slot) <= self.load);
        self.slots.extend(least.take(self.listed_max).map(|slot| slot as u32));
        debug_assert!(self.slots.len() <= self.listed_max, "more slots than are listed");
    }
}
