//! The order of answers: by chance, heavier ones more often first.

use rand::{Rng, RngExt};

/// Something with its share of the requests.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Weighted<T> {
    /// What it is.
    pub(super) item: T,
    /// Its share; 0 for what is to be used last.
    pub(super) weight: u32,
}

/// Puts items in an order by chance: which comes first, which second and so on is drawn from those left in proportion to
/// their weights. Those of weight 0 come last, in an even order.
///
/// Efraimidis, Spirakis: Weighted random sampling with a reservoir (2006): sorting by exponential draws with the weights as
/// rates gives that distribution.
pub(super) fn shuffle<T, R: Rng + ?Sized>(items: Vec<Weighted<T>>, rng: &mut R) -> Vec<Weighted<T>> {
    let mut drawn: Vec<(bool, f64, Weighted<T>)> = items
        .into_iter()
        .map(|entry| {
            // From (0, 1], so that the logarithm is finite.
            let exponential = -(1.0 - rng.random::<f64>()).ln();
            let rate = f64::from(entry.weight.max(1));
            (entry.weight == 0, exponential / rate, entry)
        })
        .collect();
    drawn.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    drawn.into_iter().map(|(_, _, entry)| entry).collect()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn weighted(weights: &[u32]) -> Vec<Weighted<usize>> {
        weights.iter().enumerate().map(|(item, &weight)| Weighted { item, weight }).collect()
    }

    #[test]
    fn the_first_is_drawn_by_weight_and_the_second_from_the_rest() {
        let mut rng = StdRng::seed_from_u64(7);
        let rounds = 20_000;
        let mut first = [0.0; 4];
        let mut second_after_heaviest = [0.0; 4];
        let mut heaviest = 0.0;
        for _ in 0..rounds {
            let order = shuffle(weighted(&[6, 3, 1, 0]), &mut rng);
            assert_eq!(order[3].item, 3, "weight 0 comes last");
            first[order[0].item] += 1.0;
            if order[0].item == 0 {
                heaviest += 1.0;
                second_after_heaviest[order[1].item] += 1.0;
            }
        }
        for (item, share) in [(0, 0.6), (1, 0.3), (2, 0.1)] {
            let seen = first[item] / f64::from(rounds);
            assert!((seen - share).abs() < 0.015, "{item} was first in {seen}");
        }
        let seen: f64 = second_after_heaviest[1] / heaviest;
        assert!((seen - 0.75).abs() < 0.02, "after the heaviest, the next was second in {seen}");
    }

    proptest::proptest! {
        #[test]
        fn nothing_is_lost(weights: Vec<u32>, seed: u64) {
            let mut order = shuffle(weighted(&weights), &mut StdRng::seed_from_u64(seed));
            order.sort_by_key(|entry| entry.item);
            assert_eq!(order, weighted(&weights));
        }
    }
}
