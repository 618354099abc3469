//! Limits that several processes share: the bound over all of them, and what each does with its lease.

use proptest::prelude::*;

use super::*;
use crate::quota::{Alone, Book, LEASE_TTL, PARTS, Wish};

fn shared(rates: Vec<RateConfig>, keys: u32) -> Limiter {
    let limiter = if keys > 0 {
        keyed(Algorithm::TokenBucket(rates), keys)
    } else {
        limiter(Algorithm::TokenBucket(rates))
    };
    let config = LimitConfig { global: Some(Alone::Share), ..limiter.config().clone() };
    Limiter::new(config, 7)
}

fn leased(parts: u32, until: Nanos) -> Holding {
    Holding::none(Alone::Share, 2).with_lease(parts, until)
}

/// How many of so many evenly spread requests of a second pass.
fn passing(limiter: &Limiter, from: Nanos, offered: u64) -> u64 {
    let at = |n: u64| Nanos(from.0 + n * 1_000_000_000 / offered);
    (0..offered).filter(|n| passes(limiter, b"", at(*n))).count() as u64
}

#[test]
fn a_share_is_kept_and_a_burst_has_to_be_saved() {
    let (limiter, start) = (shared(vec![rate(100, 1000, 50)], 0), Nanos::from_secs(1000));
    assert!(!passes(&limiter, b"", start), "there is nothing before it holds something");
    limiter.hold(leased(PARTS / 4, Nanos::from_secs(2000)), start);
    let at_once = |now: Nanos| std::iter::from_fn(|| passes(&limiter, b"", now).then_some(())).count();
    assert_eq!(at_once(start), 1);
    // 25 a second, and a quarter of the burst beside the one.
    assert_eq!(passing(&limiter, start, 1000), 24);
    assert_eq!(at_once(Nanos::from_secs(1100)), 1 + 49 / 4);
    // More brings no burst that was not saved: of the second that passed, as much as came back.
    limiter.hold(leased(PARTS / 2, Nanos::from_secs(2000)), Nanos::from_secs(1200));
    assert_eq!(at_once(Nanos::from_secs(1200)), 1 + 49 / 4);
    assert_eq!(at_once(Nanos(1_200_200_000_000)), 10);
    assert_eq!(at_once(Nanos::from_secs(1300)), 1 + 49 / 2);
    // Less is less at once.
    limiter.hold(leased(PARTS / 10, Nanos::from_secs(2000)), Nanos::from_secs(1400));
    assert_eq!(at_once(Nanos::from_secs(1400)), 1 + 4);
}

#[test]
fn a_lease_ends_by_itself() {
    let start = Nanos::from_secs(1000);
    let of = |alone| {
        let limiter = shared(vec![rate(100, 1000, 1)], 0);
        limiter.hold(Holding::none(alone, 4).with_lease(PARTS / 10, start + Duration::from_secs(1)), start);
        let seconds = [0, 1, 5].map(|second| passing(&limiter, start + Duration::from_secs(second), 1000));
        (seconds, limiter.state(start + Duration::from_secs(6)).to_string())
    };
    let near = |found: u64, expected: u64| found.abs_diff(expected) <= 1;
    let ([leased, between, alone], said) = of(Alone::Share);
    assert!(near(leased, 10) && near(between, 10) && near(alone, 25), "{leased} {between} {alone}");
    assert!(said.starts_with("token_bucket, no lease: 25.0 % of it, shared by 4: "), "{said}");
    let ([leased, between, alone], said) = of(Alone::Open);
    assert!(near(leased, 10) && between == 1000 && alone == 1000, "{leased} {between} {alone}");
    assert!(said.contains("no lease: open"), "{said}");
    let ([leased, between, alone], _) = of(Alone::Closed);
    assert!(near(leased, 10) && between == 0 && alone == 0, "{leased} {between} {alone}");
}

#[test]
fn a_refusal_without_a_lease_says_so() {
    let (limiter, now) = (shared(vec![rate(100, 1000, 1)], 0), Nanos::from_secs(1000));
    let why = |now: Nanos| match limiter.admit(&Request::default(), now, &mut Vec::new()) {
        Verdict::Refuse(refusal) => refusal.why,
        other => panic!("{other:?}"),
    };
    let until = now + Duration::from_secs(1);
    limiter.hold(Holding::none(Alone::Closed, 2), now);
    assert_eq!(why(now), Why::NoLease);
    // Others have all of it.
    limiter.hold(Holding::none(Alone::Closed, 2).with_lease(0, until), now);
    assert_eq!((why(now), why(until)), (Why::Rate, Why::NoLease));
}

