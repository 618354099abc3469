//! Who is ejected, for how long, and how they come back.

mod statistics;

use std::collections::HashMap;

use proptest::prelude::*;
use rand::RngExt;
use weir_model::resource::traffic_policy::Outlier as Spec;

use super::*;

/// Some endpoints with keys from 0 up, and what was said of them.
struct Fleet {
    outliers: Outliers,
    tallies: Vec<Tally>,
    now: Nanos,
}

impl Fleet {
    fn new(config: OutlierConfig, size: usize) -> Self {
        let tallies: Vec<Tally> = (0..size).map(|_| Tally::default()).collect();
        let mut fleet = Self { outliers: Outliers::new(config), tallies, now: Nanos::from_secs(1_000) };
        fleet.outliers.update(listed(&fleet.tallies));
        fleet
    }

    fn sleep(&mut self, secs: u64) {
        self.now = self.now + Duration::from_secs(secs);
    }

    fn fail(&mut self, index: usize) -> Option<OutlierEvent> {
        let tally = &self.tallies[index];
        let run = tally.record(Verdict::GatewayFailure);
        self.outliers.failed(index as u64, tally, run, self.now, listed(&self.tallies))
    }

    /// Failures until something is said.
    fn fail_often(&mut self, index: usize) -> OutlierEvent {
        (0..100).find_map(|_| self.fail(index)).expect("something is said")
    }

    fn calls(&self, index: usize, calls: u64, failures: u64) {
        (failures..calls).for_each(|_| {
            self.tallies[index].record(Verdict::Success);
        });
        (0..failures).for_each(|_| {
            self.tallies[index].record(Verdict::Failure);
        });
    }

    fn sweep(&mut self) -> Vec<OutlierEvent> {
        let mut events = Vec::new();
        self.outliers.sweep(listed(&self.tallies), self.now, |event| events.push(event));
        events
    }

    fn probed(&mut self, outcome: Probed) -> Option<OutlierEvent> {
        let probe = self.outliers.probe(self.now).expect("a probe is due");
        let tally = &self.tallies[probe.key() as usize];
        self.outliers.probed(probe, tally, outcome, self.now)
    }

    fn ejected(&self) -> Vec<usize> {
        (0..self.tallies.len()).filter(|index| self.tallies[*index].is_ejected()).collect()
    }
}

fn listed(tallies: &[Tally]) -> impl Iterator<Item = (u64, &Tally)> {
    (0u64..).zip(tallies)
}

fn length(event: &OutlierEvent) -> u64 {
    match event {
        OutlierEvent::Ejected { length, .. } => length.as_secs(),
        other => panic!("{other}"),
    }
}

#[test]
fn failures_in_a_row_eject_at_once() {
    let mut fleet = Fleet::new(OutlierConfig::default(), 4);
    for _ in 0..4 {
        assert_eq!(fleet.fail(1), None);
    }
    // Any other answer means that somebody is there.
    fleet.tallies[1].record(Verdict::Failure);
    for _ in 0..4 {
        assert_eq!(fleet.fail(1), None);
    }
    let event = fleet.fail(1).unwrap();
    assert_eq!(event.to_string(), "ejected for 30s (1 in a row): 5 gateway failures in a row");
    assert_eq!(fleet.ejected(), [1]);
    // What was still in flight there changes nothing.
    assert!((0..20).all(|_| fleet.fail(1).is_none()));
}

#[test]
fn at_most_half_are_ejected_and_never_the_only_one() {
    let mut fleet = Fleet::new(OutlierConfig::default(), 5);
    fleet.fail_often(0);
    fleet.fail_often(1);
    assert_eq!(
        fleet.fail_often(2).to_string(),
        "not ejected, as 2 of 5 endpoints are, and 2 may be: 5 gateway failures in a row"
    );
    assert_eq!(fleet.ejected(), [0, 1]);
    // As soon as there is room, it is its turn.
    fleet.sleep(30);
    fleet.probed(Probed::Well);
    assert_eq!(length(&fleet.fail_often(2)), 30);

    let mut alone = Fleet::new(OutlierConfig::default(), 1);
    assert!(matches!(alone.fail_often(0), OutlierEvent::Spared { ejected: 0, endpoints: 1, .. }));
}

