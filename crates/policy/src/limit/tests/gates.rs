//! What is in flight and who waits: permits never leak, the important go first, backlogs are cut short.

use proptest::prelude::*;

use super::*;

fn gate(max: u32, waiting: u32, levels: u8) -> Algorithm {
    Algorithm::Concurrency {
        max,
        gate: GateConfig { queue: QueueConfig { max: waiting, ..QueueConfig::GATE }, levels },
    }
}

fn ask(limiter: &Limiter, key: &[u8], level: u8, now: Nanos, wakes: &mut Vec<Wake>) -> Verdict {
    limiter.admit(&Request { key, level }, now, wakes)
}

fn grant(verdict: Verdict) -> Grant {
    match verdict {
        Verdict::Admit(grant, None) => grant,
        other => panic!("{other:?}"),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
fn ticket(verdict: Verdict) -> Ticket {
    let Verdict::Wait(ticket, _) = verdict else { panic!("{verdict:?}") };
    ticket
}

#[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
fn why(verdict: Verdict) -> Why {
    let Verdict::Refuse(refusal) = verdict else { panic!("{verdict:?}") };
    refusal.why
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Come { key: u8, level: u8 },
    Release { which: usize, refund: bool },
    Cancel { which: usize },
}

fn acts() -> impl Strategy<Value = Vec<(u64, Act)>> {
    let act = prop_oneof![
        4 => (0..3u8, 0..4u8).prop_map(|(key, level)| Act::Come { key, level }),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(which, refund)| Act::Release { which, refund }),
        1 => any::<usize>().prop_map(|which| Act::Cancel { which }),
    ];
    prop::collection::vec((0..40_000_000u64, act), 1..300)
}

proptest! {
    /// Whatever the order of completions, cancellations and expiries: never more in flight than may be, nobody is forgotten in
    /// the queue, nobody hears twice, and in the end nothing is in flight.
    #[test]
    fn permits_never_leak(acts in acts(), keyed_too in any::<bool>(), max in 1..4u32, waiting in 0..5u32, levels in 1..4u8) {
        let algorithm = gate(max, waiting, levels);
        let limiter = if keyed_too { keyed(algorithm, 2) } else { limiter(algorithm) };
        let mut now = Nanos::from_secs(1);
        let (mut held, mut waits) = (Vec::<(u8, Grant)>::new(), Vec::<(u8, Ticket)>::new());
        for (step, act) in acts {
            now.0 += step;
            let mut wakes = Vec::new();
            match act {
                Act::Come { key, level } => match ask(&limiter, &[key], level, now, &mut wakes) {
                    Verdict::Admit(grant, _) => held.push((key, grant)),
                    Verdict::Wait(ticket, deadline) => {
                        prop_assert!(deadline > now && waiting > 0);
                        waits.push((key, ticket));
                    }
                    Verdict::Refuse(_) => {}
                    Verdict::Turn(..) => prop_assert!(false),
                },
                Act::Release { which, refund } if !held.is_empty() => {
                    let (_, grant) = held.swap_remove(which % held.len());
                    if refund {
                        limiter.refund(grant, now, &mut wakes);
                    } else {
                        limiter.release(grant, Outcome::Done, now, &mut wakes);
                    }
                }
                Act::Cancel { which } if !waits.is_empty() => {
                    let (_, ticket) = waits.swap_remove(which % waits.len());
                    prop_assert!(limiter.cancel(ticket, now));
                    prop_assert!(!limiter.cancel(ticket, now));
                }
                _ => {}
            }
            for Wake { ticket, result } in wakes {
                let at = waits.iter().position(|(_, waits)| *waits == ticket);
                prop_assert!(at.is_some(), "{ticket:?} does not wait");
                let (key, _) = waits.swap_remove(at.unwrap());
                if let Ok(grant) = result {
                    held.push((key, grant));
                }
            }
            let keys = if keyed_too { 0..3u8 } else { 0..1 };
            for key in keys {
                let ours = |other: u8| !keyed_too || other == key;
                let in_flight = held.iter().filter(|(other, _)| ours(*other)).count();
                let waits = waits.iter().filter(|(other, _)| ours(*other)).count();
                prop_assert!(in_flight <= max as usize);
                prop_assert!(waits <= waiting as usize);
                prop_assert!(waits == 0 || in_flight == max as usize);
            }
        }
        while let Some((_, grant)) = held.pop() {
            let mut wakes = Vec::new();
            limiter.release(grant, Outcome::Done, now, &mut wakes);
            for Wake { ticket, result } in wakes {
                waits.retain(|(_, waits)| *waits != ticket);
                held.extend(result.ok().map(|grant| (0, grant)));
            }
        }
        prop_assert_eq!(waits, vec![]);
        let state = limiter.state(now);
        for state in state.all.iter().chain(state.top.iter().map(|(_, state)| state)) {
            prop_assert_eq!((state.in_flight, state.waiting), (Some((0, max)), 0));
        }
    }
}

#[test]
fn threads_never_have_more_in_flight_than_may_be() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let limiter = limiter(gate(3, 0, 1));
    let (in_flight, most) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for step in 0..20_000 {
                    let verdict = ask(&limiter, b"", 0, Nanos(step), &mut Vec::new());
                    if let Verdict::Admit(grant, _) = verdict {
                        most.fetch_max(in_flight.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        in_flight.fetch_sub(1, Ordering::SeqCst);
                        limiter.release(grant, Outcome::Done, Nanos(step), &mut Vec::new());
                    }
                }
            });
        }
    });
    assert!((1..=3).contains(&most.into_inner()));
    assert_eq!(limiter.state(Nanos(0)).all.unwrap().in_flight, Some((0, 3)));
}

