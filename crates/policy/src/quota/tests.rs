//! Books and holders on virtual time, over a network that loses, delays and repeats.

use proptest::prelude::*;

use super::*;

fn secs(secs: f64) -> Nanos {
    Nanos((secs * 1e9) as u64)
}

/// A holder, as a proxy is one.
#[derive(Debug, Default)]
struct Proxy {
    wanted: u32,
    lease: u64,
    parts: u32,
    until: Nanos,
}

impl Proxy {
    fn wish(&self) -> Wish {
        Wish { wanted: self.wanted, lease: self.lease }
    }

    fn take(&mut self, lease: Lease, asked: Nanos) {
        if lease.number > self.lease {
            (self.lease, self.parts, self.until) = (lease.number, lease.parts, asked + lease.ttl);
        }
    }

    fn goes_by(&self, now: Nanos) -> u64 {
        if now < self.until { self.parts.into() } else { 0 }
    }
}

/// All ask every second, and each answer arrives.
fn settle(book: &mut Book, proxies: &mut [(&str, Proxy)], now: &mut Nanos, rounds: usize) {
    for _ in 0..rounds {
        for (name, proxy) in proxies.iter_mut() {
            *now = *now + ASK_EVERY / 10;
            if let Some(lease) = book.ask(name, proxy.wish(), *now) {
                proxy.take(lease, *now);
            }
        }
        *now = *now + ASK_EVERY;
    }
}

fn wanting(wanted: u32) -> Proxy {
    Proxy { wanted, ..Proxy::default() }
}

#[test]
fn who_needs_most_gets_most_and_gives_it_up_again() {
    let (mut book, mut now) = (Book::new(Nanos(0)), secs(10.0));
    let mut proxies = [("a", wanting(5 * PARTS)), ("b", wanting(0))];
    settle(&mut book, &mut proxies, &mut now, 4);
    let [(_, a), (_, b)] = &mut proxies;
    assert!(a.parts > 9 * PARTS / 10, "{a:?}");
    // A half of the eighth, but for what is left for newcomers.
    assert!(b.parts.abs_diff((PARTS - SPARE) / 16) <= 2, "{b:?}");
    (a.wanted, b.wanted) = (PARTS, 3 * PARTS);
    settle(&mut book, &mut proxies, &mut now, 4);
    let [(_, a), (_, b)] = &proxies;
    assert!(a.parts < 3 * PARTS / 10 && b.parts > 6 * PARTS / 10, "{a:?} {b:?}");
    let mut proxies = [("a", wanting(0)), ("b", wanting(0))];
    settle(&mut book, &mut proxies, &mut now, 6);
    assert!(proxies.iter().all(|(_, proxy)| proxy.parts.abs_diff(PARTS / 2) < 2 * SPARE), "{proxies:?}");
}

#[test]
fn who_comes_later_has_something_at_once_and_its_share_soon() {
    let (mut book, mut now) = (Book::new(Nanos(0)), secs(10.0));
    let mut alone = [("a", wanting(PARTS))];
    settle(&mut book, &mut alone, &mut now, 3);
    let [(_, a)] = alone;
    assert_eq!(a.parts, PARTS - SPARE);
    let mut both = [("b", wanting(PARTS)), ("a", a)];
    settle(&mut book, &mut both, &mut now, 1);
    assert!(both[0].1.parts > 0, "{both:?}");
    settle(&mut book, &mut both, &mut now, 3);
    assert!(both.iter().all(|(_, proxy)| proxy.parts.abs_diff(PARTS / 2) <= SPARE), "{both:?}");
}

#[test]
fn what_a_vanished_one_had_is_given_out_when_its_time_is_over() {
    let (mut book, mut now) = (Book::new(Nanos(0)), secs(10.0));
    let mut both = [("a", wanting(PARTS)), ("b", wanting(PARTS))];
    settle(&mut book, &mut both, &mut now, 4);
    let [(_, a), (_, gone)] = both;
    let mut left = [("a", a)];
    while now < gone.until {
        settle(&mut book, &mut left, &mut now, 1);
        assert!(left[0].1.goes_by(now) + gone.goes_by(now) <= PARTS.into());
    }
    settle(&mut book, &mut left, &mut now, 2);
    assert_eq!((left[0].1.parts, book.holders()), (PARTS - SPARE, 1));
    assert!(book.is_empty(now + LEASE_TTL));
}

#[test]
fn a_book_that_begins_gives_nothing_that_another_may_have_given() {
    let mut book = Book::new(secs(13.0));
    let wish = Wish { wanted: PARTS, lease: 41 };
    assert_eq!(book.ask("a", wish, secs(12.9)), None);
    let lease = book.ask("a", wish, secs(13.0)).unwrap();
    assert_eq!((lease.number, lease.parts), (42, PARTS - SPARE));
}

