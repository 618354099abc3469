//! A hash ring (Karger et al. 1997) with points in proportion to weight, as in ketama (Jones, 2007). A key belongs to the
//! endpoint whose point comes next.
//!
//! How many points an endpoint has must not depend on who else is there, or keys would move between endpoints that stay.
//! So a weight counts in powers of two: of the one that the mean weight has reached, [`RING_POINTS`] make an endpoint, and
//! only where the mean reaches another one do points come or go for all. A least number of points for the whole ring, as is
//! usual (1024), would make each endpoint's depend on their number as long as there are few.

use super::hash;

/// Points of an endpoint whose weight is the power of two that the mean weight has reached.
pub const RING_POINTS: u64 = 192;

/// The most points of a ring, but for one that each endpoint has in any case: 16 MiB of them.
pub const RING_POINTS_MAX: usize = 1 << 21;

/// Starts for each point of a ring that is small enough for them to stay in the cache of a core.
const STARTS_PER_POINT: usize = 4;

/// Above so many points there is one start for each or two.
const POINTS_SMALL_MAX: usize = 1 << 16;

/// The points, in order.
#[derive(Debug)]
pub(super) struct Ring {
    /// Where on the ring, and in the lower half whose.
    points: Box<[u64]>,
    /// For each value of a hash's upper bits, the first point with them or more: finds a point in one look, or two.
    starts: Box<[u32]>,
    shift: u32,
}

impl Ring {
    /// A ring of members in the order of their keys: key, weight (not 0) and slot.
    pub(super) fn new(members: &[(u64, u32, u32)]) -> Self {
        let (each, unit) = scale(members);
        let mut points = Vec::new();
        for (rank, (key, weight, _)) in (0u64..).zip(members) {
            let count = ((each * u64::from(*weight) + unit / 2) / unit).max(1);
            // The rank decides between equal hashes, so it does so everywhere.
            points.extend((0..count).map(|point| hash::number(point, *key) >> 32 << 32 | rank));
        }
        points.sort_unstable();
        for point in &mut points {
            *point = *point >> 32 << 32 | u64::from(members[(*point & 0xFFFF_FFFF) as usize].2);
        }
        let many = if points.len() <= POINTS_SMALL_MAX { STARTS_PER_POINT } else { 1 };
        // At least one, so that the shift is less than the width.
        let bits = (points.len() * many).max(2).ilog2();
        let shift = 64 - bits;
        let mut starts = vec![0; 1 << bits].into_boxed_slice();
        let mut point = 0;
        for (upper, start) in (0u64..).zip(&mut starts) {
            while points.get(point).is_some_and(|point| point >> shift < upper) {
                point += 1;
            }
            *start = point as u32;
        }
        Self { points: points.into(), starts, shift }
    }

    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    /// The position of the first point at a hash or after it.
    pub(super) fn position(&self, hash: u64) -> usize {
        // Points are where the upper half of their hashes is.
        let at = hash >> 32 << 32;
        let start = self.starts[(hash >> self.shift) as usize] as usize;
        let after = self.points[start..].iter().take_while(|point| **point < at).count();
        if start + after < self.points.len() { start + after } else { 0 }
    }

    /// Whose point is at a position.
    pub(super) fn slot(&self, position: usize) -> usize {
        self.points[position] as u32 as usize
    }
}

/// How many points of how much weight. In whole numbers, so that it is the same everywhere.
fn scale(members: &[(u64, u32, u32)]) -> (u64, u64) {
    let total: u64 = members.iter().map(|(_, weight, _)| u64::from(*weight)).sum();
    let unit = 1 << (total / members.len().max(1) as u64).max(1).ilog2();
    let mut each = RING_POINTS;
    while each > 1 && each as f64 * total as f64 / unit as f64 > RING_POINTS_MAX as f64 {
        each /= 2;
    }
    (each, unit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ring(weights: &[u32]) -> Ring {
        let members: Vec<_> = (0u32..)
            .zip(weights)
            .map(|(slot, weight)| (hash::number(slot.into(), 1), *weight, slot))
            .collect();
        Ring::new(&members)
    }

    proptest! {
        /// The table of beginnings finds what a search finds.
        #[test]
        fn the_next_point_is_found(weights in prop::collection::vec(1u32..1000, 1..40), hashes: Vec<u64>) {
            let ring = ring(&weights);
            for hash in hashes.into_iter().chain([0, u64::MAX]) {
                let searched = ring.points.partition_point(|point| point >> 32 < hash >> 32);
                prop_assert_eq!(ring.position(hash), searched % ring.len());
            }
        }

        #[test]
        fn points_are_in_proportion_and_bounded(weights in prop::collection::vec(1u32..=1_000_000, 1..40)) {
            let ring = ring(&weights);
            let mean = weights.iter().map(|weight| u64::from(*weight)).sum::<u64>() / weights.len() as u64;
            let unit = 1u32 << mean.ilog2();
            let mut points = vec![0u32; weights.len()];
            (0..ring.len()).for_each(|at| points[ring.slot(at)] += 1);
            for (points, weight) in points.iter().zip(&weights) {
                let share = RING_POINTS as f64 * f64::from(*weight) / f64::from(unit);
                prop_assert!(*points >= 1 && (f64::from(*points) - share).abs() <= 1.0);
            }
            prop_assert!(ring.len() <= (2 * RING_POINTS as usize + 1) * weights.len());
        }
    }

    #[test]
    fn many_endpoints_do_not_make_a_ring_without_end() {
        let ring = ring(&vec![1; 20_000]);
        assert!(ring.len() <= RING_POINTS_MAX + 20_000 && ring.len() > RING_POINTS_MAX / 2, "{}", ring.len());
    }
}
