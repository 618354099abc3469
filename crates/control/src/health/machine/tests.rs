//! The machine on virtual time.

use std::time::Duration;

use proptest::prelude::*;
use weir_model::registry::{Check, CheckDefinition, CheckKind, Health, Runner};
use weir_model::units::Span;

use super::*;
use crate::bounds::{MASS_EXPIRY_NODES_MIN, PRESERVATION_MAX};

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

fn node(number: usize) -> String {
    format!("n{number}")
}

fn name(number: usize) -> CheckRef {
    CheckRef::new("default", node(number), "c")
}

/// A machine with the control plane that carries its actions out, each node with a TTL check of 10 s.
struct World {
    machine: Machine,
    health: Vec<Health>,
    now: Duration,
}

impl World {
    const TTL: Duration = s(10);

    fn new(nodes: usize) -> Self {
        let mut world = Self { machine: Machine::new(), health: vec![Health::Passing; nodes], now: s(0) };
        (0..nodes).for_each(|number| {
            world.machine.track(&check(&node(number), Health::Passing, Self::TTL, None), s(0));
        });
        world
    }

    fn set(&mut self, number: usize, health: Health) {
        self.health[number] = health;
        self.machine.track(&check(&node(number), health, Self::TTL, None), self.now);
    }

    /// A heartbeat, as the control plane takes it.
    fn heartbeat(&mut self, number: usize) {
        self.machine.heard_from(&name(number), self.now);
        if self.health[number] != Health::Passing {
            self.set(number, Health::Passing);
        }
    }

    /// Lets time go by, and does what is due.
    fn pass(&mut self, until: Duration) {
        while let Some(at) = self.machine.next_deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            for action in self.machine.due(self.now) {
                let index = |check: &CheckRef| check.node[1..].parse::<usize>().unwrap();
                match action {
                    Action::Expire(check) => self.set(index(&check), Health::Critical),
                    Action::Restore(check, health) => self.set(index(&check), health),
                    Action::Evict(..) | Action::Forget(_) => panic!("nothing is to be deregistered"),
                }
            }
        }
        self.now = until;
    }

    fn critical(&self) -> usize {
        self.health.iter().filter(|health| **health == Health::Critical).count()
    }
}

#[test]
fn silence_of_most_is_withheld_and_what_was_judged_before_is_taken_back() {
    let mut world = World::new(12);
    world.now = s(5);
    (6..12).for_each(|number| world.heartbeat(number));
    world.pass(s(12));
    assert_eq!(world.critical(), 6, "half of them is not most");
    assert_eq!(world.machine.preservation(), None);
    world.pass(s(16));
    assert_eq!(world.critical(), 0, "now it is most");
    let preservation = world.machine.preservation().unwrap();
    assert_eq!((preservation.since, preservation.doubted, preservation.nodes), (s(15), 12, 12));
    world.pass(s(2000));
    assert_eq!(world.critical(), 0);
    // Half of them being back is not enough, since the others may be on their way.
    (0..6).for_each(|number| world.heartbeat(number));
    world.pass(s(2005));
    assert_eq!((world.critical(), world.machine.preservation().unwrap().doubted), (0, 6));
    assert_eq!(world.machine.silent_nodes().filter(|(_, doubted)| *doubted).count(), 6);
    (0..9).for_each(|number| world.heartbeat(number));
    world.pass(s(2007));
    assert_eq!((world.critical(), world.machine.preservation()), (0, None));
    (0..9).for_each(|number| world.heartbeat(number));
    world.pass(s(2014));
    (0..9).for_each(|number| world.heartbeat(number));
    assert_eq!(world.critical(), 0, "the rest has its full time");
    world.pass(s(2018));
    assert_eq!(world.critical(), 3);
    assert!(world.machine.silent_nodes().all(|(_, doubted)| !doubted));
}

#[test]
fn a_check_that_is_critical_for_long_says_nothing_of_its_node() {
    let dead =
        |number| Check { id: "dead".to_owned(), ..check(&node(number), Health::Critical, s(10), None) };
    // They are critical from the start, as after a restart, or by what was said of them.
    for was in [Health::Critical, Health::Passing] {
        let mut world = World::new(12);
        for number in 0..12 {
            world.machine.track(&Check { health: was, ..dead(number) }, s(0));
            world.machine.track(&dead(number), s(0));
        }
        for second in 1..40 {
            world.pass(s(second));
            (0..12).for_each(|number| world.heartbeat(number));
        }
        assert_eq!(world.machine.silent_nodes().count(), 0);
        world.pass(s(60));
        let preservation = world.machine.preservation().expect("all have fallen silent at once");
        assert_eq!((preservation.doubted, preservation.nodes, world.critical()), (12, 12, 0));
    }
    // Nodes where nobody ever was heard from are none of those that fall silent.
    let mut world = World::new(12);
    (20..60).for_each(|number| world.machine.track(&dead(number), s(0)));
    world.pass(s(9));
    (0..12).for_each(|number| world.heartbeat(number));
    world.pass(s(15));
    assert_eq!(world.machine.silent_nodes().count(), 0);
    world.pass(s(30));
    assert_eq!(world.machine.preservation().expect("most of those that live").nodes, 12);
}

