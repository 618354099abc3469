//! One pick's view of the endpoints, and the choices that need no memory of their own.

use rand::{Rng, RngExt};

use super::edf::Edf;
use super::floors::Floors;
use super::weighted::Weighted;
use super::{Candidates, DRAWS_MAX, Note, Pick, Reasons, Standing, Tried, Why};

/// The endpoints of one pick. Works on *slots*: positions among the endpoints that have a weight.
pub(super) struct Live<'a, C> {
    pub(super) weighted: &'a Weighted,
    pub(super) candidates: &'a C,
    pub(super) tried: &'a Tried,
}

impl<C: Candidates> Live<'_, C> {
    pub(super) fn explain(&self, reasons: &mut impl Reasons) {
        if !reasons.keeps() {
            return;
        }
        for index in 0..self.weighted.endpoints() {
            if self.weighted.weight_of(index) == 0 {
                reasons.note(|| Note::Drained { index });
            }
        }
        for slot in 0..self.weighted.len() {
            let standing = self.standing(slot);
            if standing != Standing::Fresh {
                reasons.note(|| Note::Stale { index: self.weighted.index(slot), standing });
            }
        }
    }

    pub(super) fn standing(&self, slot: usize) -> Standing {
        let index = self.weighted.index(slot);
        match (self.tried.has(index), self.candidates.avoided(index)) {
            (false, false) => Standing::Fresh,
            (false, true) => Standing::Avoided,
            (true, false) => Standing::Tried,
            (true, true) => Standing::TriedAndAvoided,
        }
    }

    pub(super) fn pick(&self, slot: usize, why: Why, standing: Standing) -> Pick {
        Pick { index: self.weighted.index(slot), why, standing }
    }

    /// The next in turn that is fresh. A stale one loses its turn.
    pub(super) fn in_turn(&self, edf: &mut Edf, rng: &mut impl Rng) -> Option<Pick> {
        for _ in 0..=DRAWS_MAX.min(self.weighted.len()) {
            let slot = edf.next()?;
            if self.standing(slot) == Standing::Fresh {
                return Some(self.pick(slot, Why::Turn, Standing::Fresh));
            }
        }
        self.best(rng).map(|(slot, standing)| self.pick(slot, Why::Drawn, standing))
    }

    pub(super) fn by_weight(&self, rng: &mut impl Rng) -> Option<Pick> {
        self.draw(rng).map(|(slot, standing)| self.pick(slot, Why::Drawn, standing))
    }

    pub(super) fn least_busy(&self, rng: &mut impl Rng, reasons: &mut impl Reasons) -> Option<Pick> {
        let (first, standing) = self.draw(rng)?;
        let Some(second) = self.another(first, standing, rng) else {
            return Some(self.pick(first, Why::Only, standing));
        };
        debug_assert_ne!(first, second, "compared an endpoint with itself");
        let busy = |slot| u64::from(self.candidates.in_flight(self.weighted.index(slot)));
        let weight = |slot| u64::from(self.weighted.weight(slot));
        let (of_first, of_second) = (self.weighted.index(first), self.weighted.index(second));
        let (first_busy, second_busy) = (busy(first), busy(second));
        reasons.note(|| Note::Compared {
            first: of_first,
            first_in_flight: first_busy,
            second: of_second,
            second_in_flight: second_busy,
        });
        // Both factors have 32 bits (plus one), so the products fit.
        if (second_busy + 1) * weight(first) <= first_busy * weight(second) {
            Some(self.pick(second, Why::LessBusy { than: of_first }, standing))
        } else {
            Some(self.pick(first, Why::NotBusier { than: of_second }, standing))
        }
    }

    /// The least busy of all of the best standing for its weight, by weight among several.
    pub(super) fn least_of_all<R: Rng>(&self, floors: &Floors, rng: &mut R) -> Option<Pick> {
        let blindly = |rng: &mut R| self.weighted.draw(rng).map(|slot| self.weighted.index(slot));
        match floors.least(self.candidates, self.tried, blindly, rng) {
            Some(index) => Some(Pick { index, why: Why::LeastBusy, standing: Standing::Fresh }),
            None => self.least_of_any(rng),
        }
    }

    /// The least busy where nobody is fresh: one look for the least, one for how many there are, one to draw.
    fn least_of_any(&self, rng: &mut impl Rng) -> Option<Pick> {
        let best = self.best_standing()?;
        let slots = 0..self.weighted.len();
        // Equal fractions round to equal numbers.
        let load = |slot: usize| match self.standing(slot) == best {
            true => f64::from(self.in_flight(slot)) / f64::from(self.weighted.weight(slot)),
            false => f64::INFINITY,
        };
        let least = slots.clone().map(load).fold(f64::INFINITY, f64::min);
        let share = |slot: usize| if load(slot) == least { u64::from(self.weighted.weight(slot)) } else { 0 };
        let mut rest = rng.random_range(0..slots.clone().map(share).sum::<u64>().max(1));
        let drawn = slots.clone().find(|slot| match rest.checked_sub(share(*slot)) {
            Some(less) => {
                rest = less;
                false
            }
            None => true,
        });
        // Another thread may have changed the loads between the looks: then take what there is.
        match drawn {
            Some(slot) => Some(self.pick(slot, Why::LeastBusy, best)),
            None => self.by_weight(rng),
        }
    }

    /// The best that there is.
    pub(super) fn best_standing(&self) -> Option<Standing> {
        let mut best = None;
        for slot in 0..self.weighted.len() {
            let standing = self.standing(slot);
            if standing == Standing::Fresh {
                return Some(standing);
            }
            best = Some(best.map_or(standing, |best: Standing| best.min(standing)));
        }
        best
    }

    pub(super) fn in_flight(&self, slot: usize) -> u32 {
        self.candidates.in_flight(self.weighted.index(slot))
    }

    /// One of the best standing, by weight.
    pub(super) fn draw(&self, rng: &mut impl Rng) -> Option<(usize, Standing)> {
        for _ in 0..DRAWS_MAX {
            let slot = self.weighted.draw(rng)?;
            if self.standing(slot) == Standing::Fresh {
                return Some((slot, Standing::Fresh));
            }
        }
        self.best(rng)
    }

    /// One of the best standing, by weight, found by looking at all.
    pub(super) fn best(&self, rng: &mut impl Rng) -> Option<(usize, Standing)> {
        let slots = 0..self.weighted.len();
        let best = self.best_standing()?;
        let share = |slot: &usize| u64::from(self.weighted.weight(*slot));
        let equals = || slots.clone().filter(|slot| self.standing(*slot) == best);
        let mut rest = rng.random_range(0..equals().map(|slot| share(&slot)).sum::<u64>().max(1));
        let mut last = None;
        for slot in equals() {
            last = Some(slot);
            match rest.checked_sub(share(&slot)) {
                Some(less) => rest = less,
                None => break,
            }
        }
        // Another thread may have changed a standing between the two looks: then take what there is.
        last.or_else(|| slots.clone().next()).map(|slot| (slot, best))
    }

    /// Another one of the same standing, evenly.
    pub(super) fn another(&self, first: usize, standing: Standing, rng: &mut impl Rng) -> Option<usize> {
        let count = self.weighted.len();
        if count < 2 {
            return None;
        }
        let mut other = first;
        for _ in 0..DRAWS_MAX {
            // Evenly among all but the first.
            other = (first + rng.random_range(1..count)) % count;
            if self.standing(other) == standing {
                return Some(other);
            }
        }
        (1..count)
            .map(|step| (other + step) % count)
            .find(|slot| *slot != first && self.standing(*slot) == standing)
    }
}