#[test]
fn one_probe_lets_it_back_in() {
    let mut fleet = Fleet::new(OutlierConfig::default(), 4);
    fleet.fail_often(3);
    fleet.sleep(29);
    assert_eq!(fleet.outliers.probe(fleet.now), None);
    fleet.sleep(1);
    let probe = fleet.outliers.probe(fleet.now).unwrap();
    assert_eq!(probe.key(), 3);
    assert_eq!(fleet.outliers.probe(fleet.now), None, "only one");
    assert!(fleet.tallies[3].is_ejected(), "nothing else goes there");
    fleet.sleep(2);
    let event = fleet.outliers.probed(probe, &fleet.tallies[3], Probed::Well, fleet.now).unwrap();
    assert_eq!(event.to_string(), "its probe succeeded: back after 32s");
    assert_eq!(fleet.ejected(), [0usize; 0]);
    assert_eq!(fleet.tallies[3].returned_at(), Some(fleet.now));
    assert_eq!(fleet.tallies[2].returned_at(), None);
}

#[test]
fn a_lost_probe_is_sent_again() {
    let mut fleet = Fleet::new(OutlierConfig::default(), 4);
    fleet.fail_often(3);
    fleet.sleep(30);
    let lost = fleet.outliers.probe(fleet.now).unwrap();
    fleet.sleep(29);
    assert_eq!(fleet.outliers.probe(fleet.now), None);
    fleet.sleep(1);
    assert_eq!(fleet.probed(Probed::Unknown), None);
    // One that was not sent is due at once; one that is heard of too late changes nothing.
    let again = fleet.outliers.probe(fleet.now).unwrap();
    assert_eq!(fleet.outliers.probed(lost, &fleet.tallies[3], Probed::Well, fleet.now), None);
    assert!(fleet.tallies[3].is_ejected());
    assert!(fleet.outliers.probed(again, &fleet.tallies[3], Probed::Well, fleet.now).is_some());
}

#[test]
fn ejections_in_a_row_get_longer() {
    let mut fleet = Fleet::new(OutlierConfig::default(), 2);
    let mut last = length(&fleet.fail_often(0));
    for row in 2..=12 {
        fleet.sleep(last);
        let event = fleet.probed(Probed::Failed).unwrap();
        last = length(&event);
        assert_eq!(last, (30 * row).min(300));
        assert!(matches!(event, OutlierEvent::Ejected { cause: EjectionCause::Probe, .. }));
    }
    // Back, but not for long.
    fleet.sleep(300);
    fleet.probed(Probed::Well);
    fleet.sleep(299);
    assert_eq!(length(&fleet.fail_often(0)), 300);
    fleet.sleep(300);
    fleet.probed(Probed::Well);
    fleet.sleep(300);
    assert_eq!(length(&fleet.fail_often(0)), 30);
}

#[test]
fn the_worse_one_is_found_by_comparison() {
    let mut fleet = Fleet::new(OutlierConfig::default(), 10);
    (0..10).for_each(|index| fleet.calls(index, 200, if index == 4 { 30 } else { 2 }));
    let events = fleet.sweep();
    assert_eq!(events.len(), 1);
    assert_eq!(
        events[0].to_string(),
        "ejected for 30s (1 in a row): 30 of 200 calls failed, 18 of 1800 with the others (p = 1.9e-19)"
    );
    assert_eq!(fleet.ejected(), [4]);
    // Calls count once.
    assert_eq!(fleet.sweep(), []);
    assert_eq!(fleet.outliers.endpoint(4).unwrap().in_a_row, 1);
}

#[test]
fn a_difference_must_matter() {
    let check = |own: (u64, u64), others: (u64, u64), ejected: bool| {
        let mut fleet = Fleet::new(OutlierConfig::default(), 10);
        (1..10).for_each(|index| fleet.calls(index, others.0, others.1));
        fleet.calls(0, own.0, own.1);
        assert_eq!(!fleet.sweep().is_empty(), ejected, "{own:?} {others:?}");
    };
    check((10_000, 400), (10_000, 0), false); // Certain, but only four points.
    check((10_000, 600), (10_000, 0), true);
    check((4, 4), (1_000, 0), false); // Four failures.
    check((5, 5), (1_000, 0), true);
    check((20, 6), (20, 2), false); // Twenty points, but chance.
    check((1_000, 500), (1_000, 500), false); // All are bad alike.
    check((0, 0), (1_000, 500), false);
}