#[test]
fn self_preservation_does_not_last_for_ever() {
    let mut world = World::new(10);
    world.pass(PRESERVATION_MAX);
    assert_eq!(world.critical(), 0);
    world.pass(s(10) + PRESERVATION_MAX + World::TTL + s(1));
    assert_eq!((world.critical(), world.machine.preservation()), (10, None));
    world.pass(2 * PRESERVATION_MAX);
    assert_eq!(world.critical(), 10, "it does not begin anew by itself");
    (0..10).for_each(|number| world.heartbeat(number));
    let again = world.now + World::TTL + s(2);
    world.pass(again);
    assert!(world.machine.preservation().is_some(), "but another time it does");
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
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// When more than half of at least ten nodes stop at one moment, whatever the phases of their heartbeats: none is
    /// critical for longer than it takes to see how many they are. When fewer do, each is critical in time. When all are
    /// back, so is everything.
    #[test]
    fn most_are_preserved_and_few_are_judged(
        phases in proptest::collection::vec(0..10_000u64, 3..40),
        share in 0..=100usize,
    ) {
        let nodes = phases.len();
        let stopped = nodes * share / 100;
        let mut world = World::new(nodes);
        // Each sends one each 4 s, in its own phase; some send none after 20 s.
        let run = |world: &mut World, from: u64, until: u64, stopped: usize| {
            for ms in (from..until).step_by(100) {
                world.pass(Duration::from_millis(ms));
                for (number, phase) in phases.iter().enumerate() {
                    if (ms + phase / 100 * 100) % 4000 == 0 && number >= stopped {
                        world.heartbeat(number);
                    }
                }
            }
        };
        run(&mut world, 0, 20_000, 0);
        prop_assert_eq!(world.critical(), 0);
        // The last may have been heard from at 20 s; all are overdue at 30 s, and the first one at 26 s.
        run(&mut world, 20_000, 32_000, stopped);
        let preserved = nodes >= MASS_EXPIRY_NODES_MIN && stopped * 2 > nodes;
        for until in [40_000, 60_000, 100_000] {
            let expected = if preserved { 0 } else { stopped };
            prop_assert_eq!(world.critical(), expected, "{} of {} at {:?}", stopped, nodes, world.now);
            prop_assert_eq!(world.machine.preservation().is_some(), preserved);
            let from = world.now.as_millis() as u64 + 100;
            run(&mut world, from, until, stopped);
        }
        run(&mut world, 100_000, 120_000, 0);
        prop_assert_eq!((world.critical(), world.machine.preservation()), (0, None));
    }

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

#[test]
fn what_an_agent_carries_out_is_deregistered_by_its_own_rule_once_the_agent_is_silent() {
    let mut machine = Machine::new();
    let run = Check { runner: Runner::Agent, ..check("n", Health::Passing, s(1), Some(s(60))) };
    let presence = CheckRef::new("default", "n", "present");
    machine.track(&run, s(0));
    assert_eq!(machine.next_deadline(), None, "the agent waits for its ttl checks by itself");
    machine.track(&Check { health: Health::Critical, ..run.clone() }, s(10));
    assert_eq!(machine.due(s(1000)), [], "and deregisters by itself");

    machine.see_agent(&presence, false, s(1000));
    let instance = InstanceRef::new("default", "n", "i");
    assert_eq!(
        machine.due(s(1000)),
        [Action::Evict(instance.clone(), presence.clone())],
        "critical for long"
    );
    machine.track(&run, s(1001));
    machine.see_agent(&presence, false, s(1030));
    assert_eq!(machine.due(s(1059)), [], "it did well when its agent fell silent");
    assert_eq!(machine.due(s(1060)), [Action::Evict(instance, presence.clone())]);

    machine.see_agent(&presence, true, s(1061));
    assert_eq!(machine.due(s(5000)), [], "the agent is back");
    machine.see_agent(&presence, false, s(5000));
    let late = Check { id: "late".to_owned(), ..run.clone() };
    machine.track(&late, s(5050));
    machine.forget(&CheckRef::of(&run), s(5050));
    assert_eq!(machine.due(s(5060)).len(), 1, "one that came later counts from the silence as well");
    machine.forget_agent(&presence);
    assert_eq!(machine.due(s(9000)), [], "nothing is known of the agent any more");
}

#[test]
fn a_node_is_forgotten_whose_agent_is_silent_for_too_long_and_for_no_other_check() {
    let mut machine = Machine::new();
    let of_node = |id: &str, runner| Check {
        id: id.to_owned(),
        instance: None,
        runner,
        ..check("n", Health::Critical, s(10), Some(s(60)))
    };
    let presence = of_node("here", Runner::Presence);
    machine.track(&of_node("disk", Runner::Server), s(0));
    machine.track(&of_node("load", Runner::Agent), s(0));
    assert_eq!(machine.due(s(1000)), []);
    machine.track(&presence, s(1000));
    assert_eq!(machine.due(s(1059)), []);
    assert_eq!(machine.due(s(1060)), [Action::Forget(CheckRef::of(&presence))]);
    machine.track(&Check { health: Health::Passing, ..presence.clone() }, s(1060));
    assert_eq!(machine.due(s(1065)), []);
}
