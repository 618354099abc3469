//! Weighted round robin by earliest deadline first: each slot's turns come at a period of 1/weight, beginning at a
//! random point of the first period.
//!
//! Slots of one weight have one period, so they take turns among themselves in an order that never changes. Only these
//! *rounds* are compared: a turn costs O(log r) for r different weights, and nothing is compared where all weights are
//! the same.

use rand::{Rng, RngExt};

/// The period of weight 1. Periods of the largest weights still have six digits of precision.
const PERIOD: u64 = 1 << 52;

/// Slots in turn.
#[derive(Clone, Debug)]
pub(super) struct Edf {
    /// Those of one weight together, in the order of their turns.
    turns: Box<[Turn]>,
    /// A binary heap of rounds, the one whose next turn comes first on top.
    heap: Box<[Round]>,
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    /// When its turn comes, in virtual time that wraps around.
    deadline: u64,
    slot: u32,
}

/// The turns of all slots of one weight.
#[derive(Clone, Copy, Debug)]
struct Round {
    /// When the next of them comes.
    deadline: u64,
    period: u64,
    /// Which that is, and where they begin and end in [`Edf::turns`].
    next: u32,
    begin: u32,
    end: u32,
}

impl Round {
    /// Virtual time wraps; all deadlines lie within one period of weight 1 of each other, so the sign of the wrapped
    /// difference orders them.
    fn before(&self, other: &Self) -> bool {
        (self.deadline.wrapping_sub(other.deadline) as i64) < 0
    }
}

impl Edf {
    /// Weights must not be 0.
    pub(super) fn new(weights: &[u32], rng: &mut impl Rng) -> Self {
        let mut drawn: Vec<(u64, Turn)> = (0..u32::MAX)
            .zip(weights)
            .map(|(slot, weight)| {
                let period = PERIOD / u64::from((*weight).max(1));
                (period, Turn { deadline: rng.random_range(0..period), slot })
            })
            .collect();
        drawn.sort_unstable_by_key(|(period, turn)| (*period, turn.deadline));
        let mut begin = 0;
        let rounds = drawn.chunk_by(|(one, _), (other, _)| one == other).map(|round| {
            let (period, first) = round[0];
            // As many turns as slots, whose numbers have 32 bits.
            let end = begin + round.len() as u32;
            let round = Round { deadline: first.deadline, period, next: begin, begin, end };
            begin = end;
            round
        });
        let heap = rounds.collect();
        let turns = drawn.iter().map(|(_, turn)| *turn).collect();
        let mut edf = Self { turns, heap };
        for at in (0..edf.heap.len() / 2).rev() {
            edf.sink(at);
        }
        edf
    }

    /// The slot whose turn it is; its next turn comes a period later.
    pub(super) fn next(&mut self) -> Option<usize> {
        let round = self.heap.first_mut()?;
        let turn = &mut self.turns[round.next as usize];
        let slot = turn.slot as usize;
        turn.deadline = turn.deadline.wrapping_add(round.period);
        round.next = if round.next + 1 == round.end { round.begin } else { round.next + 1 };
        round.deadline = self.turns[round.next as usize].deadline;
        self.sink(0);
        Some(slot)
    }

    /// Moves the round at a place down to where it belongs: first all the way, along the earlier children, then up
    /// again. Of many rounds, one that had its turn mostly belongs near the end, so that this takes about one comparison
    /// a level.
    fn sink(&mut self, from: usize) {
        let len = self.heap.len();
        let Some(&sinking) = self.heap.get(from) else { return };
        let mut at = from;
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            if left >= len {
                break;
            }
            // A sum and not a branch: nobody could predict which of the two it is.
            let child = left + usize::from(right < len && self.heap[right].before(&self.heap[left]));
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
            weights in prop::collection::vec(prop_oneof![1u32..1000, 1u32..4], 1..20),
            seed: u64,
            wrapping: bool,
        ) {
            let mut edf = Edf::new(&weights, &mut StdRng::seed_from_u64(seed));
            if wrapping {
                edf.turns.iter_mut().for_each(|turn| turn.deadline = turn.deadline.wrapping_sub(PERIOD));
                edf.heap.iter_mut().for_each(|round| round.deadline = round.deadline.wrapping_sub(PERIOD));
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