#[test]
fn ejection_can_be_switched_off_or_tried_out() {
    let mut fleet = Fleet::new(OutlierConfig { shadow: true, ..OutlierConfig::default() }, 4);
    let event = fleet.fail_often(0);
    assert!(event.to_string().starts_with("would be ejected for 30s"), "{event}");
    assert_eq!((fleet.ejected().len(), fleet.outliers.ejected()), (0, 1));
    assert!((0..20).all(|_| fleet.fail(0).is_none()), "said once");
    fleet.sleep(30);
    assert_eq!(fleet.outliers.probe(fleet.now), None, "it was given requests all the time");
    assert_eq!(fleet.outliers.next_probe(), None);
    assert_eq!(length(&fleet.fail_often(0)), 60, "it would be ejected again");

    fleet.outliers.reconfigure(OutlierConfig::default());
    assert_eq!(length(&fleet.fail_often(0)), 30 * 3);
    assert_eq!(fleet.ejected(), [0]);
    fleet.outliers.reconfigure(OutlierConfig { enabled: false, ..OutlierConfig::default() });
    assert_eq!(fleet.sweep(), []);
    assert_eq!(fleet.ejected(), [0usize; 0]);
    assert!((0..20).all(|_| fleet.fail(0).is_none()));
}

#[test]
fn endpoints_that_go_are_forgotten_and_others_stay() {
    let mut fleet = Fleet::new(OutlierConfig::default(), 6);
    fleet.fail_often(0);
    fleet.fail_often(1);
    fleet.tallies.remove(0);
    // The second has another key now; its tally still says that it is ejected.
    fleet.outliers.update(listed(&fleet.tallies));
    assert_eq!((fleet.outliers.ejected(), fleet.ejected()), (2, vec![0, 1]));
    fleet.tallies.truncate(1);
    fleet.outliers.update(listed(&fleet.tallies));
    assert_eq!((fleet.outliers.ejected(), fleet.ejected()), (1, vec![0]));
    fleet.outliers.update([]);
    assert_eq!((fleet.outliers.ejected(), fleet.outliers.next_probe()), (0, None));
}

#[test]
fn a_document_fills_in_defaults() {
    assert_eq!(OutlierConfig::from_spec(&Spec::default()), OutlierConfig::default());
    let absurd = Spec {
        ejected_max: Some(7.0),
        false_discovery: Some(f64::NAN),
        effect_min: Some(-1.0),
        ejection: Some("0s".parse().unwrap()),
        ..Spec::default()
    };
    let config = OutlierConfig::from_spec(&absurd);
    assert_eq!((config.ejected_max, config.false_discovery, config.effect_min), (1.0, 0.01, 0.0));
    assert!(!config.ejection.is_zero());
}

