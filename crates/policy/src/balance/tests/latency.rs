//! Choosing by observed latency, and what outlives a change of the list.

use std::time::Duration;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// Requests that end at once, with a latency and an outcome by endpoint; how many each got.
fn serve(
    balancer: &mut Balancer,
    outcome: impl Fn(usize) -> (Duration, bool),
    (begin, step, requests): (Nanos, Duration, u32),
    rng: &mut StdRng,
) -> Vec<u32> {
    let mut counts = vec![0; 16];
    for request in 0..requests {
        let now = begin + step * request;
        let index =
            balancer.pick(Query::at(now), &Fake::default(), &Tried::none(), rng, &mut ()).unwrap().index;
        let (latency, success) = outcome(index);
        balancer.done(index, latency, success, now);
        counts[index] += 1;
    }
    counts
}

#[test]
fn an_endpoint_that_fails_fast_does_not_look_free() {
    let (mut rng, _seed) = seeded();
    let mut balancer = balancer(Policy::PeakEwma, &[1; 5], &mut rng);
    let fails = |index| if index == 3 { (MS / 10, false) } else { (10 * MS, true) };
    let counts = serve(&mut balancer, fails, (Nanos::from_secs(1), MS, 20_000), &mut rng);
    assert!(counts[3] < 20, "{counts:?}: a fifth of them would be 4000");
    // Well again, it is tried again and gets its share.
    let begin = Nanos::from_secs(1000);
    serve(&mut balancer, |_| (10 * MS, true), (begin, MS, 1000), &mut rng);
    let counts =
        serve(&mut balancer, |_| (10 * MS, true), (begin + Duration::from_secs(1), MS, 10_000), &mut rng);
    assert!(counts[3] > 1000, "{counts:?}");
}

#[test]
fn the_slow_get_little_and_are_tried_again() {
    let (mut rng, _seed) = seeded();
    let mut balancer = balancer(Policy::PeakEwma, &[1; 4], &mut rng);
    let slow = |index| (if index == 0 { 200 * MS } else { 10 * MS }, true);
    let counts = serve(&mut balancer, slow, (Nanos::from_secs(1), 10 * MS, 30_000), &mut rng);
    assert!((3..300).contains(&counts[0]), "{counts:?}");
}

/// Two that differ little: the heavy one does not lose all to a light one that is a little quicker, nor the light one all.
#[test]
fn small_differences_do_not_overrule_weights() {
    let (mut rng, _seed) = seeded();
    for quicker in [0, 1] {
        let mut balancer = balancer(Policy::PeakEwma, &[99, 1], &mut rng);
        let outcome = |index| (if index == quicker { 99 * MS } else { 100 * MS }, true);
        let counts = serve(&mut balancer, outcome, (Nanos::from_secs(1), MS, 100_000), &mut rng);
        // The light one gets between nothing and twice its share, as one of equal weight would.
        assert!((0..=2300).contains(&counts[1]), "{counts:?}");
        assert!(quicker == 0 || counts[1] > 1700, "{counts:?}");
    }
}

#[test]
fn what_is_known_outlives_changes_of_weights_and_lists() {
    let (mut rng, _seed) = seeded();
    let config = Config::of(Policy::PeakEwma);
    let mut balancer = Balancer::new(config, &[1, 1], &[10, 20], &mut rng);
    balancer.done(0, 5 * MS, true, Nanos::from_secs(1));
    assert!(balancer.update(&config, &[1, 2], &[10, 20], None, &mut rng));
    assert_eq!([balancer.latency(0), balancer.latency(1)], [Some(5 * MS), None]);
    assert!(balancer.update(&config, &[1, 1, 1], &[30, 20, 10], None, &mut rng));
    assert_eq!([balancer.latency(0), balancer.latency(2)], [None, Some(5 * MS)]);
    assert_eq!((balancer.index_of(10), balancer.index_of(99), balancer.key_of(1)), (Some(2), None, Some(20)));
    assert!(balancer.update(&Config::of(Policy::Random), &[1, 1, 1], &[30, 20, 10], None, &mut rng));
    assert_eq!(balancer.latency(2), None);
}

#[test]
fn the_least_busy_of_all_for_its_weight() {
    let (mut rng, _seed) = seeded();
    let check = |weights: &[u32], in_flight: &[u32], expected: &[(usize, f64)], rng: &mut StdRng| {
        let mut balancer = balancer(Policy::LeastConnections, weights, rng);
        let fake = Fake { in_flight: in_flight.to_vec(), ..Fake::default() };
        let counts = counts(&mut balancer, &fake, &Tried::none(), rng, 20_000, weights.len());
        for (index, count) in counts.iter().enumerate() {
            let share = expected.iter().find(|(of, _)| *of == index).map_or(0.0, |(_, share)| *share);
            assert!(plausible(*count, 20_000, share), "{weights:?} {in_flight:?}: {counts:?}");
        }
    };
    check(&[1; 5], &[3, 1, 4, 1, 5], &[(1, 0.5), (3, 0.5)], &mut rng);
    check(&[1, 3, 2, 0], &[2, 3, 4, 0], &[(1, 1.0)], &mut rng);
    check(&[1, 3, 2], &[1, 3, 3], &[(0, 0.25), (1, 0.75)], &mut rng);
    check(&[1, 3, 2], &[0, 1, 0], &[(0, 1.0 / 3.0), (2, 2.0 / 3.0)], &mut rng);
    check(&[1; 3], &[u32::MAX; 3], &[(0, 1.0 / 3.0), (1, 1.0 / 3.0), (2, 1.0 / 3.0)], &mut rng);
    // Of many, who was taken counts as having one more until it is looked at all again.
    let many: Vec<u32> = (0..1000).map(|index| if index == 900 { 0 } else { 100 }).collect();
    check(&[1; 1000], &many, &[(900, 1.0)], &mut rng);
}
