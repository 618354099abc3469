use proptest::prelude::*;

use super::*;

const CONFIG: IdleConfig = IdleConfig {
    window: Duration::from_secs(300),
    moment: Duration::from_secs(1),
    margin: Duration::from_millis(100),
    margin_part: 10,
};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn at(ms: u64) -> Nanos {
    Nanos::from_millis(ms)
}

#[test]
fn one_moment_teaches_nothing_and_two_do() {
    let mut learner = IdleLearner::new(CONFIG);
    assert_eq!(learner.limit(at(0)), None);
    // A restart: connections of all ages at once.
    for age in [9000, 50, 0, 4000] {
        learner.closed(ms(age), at(10_000));
    }
    assert_eq!(learner.limit(at(10_000)), None);
    learner.closed(ms(5000), at(20_000));
    assert_eq!(learner.limit(at(20_000)), Some(ms(4500)), "the restart's are the lowest, and do not count");
    learner.closed(ms(300), at(30_000));
    assert_eq!(learner.limit(at(30_000)), Some(ms(200)), "the margin is 100 ms at least");
    learner.closed(ms(40), at(40_000));
    assert_eq!(learner.limit(at(40_000)), Some(ms(0)), "and never negative");
}

#[test]
fn what_the_peer_says_counts_at_once() {
    let mut learner = IdleLearner::new(CONFIG);
    learner.said(ms(5000), at(0));
    assert_eq!(learner.limit(at(0)), Some(ms(4500)));
    learner.closed(ms(2000), at(1000));
    learner.closed(ms(2000), at(3000));
    assert_eq!(learner.limit(at(3000)), Some(ms(1800)), "what is seen counts if it is less");
    let mut learner = IdleLearner::new(CONFIG);
    learner.said(ms(5000), at(0));
    learner.said(ms(60_000), at(1000));
    assert_eq!(learner.limit(at(1000)), Some(ms(54_000)), "the latest word");
}

#[test]
fn what_is_old_is_forgotten() {
    let mut learner = IdleLearner::new(CONFIG);
    learner.closed(ms(1000), at(0));
    learner.closed(ms(1000), at(5000));
    assert_eq!(learner.limit(at(299_999)), Some(ms(900)));
    assert_eq!(learner.limit(at(300_000)), Some(ms(900)), "it counts for a whole window more");
    learner.closed(ms(4000), at(310_000));
    learner.closed(ms(4000), at(315_000));
    assert_eq!(learner.limit(at(599_999)), Some(ms(900)));
    assert_eq!(learner.limit(at(600_000)), Some(ms(3600)), "the peer has become more patient");
    assert_eq!(learner.limit(at(1_200_001)), None);
}

/// A close that was seen: when, and at which age.
fn closes() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let one = (0u64..4000, 0u64..100_000);
    prop::collection::vec(one, 0..60).prop_map(|gaps| {
        let mut now = 0;
        gaps.into_iter()
            .map(|(gap, age)| {
                now += gap;
                (now, age)
            })
            .collect()
    })
}

/// The same by brute force: the lowest age of each moment, and the second lowest of these.
fn reference(closes: &[(u64, u64)]) -> Option<u64> {
    let mut moments: Vec<(u64, u64)> = Vec::new();
    for &(now, age) in closes {
        match moments.last_mut() {
            Some((began, lowest)) if now - *began < 1000 => *lowest = (*lowest).min(age),
            _ => moments.push((now, age)),
        }
    }
    let mut ages: Vec<u64> = moments.into_iter().map(|(_, age)| age).collect();
    ages.sort_unstable();
    ages.get(1).map(|&age| age.saturating_sub(100.max(age / 10)))
}

proptest! {
    #[test]
    fn it_is_the_second_lowest_of_all_moments(closes in closes()) {
        // All within one window.
        let mut learner = IdleLearner::new(IdleConfig { window: Duration::from_secs(100_000), ..CONFIG });
        let mut seen = Vec::new();
        for &(now, age) in &closes {
            learner.closed(ms(age), at(now));
            seen.push((now, age));
            let limit = learner.limit(at(now)).map(|limit| limit.as_millis() as u64);
            // Milliseconds are cut off, so a tenth may be one off.
            let expected = reference(&seen);
            prop_assert_eq!(limit.is_some(), expected.is_some());
            prop_assert!(limit.unwrap_or(0).abs_diff(expected.unwrap_or(0)) <= 1, "{:?} {:?}", limit, expected);
        }
    }

    /// A client that asks at random, and a peer that closes after a time of its own: once two closes were seen, no
    /// request is sent on a connection that the peer has closed, or closes while the request is on its way.
    #[test]
    fn no_request_meets_a_closed_connection_once_it_has_learnt(
        patience in 200u64..20_000,
        gaps in prop::collection::vec(1u64..30_000, 1..200),
        way in 0u64..20,
    ) {
        const TICK: u64 = 50;
        // Nothing is forgotten.
        let mut learner = IdleLearner::new(IdleConfig { window: Duration::from_secs(100_000), ..CONFIG });
        let (mut now, mut seen, mut failed_after) = (0u64, 0, 0);
        let mut last_seen = None;
        for gap in gaps {
            // The connection became idle at `now`, as far as a clock that ticks can tell.
            let since = now / TICK * TICK;
            now += gap;
            let age = (now / TICK * TICK).saturating_sub(since);
            let limit = learner.limit(at(now));
            let used = limit.is_none_or(|limit| ms(age) < limit);
            let closed = gap + way >= patience;
            if used && closed && gap < patience + TICK && seen >= 2 {
                failed_after += 1;
            }
            if gap >= patience {
                // Seen by a look at every tick; known to be open at the one before.
                let noticed = now.min(since + patience + TICK);
                learner.closed(ms((patience / TICK * TICK).saturating_sub(TICK)), at(noticed));
                if last_seen.is_none_or(|last| noticed - last >= 1000) {
                    seen += 1;
                    last_seen = Some(noticed);
                }
            }
        }
        prop_assert_eq!(failed_after, 0);
    }
}
