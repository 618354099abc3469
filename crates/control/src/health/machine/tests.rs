//! The machine on virtual time.

use std::time::Duration;

use proptest::prelude::*;
use weir_model::registry::{Check, CheckDefinition, CheckKind, Health};
use weir_model::units::Span;

use super::*;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn check(node: &str, health: Health, ttl: Duration, deregister_after: Option<Duration>) -> Check {
    Check {
        namespace: "default".to_owned(),
        node: node.to_owned(),
        id: "c".to_owned(),
        instance: Some("i".to_owned()),
        health,
        definition: Some(CheckDefinition {
            kind: CheckKind::Ttl,
            interval: Span(ttl),
            timeout: Span(Duration::ZERO),
            successes_before_passing: 0,
            failures_before_critical: 0,
            failures_before_warning: 0,
            deregister_after: deregister_after.map(Span),
        }),
        ..Check::default()
    }
}

fn expire(node: &str) -> Action {
    Action::Expire(CheckRef::new("default", node, "c"))
}

fn evict(node: &str) -> Action {
    Action::Evict(InstanceRef::new("default", node, "i"), CheckRef::new("default", node, "c"))
}

#[test]
fn an_expiry_comes_at_its_time_and_again_until_it_is_committed() {
    let mut machine = Machine::new();
    machine.track(&check("n", Health::Passing, s(10), None), s(0));
    assert_eq!(machine.next_deadline(), Some(s(10)));
    assert_eq!(machine.due(s(9)), []);
    assert_eq!(machine.due(s(10)), [expire("n")]);
    assert_eq!(machine.due(s(10)), []);
    assert_eq!(machine.due(s(10) + HEALTH_RETRY), [expire("n")]);
    machine.track(&check("n", Health::Critical, s(10), None), s(12));
    assert_eq!(machine.due(s(100)), []);
    assert!(machine.is_silent(&CheckRef::new("default", "n", "c")));
}

#[test]
fn a_heartbeat_moves_the_deadline_without_growing_the_queue() {
    let mut machine = Machine::new();
    let alive = check("n", Health::Passing, s(10), None);
    machine.track(&alive, s(0));
    for now in 1..1000 {
        machine.heard_from(&CheckRef::of(&alive), s(now));
        assert_eq!(machine.due(s(now)), []);
        assert!(machine.queue.len() <= 2, "at {now}");
    }
    assert_eq!(machine.due(s(1008)), []);
    assert_eq!(machine.due(s(1009)), [expire("n")]);
}

#[test]
fn checks_that_come_and_go_do_not_grow_the_queue() {
    let mut machine = Machine::new();
    let kept = check("kept", Health::Passing, s(3600), None);
    machine.track(&kept, s(0));
    for number in 0..10 * QUEUE_SLACK as u64 {
        let passing = check(&format!("n{number}"), Health::Passing, s(86_400), None);
        machine.track(&passing, s(1));
        machine.forget(&CheckRef::of(&passing), s(1));
        // A definition that changes leaves one behind, too.
        machine.track(&check("other", Health::Passing, s(90_000 - number), None), s(1));
        assert!(machine.queue.len() <= 2 * machine.checks.len() + QUEUE_SLACK + 1, "{number}");
    }
    assert_eq!(machine.due(s(3599)), []);
    assert_eq!(machine.due(s(3600)), [expire("kept")]);
}

#[test]
fn a_check_that_is_gone_or_changed_is_not_judged_by_its_past() {
    let mut machine = Machine::new();
    let alive = check("n", Health::Passing, s(10), None);
    machine.track(&alive, s(0));
    machine.forget(&CheckRef::of(&alive), s(5));
    assert_eq!(machine.due(s(50)), []);
    assert_eq!(machine.next_deadline(), None);
    machine.track(&alive, s(60));
    machine.track(&check("n", Health::Passing, s(100), None), s(65));
    assert_eq!(machine.due(s(164)), []);
    assert_eq!(machine.due(s(165)), [expire("n")]);
}

#[test]
fn an_eviction_counts_from_when_it_became_critical() {
    let mut machine = Machine::new();
    let with = |health| check("n", health, s(10), Some(s(60)));
    machine.track(&with(Health::Critical), s(0));
    machine.track(&with(Health::Critical), s(30));
    machine.track(&with(Health::Passing), s(59));
    machine.track(&with(Health::Critical), s(61));
    assert_eq!(machine.due(s(120)), []);
    assert_eq!(machine.due(s(121)), [evict("n")]);
    assert_eq!(machine.due(s(121)), []);
    assert_eq!(machine.due(s(121) + HEALTH_RETRY), [evict("n")], "until it is gone");
}

