//! Where a rule sends its requests: services by weight.

use rand::Rng;

use super::UpstreamIndex;

/// The weighted services of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backends {
    /// Each with the sum of the weights up to and including its own; those of weight 0 are left out.
    entries: Box<[(u64, UpstreamIndex)]>,
}

impl Backends {
    /// Services with their weights.
    pub fn new(weighted: impl IntoIterator<Item = (u32, UpstreamIndex)>) -> Self {
        let mut sum = 0u64;
        let entries = weighted
            .into_iter()
            .filter(|(weight, _)| *weight > 0)
            .map(|(weight, upstream)| {
                sum += u64::from(weight);
                (sum, upstream)
            })
            .collect();
        Self { entries }
    }

    /// Draws one by weight; `None` when there is none with a weight. Draws no number when there is no choice.
    pub fn choose(&self, rng: &mut impl Rng) -> Option<UpstreamIndex> {
        match &*self.entries {
            [] => None,
            [(_, only)] => Some(*only),
            entries => {
                let total = entries.last().map_or(0, |(sum, _)| *sum);
                // Multiply and shift (Lemire): the bias is below total / 2^64.
                let drawn = ((u128::from(rng.next_u64()) * u128::from(total)) >> 64) as u64;
                let at = entries.partition_point(|(sum, _)| *sum <= drawn);
                entries.get(at).map(|(_, upstream)| *upstream)
            }
        }
    }

    /// Each service with its weight, for explanations.
    pub fn weights(&self) -> impl Iterator<Item = (u64, UpstreamIndex)> + '_ {
        let mut before = 0;
        self.entries.iter().map(move |&(sum, upstream)| {
            let weight = sum - before;
            before = sum;
            (weight, upstream)
        })
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    fn backends(weights: &[u32]) -> Backends {
        Backends::new(weights.iter().zip(0..).map(|(&weight, i)| (weight, UpstreamIndex(i))))
    }

    #[test]
    fn draws_converge_to_the_weights() {
        let weights = [1u32, 0, 3, 6];
        let backends = backends(&weights);
        let mut rng = SmallRng::seed_from_u64(7);
        let mut counts = [0u32; 4];
        let draws = 100_000u32;
        for _ in 0..draws {
            counts[backends.choose(&mut rng).unwrap().0 as usize] += 1;
        }
        for (count, weight) in counts.iter().zip(weights) {
            let share = f64::from(*count) / f64::from(draws);
            assert!((share - f64::from(weight) / 10.0).abs() < 0.01, "{counts:?}");
        }
        assert_eq!(counts[1], 0);
    }

    #[test]
    fn no_weight_no_choice() {
        let mut rng = SmallRng::seed_from_u64(7);
        assert_eq!(backends(&[]).choose(&mut rng), None);
        assert_eq!(backends(&[0, 0]).choose(&mut rng), None);
        assert_eq!(backends(&[0, 5]).choose(&mut rng), Some(UpstreamIndex(1)));
    }

    #[test]
    fn largest_weights_do_not_overflow() {
        let backends = backends(&[u32::MAX; 8]);
        let mut rng = SmallRng::seed_from_u64(7);
        assert!((0..1000).all(|_| backends.choose(&mut rng).is_some()));
        assert!(backends.weights().all(|(weight, _)| weight == u64::from(u32::MAX)));
    }
}