#[test]
fn the_oldest_goes_first_until_there_is_a_backlog_and_then_the_newest() {
    let limiter = limiter(gate(1, 10, 1));
    let mut wakes = Vec::new();
    let at = Nanos::from_millis;
    let first = grant(ask(&limiter, b"", 0, at(1000), &mut wakes));
    // The queue was empty at 1000 ms: until 1100 ms whoever waits may wait, later 5 ms.
    let mut waits = Vec::new();
    for (ms, until) in [(1000, 1100), (1010, 1100), (1098, 1103), (1099, 1104)] {
        let Verdict::Wait(ticket, deadline) = ask(&limiter, b"", 0, at(ms), &mut wakes) else { panic!() };
        assert_eq!(deadline, at(until), "who came at {ms}");
        waits.push(ticket);
    }
    limiter.release(first, Outcome::Done, at(1050), &mut wakes);
    let wake = wakes.pop().unwrap();
    assert_eq!(wake.ticket, waits[0]);
    let second = wake.result.unwrap();
    // At 1102 ms there is a backlog: the newest goes on, and 1010 has stayed too long but hears of it only when it is reached.
    limiter.release(second, Outcome::Done, at(1102), &mut wakes);
    let wake = wakes.pop().unwrap();
    assert_eq!((wake.ticket, wakes.len()), (waits[3], 0));
    limiter.release(wake.result.unwrap(), Outcome::Done, at(1103), &mut wakes);
    let wake = wakes.pop().unwrap();
    assert_eq!(wake.ticket, waits[2]);
    limiter.release(wake.result.unwrap(), Outcome::Done, at(1104), &mut wakes);
    let wake = wakes.pop().unwrap();
    assert_eq!((wake.ticket, wake.result.unwrap_err().why), (waits[1], Why::TimedOut));
    assert_eq!(limiter.state(at(1104)).all.unwrap().in_flight, Some((0, 1)));
}

#[test]
fn the_important_go_first_and_take_the_places_of_the_less_important() {
    let limiter = limiter(gate(1, 2, 3));
    let now = Nanos::from_secs(1);
    let mut wakes = Vec::new();
    let first = grant(ask(&limiter, b"", 2, now, &mut wakes));
    let low = [2, 2].map(|level| ticket(ask(&limiter, b"", level, now, &mut wakes)));
    assert_eq!(why(ask(&limiter, b"", 2, now, &mut wakes)), Why::Full);
    assert!(wakes.is_empty());
    let high = ticket(ask(&limiter, b"", 0, now, &mut wakes));
    let wake = wakes.pop().unwrap();
    assert_eq!((wake.ticket, wake.result.unwrap_err().why), (low[1], Why::Displaced));
    limiter.release(first, Outcome::Done, now, &mut wakes);
    let wake = wakes.pop().unwrap();
    assert_eq!(wake.ticket, high);
    limiter.release(wake.result.unwrap(), Outcome::Done, now, &mut wakes);
    assert_eq!(wakes.pop().unwrap().ticket, low[0]);
}

