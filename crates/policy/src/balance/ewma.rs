//! Peak EWMA (Finagle, `com.twitter.finagle.loadbalancer.p2c.P2CPeakEwma`): of two distinct endpoints, the one with the
//! lesser product of latency and requests in flight.
//!
//! A latency above the average becomes the average at once; one below pulls it down by how long ago the last one was:
//! w = exp(-dt / decay), e = e * w + latency * (1 - w). Three things are Weir's own:
//!
//! - **A failure doubles the average**, or counts with its latency if that is more. A failing endpoint often answers
//!   fastest of all; were its answers taken for what they look like, it would get everything.
//! - **Reading changes nothing.** An endpoint with nothing in flight *looks* cheaper the longer nobody has heard from it,
//!   so that it is tried again some day; the average itself is only changed by answers. (Were it decayed by reading, the
//!   next answer would find nothing of it.) Never heard from and nothing in flight: it costs nothing and is tried first.
//!   Never heard from with a request in flight: the configured initial latency.
//! - **Weights.** The first endpoint is drawn by weight, the second evenly; in flight counts for the weight. Going from the
//!   first to a quicker second of less weight happens only with probability weight of the second / weight of the first:
//!   so as many requests go either way (the detailed balance of Metropolis' rule), and small differences in latency do
//!   not take all from a heavy endpoint, or all from a light one. With equal weights that is Finagle's rule.

use std::time::Duration;

use rand::{Rng, RngExt};

use super::live::Live;
use super::{Candidates, Note, Pick, Reasons, Why};
use crate::time::Nanos;

/// No average is above: with it an endpoint is out of the question already, and it must be able to come down again.
const LATENCY_MAX: Duration = Duration::from_secs(60);

/// The worker's averages.
#[derive(Clone, Debug)]
pub(super) struct Ewma {
    decay_ns: f64,
    initial_ns: f64,
    /// By index.
    seen: Box<[Seen]>,
}

/// What was seen of one endpoint.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// The average; 0 if there was no answer yet.
    latency_ns: f64,
    /// When the last answer came.
    at: Nanos,
}

impl Ewma {
    pub(super) fn new(decay: Duration, initial: Duration, endpoints: usize) -> Self {
        let decay_ns = (decay.as_nanos() as f64).max(1.0);
        Self {
            decay_ns,
            initial_ns: initial.as_nanos() as f64,
            seen: vec![Seen::default(); endpoints].into(),
        }
    }

    /// Takes over what another one knows of the same endpoints.
    pub(super) fn carry_over(&mut self, old: &Self, old_keys: &[u64], keys: &[u64]) {
        super::for_each_carried(old_keys, keys, |from, to| {
            if let (Some(seen), Some(slot)) = (old.seen.get(from), self.seen.get_mut(to)) {
                *slot = *seen;
            }
        });
    }

    pub(super) fn latency(&self, index: usize) -> Option<Duration> {
        let seen = self.seen.get(index)?;
        (seen.latency_ns > 0.0).then(|| Duration::from_nanos(seen.latency_ns as u64))
    }

    pub(super) fn observe(&mut self, index: usize, latency: Duration, success: bool, now: Nanos) {
        let Some(seen) = self.seen.get_mut(index) else { return };
        let known = seen.latency_ns > 0.0;
        let mut sample = latency.as_nanos() as f64;
        if !success {
            sample = sample.max(2.0 * if known { seen.latency_ns } else { self.initial_ns });
        }
        // An answer in no time at all is still an answer.
        sample = sample.clamp(1.0, LATENCY_MAX.as_nanos() as f64);
        seen.latency_ns = if known && sample < seen.latency_ns {
            let past = (-(now.since(seen.at).as_nanos() as f64) / self.decay_ns).exp();
            seen.latency_ns * past + sample * (1.0 - past)
        } else {
            sample
        };
        seen.at = now;
        debug_assert!(seen.latency_ns >= 1.0, "an average without a value");
    }

    /// The cost of one more request, in nanoseconds; only to be compared.
    fn cost(&self, index: usize, in_flight: u32, relative_weight: f64, now: Nanos) -> f64 {
        let seen = self.seen[index];
        if in_flight > 0 {
            let latency = if seen.latency_ns > 0.0 { seen.latency_ns } else { self.initial_ns };
            return latency * (f64::from(in_flight) / relative_weight + 1.0);
        }
        let idle_ns = now.since(seen.at).as_nanos() as f64;
        // What is too little to matter is not worth an exponential.
        if idle_ns * 100.0 < self.decay_ns {
            seen.latency_ns
        } else {
            seen.latency_ns * (-idle_ns / self.decay_ns).exp()
        }
    }

