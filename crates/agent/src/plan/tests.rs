//! Plans that lead to what was wanted, from anywhere.

use proptest::prelude::*;
use weir_model::Position;
use weir_model::registry::Health;

use super::*;

fn instance(id: u8, tags: &[u8], override_: bool) -> Instance {
    Instance {
        namespace: ["default", "team"][usize::from(id % 2)].to_owned(),
        node: "n".to_owned(),
        id: format!("i{id}"),
        service: "web".to_owned(),
        tags: tags.iter().map(u8::to_string).collect(),
        enable_tag_override: override_,
        ..Instance::default()
    }
}

fn check(id: u8, of: Option<u8>, health: Health) -> Check {
    let of_namespace = of.unwrap_or(0) % 2;
    Check {
        namespace: ["default", "team"][usize::from(of_namespace)].to_owned(),
        node: "n".to_owned(),
        id: format!("c{id}"),
        instance: of.map(|of| format!("i{of}")),
        health,
        ..Check::default()
    }
}

/// The servers' side: does what it is told, in the order in which the real one does it.
fn carry_out(there: &mut NodeState, changes: &NodeChanges) {
    there.node = changes.node.clone();
    if !there.checks.iter().any(|check| check.runner == Runner::Presence) {
        there.checks.push(Check {
            runner: Runner::Presence,
            id: "alive".to_owned(),
            ..check(0, None, Health::Passing)
        });
    }
    let is = |name: &OnNode, namespace: &str, id: &str| name.namespace == namespace && name.id == id;
    for gone in &changes.gone_instances {
        there.instances.retain(|one| !is(gone, &one.namespace, &one.id));
        there.checks.retain(|one| !one.instance.as_ref().is_some_and(|id| is(gone, &one.namespace, id)));
    }
    for gone in &changes.gone_checks {
        there.checks.retain(|one| !is(gone, &one.namespace, &one.id));
    }
    for put in &changes.instances {
        there.instances.retain(|one| (&one.namespace, &one.id) != (&put.namespace, &put.id));
        there.instances.push(put.clone());
    }
    for put in &changes.checks {
        let id = put.instance.as_ref();
        let has_instance = |one: &Instance| one.namespace == put.namespace && Some(&one.id) == id;
        assert!(
            id.is_none() || there.instances.iter().any(has_instance),
            "{put:?} comes before its instance"
        );
        there.checks.retain(|one| (&one.namespace, &one.id) != (&put.namespace, &put.id));
        there.checks.push(put.clone());
    }
}

fn health() -> impl Strategy<Value = Health> {
    prop_oneof![Just(Health::Passing), Just(Health::Warning), Just(Health::Critical)]
}

fn registered() -> impl Strategy<Value = Registered> {
    let instances =
        prop::collection::btree_map(0..6u8, (prop::collection::vec(0..3u8, 0..2), any::<bool>()), 0..5);
    let checks = prop::collection::btree_map(0..8u8, (prop::option::of(0..6u8), health()), 0..8);
    (instances, checks, "[a-c]{0,1}").prop_map(|(instances, checks, id)| Registered {
        node: Node { name: "n".to_owned(), id, address: "10.0.0.1".to_owned(), ..Node::default() },
        checks: checks
            .iter()
            .filter(|(_, (of, _))| of.is_none_or(|of| instances.contains_key(&of)))
            .map(|(id, (of, health))| check(*id, *of, *health))
            .collect(),
        instances: instances.iter().map(|(id, (tags, ours))| instance(*id, tags, *ours)).collect(),
    })
}

fn state(of: Registered) -> NodeState {
    let checks = of.checks.into_iter().map(|check| Check { runner: Runner::Agent, ..check }).collect();
    let position = Position::new(1, 1);
    NodeState { position, revision: 1, node: of.node, instances: of.instances, checks }
}

proptest! {
    #[test]
    fn a_plan_makes_the_servers_equal_and_then_there_is_nothing_to_do(here in registered(), there in registered()) {
        let mut there = state(there);
        for changes in plan(&here, Some(&there)) {
            carry_out(&mut there, &changes);
        }
        prop_assert_eq!(plan(&here, Some(&there)), vec![]);
        prop_assert_eq!(there.instances.len(), here.instances.len());
        let by_agent = there.checks.iter().filter(|check| check.runner == Runner::Agent).count();
        prop_assert_eq!(by_agent, here.checks.len());
    }
}

#[test]
fn a_node_that_nobody_knows_is_registered_even_if_nothing_is_on_it() {
    let here = Registered { node: Node { name: "n".to_owned(), ..Node::default() }, ..Registered::default() };
    assert_eq!(plan(&here, None).len(), 1);
    // The same, where somebody else registered it.
    assert_eq!(plan(&here, Some(&state(here.clone()))).len(), 1);
}

#[test]
fn tags_that_others_may_change_are_left_to_them() {
    let of = |tags: &[u8], ours: bool| Registered {
        instances: vec![instance(0, tags, ours)],
        ..Registered::default()
    };
    let agent = Check { runner: Runner::Presence, ..check(0, None, Health::Passing) };
    let there = |tags: &[u8], ours: bool| NodeState { checks: vec![agent.clone()], ..state(of(tags, ours)) };
    assert_eq!(plan(&of(&[1], true), Some(&there(&[2], true))), []);
    assert_eq!(plan(&of(&[1], false), Some(&there(&[2], false))).len(), 1);
    assert_eq!(plan(&of(&[1], true), Some(&there(&[2], false)))[0].instances[0].tags, ["1"]);
}

#[test]
fn many_registrations_are_sent_in_parts() {
    let mut here = Registered::default();
    for number in 0..=BATCH_MAX {
        let id = format!("i{number}");
        here.checks.push(Check {
            id: id.clone(),
            instance: Some(id.clone()),
            ..check(0, None, Health::Passing)
        });
        here.instances.push(Instance { id, ..instance(0, &[], false) });
    }
    let batches = plan(&here, None);
    let sizes: Vec<_> = batches.iter().map(|batch| (batch.instances.len(), batch.checks.len())).collect();
    assert_eq!(sizes, [(BATCH_MAX, BATCH_MAX), (1, 1)]);
}
