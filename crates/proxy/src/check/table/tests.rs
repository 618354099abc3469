//! The table on virtual time.

use std::time::Duration;

use proptest::prelude::*;
use weir_model::ServiceRef;
use weir_model::registry::{CheckKind, Weights};
use weir_model::units::Span;

use super::*;
use Health::{Critical, Passing, Warning};

fn definition(port: u16, passing: u32, critical: u32) -> CheckDefinition {
    CheckDefinition {
        kind: CheckKind::Tcp { address: format!("127.0.0.1:{port}") },
        interval: Span(Duration::from_secs(1)),
        timeout: Span(Duration::from_secs(1)),
        successes_before_passing: passing,
        failures_before_critical: critical,
        failures_before_warning: 0,
        deregister_after: None,
    }
}

fn key(endpoint: &str) -> EndpointKey {
    EndpointKey { service: ServiceRef::new("default", "cart"), endpoint: endpoint.into() }
}

fn target(endpoint: &str, told: Option<Health>, others: Health, definitions: &[CheckDefinition]) -> Target {
    let definitions = definitions.to_vec();
    let how = Arc::new(ActiveChecks { others, weights: Weights::default(), definitions });
    Target { key: key(endpoint), how, told }
}

fn verdict(table: &Table, endpoint: &str) -> Option<Health> {
    let verdicts = table.verdicts().of(&ServiceRef::new("default", "cart"))?;
    verdicts.get(endpoint).map(|verdict| verdict.health)
}

struct World {
    table: Table,
    now: u64,
}

impl World {
    fn new(targets: Vec<Target>) -> Self {
        let mut table = Table::default();
        let looks: usize = targets.iter().map(|target| target.how.definitions.len()).sum();
        assert_eq!(table.follow(targets).len(), looks);
        Self { table, now: 0 }
    }

    /// What an outcome leads to: the verdict, and from what to what it changed.
    fn see(
        &mut self,
        at: usize,
        how: &CheckDefinition,
        outcome: Health,
    ) -> (Option<Health>, Option<(Health, Health)>) {
        self.now += 1;
        let (_, event) = self.table.report(&(key("a"), at), how, outcome, "seen", Nanos::from_secs(self.now));
        (verdict(&self.table, "a"), event.map(|event| (event.from, event.to)))
    }
}

#[test]
fn thresholds_hold_and_the_last_word_counts_until_they_are_reached() {
    let how = definition(1, 2, 3);
    let mut world = World::new(vec![target("a", Some(Passing), Passing, std::slice::from_ref(&how))]);
    assert_eq!(world.see(0, &how, Critical), (None, None));
    assert_eq!(world.see(0, &how, Critical), (None, None));
    assert_eq!(world.see(0, &how, Critical), (Some(Critical), Some((Passing, Critical))));
    assert_eq!(world.see(0, &how, Passing), (Some(Critical), None));
    assert_eq!(world.see(0, &how, Passing), (Some(Passing), Some((Critical, Passing))));
    assert_eq!(world.see(0, &how, Passing), (Some(Passing), None));
}

#[test]
fn what_the_last_word_called_critical_comes_back_when_it_passes() {
    let how = definition(1, 1, 1);
    let mut world = World::new(vec![target("a", Some(Critical), Passing, std::slice::from_ref(&how))]);
    assert_eq!(world.see(0, &how, Passing), (Some(Passing), Some((Critical, Passing))));
}

#[test]
fn maintenance_and_heartbeats_count_whatever_the_checks_say() {
    let how = definition(1, 1, 1);
    let mut world = World::new(vec![target("a", Some(Critical), Critical, std::slice::from_ref(&how))]);
    assert_eq!(world.see(0, &how, Passing), (Some(Critical), None));
}