/// Twice as much comes as can be served, of three levels alike: the first is served whole, the last hardly at all.
#[test]
fn under_overload_the_least_important_are_shed_first() {
    let limiter = limiter(gate(10, 50, 3));
    let mut wakes = Vec::new();
    let mut served = [0u32; 3];
    let (mut running, mut waiting) = (Vec::<(u64, Grant)>::new(), Vec::<(Ticket, u8)>::new());
    // 10 at once, for 5 to 15 ms each: 1000/s; 2000/s come, one of each level in turn.
    let service = |step: u64| 5_000_000 + step * 7919 % 1000 * 10_000;
    for step in 0..240_000u64 {
        let now = Nanos(1_000_000_000 + step * 500_000);
        while let Some(at) = running.iter().position(|(end, _)| *end <= now.0) {
            let (_, grant) = running.swap_remove(at);
            limiter.release(grant, Outcome::Done, now, &mut wakes);
        }
        let level = (step % 3) as u8;
        match ask(&limiter, b"", level, now, &mut wakes) {
            Verdict::Admit(grant, _) => {
                served[usize::from(level)] += u32::from(step > 120_000);
                running.push((now.0 + service(step), grant));
            }
            Verdict::Wait(ticket, _) => waiting.push((ticket, level)),
            Verdict::Refuse(_) => {}
            Verdict::Turn(..) => panic!(),
        }
        for Wake { ticket, result } in wakes.drain(..) {
            let at = waiting.iter().position(|(other, _)| *other == ticket).unwrap();
            let (_, level) = waiting.swap_remove(at);
            if let Ok(grant) = result {
                served[usize::from(level)] += u32::from(step > 120_000);
                running.push((now.0 + service(step), grant));
            }
        }
    }
    // In 60 s 40,000 of each came, and 60,000 could be served.
    assert!(served.iter().sum::<u32>() > 58_000, "{served:?}");
    assert!(served[0] > 38_500, "{served:?}");
    assert!((15_000..=25_000).contains(&served[1]), "{served:?}");
    assert!(served[2] < 2_000, "{served:?}");
    let open = limiter.state(Nanos::from_secs(121)).all.unwrap().open.unwrap();
    assert!(open < 0.8, "{open}");
}

#[test]
fn keys_with_requests_in_flight_are_not_forgotten() {
    let limiter = keyed(gate(1, 0, 1), 2);
    let now = Nanos::from_secs(1);
    let mut wakes = Vec::new();
    let a = grant(ask(&limiter, b"a", 0, now, &mut wakes));
    let b = grant(ask(&limiter, b"b", 0, now, &mut wakes));
    assert_eq!(why(ask(&limiter, b"c", 0, now, &mut wakes)), Why::Keys);
    assert_eq!(why(ask(&limiter, b"a", 0, now, &mut wakes)), Why::Full);
    limiter.release(a, Outcome::Done, now, &mut wakes);
    let c = grant(ask(&limiter, b"c", 0, now, &mut wakes));
    assert_eq!(why(ask(&limiter, b"a", 0, now, &mut wakes)), Why::Keys);
    for grant in [b, c] {
        limiter.release(grant, Outcome::Done, now, &mut wakes);
    }
    let state = limiter.state(now);
    assert_eq!(state.to_string(), "concurrency: 2 keys, 0 forgotten", "a key may be a secret");
    let shown = WithKeys(&state).to_string();
    assert!(shown.starts_with("concurrency: 2 keys, 0 forgotten\n"), "{shown}");
    assert!(["b", "c"].iter().all(|key| shown.contains(&format!("\n  {key}: 0 in flight of 1"))), "{shown}");
}