#[test]
fn thresholds_count_outcomes_in_a_row() {
    let mut machine = Machine::new();
    let mut probe = check("n", Health::Passing, s(10), None);
    let definition = probe.definition.as_mut().unwrap();
    definition.kind = CheckKind::Tcp { address: "127.0.0.1:1".to_owned() };
    definition.successes_before_passing = 2;
    definition.failures_before_warning = 2;
    definition.failures_before_critical = 3;
    machine.track(&probe, s(0));
    let name = CheckRef::of(&probe);
    let mut now = s(0);
    let mut told = |machine: &mut Machine, outcome| {
        now += s(1);
        let told = machine.report(&name, outcome, "", now);
        if let Some(health) = told {
            machine.track(&Check { health, ..probe.clone() }, now);
        }
        told
    };
    use Health::{Critical, Passing, Warning};
    for (outcome, expected) in [
        (Critical, None),
        (Passing, None),
        (Critical, None),
        (Critical, Some(Warning)),
        (Critical, Some(Critical)),
        (Critical, None),
        (Passing, None),
        (Passing, Some(Passing)),
        (Passing, None),
    ] {
        assert_eq!(told(&mut machine, outcome), expected);
    }
    assert_eq!(machine.report(&CheckRef::new("default", "n", "unknown"), Passing, "", s(99)), None);
}

#[test]
fn silence_of_most_is_withheld_for_as_long_as_it_lasts() {
    let mut machine = Machine::new();
    let node = |number: usize| format!("n{number}");
    for number in 0..10 {
        machine.track(&check(&node(number), Health::Passing, s(10), None), s(0));
    }
    // Half of them is not most: they are believed.
    for number in 0..5 {
        machine.heard_from(&CheckRef::new("default", node(number), "c"), s(5));
    }
    let expired = machine.due(s(10));
    assert_eq!(expired.len(), 5);
    for number in 5..10 {
        machine.track(&check(&node(number), Health::Critical, s(10), None), s(10));
    }
    // The others within the window: now it is most.
    let mut now = s(15);
    while now < s(2000) {
        assert_eq!(machine.due(now), [], "at {now:?}");
        now = machine.next_deadline().expect("looks again");
    }
    // Those that were judged come back: then the rest is a minority and is believed.
    for number in 5..10 {
        machine.track(&check(&node(number), Health::Passing, s(10), None), now);
    }
    let expired = machine.due(now + MASS_EXPIRY_RECHECK);
    assert_eq!(expired.len(), 5);
}

#[derive(Clone, Debug)]
enum Step {
    Track { node: u8, health: u8, ttl: Option<u8>, after: Option<u8> },
    Forget(u8),
    Heard(u8),
    Wait(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..12u8, 0..3u8, proptest::option::of(1..20u8), proptest::option::of(1..20u8))
            .prop_map(|(node, health, ttl, after)| Step::Track { node, health, ttl, after }),
        (0..12u8).prop_map(Step::Forget),
        (0..12u8).prop_map(Step::Heard),
        (0..30u8).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Whatever happens: `due` ends, its work is bounded, nothing is judged before its time, and nothing that a
    /// deadline announced is left behind.
    #[test]
    fn the_queue_stays_bounded_and_no_deadline_lies_in_the_past(steps in proptest::collection::vec(step(), 1..200)) {
        let mut machine = Machine::new();
        let mut now = s(0);
        let mut heard = std::collections::HashMap::new();
        for step in steps {
            match step {
                Step::Track { node, health, ttl, after } => {
                    let name = format!("n{node}");
                    let health = [Health::Passing, Health::Warning, Health::Critical][usize::from(health)];
                    let ttl_given = ttl.map(|ttl| s(ttl.into()));
                    let mut check =
                        check(&name, health, ttl_given.unwrap_or(s(1)), after.map(|after| s(after.into())));
                    if ttl_given.is_none() {
                        check.definition = None;
                    }
                    machine.track(&check, now);
                }
                Step::Forget(node) => machine.forget(&CheckRef::new("default", format!("n{node}"), "c"), now),
                Step::Heard(node) => {
                    let name = format!("n{node}");
                    machine.heard_from(&CheckRef::new("default", &*name, "c"), now);
                    heard.insert(name, now);
                }
                Step::Wait(seconds) => {
                    now += s(seconds.into());
                    for action in machine.due(now) {
                        if let Action::Expire(check) = action {
                            let tracked = &machine.checks[&check];
                            let ttl = tracked.ttl.expect("only TTL checks expire");
                            let last = heard.get(&check.node).copied().unwrap_or_default();
                            prop_assert!(now >= last + ttl);
                        }
                    }
                    prop_assert!(machine.next_deadline().is_none_or(|at| at > now));
                    prop_assert!(machine.queue.len() <= 12 * 20);
                }
            }
            let most = machine.checks.len();
            let current = machine.checks.values().filter(|tracked| tracked.queued_at.is_some()).count();
            prop_assert!(current <= most);
        }
    }
}