#[test]
fn the_worst_of_several_checks_counts() {
    let hows = [definition(1, 1, 1), definition(2, 1, 1)];
    let mut world = World::new(vec![target("a", Some(Critical), Passing, &hows)]);
    assert_eq!(world.see(0, &hows[0], Passing), (Some(Critical), None), "the other is not decided");
    assert_eq!(world.see(1, &hows[1], Warning), (Some(Warning), Some((Critical, Warning))));
    assert_eq!(world.see(0, &hows[0], Critical), (Some(Critical), Some((Warning, Critical))));
}

#[test]
fn another_definition_begins_anew_and_old_looks_are_none() {
    let (old, new) = (definition(1, 1, 1), definition(2, 1, 2));
    let mut world = World::new(vec![target("a", None, Passing, std::slice::from_ref(&old))]);
    world.see(0, &old, Critical);
    let steps = world.table.follow(vec![target("a", None, Passing, std::slice::from_ref(&new))]);
    assert_eq!(steps, [Step::End((key("a"), 0)), Step::Begin((key("a"), 0), new.clone())]);
    assert_eq!(verdict(&world.table, "a"), Some(Critical), "until it is decided anew");
    assert_eq!(world.see(0, &old, Passing), (Some(Critical), None));
    assert_eq!(world.see(0, &new, Passing), (Some(Passing), Some((Critical, Passing))));
    assert_eq!(
        world.table.follow(vec![target("a", None, Passing, &[new])]),
        [],
        "the same again is no change"
    );
    assert_eq!(world.table.follow(vec![]), [Step::End((key("a"), 0))]);
    assert_eq!(verdict(&world.table, "a"), None);
}

#[test]
fn the_registry_takes_over_what_is_its_own_only() {
    let how = definition(1, 1, 1);
    let targets = vec![
        target("a", Some(Passing), Passing, std::slice::from_ref(&how)),
        target("w", None, Passing, std::slice::from_ref(&how)),
    ];
    let mut world = World::new(targets);
    world.see(0, &how, Critical);
    world.table.report(&(key("w"), 0), &how, Critical, "", Nanos::from_secs(9));
    assert_eq!(world.table.counts(), (1, 1));
    assert_eq!(world.table.yield_registered(), 1);
    assert_eq!((verdict(&world.table, "a"), verdict(&world.table, "w")), (None, Some(Critical)));
    assert_eq!(world.see(0, &how, Critical), (None, None), "a look that was under way");
    let written = target("w", None, Passing, &[how]);
    assert_eq!(world.table.follow(vec![written.clone()]), [Step::End((key("a"), 0))], "off the schedule");
    assert_eq!(world.table.follow(vec![written]), []);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is seen in whatever order: an endpoint is never better than what cannot be seen from here, never changes
    /// without its threshold in a row, and there are verdicts of nothing that is not watched.
    #[test]
    fn verdicts_follow_outcomes_in_a_row(
        told in 0..3u8, others in 0..2u8, passing in 0..4u32, critical in 0..4u32,
        outcomes in proptest::collection::vec(any::<bool>(), 1..60),
    ) {
        let health = |n| [Passing, Warning, Critical][n as usize];
        let others = health(others);
        let told = health(told).max(others);
        let how = definition(1, passing, critical);
        let mut world = World::new(vec![target("a", Some(told), others, std::slice::from_ref(&how))]);
        let (mut last, mut row) = (None, 0);
        for well in outcomes {
            row = if last == Some(well) { row + 1 } else { 1 };
            last = Some(well);
            let (verdict, changed) = world.see(0, &how, if well { Passing } else { Critical });
            if let Some(verdict) = verdict {
                prop_assert!(verdict >= others);
            }
            if let Some((from, to)) = changed {
                prop_assert!(from != to);
                prop_assert_eq!(to == Critical, !well);
                prop_assert_eq!(row, if well { passing.max(1) } else { critical.max(1) });
            }
            if row >= passing.max(critical).max(1) {
                prop_assert_eq!(verdict, Some(if well { others } else { Critical }));
            }
        }
        world.table.yield_registered();
        prop_assert_eq!(world.table.verdicts().services().count(), 0);
    }
}