#[test]
fn a_change_keeps_who_is_in_flight_and_lets_in_who_waits() {
    let old = limiter(gate(2, 5, 1));
    let now = Nanos::from_secs(1);
    let mut wakes = Vec::new();
    let held = [(); 2].map(|()| grant(ask(&old, b"", 0, now, &mut wakes)));
    let waits = [(); 2].map(|()| ticket(ask(&old, b"", 0, now, &mut wakes)));
    let config = LimitConfig { algorithm: gate(3, 5, 1), ..old.config().clone() };
    let new = Limiter::carry_over(&old, config, now, &mut wakes);
    let wake = wakes.pop().unwrap();
    assert_eq!((wake.ticket, wakes.len()), (waits[0], 0));
    // Those of the old one may be given back to the new one.
    for grant in held.into_iter().chain(wake.result) {
        new.release(grant, Outcome::Done, now, &mut wakes);
    }
    assert_eq!(wakes.pop().unwrap().ticket, waits[1]);
    assert_eq!(old.state(now).all.unwrap().in_flight, Some((1, 3)));
}

#[test]
fn nobody_waits_for_a_limit_in_shadow() {
    let config = LimitConfig { algorithm: gate(1, 5, 1), shadow: true, ..LimitConfig::default() };
    let limiter = Limiter::new(config, 1);
    let _held = grant(ask(&limiter, b"", 0, Nanos(1), &mut Vec::new()));
    assert_eq!(why(ask(&limiter, b"", 0, Nanos(1), &mut Vec::new())), Why::Full);
}

/// What the rules of one request do together.
mod together {
    use super::*;