#[test]
fn refusals_tell_the_time_of_clients() {
    let (limiter, now) = (shared(vec![rate(10, 1000, 1)], 0), Nanos::from_secs(1000));
    limiter.hold(leased(PARTS / 2, Nanos::from_secs(2000)), now);
    assert!(passes(&limiter, b"", now));
    let Verdict::Refuse(refusal) = limiter.admit(&Request::default(), now, &mut Vec::new()) else { panic!() };
    assert!(refusal.retry_after.as_millis().abs_diff(200) <= 1, "{refusal:?}");
    // So do explanations.
    let quota = refusal.quota.unwrap();
    assert!(quota.reset.as_millis().abs_diff(200) <= 1, "{quota:?}");
    assert_eq!(limiter.state_of(b"", now).unwrap().quotas, [quota]);
    assert_eq!(limiter.state(now).all.unwrap().quotas, [quota]);
    assert!(!passes(&limiter, b"", now + (refusal.retry_after - Duration::from_millis(2))));
    assert!(passes(&limiter, b"", now + refusal.retry_after));
    limiter.hold(leased(1, Nanos::from_secs(2000)), now + Duration::from_secs(1));
    let later = now + Duration::from_secs(1);
    assert!(passes(&limiter, b"", later));
    let Verdict::Refuse(refusal) = limiter.admit(&Request::default(), later, &mut Vec::new()) else {
        panic!()
    };
    assert_eq!(refusal.retry_after, Duration::from_secs(60), "by then there is another lease");
}

#[test]
fn another_rate_and_another_scope_keep_what_was_spent() {
    let (old, now) = (shared(vec![rate(10, 1000, 1)], 0), Nanos::from_secs(1000));
    old.hold(leased(PARTS / 2, Nanos::from_secs(2000)), now);
    assert!(passes(&old, b"", now));
    let config =
        LimitConfig { algorithm: Algorithm::TokenBucket(vec![rate(20, 1000, 1)]), ..old.config().clone() };
    let new = Limiter::carry_over(&old, config.clone(), now, &mut Vec::new());
    assert!(!passes(&new, b"", now) && passing(&new, now, 1000).abs_diff(10) <= 1);
    let alone = Limiter::carry_over(&new, LimitConfig { global: None, ..config }, now, &mut Vec::new());
    assert!(alone.holds(now).is_none() && !passes(&alone, b"", now));
    assert!(passes(&alone, b"", now + Duration::from_millis(1050)));
}

/// What happens next: to which process, after how many milliseconds.
#[derive(Clone, Copy, Debug)]
enum Act {
    Ask { lost: bool, again: bool },
    Requests(u8),
    GiveBack,
    Restart,
}

fn acts() -> impl Strategy<Value = Vec<(u8, u16, Act)>> {
    let act = prop_oneof![
        6 => (prop::bool::weighted(0.2), prop::bool::weighted(0.1)).prop_map(|(lost, again)| Act::Ask { lost, again }),
        6 => (1..40u8).prop_map(Act::Requests),
        1 => Just(Act::GiveBack),
        1 => Just(Act::Restart),
    ];
    let step = prop_oneof![3 => 0..50u16, 2 => 0..1500u16];
    prop::collection::vec((0..4u8, step, act), 1..250)
}

#[derive(Debug)]
struct Process {
    limiter: Limiter,
    lease: u64,
    wanted: u32,
    held: Option<(Grant, u64)>,
}

impl Process {
    fn start(rate: RateConfig, keys: u32) -> Self {
        // It is closed without a lease: the book knows of all that anybody goes by.
        let limiter = shared(vec![rate], keys);
        Self { limiter, lease: 0, wanted: PARTS, held: None }
    }
}

proptest! {
    /// However leases move, are lost or end: over any time, all processes together admit at most rate x time + burst, and one
    /// more for each process beyond the first.
    #[test]
    fn all_together_keep_the_limit(requests in 1..200u32, burst in 1..60u32, keys in 0..2u32, acts in acts()) {
        let rate = rate(requests, 1000, burst);
        let mut book = Book::new(Nanos(0));
        let mut processes: Vec<Process> = (0..4).map(|_| Process::start(rate, keys)).collect();
        let (mut now, mut begun) = (Nanos::from_secs(100), 4u32);
        let mut moments = Vec::new();
        for (who, ms, act) in acts {
            now = now + Duration::from_millis(ms.into());
            let process = &mut processes[usize::from(who)];
            match act {
                Act::Ask { lost, again } => {
                    let wish = Wish { wanted: process.wanted, lease: process.lease };
                    let lease = book.ask(&who.to_string(), wish, now).unwrap();
                    if again {
                        book.ask(&who.to_string(), wish, now).unwrap();
                    }
                    process.wanted = 0;
                    if !lost {
                        process.lease = lease.number;
                        let closed = Holding::none(Alone::Closed, 1);
                        process.limiter.hold(closed.with_lease(lease.parts, now + LEASE_TTL), now);
                    }
                }
                Act::Requests(count) => {
                    process.wanted = u32::from(count) * PARTS;
                    for _ in 0..count {
                        if let Some((grant, at)) = admitted(&process.limiter, b"k", now) {
                            moments.extend(process.held.replace((grant, at.0)).map(|(_, at)| at));
                        }
                    }
                }
                Act::GiveBack => {
                    if let Some((grant, _)) = process.held.take() {
                        process.limiter.refund(grant, now, &mut Vec::new());
                    }
                }
                Act::Restart => {
                    moments.extend(process.held.take().map(|(_, at)| at));
                    *process = Process::start(rate, keys);
                    begun += 1;
                }
            }
        }
        moments.extend(processes.into_iter().filter_map(|process| process.held).map(|(_, at)| at));
        moments.sort_unstable();
        let together = RateConfig { burst: burst + begun - 1, ..rate };
        super::rates::within(&moments, &together).map_err(TestCaseError::fail)?;
    }
}
