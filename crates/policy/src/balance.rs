//! Chooses the endpoint for one attempt of a request.
//!
//! ```text
//! weights, once per snapshot -> Balancer -> pick(candidates now, tried already) -> Pick { index, why }
//! ```
//!
//! Whatever the policy: an endpoint of weight 0 is never picked; one that recently failed to connect (*avoided*) only
//! when no other is left; one that this request has *tried* already only when all have been. A pick does not allocate.
//! It costs O(1) (`random`, `least_request`) or O(log n) (`round_robin`) as long as most endpoints are fresh; once
//! several draws in a row hit stale ones, it looks through all of them, O(n).
//!
//! What this must not do: keep health, count requests or know addresses. An endpoint is its index in the list that the
//! balancer was made for.

mod edf;
mod reasons;
#[cfg(test)]
mod tests;
mod tried;
mod weighted;

use rand::{Rng, RngExt};

use edf::Edf;
pub use reasons::{Note, Reasons};
pub use tried::{TRIED_MAX, Tried};
use weighted::Weighted;

/// How often a stale endpoint is passed over by drawing again, before all are looked through.
const DRAWS_MAX: usize = 4;

/// The balancers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// In turn, by weight: earliest deadline first with a random initial phase, so that many callers with the same
    /// fresh list do not all begin with the heaviest.
    RoundRobin,
    /// By chance, by weight.
    Random,
    /// The less busy of two distinct endpoints, the first drawn by weight, the second evenly.
    ///
    /// The second is taken if with this request it would be no busier for its weight than the first is already:
    /// (in flight + 1) / weight of the second <= in flight / weight of the first. With equal weights that is "fewer
    /// in flight wins, the first on a tie". With unequal ones it keeps shares true to the weights at low load too:
    /// comparing (in flight + 1) / weight of both would give an endpoint of weight 1 nothing beside one of weight
    /// 99 until 98 are in flight there.
    #[default]
    LeastRequest,
}

/// What a balancer may know of the endpoints at the moment of a pick. Indices are those of the weights the balancer was
/// made with.
pub trait Candidates {
    /// Requests in flight to it, of all workers.
    fn in_flight(&self, index: usize) -> u32;
    /// Whether it failed lately and is to be the last choice.
    fn avoided(&self, index: usize) -> bool;
}

/// An endpoint that was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Its index.
    pub index: usize,
    /// What decided for it.
    pub why: Why,
    /// How it stood: anything but fresh means that there was no better one.
    pub standing: Standing,
}

/// What decided for an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its turn had come.
    Turn,
    /// It was drawn by weight.
    Drawn,
    /// It was drawn by weight, and the other one was no less busy.
    NotBusier {
        /// The other one.
        than: usize,
    },
    /// It was less busy for its weight than the one drawn first.
    LessBusy {
        /// The one drawn first.
        than: usize,
    },
    /// It was the only one of its standing.
    Only,
}

/// How an endpoint stands at a pick, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Nothing speaks against it.
    Fresh,
    /// It failed lately.
    Avoided,
    /// This request has tried it already.
    Tried,
    /// Both.
    TriedAndAvoided,
}

/// Chooses among the endpoints of one upstream. One for each worker; made anew when the endpoints or weights change.
#[derive(Clone, Debug)]
pub struct Balancer {
    weighted: Weighted,
    policy: State,
}

#[derive(Clone, Debug)]
enum State {
    RoundRobin(Edf),
    Random,
    LeastRequest,
}

impl Balancer {
    /// A balancer for endpoints with these weights; those of weight 0 are never picked.
    pub fn new(policy: Policy, weights: &[u32], rng: &mut impl Rng) -> Self {
        let weighted = Weighted::new(weights);
        let policy = match policy {
            Policy::RoundRobin => State::RoundRobin(Edf::new(weighted.weights(), rng)),
            Policy::Random => State::Random,
            Policy::LeastRequest => State::LeastRequest,
        };
        Self { weighted, policy }
    }

    /// The policy it follows.
    pub const fn policy(&self) -> Policy {
        match self.policy {
            State::RoundRobin(_) => Policy::RoundRobin,
            State::Random => Policy::Random,
            State::LeastRequest => Policy::LeastRequest,
        }
    }

    /// Picks an endpoint; none only if no endpoint has a weight. `reasons` is `()` on the hot path, where it costs
    /// nothing; `explain` hands in a `Vec`.
    pub fn pick(
        &mut self,
        candidates: &impl Candidates,
        tried: &Tried,
        rng: &mut impl Rng,
        reasons: &mut impl Reasons,
    ) -> Option<Pick> {
        let live = Live { weighted: &self.weighted, candidates, tried };
        live.explain(reasons);
        let pick = match &mut self.policy {
            State::RoundRobin(edf) => live.in_turn(edf, rng),
            State::Random => live.by_weight(rng),
            State::LeastRequest => live.least_busy(rng, reasons),
        };
        if let Some(pick) = pick {
            debug_assert!(self.weighted.weight_of(pick.index) > 0, "picked an endpoint without weight");
            reasons.note(|| Note::Picked(pick));
        }
        pick
    }
}

/// The endpoints of one pick. Works on *slots*: positions among the endpoints that have a weight.
struct Live<'a, C> {
    weighted: &'a Weighted,
    candidates: &'a C,
    tried: &'a Tried,
}

impl<C: Candidates> Live<'_, C> {
    fn explain(&self, reasons: &mut impl Reasons) {
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

    fn standing(&self, slot: usize) -> Standing {
        let index = self.weighted.index(slot);
        match (self.tried.has(index), self.candidates.avoided(index)) {
            (false, false) => Standing::Fresh,
            (false, true) => Standing::Avoided,
            (true, false) => Standing::Tried,
            (true, true) => Standing::TriedAndAvoided,
        }
    }

    fn pick(&self, slot: usize, why: Why, standing: Standing) -> Pick {
        Pick { index: self.weighted.index(slot), why, standing }
    }

    /// The next in turn that is fresh. A stale one loses its turn.
    fn in_turn(&self, edf: &mut Edf, rng: &mut impl Rng) -> Option<Pick> {
        for _ in 0..=DRAWS_MAX.min(self.weighted.len()) {
            let slot = edf.next()?;
            if self.standing(slot) == Standing::Fresh {
                return Some(self.pick(slot, Why::Turn, Standing::Fresh));
            }
        }
        self.best(rng).map(|(slot, standing)| self.pick(slot, Why::Drawn, standing))
    }

    fn by_weight(&self, rng: &mut impl Rng) -> Option<Pick> {
        self.draw(rng).map(|(slot, standing)| self.pick(slot, Why::Drawn, standing))
    }

    fn least_busy(&self, rng: &mut impl Rng, reasons: &mut impl Reasons) -> Option<Pick> {
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

    /// One of the best standing, by weight.
    fn draw(&self, rng: &mut impl Rng) -> Option<(usize, Standing)> {
        for _ in 0..DRAWS_MAX {
            let slot = self.weighted.draw(rng)?;
            if self.standing(slot) == Standing::Fresh {
                return Some((slot, Standing::Fresh));
            }
        }
        self.best(rng)
    }

    /// One of the best standing, by weight, found by looking at all.
    fn best(&self, rng: &mut impl Rng) -> Option<(usize, Standing)> {
        let slots = 0..self.weighted.len();
        let best = slots.clone().map(|slot| self.standing(slot)).min()?;
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
    fn another(&self, first: usize, standing: Standing, rng: &mut impl Rng) -> Option<usize> {
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