/// Whoever gets its first lease leaves the others what they take without one.
#[test]
fn what_others_take_alone_counts() {
    let mut book = Book::new(secs(13.0));
    let busy = Wish { wanted: 5 * PARTS, lease: 0 };
    for name in ["a", "b", "c", "d"] {
        assert_eq!(book.ask(name, Wish { wanted: 0, lease: 0 }, secs(12.0)), None);
    }
    for name in ["a", "b", "c", "d"] {
        assert_eq!(book.ask(name, busy, secs(12.9)), None);
    }
    // Each was told last of four at most; some of fewer, and then that counts.
    let a = book.ask("a", busy, secs(13.1)).unwrap();
    assert!(a.parts <= PARTS / 4, "{a:?}");
    let b = book.ask("b", busy, secs(13.2)).unwrap();
    assert!(a.parts + b.parts <= PARTS / 2, "{a:?} {b:?}");
}

#[test]
fn holders_are_bounded() {
    let mut book = Book::new(Nanos(0));
    for number in 0..HOLDERS_MAX {
        book.ask(&number.to_string(), Wish { wanted: WANTED_MAX, lease: 0 }, secs(1.0)).unwrap();
    }
    let wish = Wish { wanted: u32::MAX, lease: u64::MAX };
    assert_eq!(book.ask("one more", wish, secs(1.0)), None);
    assert!(book.ask("0", wish, secs(1.0)).is_some());
    assert!(book.ask("one more", wish, secs(4.2)).is_some());
}

/// What happens next to a proxy.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// It asks, and the question and the answer take so many steps; or one of them is lost.
    Ask {
        there: u8,
        back: Option<u8>,
    },
    /// The same question comes twice.
    AskTwice {
        again: u8,
    },
    Want(u32),
    /// Another process begins in its place: it knows of no lease.
    Restart,
}

fn acts() -> impl Strategy<Value = Vec<(u8, u16, Act)>> {
    let delay = || prop_oneof![8 => Just(0u8), 2 => 0..6u8];
    let act = prop_oneof![
        8 => (delay(), prop::option::weighted(0.8, delay())).prop_map(|(there, back)| Act::Ask { there, back }),
        1 => (0..6u8).prop_map(|again| Act::AskTwice { again }),
        2 => prop_oneof![Just(0), 0..=PARTS, 0..=u32::MAX].prop_map(Act::Want),
        1 => Just(Act::Restart),
    ];
    prop::collection::vec((0..5u8, 0..600u16, act), 1..200)
}

/// A message on its way: when it arrives, who asked, what, and when.
type Question = (usize, usize, Wish, Nanos, Option<u8>);
type Answer = (usize, usize, Lease, Nanos);

proptest! {
    /// Whatever is lost, late or doubled, and whoever begins anew: what is gone by is never more than the whole.
    #[test]
    fn leases_never_exceed_the_whole(acts in acts()) {
        let mut book = Book::new(Nanos(0));
        let mut proxies: Vec<Proxy> = (0..5).map(|_| Proxy::default()).collect();
        // A process that was restarted is not there any more: only the newest goes by leases.
        let (mut questions, mut answers) = (Vec::<Question>::new(), Vec::<Answer>::new());
        let mut now = secs(1.0);
        for (step, (who, ms, act)) in acts.into_iter().enumerate() {
            let who = usize::from(who);
            now = now + Duration::from_millis(ms.into());
            match act {
                Act::Ask { there, back } => {
                    questions.push((step + usize::from(there), who, proxies[who].wish(), now, back));
                }
                Act::AskTwice { again } => {
                    let wish = proxies[who].wish();
                    questions.push((step, who, wish, now, Some(0)));
                    questions.push((step + usize::from(again), who, wish, now, Some(again)));
                }
                Act::Want(wanted) => proxies[who].wanted = wanted,
                Act::Restart => {
                    proxies[who] = Proxy { wanted: proxies[who].wanted, ..Proxy::default() };
                    questions.retain(|(_, of, ..)| *of != who);
                    answers.retain(|(_, of, ..)| *of != who);
                }
            }
            for (_, who, wish, asked, back) in questions.extract_if(.., |question| question.0 <= step) {
                let lease = book.ask(&who.to_string(), wish, now);
                if let (Some(lease), Some(back)) = (lease, back) {
                    answers.push((step + usize::from(back), who, lease, asked));
                }
            }
            for (_, who, lease, asked) in answers.extract_if(.., |answer| answer.0 <= step) {
                proxies[who].take(lease, asked);
            }
            let all: u64 = proxies.iter().map(|proxy| proxy.goes_by(now)).sum();
            prop_assert!(all <= PARTS.into(), "{all} at {now:?}: {proxies:?}");
        }
    }

    #[test]
    fn shares_come_to_no_more_than_the_whole(wanted in prop::collection::vec(0..=WANTED_MAX, 1..50)) {
        let all: u64 = wanted.iter().map(|wanted| u64::from(*wanted)).sum();
        let n = wanted.len() as u64;
        let sum: u64 = wanted.iter().map(|wanted| share(*wanted, all, n)).sum();
        prop_assert!(sum <= PARTS.into(), "{sum}");
        // Each is rounded down, three times.
        prop_assert!(sum + 3 * n >= PARTS.into(), "{sum}");
    }
}
