//! One pick's view of the endpoints, and the choices that need no memory of their own.

use rand::{Rng, RngExt};

use super::edf::Edf;
use super::shortlist::Shortlist;
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

    /// The least busy of all of the best standing for its weight, by weight among several. Of many endpoints, the
    /// least busy of those that were at the last look.
    pub(super) fn least_of_all(&self, shortlist: &mut Shortlist, rng: &mut impl Rng) -> Option<Pick> {
        // Nothing is less busy than an idle one, and drawing until one is hit draws by weight among those.
        for _ in 0..DRAWS_MAX {
            let slot = self.weighted.draw(rng)?;
            if self.in_flight(slot) == 0 && self.standing(slot) == Standing::Fresh {
                return Some(self.pick(slot, Why::LeastBusy, Standing::Fresh));
            }
        }
        if let Some(slot) = shortlist.next(self, rng) {
            return Some(self.pick(slot, Why::LeastBusy, Standing::Fresh));
        }
        let seed = rng.random();
        let fresh =
            if self.weighted.is_even() { self.least_of_even(seed) } else { self.least_of_uneven(seed) };
        match fresh {
            Some(slot) => Some(self.pick(slot, Why::LeastBusy, Standing::Fresh)),
            None => self.least_of_any(rng),
        }
    }

    /// Requests in flight for the weight; more than any for those that are not fresh. Equal fractions round to equal numbers.
    pub(super) fn load(&self, slot: usize) -> f64 {
        match self.standing(slot) {
            Standing::Fresh => f64::from(self.in_flight(slot)) / f64::from(self.weighted.weight(slot)),
            _ => f64::INFINITY,
        }
    }

    /// The same, had it one request more.
    pub(super) fn load_with_one_more(&self, slot: usize) -> f64 {
        (f64::from(self.in_flight(slot)) + 1.0) / f64::from(self.weighted.weight(slot))
    }

    /// The least busy of the fresh when weights do not count, in one look that branches nowhere on the loads.
    fn least_of_even(&self, seed: u64) -> Option<usize> {
        let mut least = (u64::MAX, 0);
        for slot in 0..self.weighted.len() {
            // A number by chance in the lower half decides between equals.
            let rank = u64::from(self.in_flight(slot)) << 32 | u64::from(mixed(seed, slot));
            let rank = if self.standing(slot) == Standing::Fresh { rank } else { u64::MAX };
            least = if rank < least.0 { (rank, slot) } else { least };
        }
        (least.0 < u64::MAX).then_some(least.1)
    }

    /// The same for any weights, also in one look: of equals, each is kept with its share of those seen so far.
    fn least_of_uneven(&self, seed: u64) -> Option<usize> {
        let (mut least_busy, mut least_weight, mut weight_of_equals, mut least) = (1u64, 0u64, 0u64, None);
        for slot in 0..self.weighted.len() {
            if self.standing(slot) != Standing::Fresh {
                continue;
            }
            let (busy, weight) = (u64::from(self.in_flight(slot)), u64::from(self.weighted.weight(slot)));
            // Both factors have 32 bits. Nobody was seen yet: then this one has less than infinitely much.
            let (this, other) = (busy * least_weight, least_busy * weight);
            if this < other {
                (least_busy, least_weight, weight_of_equals, least) = (busy, weight, weight, Some(slot));
            } else if this == other {
                weight_of_equals += weight;
                let drawn = (u128::from(weight_of_equals) * u128::from(mixed(seed, slot))) >> 32;
                least = if drawn < u128::from(weight) { Some(slot) } else { least };
            }
        }
        least
    }

    /// The same for any weights and standings: one look for the least, one for how many there are, one to draw.
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

/// A number by chance for each slot under a seed: the halves of a product of 128 bits, folded.
fn mixed(seed: u64, slot: usize) -> u32 {
    let factor = (slot as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ seed;
    let product = u128::from(factor) * 0xD6E8_FEB8_6659_FD93;
    let folded = (product >> 64) as u64 ^ product as u64;
    (folded >> 32) as u32
}
