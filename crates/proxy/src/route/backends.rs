//! Where a rule sends its requests: services by weight.

use std::sync::Arc;

use rand::Rng;

use super::UpstreamIndex;
use crate::filter::Filters;

/// The weighted services of a rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Backends {
    /// Those of weight 0 are left out.
    entries: Box<[Backend]>,
}

/// A service of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// The sum of the weights up to and including its own.
    until: u64,
    /// The service.
    pub upstream: UpstreamIndex,
    /// What happens to requests on the way there: the rule's filters, and its own.
    pub filters: Option<Arc<Filters>>,
}

impl Backends {
    /// Services with their weights.
    pub fn new(weighted: impl IntoIterator<Item = (u32, UpstreamIndex)>) -> Self {
        Self::with_filters(weighted.into_iter().map(|(weight, upstream)| (weight, upstream, None)))
    }

    /// The same, with the filters of each.
    pub fn with_filters(
        weighted: impl IntoIterator<Item = (u32, UpstreamIndex, Option<Arc<Filters>>)>,
    ) -> Self {
        let mut until = 0u64;
        let entries = weighted
            .into_iter()
            .filter(|(weight, ..)| *weight > 0)
            .map(|(weight, upstream, filters)| {
                until += u64::from(weight);
                Backend { until, upstream, filters }
            })
            .collect();
        Self { entries }
    }

    /// Draws one by weight; `None` when there is none with a weight. Draws no number when there is no choice.
    #[inline]
    pub fn choose(&self, rng: &mut impl Rng) -> Option<&Backend> {
        match &*self.entries {
            [] => None,
            [only] => Some(only),
            entries => {
                let total = entries.last().map_or(0, |last| last.until);
                // Multiply and shift (Lemire): the bias is below total / 2^64.
                let drawn = ((u128::from(rng.next_u64()) * u128::from(total)) >> 64) as u64;
                entries.get(entries.partition_point(|backend| backend.until <= drawn))
            }
        }
    }

    /// Each service with its weight, for explanations.
    pub fn weights(&self) -> impl Iterator<Item = (u64, UpstreamIndex)> + '_ {
        let mut before = 0;
        self.entries.iter().map(move |backend| {
            let weight = backend.until - before;
            before = backend.until;
            (weight, backend.upstream)
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
            counts[backends.choose(&mut rng).unwrap().upstream.0 as usize] += 1;
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
        let backends = backends(&[0, 5]);
        assert_eq!(backends.choose(&mut rng).map(|backend| backend.upstream), Some(UpstreamIndex(1)));
    }

    #[test]
    fn largest_weights_do_not_overflow() {
        let backends = backends(&[u32::MAX; 8]);
        let mut rng = SmallRng::seed_from_u64(7);
        assert!((0..1000).all(|_| backends.choose(&mut rng).is_some()));
        assert!(backends.weights().all(|(weight, _)| weight == u64::from(u32::MAX)));
    }
}
