//! The endpoints that have a weight, and drawing one of them by weight in O(1): the alias method (Walker 1977, in Vose's
//! linear-time construction, 1991), in integers, so that shares are exact.

use rand::{Rng, RngExt};

/// Endpoints with a weight. A *slot* is a position among them, an *index* one in the list they came from.
#[derive(Clone, Debug)]
pub(super) struct Weighted {
    /// Index by slot.
    indices: Box<[u32]>,
    /// Weight by slot, never 0.
    weights: Box<[u32]>,
    /// Slot by index; [`NONE`] for weight 0.
    slots: Box<[u32]>,
    /// Columns by slot; empty when all weights are the same.
    columns: Box<[Column]>,
    /// Sum of the weights.
    total: u64,
    /// One over the mean weight.
    per_mean: f64,
}

/// One column of the alias table: its own slot below `threshold` of [`Weighted::total`], else `alias`.
#[derive(Clone, Copy, Debug)]
struct Column {
    threshold: u64,
    alias: u32,
}

const NONE: u32 = u32::MAX;

impl Weighted {
    /// Of more than 2^32 - 1 endpoints, the rest takes no part.
    pub(super) fn new(weights: &[u32]) -> Self {
        let listed = || weights.iter().zip(0..NONE);
        let indices: Box<[u32]> =
            listed().filter(|(weight, _)| **weight > 0).map(|(_, index)| index).collect();
        let positive: Box<[u32]> = indices.iter().map(|index| weights[*index as usize]).collect();
        let mut slots = vec![NONE; listed().count()].into_boxed_slice();
        for (slot, index) in (0..NONE).zip(&indices) {
            slots[*index as usize] = slot;
        }
        let total = positive.iter().map(|weight| u64::from(*weight)).sum();
        let even = positive.windows(2).all(|pair| pair[0] == pair[1]);
        let columns = if even { Box::default() } else { columns(&positive, total) };
        let per_mean = positive.len() as f64 / (total as f64).max(1.0);
        Self { indices, weights: positive, slots, columns, total, per_mean }
    }

    /// How many endpoints have a weight.
    pub(super) fn len(&self) -> usize {
        self.indices.len()
    }

    /// How many endpoints there are.
    pub(super) fn endpoints(&self) -> usize {
        self.slots.len()
    }

    /// Whether these are the weights it was made of.
    pub(super) fn is_of(&self, weights: &[u32]) -> bool {
        self.slots.len() == weights.len()
            && weights.iter().enumerate().all(|(index, weight)| self.weight_of(index) == *weight)
    }

    /// Whether all have the same weight.
    pub(super) fn is_even(&self) -> bool {
        self.columns.is_empty()
    }

    /// The sum of all weights.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// A weight in terms of the mean of those there are; 1 if all are the same.
    pub(super) fn relative(&self, weight: u32) -> f64 {
        if self.is_even() { 1.0 } else { f64::from(weight) * self.per_mean }
    }

    pub(super) fn weights(&self) -> &[u32] {
        &self.weights
    }

    pub(super) fn index(&self, slot: usize) -> usize {
        self.indices[slot] as usize
    }

    pub(super) fn weight(&self, slot: usize) -> u32 {
        self.weights[slot]
    }

    /// The slot of an index; none if it has no weight.
    pub(super) fn slot(&self, index: usize) -> Option<usize> {
        self.slots.get(index).filter(|slot| **slot != NONE).map(|slot| *slot as usize)
    }

    pub(super) fn weight_of(&self, index: usize) -> u32 {
        self.slot(index).map_or(0, |slot| self.weights[slot])
    }

    /// A slot by weight; none if there is none.
    pub(super) fn draw(&self, rng: &mut impl Rng) -> Option<usize> {
        if self.indices.is_empty() {
            return None;
        }
        let slot = rng.random_range(0..self.indices.len());
        let Some(column) = self.columns.get(slot) else { return Some(slot) };
        let own = rng.random_range(0..self.total) < column.threshold;
        Some(if own { slot } else { column.alias as usize })
    }
}

/// Each column holds `total` in all; slot i owns `weight * n` over all columns.
fn columns(weights: &[u32], total: u64) -> Box<[Column]> {
    let count = weights.len() as u64;
    // At most 2^32 endpoints of weight 2^32: the product fits u64 with one to spare.
    let mut rest: Vec<u64> = weights.iter().map(|weight| u64::from(*weight) * count).collect();
    let mut columns: Vec<Column> =
        (0..NONE).zip(weights).map(|(slot, _)| Column { threshold: total, alias: slot }).collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) =
        (0..weights.len()).partition(|slot| rest[*slot] < total);
    while let (Some(less), Some(more)) = (small.pop(), large.last().copied()) {
        columns[less] = Column { threshold: rest[less], alias: u32::try_from(more).unwrap_or(NONE) };
        rest[more] -= total - rest[less];
        if rest[more] < total {
            large.pop();
            small.push(more);
        }
    }
    columns.into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The table gives each slot exactly its share: thresholds and aliases add up to weight * n.
        #[test]
        fn shares_are_exact(weights in prop::collection::vec(0u32..=1_000_000, 0..50)) {
            let weighted = Weighted::new(&weights);
            let count = weighted.len() as u64;
            let mut owned = vec![0u64; weighted.len()];
            for slot in 0..weighted.len() {
                let Some(column) = weighted.columns.get(slot) else {
                    owned[slot] = weighted.total;
                    continue;
                };
                owned[slot] += column.threshold;
                owned[column.alias as usize] += weighted.total - column.threshold;
            }
            for (slot, owned) in owned.iter().enumerate() {
                prop_assert_eq!(*owned, u64::from(weighted.weight(slot)) * count);
                prop_assert_eq!(weighted.weight(slot), weights[weighted.index(slot)]);
                prop_assert_eq!(weighted.weight_of(weighted.index(slot)), weighted.weight(slot));
            }
            prop_assert_eq!(weighted.len(), weights.iter().filter(|weight| **weight > 0).count());
        }
    }
}
