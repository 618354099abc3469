//! Whatever the order of events.

use std::sync::Arc;
use std::thread;

use proptest::prelude::*;
use proptest::strategy::Strategy as _;

use super::{Strategy, *};

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    Admit,
    /// One of the permits held ends; which, and how.
    End(usize, u8),
    /// One of them is forgotten.
    Drop(usize),
    Wait(u64),
    Reconfigure(u32),
}

fn event() -> impl prop::strategy::Strategy<Value = Event> {
    prop_oneof![
        5 => Just(Event::Admit),
        5 => (any::<usize>(), 0u8..10).prop_map(|(which, how)| Event::End(which, how)),
        1 => any::<usize>().prop_map(Event::Drop),
        2 => (0u64..8_000).prop_map(Event::Wait),
        1 => (1u32..6).prop_map(Event::Reconfigure),
    ]
}

fn outcome(how: u8) -> CallOutcome {
    match how {
        0..=4 => OK,
        5..=7 => FAILED,
        8 => SLOW,
        _ => CallOutcome::CANCELLED,
    }
}

fn configs() -> [BreakerConfig; 5] {
    let base = BreakerConfig { probe_lease: Duration::from_secs(10), ..BreakerConfig::default() };
    let slow_call = Some(Duration::from_secs(1));
    let time = WindowConfig { calls_min: 3, slow_call, ..WindowConfig::default() };
    let of = |strategy| BreakerConfig { strategy, ..base.clone() };
    [
        of(Strategy::Window(time)),
        of(Strategy::Window(WindowConfig { span: WindowSpan::Calls(5), ..time })),
        of(Strategy::Consecutive { failures: 2 }),
        of(Strategy::Statistical(CusumConfig { calls_to_false_trip: 50, ..CusumConfig::default() })),
        of(Strategy::Throttle(ThrottleConfig { calls_min: 1, ..ThrottleConfig::default() })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// No more probes are under way than there are to be, by the caller's own books; and whatever has happened, after
    /// the longest wait there is the breaker lets a call through, and with enough successes it closes.
    #[test]
    fn no_permit_leaks(events in prop::collection::vec(event(), 1..200), kind in 0usize..5) {
        let mut world = World::new(configs()[kind].clone());
        let lease = world.breaker.config().probe_lease;
        // The probes of the present state, with the end of their leases; and all permits held.
        let mut held: Vec<(Permit, Nanos)> = Vec::new();
        for event in events {
            match event {
                Event::Admit => {
                    let Ok(permit) = world.admit() else { continue };
                    held.push((permit, world.now + lease));
                    let generation = world.breaker.generation;
                    let now = world.now;
                    let probes = held
                        .iter()
                        .filter(|(permit, end)| permit.is_probe() && permit.generation == generation && *end > now)
                        .count();
                    prop_assert!(probes <= world.breaker.config().probes as usize);
                }
                Event::End(which, how) if !held.is_empty() => {
                    let (permit, _) = held.swap_remove(which % held.len());
                    world.record(permit, outcome(how));
                }
                Event::Drop(which) if !held.is_empty() => {
                    drop(held.swap_remove(which % held.len()));
                }
                Event::End(..) | Event::Drop(_) => {}
                Event::Wait(millis) => world.sleep(millis),
                Event::Reconfigure(probes) => {
                    let config = BreakerConfig { probes, ..world.breaker.config().clone() };
                    world.breaker.reconfigure(config, world.now);
                }
            }
        }
        // All that were held are lost. The longest it can be open, and a lease:
        world.sleep(60_000 + 10_000);
        for _ in 0..200 {
            if world.phase() == Phase::Closed {
                break;
            }
            let permit = world.admit();
            prop_assert!(permit.is_ok(), "{permit:?} {}", world.breaker.state(world.now));
            world.record(permit.unwrap(), OK);
        }
        prop_assert_eq!(world.phase(), Phase::Closed);
        world.sleep(200_000);
        prop_assert!(world.admit().is_ok());
    }

    /// The shared breaker does what the plain one does. (Not to the call in throttling: that time alone makes it refuse it
    /// notices when the next call ends.)
    #[test]
    fn sharing_changes_nothing(events in prop::collection::vec(event(), 1..300), kind in 0usize..4) {
        let mut plain = World::new(configs()[kind].clone());
        let shared = SharedBreaker::new(configs()[kind].clone(), 3);
        let mut rng = StdRng::seed_from_u64(7);
        let mut held: Vec<(Permit, Permit)> = Vec::new();
        for (worker, event) in events.into_iter().enumerate() {
            let now = plain.now;
            match event {
                Event::Admit => match (plain.breaker.admit(now, &mut plain.rng), shared.admit(now, &mut rng, worker)) {
                    (
                        Admission::Admit { permit: a, transition: x },
                        Admission::Admit { permit: b, transition: y },
                    ) => {
                        prop_assert_eq!(x, y);
                        prop_assert_eq!(&a, &b);
                        held.push((a, b));
                    }
                    (a, b) => prop_assert_eq!(a, b),
                },
                Event::End(which, how) if !held.is_empty() => {
                    let (a, b) = held.swap_remove(which % held.len());
                    let ended = outcome(how);
                    prop_assert_eq!(plain.record(a, ended), shared.record(b, ended, now, worker));
                }
                Event::Drop(which) if !held.is_empty() => {
                    drop(held.swap_remove(which % held.len()));
                }
                Event::End(..) | Event::Drop(_) => {}
                Event::Wait(millis) => plain.sleep(millis),
                Event::Reconfigure(probes) => {
                    let config = BreakerConfig { probes, ..shared.config() };
                    plain.breaker.reconfigure(config.clone(), now);
                    shared.reconfigure(config, now);
                }
            }
            if worker % 16 == 0 {
                prop_assert_eq!(plain.breaker.state(plain.now), shared.state(plain.now));
            }
        }
        prop_assert_eq!(plain.breaker.state(plain.now), shared.state(plain.now));
    }

    /// What the window counts is what happened in the last nine to ten tenths of its length.
    #[test]
    fn the_window_counts_what_was_of_late(calls in prop::collection::vec((0u64..3_000, any::<bool>()), 1..200)) {
        let mut window = window::TimeWindow::new(Duration::from_secs(10));
        let (mut now, mut then) = (0u64, Vec::new());
        for (step, failed) in calls {
            now += step;
            window.advance(Nanos::from_millis(now));
            window.add(Counts { calls: 1, failures: u64::from(failed), slow: 0 });
            then.push((now, failed));
            let within = |age: u64| then.iter().filter(move |(at, _)| now - at < age);
            let counted = window.sum();
            prop_assert!(counted.calls >= within(9_000).count() as u64);
            prop_assert!(counted.calls <= within(10_000).count() as u64);
            prop_assert!(counted.failures >= within(9_000).filter(|(_, failed)| *failed).count() as u64);
            prop_assert!(counted.failures <= within(10_000).filter(|(_, failed)| *failed).count() as u64);
        }
    }
}

/// No success is lost or counted twice, whichever thread it is of.
#[test]
fn threads_lose_nothing() {
    let shared = Arc::new(SharedBreaker::new(BreakerConfig::default(), 2));
    let threads: Vec<_> = (0..3usize)
        .map(|worker| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let mut rng = StdRng::seed_from_u64(worker as u64);
                for call in 0..20_000u64 {
                    // All within one window; its parts end on the way.
                    let now = Nanos::from_secs(100) + Duration::from_micros(call * 400);
                    let Admission::Admit { permit, .. } = shared.admit(now, &mut rng, worker) else {
                        panic!()
                    };
                    let outcome = if call % 10 == 0 { FAILED } else { OK };
                    assert_eq!(shared.record(permit, outcome, now, worker), None);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let Reading::Window { counts, .. } = shared.state(Nanos::from_secs(108)).reading else { panic!() };
    assert_eq!(counts, Counts { calls: 60_000, failures: 6_000, slow: 0 });
}
