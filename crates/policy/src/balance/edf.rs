//! Weighted round robin by earliest deadline first: each slot's turns come at a period of 1/weight, beginning at a random
//! point of the first period.

use rand::{Rng, RngExt};

/// The period of weight 1. Periods of the largest weights still have six digits of precision.
const PERIOD: u64 = 1 << 52;

/// A binary heap of slots, the next in turn on top.
#[derive(Clone, Debug)]
pub(super) struct Edf {
    heap: Box<[Turn]>,
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    /// When its turn comes, in virtual time that wraps around.
    deadline: u64,
    period: u64,
    slot: u32,
}

impl Turn {
    /// Virtual time wraps; all deadlines lie within one period of weight 1 of each other, so the sign of the wrapped
    /// difference orders them.
    fn before(&self, other: &Self) -> bool {
        (self.deadline.wrapping_sub(other.deadline) as i64) < 0
    }
}

impl Edf {
    /// Weights must not be 0.
    pub(super) fn new(weights: &[u32], rng: &mut impl Rng) -> Self {
        let heap = (0..u32::MAX)
            .zip(weights)
            .map(|(slot, weight)| {
                let period = PERIOD / u64::from((*weight).max(1));
                Turn { deadline: rng.random_range(0..period), period, slot }
            })
            .collect();
        let mut edf = Self { heap };
        for at in (0..edf.heap.len() / 2).rev() {
            edf.sink(at);
        }
        edf
    }

    /// The slot whose turn it is; its next turn comes a period later.
    pub(super) fn next(&mut self) -> Option<usize> {
        let top = self.heap.first_mut()?;
        let slot = top.slot as usize;
        top.deadline = top.deadline.wrapping_add(top.period);
        self.sink(0);
        Some(slot)
    }

    /// Moves the turn at a place down to where it belongs: first all the way, along the earlier children, then up again. Who
    /// had his turn mostly belongs near the end, so that this takes about one comparison a level.
    fn sink(&mut self, from: usize) {
        let len = self.heap.len();
        let Some(&sinking) = self.heap.get(from) else { return };
        let mut at = from;
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            if left >= len {
                break;
            }
            let child = if right < len && self.heap[right].before(&self.heap[left]) { right } else { left };
            self.heap[at] = self.heap[child];
            at = child;
        }
        while at > from {
            let parent = (at - 1) / 2;
            if !sinking.before(&self.heap[parent]) {
                break;
            }
            self.heap[at] = self.heap[parent];
            at = parent;
        }
        self.heap[at] = sinking;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    proptest! {
        /// At any moment each slot has had its share of the turns, give or take about one turn of each slot.
        #[test]
        fn every_slot_gets_its_share_at_all_times(
            weights in prop::collection::vec(1u32..1000, 1..20),
            seed: u64,
            wrapping: bool,
        ) {
            let mut edf = Edf::new(&weights, &mut StdRng::seed_from_u64(seed));
            if wrapping {
                for turn in &mut edf.heap {
                    turn.deadline = turn.deadline.wrapping_sub(PERIOD);
                }
            }
            let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
            let mut had = vec![0u32; weights.len()];
            for turns in 1..2000u32 {
                had[edf.next().unwrap()] += 1;
                for (slot, weight) in weights.iter().enumerate() {
                    let share = f64::from(turns) * f64::from(*weight) / total;
                    let slack = 1.01 + weights.len() as f64 * f64::from(*weight) / total;
                    prop_assert!((f64::from(had[slot]) - share).abs() <= slack, "{slot}: {} of {share}", had[slot]);
                }
            }
        }
    }
}