    fn rules<'a>(limiters: &'a [Limiter]) -> Vec<Rule<'a>> {
        limiters.iter().map(|limiter| Rule { limiter, request: Request::default() }).collect()
    }

    fn remaining(limiter: &Limiter, now: Nanos) -> u32 {
        limiter.state(now).all.unwrap().quotas[0].remaining
    }

    #[test]
    fn a_refusal_by_one_gives_the_others_their_tokens_back() {
        let limiters = [
            limiter(Algorithm::TokenBucket(vec![rate(100, 1000, 100)])),
            limiter(Algorithm::SlidingWindow(vec![rate(50, 1000, 1)])),
            limiter(gate(10, 0, 1)),
            limiter(Algorithm::TokenBucket(vec![rate(3, 1000, 3)])),
        ];
        let rules = rules(&limiters);
        let (now, mut wakes) = (Nanos::from_secs(7), Vec::new());
        let mut admissions = Vec::new();
        for n in 0..40 {
            let mut admission = Admission::default();
            match admission.admit(&rules, now, &mut |_, wake| wakes.push(wake), |_, _| {}) {
                Step::Admitted { turn } if n < 3 => assert_eq!(turn, now),
                Step::Refused { rule: 3, refusal } if n >= 3 => {
                    assert_eq!(refusal.why, Why::Rate);
                    assert!(admission.is_empty());
                }
                step => panic!("{step:?}"),
            }
            admissions.push(admission);
        }
        assert_eq!((remaining(&limiters[0], now), remaining(&limiters[1], now)), (97, 47));
        assert_eq!(limiters[2].state(now).all.unwrap().in_flight, Some((3, 10)));
        assert_eq!(admissions[0].quota().map(|(rule, quota)| (rule, quota.remaining)), Some((3, 2)));
        for mut admission in admissions {
            admission.release(&rules, Outcome::Done, now, &mut |_, wake| wakes.push(wake));
        }
        assert_eq!(limiters[2].state(now).all.unwrap().in_flight, Some((0, 10)));
        assert_eq!(remaining(&limiters[0], now), 97);
    }

    #[test]
    fn what_is_left_is_free_and_the_rest_is_held_on_to() {
        let bucket = || limiter(Algorithm::TokenBucket(vec![rate(100, 1000, 100)]));
        let limiters = [bucket(), limiter(gate(1, 1, 1)), limiter(gate(5, 0, 1))];
        let rules = rules(&limiters);
        let (now, mut wakes) = (Nanos::from_secs(7), Vec::new());
        let [mut first, mut second] = [Admission::default(), Admission::default()];
        let step = first.admit(&rules, now, &mut |_, wake| wakes.push(wake), |_, _| {});
        assert!(matches!(step, Step::Admitted { .. }));
        let step = second.admit(&rules, now, &mut |_, wake| wakes.push(wake), |_, _| {});
        let Step::Wait { rule: 1, ticket, .. } = step else { panic!("{step:?}") };
        first.leave(&rules, |rule| rule < 2, now, &mut |_, wake| wakes.push(wake));
        assert_eq!(
            wakes.iter().map(|wake| wake.ticket).collect::<Vec<_>>(),
            [ticket],
            "the next one goes on"
        );
        let in_flight = |at: usize| limiters[at].state(now).all.unwrap().in_flight.unwrap().0;
        assert_eq!([in_flight(1), in_flight(2)], [1, 1], "the second's place, and the first's");
        first.refund(&rules, now, &mut |_, wake| wakes.push(wake));
        assert_eq!((in_flight(2), remaining(&limiters[0], now)), (0, 98), "what it took of the rate is gone");
    }

    #[test]
    fn one_that_waits_goes_on_where_it_stood() {
        let limiters = [
            limiter(Algorithm::TokenBucket(vec![rate(100, 1000, 100)])),
            limiter(gate(1, 1, 1)),
            limiter(Algorithm::TokenBucket(vec![rate(1, 1000, 2)])),
        ];
        let rules = rules(&limiters);
        let (now, mut wakes) = (Nanos::from_secs(7), Vec::new());
        let [mut first, mut second] = [Admission::default(), Admission::default()];
        assert!(matches!(
            first.admit(&rules, now, &mut |_, wake| wakes.push(wake), |_, _| {}),
            Step::Admitted { .. }
        ));
        let Step::Wait { rule: 1, ticket, .. } =
            second.admit(&rules, now, &mut |_, wake| wakes.push(wake), |_, _| {})
        else {
            panic!()
        };
        first.release(&rules, Outcome::Done, now, &mut |_, wake| wakes.push(wake));
        let wake = wakes.pop().unwrap();
        assert_eq!(wake.ticket, ticket);
        second.woken(1, wake.result.unwrap());
        assert!(matches!(
            second.admit(&rules, now, &mut |_, wake| wakes.push(wake), |_, _| {}),
            Step::Admitted { .. }
        ));
        assert_eq!(remaining(&limiters[0], now), 98);
        second.refund(&rules, now, &mut |_, wake| wakes.push(wake));
        assert_eq!((remaining(&limiters[0], now), remaining(&limiters[2], now)), (99, 1));
        assert_eq!(limiters[1].state(now).all.unwrap().in_flight, Some((0, 1)));
    }

    #[test]
    fn one_in_shadow_is_heard_and_not_obeyed() {
        let shadow = LimitConfig {
            algorithm: Algorithm::TokenBucket(vec![rate(1, 1000, 1)]),
            shadow: true,
            ..LimitConfig::default()
        };
        let limiters = [Limiter::new(shadow, 1), limiter(Algorithm::TokenBucket(vec![rate(2, 1000, 2)]))];
        let rules = rules(&limiters);
        let (now, mut wakes, mut heard) = (Nanos::from_secs(7), Vec::new(), Vec::new());
        let mut admission = Admission::default();
        for n in 0..3 {
            let step = admission.admit(&rules, now, &mut |_, wake| wakes.push(wake), |rule, refusal| {
                heard.push((rule, refusal.why));
            });
            assert_eq!(matches!(step, Step::Admitted { .. }), n < 2, "{step:?}");
            admission.release(&rules, Outcome::Done, now, &mut |_, wake| wakes.push(wake));
        }
        assert_eq!(heard, [(0, Why::Rate), (0, Why::Rate)]);
    }

    /// Threads that are all refused by a last rule leave the first as it was.
    #[test]
    fn refusals_are_given_back_exactly_by_threads_too() {
        let limiters = [
            limiter(Algorithm::TokenBucket(vec![rate(100, 1000, 1000)])),
            keyed(Algorithm::TokenBucket(vec![rate(100, 1000, 1000), rate(100, 1000, 2000)]), 10),
            limiter(Algorithm::TokenBucket(vec![rate(1, 1000, 5)])),
        ];
        let now = Nanos::from_secs(7);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let rules = rules(&limiters);
                    let mut admission = Admission::default();
                    for _ in 0..20_000 {
                        let _ = admission.admit(&rules, now, &mut |_, _| {}, |_, _| {});
                        admission.release(&rules, Outcome::Done, now, &mut |_, _| {});
                    }
                });
            }
        });
        let rest = |limiter: &Limiter| std::iter::from_fn(|| admitted(limiter, b"", now)).count();
        assert_eq!((rest(&limiters[0]), rest(&limiters[1])), (995, 995));
    }
}
