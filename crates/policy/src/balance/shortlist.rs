//! The least busy of many endpoints, found in one look for many picks, so that a pick costs the same however many there
//! are.
//!
//! A look at all lists the least busy, one in [`LISTED_ONE_IN`] of them. The picks that follow go by the list alone:
//! each takes the least busy that is listed, which then counts as having one request more. As long as no other becomes
//! less busy, that is what a look at all would have found; one that does waits for the next look, at most as many picks
//! away as are listed. Who turns out to be busier than the list says (of another worker's requests) is moved to where it
//! belongs. Up to [`EXACT_MAX`] endpoints there is no list, and each pick looks at all.

use std::collections::VecDeque;

use rand::{Rng, RngExt};

use super::Candidates;
use super::live::Live;

/// Up to so many endpoints, each pick looks at all of them.
pub(super) const EXACT_MAX: usize = 256;

/// One in so many endpoints is listed.
const LISTED_ONE_IN: usize = 16;

/// Most that are listed.
const LISTED_MAX: usize = 1024;

/// A slot, behind its place in a look, and that behind the bits of its load: those of numbers that are not negative are
/// in the same order as these.
type Listed = (u64, u32, u32);

/// Slots that were the least busy at the last look.
#[derive(Clone, Debug, Default)]
pub(super) struct Shortlist {
    /// As they were seen, the least busy last. During a look twice as many, in no order.
    seen: Vec<Listed>,
    /// Those that were taken since, with what they have now, the least busy first.
    taken: VecDeque<Listed>,
    /// Nobody who is not listed was less busy than this.
    bound: u64,
    /// How many more times the list may be gone by.
    left: usize,
    listed_max: usize,
}

impl Shortlist {
    /// For so many endpoints that have a weight.
    pub(super) fn new(endpoints: usize) -> Self {
        let many = endpoints > EXACT_MAX;
        let listed_max = if many { (endpoints / LISTED_ONE_IN).min(LISTED_MAX) } else { 0 };
        Self {
            seen: Vec::with_capacity(2 * listed_max),
            taken: VecDeque::with_capacity(listed_max),
            listed_max,
            ..Self::default()
        }
    }

    /// The next of the least busy; none where there is no list, or nobody is fresh.
    pub(super) fn next<C: Candidates>(&mut self, live: &Live<'_, C>, rng: &mut impl Rng) -> Option<usize> {
        if self.listed_max == 0 {
            return None;
        }
        self.least(live).or_else(|| {
            self.look(live, rng);
            self.least(live)
        })
    }

    /// The least busy of those listed; none when it is time to look again.
    fn least<C: Candidates>(&mut self, live: &Live<'_, C>) -> Option<usize> {
        while self.left > 0 {
            self.left -= 1;
            let (load, _, slot) = self.pop().filter(|listed| listed.0 <= self.bound)?;
            let now = live.load(slot as usize);
            if now.to_bits() <= load {
                self.put((live.load_with_one_more(slot as usize).to_bits(), 0, slot));
                return Some(slot as usize);
            }
            // Not one that is not fresh any more.
            if now.is_finite() {
                self.put((now.to_bits(), 0, slot));
            }
        }
        None
    }

    fn pop(&mut self) -> Option<Listed> {
        match (self.seen.last(), self.taken.front()) {
            (Some(seen), Some(taken)) if taken.0 < seen.0 => self.taken.pop_front(),
            (Some(_), _) => self.seen.pop(),
            (None, _) => self.taken.pop_front(),
        }
    }

    /// Lists one that was taken out again. With equal weights it always belongs at the end.
    fn put(&mut self, listed: Listed) {
        let at = match self.taken.back() {
            Some(last) if last.0 > listed.0 => self.taken.partition_point(|other| other.0 <= listed.0),
            _ => self.taken.len(),
        };
        self.taken.insert(at, listed);
        debug_assert!(self.seen.len() + self.taken.len() <= self.listed_max, "more slots than are listed");
    }

    /// Lists the least busy; of those that are equally busy, from a place by chance on.
    #[cold]
    fn look<C: Candidates>(&mut self, live: &Live<'_, C>, rng: &mut impl Rng) {
        self.seen.clear();
        self.taken.clear();
        self.bound = u64::MAX;
        self.left = self.listed_max;
        let count = live.weighted.len();
        let start = rng.random_range(0..count);
        for (place, slot) in (0..).zip((start..count).chain(0..start)) {
            let load = live.load(slot);
            if load.to_bits() < self.bound && load.is_finite() {
                self.seen.push((load.to_bits(), place, slot as u32));
                if self.seen.len() == 2 * self.listed_max {
                    self.keep_least();
                }
            }
        }
        if self.seen.len() > self.listed_max {
            self.keep_least();
        }
        self.seen.sort_unstable_by(|one, other| other.cmp(one));
    }

    /// Forgets all but as many of the least busy as are listed.
    fn keep_least(&mut self) {
        let (_, last, _) = self.seen.select_nth_unstable(self.listed_max - 1);
        self.bound = last.0;
        self.seen.truncate(self.listed_max);
    }
}
