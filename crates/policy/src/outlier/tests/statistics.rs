//! How often the comparison is wrong, and how much it sees. Envoy's `success_rate` ejection, mean less 1.9 standard
//! deviations of the endpoints' success rates, stands beside it.

use rand::rngs::StdRng;
use rand::{Rng, RngExt};

use super::*;
use crate::testing::{plausible, seeded};

/// Draws how many of so many calls fail, from the distribution's table: quick enough for many sweeps.
struct Failures {
    cumulated: Vec<f64>,
}

impl Failures {
    fn new(calls: u64, share: f64) -> Self {
        let mut point = (1.0 - share).powf(calls as f64);
        let mut sum = 0.0;
        let cumulated = (0..=calls)
            .map(|k| {
                sum += point;
                point *= (calls - k) as f64 / (k + 1) as f64 * share / (1.0 - share);
                sum
            })
            .collect();
        Self { cumulated }
    }

    fn draw(&self, rng: &mut impl Rng) -> u64 {
        let drawn: f64 = rng.random();
        (self.cumulated.partition_point(|sum| *sum < drawn) as u64).min(self.cumulated.len() as u64 - 1)
    }
}

/// No minimum effect and no minimum count: what the test alone promises.
fn bare() -> OutlierConfig {
    OutlierConfig { effect_min: 0.0, failures_min: 0, ..OutlierConfig::default() }
}

/// Those that one comparison would eject.
fn found(config: &OutlierConfig, samples: &[Sample]) -> Vec<usize> {
    let tally = Tally::default();
    let compared: Vec<_> = samples.iter().map(|sample| (0, &tally, *sample)).collect();
    let all = Sample {
        calls: samples.iter().map(|sample| sample.calls).sum(),
        failures: samples.iter().map(|sample| sample.failures).sum(),
    };
    discoveries(config, &compared, all).into_iter().map(|(index, _, _)| index).collect()
}

/// What Envoy would eject: success rate below mean - 1.9 * standard deviation, of at least 5 hosts with 100 calls.
fn mean_less_deviations(samples: &[Sample]) -> Vec<usize> {
    let rates: Vec<f64> = samples.iter().map(|sample| 1.0 - sample.failure_ratio()).collect();
    let mean = rates.iter().sum::<f64>() / rates.len() as f64;
    let variance = rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>() / rates.len() as f64;
    (0..rates.len()).filter(|index| rates[*index] < mean - 1.9 * variance.sqrt()).collect()
}

fn sample(failures: &Failures, rng: &mut StdRng) -> Sample {
    Sample { calls: failures.cumulated.len() as u64 - 1, failures: failures.draw(rng) }
}

/// Where all are well, a comparison ejects anybody at all with at most the declared probability.
#[test]
fn healthy_fleets_are_left_alone() {
    let (mut rng, _seed) = seeded();
    let sweeps = 2_000u64;
    for (endpoints, calls, share) in
        [(3, 50, 0.1), (10, 100, 0.05), (50, 40, 0.3), (100, 100, 0.01), (20, 1_000, 0.5)]
    {
        let failures = Failures::new(calls, share);
        let (mut wrong, mut envoys) = (0u64, 0u64);
        for _ in 0..sweeps {
            let samples: Vec<Sample> = (0..endpoints).map(|_| sample(&failures, &mut rng)).collect();
            wrong += u64::from(!found(&bare(), &samples).is_empty());
            envoys += mean_less_deviations(&samples).len() as u64;
        }
        let most = bare().false_discovery;
        assert!(
            wrong as f64 / (sweeps as f64) < most || plausible(wrong, sweeps, most),
            "{wrong} of {sweeps} sweeps over {endpoints} endpoints with {calls} calls, {share} of them failures"
        );
        if endpoints == 100 {
            let each = envoys as f64 / sweeps as f64;
            assert!((3.0..=7.0).contains(&each), "Envoy ejects 4 to 6 healthy ones of 100 each time: {each}");
        }
    }
}

/// Two endpoints, counted out instead of drawn: every outcome with its probability.
#[test]
fn two_healthy_endpoints_are_left_alone() {
    for (calls, share) in [(100, 0.1), (20, 0.5), (50, 0.02), (200, 0.3)] {
        let table = Failures::new(calls, share);
        let point = |k: usize| table.cumulated[k] - if k == 0 { 0.0 } else { table.cumulated[k - 1] };
        let wrong: f64 = (0..=calls as usize)
            .flat_map(|a| (0..=calls as usize).map(move |b| (a, b)))
            .filter(|(a, b)| {
                let of = |failures: usize| Sample { calls, failures: failures as u64 };
                !found(&bare(), &[of(*a), of(*b)]).is_empty()
            })
            .map(|(a, b)| point(a) * point(b))
            .sum();
        assert!(wrong <= 0.01, "{calls} calls, {share}: {wrong}");
    }
}

/// The bad ones are found, few or many; Envoy's rule sees none once there are more than 21.7 % of them.
#[test]
fn bad_endpoints_are_found() {
    let (mut rng, _seed) = seeded();
    let (well, ill) = (Failures::new(200, 0.01), Failures::new(200, 0.2));
    for (bad, envoy_sees) in [(1, true), (5, true), (30, false), (45, false)] {
        let (sweeps, mut hits, mut wrong, mut envoys) = (100, 0, 0, 0);
        for _ in 0..sweeps {
            let samples: Vec<Sample> =
                (0..100).map(|index| sample(if index < bad { &ill } else { &well }, &mut rng)).collect();
            let ejected = found(&OutlierConfig::default(), &samples);
            hits += ejected.iter().filter(|index| **index < bad).count();
            wrong += ejected.iter().filter(|index| **index >= bad).count();
            envoys += mean_less_deviations(&samples).iter().filter(|index| **index < bad).count();
        }
        let all = (sweeps * bad) as f64;
        // With 45 % bad ones among the others, 200 calls are no longer enough to tell 20 % from 9.5 % every time.
        let least = if bad <= 30 { 0.9 } else { 0.8 };
        assert!(hits as f64 >= least * all, "{hits} of {all} with {bad} bad ones");
        assert_eq!(wrong, 0, "a healthy endpoint is not five points worse");
        assert_eq!(envoys as f64 > 0.5 * all, envoy_sees, "Envoy: {envoys} of {all} with {bad} bad ones");
    }
}

/// Of all that are ejected, the share that is wrong stays below the declared one, when there are bad ones to find.
#[test]
fn discoveries_are_seldom_false() {
    let (mut rng, _seed) = seeded();
    let (well, ill) = (Failures::new(100, 0.05), Failures::new(100, 0.25));
    let (sweeps, mut shares, mut wrongs) = (1_000u64, 0.0, 0);
    for _ in 0..sweeps {
        let samples: Vec<Sample> =
            (0..50).map(|index| sample(if index < 10 { &ill } else { &well }, &mut rng)).collect();
        let ejected = found(&bare(), &samples);
        let wrong = ejected.iter().filter(|index| **index >= 10).count();
        shares += wrong as f64 / ejected.len().max(1) as f64;
        wrongs += wrong;
    }
    assert!(shares / (sweeps as f64) <= 0.01, "{shares} of {sweeps}: {wrongs}");
}