#[test]
fn threads_share_it() {
    let tallies: Vec<Tally> = (0..4).map(|_| Tally::default()).collect();
    let shared = SharedOutliers::new(OutlierConfig::default());
    shared.update(listed(&tallies));
    let now = Nanos::from_secs(1);
    let events: Vec<OutlierEvent> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    (0..1_000)
                        .filter_map(|_| {
                            shared.record(2, &tallies[2], Verdict::GatewayFailure, now, || listed(&tallies))
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(tallies[2].counts(), Sample { calls: 3_000, failures: 3_000 });
    assert_eq!(shared.ejected(), (1, 2));
    let later = now + Duration::from_secs(30);
    let probe = shared.probe(later).unwrap();
    assert_eq!(shared.probe(later), None);
    assert!(shared.probed(probe, &tallies[2], Probed::Well, later).is_some());
    assert_eq!(shared.probe(Nanos(u64::MAX)), None);
}

#[derive(Clone, Debug)]
enum Step {
    Fail(usize),
    Succeed(usize),
    Sweep,
    Probe,
    End(usize, u8),
    Lose(usize),
    Wait(u64),
    Resize(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0usize..12).prop_map(Step::Fail),
        2 => (0usize..12).prop_map(Step::Succeed),
        1 => Just(Step::Sweep),
        3 => Just(Step::Probe),
        3 => (any::<usize>(), 0u8..3).prop_map(|(which, how)| Step::End(which, how)),
        1 => any::<usize>().prop_map(Step::Lose),
        2 => (0u64..60).prop_map(Step::Wait),
        1 => (1usize..13).prop_map(Step::Resize),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Whatever happens: no more are ejected than may be unless endpoints went away, no endpoint has two probes under
    /// way, tallies say what is so, and in the end every endpoint is back.
    #[test]
    fn nobody_is_lost(steps in prop::collection::vec(step(), 1..300)) {
        let mut fleet = Fleet::new(OutlierConfig { consecutive: 2, ..OutlierConfig::default() }, 8);
        let lease = fleet.outliers.config().probe_lease;
        let mut held: Vec<(Probe, Nanos)> = Vec::new();
        for step in steps {
            let before = fleet.outliers.ejected();
            match step {
                Step::Fail(index) if index < fleet.tallies.len() => {
                    fleet.fail(index);
                    prop_assert!(fleet.outliers.ejected() <= before.max(fleet.outliers.ejected_max()));
                }
                Step::Succeed(index) if index < fleet.tallies.len() => fleet.calls(index, 3, 0),
                Step::Sweep => {
                    fleet.sweep();
                    prop_assert!(fleet.outliers.ejected() <= before.max(fleet.outliers.ejected_max()));
                }
                Step::Probe => {
                    if let Some(probe) = fleet.outliers.probe(fleet.now) {
                        let now = fleet.now;
                        let twice = held.iter().any(|(other, end)| other.key == probe.key && *end > now);
                        prop_assert!(!twice, "two probes to {}", probe.key);
                        held.push((probe, now + lease));
                    }
                }
                Step::End(which, how) if !held.is_empty() => {
                    let (probe, _) = held.swap_remove(which % held.len());
                    let outcome = [Probed::Well, Probed::Failed, Probed::Unknown][usize::from(how)];
                    if let Some(tally) = fleet.tallies.get(probe.key as usize) {
                        fleet.outliers.probed(probe, tally, outcome, fleet.now);
                    }
                }
                Step::Lose(which) if !held.is_empty() => drop(held.swap_remove(which % held.len())),
                Step::Wait(secs) => fleet.sleep(secs),
                Step::Resize(size) => {
                    fleet.tallies.resize_with(size, Tally::default);
                    fleet.outliers.update(listed(&fleet.tallies));
                    // Probes to those that went away are worth nothing should they come back.
                    let now = fleet.now;
                    held.iter_mut().filter(|(probe, _)| probe.key as usize >= size).for_each(|(_, end)| *end = now);
                }
                _ => {}
            }
            prop_assert_eq!(fleet.ejected().len(), fleet.outliers.ejected());
        }
        fleet.sleep(300);
        while fleet.outliers.probe(fleet.now).is_some_and(|probe| {
            let tally = &fleet.tallies[probe.key() as usize];
            fleet.outliers.probed(probe, tally, Probed::Well, fleet.now).is_some()
        }) {}
        prop_assert_eq!(fleet.ejected(), vec![0usize; 0]);
    }
}

/// Against all ways in which the failures can be spread, counted.
#[test]
fn the_test_is_exact() {
    let choose =
        |n: u64, k: u64| (0..k).fold(1u128, |product, i| product * u128::from(n - i) / u128::from(i + 1));
    let mut cache: HashMap<(u64, u64), u128> = HashMap::new();
    let mut choose =
        |n: u64, k: u64| *cache.entry((n, k)).or_insert_with(|| if k > n { 0 } else { choose(n, k) });
    for calls in 0..=12 {
        for others in 0..=14 {
            for (failures, others_failures) in (0..=calls).flat_map(|a| (0..=others).map(move |b| (a, b))) {
                let failed = failures + others_failures;
                let ways: u128 = (failures..=calls.min(failed))
                    .map(|x| {
                        choose(calls, x) * if failed - x > others { 0 } else { choose(others, failed - x) }
                    })
                    .sum();
                let exact = ways as f64 / choose(calls + others, failed) as f64;
                let found = ln_tail(failures, calls, others_failures, others).exp();
                assert!(
                    (found / exact - 1.0).abs() < 1e-12,
                    "{failures}/{calls} {others_failures}/{others}: {found} {exact}"
                );
            }
        }
    }
}

/// Against sums of 60 digits.
#[test]
fn the_test_is_exact_for_large_counts_too() {
    for ((failures, calls, others_failures, others_calls), expected) in [
        ((50, 100, 10, 900), -104.366_707_839_252_73),
        ((20, 200, 100, 5_000), -17.752_345_001_904_303),
        ((3, 100, 300, 10_000), -0.542_448_687_288_559_1),
        ((60, 1_000, 900, 19_000), -3.127_929_729_471_724_3),
        ((1_200, 1_000_000, 10_000_000, 9_999_000_000), -21.479_500_414_665_527),
        ((2_000, 1_000_000, 10_000_000, 9_999_000_000), -390.671_974_048_030_8),
        ((500_000, 1_000_000, 250_000_000, 9_999_000_000), -1_163_447.351_489_551),
        ((101_000, 1_000_000, 100_000, 1_000_000), -4.667_002_707_247_706),
        ((1_000_000, 1_000_000, 0, 1_000_000), -1_386_286.880_999_543_7),
    ] {
        let found = ln_tail(failures, calls, others_failures, others_calls);
        let error = (found - expected).abs();
        assert!(error < 1e-10 * expected.abs().max(1.0), "{failures}/{calls}: {found} {expected}");
    }
}

#[test]
fn where_all_fail_alike_nobody_is_ejected() {
    // Without comparison, which would find the last one too.
    let mut fleet = Fleet::new(OutlierConfig { false_discovery: 0.0, ..OutlierConfig::default() }, 10);
    // An outage of everything, right after all was well.
    (0..10).for_each(|index| fleet.calls(index, 1_000, 0));
    for round in 1..200 {
        for index in 0..10 {
            match fleet.fail(index) {
                None => assert_ne!(round % 5, 0),
                Some(OutlierEvent::Alike { failures, failing, .. }) => {
                    assert_eq!((failures, failing), (round, 1.0));
                }
                Some(other) => panic!("{other}"),
            }
        }
    }
    assert!(fleet.ejected().is_empty());
    let told = fleet.fail_often(3).to_string();
    let said = "not ejected after 200 gateway failures in a row: of the others' calls 100 % fail as well";
    assert_eq!(told, said);
    // The others are well again, and were for an interval: the one that still fails stands out.
    (0..10).filter(|index| *index != 3).for_each(|index| fleet.calls(index, 10_000, 0));
    fleet.sweep();
    (0..10).filter(|index| *index != 3).for_each(|index| fleet.calls(index, 1_000, 0));
    assert_eq!(length(&fleet.fail_often(3)), 30);
    assert_eq!(fleet.ejected(), [3]);
}

#[test]
fn where_some_calls_fail_everywhere_a_run_says_little() {
    let (mut rng, _seed) = crate::testing::seeded();
    for (ratio, ejected_max) in [(0.4, 1), (0.1, 1)] {
        let mut fleet = Fleet::new(OutlierConfig::default(), 10);
        for call in 0..200_000 {
            let index = rng.random_range(0..10);
            if rng.random_bool(ratio) {
                let _ = fleet.fail(index);
            } else {
                fleet.tallies[index].record(Verdict::Success);
            }
            if call % 20_000 == 19_999 {
                fleet.sweep();
            }
        }
        assert!(fleet.ejected().len() <= ejected_max, "{ratio}: {:?}", fleet.ejected());
    }
}

#[test]
fn half_of_them_dead_is_no_outage_of_everything() {
    let mut fleet = Fleet::new(OutlierConfig::default(), 10);
    for _ in 0..100 {
        for index in 0..10 {
            if index < 5 {
                let _ = fleet.fail(index);
            } else {
                fleet.calls(index, 1, 0);
            }
        }
    }
    assert_eq!(fleet.ejected(), [0, 1, 2, 3, 4]);
}