    pub(super) fn pick<C: Candidates>(
        &self,
        live: &Live<'_, C>,
        now: Nanos,
        rng: &mut impl Rng,
        reasons: &mut impl Reasons,
    ) -> Option<Pick> {
        let (first, standing) = live.draw(rng)?;
        let Some(second) = live.another(first, standing, rng) else {
            return Some(live.pick(first, Why::Only, standing));
        };
        debug_assert_ne!(first, second, "compared an endpoint with itself");
        let weighted = live.weighted;
        let cost = |slot| {
            let relative = weighted.relative(weighted.weight(slot));
            self.cost(weighted.index(slot), live.in_flight(slot), relative, now)
        };
        let (first_cost, second_cost) = (cost(first), cost(second));
        let (of_first, of_second) = (weighted.index(first), weighted.index(second));
        reasons.note(|| Note::Costs {
            first: of_first,
            first_us: (first_cost / 1e3) as u64,
            second: of_second,
            second_us: (second_cost / 1e3) as u64,
        });
        let (first_weight, second_weight) = (weighted.weight(first), weighted.weight(second));
        let quicker = second_cost < first_cost
            && (second_weight >= first_weight || rng.random_range(0..first_weight) < second_weight);
        Some(if quicker {
            live.pick(second, Why::Quicker { than: of_first }, standing)
        } else {
            live.pick(first, Why::NotSlower { than: of_second }, standing)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn ewma() -> Ewma {
        Ewma::new(Duration::from_secs(10), 30 * MS, 1)
    }

    fn latency_ms(ewma: &Ewma) -> f64 {
        ewma.latency(0).unwrap().as_secs_f64() * 1e3
    }

    #[test]
    fn peaks_count_at_once_and_are_forgotten_with_time() {
        let mut ewma = ewma();
        assert_eq!(ewma.latency(0), None);
        ewma.observe(0, 10 * MS, true, Nanos::from_secs(1));
        assert_eq!(latency_ms(&ewma), 10.0);
        ewma.observe(0, 110 * MS, true, Nanos::from_secs(1));
        assert_eq!(latency_ms(&ewma), 110.0);
        // One decay later: 110/e + 10 (1 - 1/e).
        ewma.observe(0, 10 * MS, true, Nanos::from_secs(11));
        assert!((latency_ms(&ewma) - (10.0 + 100.0 / std::f64::consts::E)).abs() < 1e-3);
        // At the same moment nothing is forgotten.
        let before = latency_ms(&ewma);
        ewma.observe(0, MS, true, Nanos::from_secs(11));
        assert_eq!(latency_ms(&ewma), before);
    }

    #[test]
    fn a_failure_makes_dearer_however_fast_it_was() {
        let mut ewma = ewma();
        ewma.observe(0, MS, false, Nanos::from_secs(1));
        assert_eq!(latency_ms(&ewma), 60.0, "twice the initial latency");
        ewma.observe(0, MS, false, Nanos::from_secs(1));
        assert_eq!(latency_ms(&ewma), 120.0);
        ewma.observe(0, 500 * MS, false, Nanos::from_secs(1));
        assert_eq!(latency_ms(&ewma), 500.0);
        for _ in 0..100 {
            ewma.observe(0, MS, false, Nanos::from_secs(1));
        }
        assert_eq!(ewma.latency(0), Some(LATENCY_MAX));
        ewma.observe(0, MS, true, Nanos::from_secs(101));
        assert!(latency_ms(&ewma) < 5.0);
    }

    #[test]
    fn reading_does_not_decay_what_is_stored() {
        let mut ewma = ewma();
        assert_eq!(ewma.cost(0, 0, 1.0, Nanos::from_secs(5)), 0.0, "unheard of and idle: to be tried");
        assert_eq!(ewma.cost(0, 2, 1.0, Nanos::from_secs(5)), 90e6, "unheard of with two in flight");
        ewma.observe(0, 10 * MS, true, Nanos::from_secs(10));
        let early = ewma.cost(0, 0, 1.0, Nanos::from_secs(10));
        let late = ewma.cost(0, 0, 1.0, Nanos::from_secs(20));
        assert!((late - early / std::f64::consts::E).abs() < 1.0, "{early} {late}");
        assert_eq!(latency_ms(&ewma), 10.0);
        assert_eq!(ewma.cost(0, 1, 1.0, Nanos::from_secs(20)), 20e6, "with one in flight nothing fades");
        assert_eq!(ewma.cost(0, 4, 2.0, Nanos::from_secs(20)), 30e6, "in flight counts for the weight");
        assert_eq!(ewma.cost(0, 0, 1.0, Nanos::from_secs(10)), early);
    }

    #[test]
    fn what_is_known_goes_with_the_key() {
        let mut old = Ewma::new(Duration::from_secs(10), 30 * MS, 2);
        old.observe(0, MS, true, Nanos::from_secs(1));
        old.observe(1, 2 * MS, true, Nanos::from_secs(1));
        let mut new = Ewma::new(Duration::from_secs(10), 30 * MS, 3);
        new.carry_over(&old, &[7, 8], &[8, 9, 7]);
        assert_eq!([new.latency(0), new.latency(1), new.latency(2)], [Some(2 * MS), None, Some(MS)]);
        let mut same = Ewma::new(Duration::from_secs(10), 30 * MS, 2);
        same.carry_over(&old, &[7, 8], &[7, 8]);
        assert_eq!([same.latency(0), same.latency(1)], [Some(MS), Some(2 * MS)]);
    }
}
