//! What must change at the servers for a node to be there as it is here. Pure.

use std::collections::{BTreeMap, BTreeSet};

use weir_api::native::{NodeChanges, NodeState, OnNode};
use weir_control::catalog::NodeView;
use weir_model::registry::{Check, Instance, Node, Runner};

use crate::bounds::BATCH_MAX;

/// A node with all that is registered on it, as it is here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registered {
    /// The node.
    pub node: Node,
    /// Its instances.
    pub instances: Vec<Instance>,
    /// Its checks and those of its instances.
    pub checks: Vec<Check>,
}

impl Registered {
    /// What the catalog shows of a node.
    pub fn of(view: &NodeView) -> Self {
        Self {
            node: view.node.node.value.clone(),
            instances: view.instances.iter().map(|instance| instance.value().clone()).collect(),
            checks: view.checks().map(|check| check.value.clone()).collect(),
        }
    }
}

/// The changes that make the servers' registry equal to this, in this order; none if it is. What is registered there and
/// not here is deregistered. Tags that others may change (`enable_tag_override`) are left as the servers have them.
pub fn plan(here: &Registered, there: Option<&NodeState>) -> Vec<NodeChanges> {
    let mut changes = NodeChanges { node: here.node.clone(), ..NodeChanges::default() };
    let known: BTreeMap<OnNode, &Instance> = there
        .iter()
        .flat_map(|there| &there.instances)
        .map(|one| (name(&one.namespace, &one.id), one))
        .collect();
    let mut wanted = BTreeSet::new();
    for instance in &here.instances {
        let name = name(&instance.namespace, &instance.id);
        let mut instance = instance.clone();
        let known = known.get(&name);
        if let Some(known) = known.filter(|known| instance.enable_tag_override && known.enable_tag_override) {
            instance.tags.clone_from(&known.tags);
        }
        if known.is_none_or(|known| !is_same_instance(known, &instance)) {
            changes.instances.push(instance);
        }
        wanted.insert(name);
    }
    changes.gone_instances = known.into_keys().filter(|name| !wanted.contains(name)).collect();
    plan_checks(here, there, &mut changes);
    let is_as_it_should = there.is_some_and(|there| {
        let has_agent = there.checks.iter().any(|check| check.runner == Runner::Presence);
        has_agent && is_same_node(&there.node, &here.node)
    });
    in_batches(changes, is_as_it_should)
}

fn plan_checks(here: &Registered, there: Option<&NodeState>, changes: &mut NodeChanges) {
    let of_others = |check: &&Check| check.runner != Runner::Presence;
    let known: BTreeMap<OnNode, &Check> = there
        .iter()
        .flat_map(|there| &there.checks)
        .filter(of_others)
        .map(|one| (name(&one.namespace, &one.id), one))
        .collect();
    let mut wanted = BTreeSet::new();
    for check in &here.checks {
        let name = name(&check.namespace, &check.id);
        let check = Check { runner: Runner::Agent, ..check.clone() };
        if known.get(&name).is_none_or(|known| !is_same_check(known, &check)) {
            changes.checks.push(check);
        }
        wanted.insert(name);
    }
    let gone: BTreeSet<_> = changes.gone_instances.iter().collect();
    let goes_along = |check: &Check| {
        let instance = check.instance.as_ref().map(|id| name(&check.namespace, id));
        instance.is_some_and(|instance| gone.contains(&instance))
    };
    changes.gone_checks = known
        .into_iter()
        .filter(|(name, check)| !wanted.contains(name) && !goes_along(check))
        .map(|(name, _)| name)
        .collect();
}

/// Parts that one request can carry. Instances go with their checks, deregistrations before all.
fn in_batches(changes: NodeChanges, node_is_as_it_should: bool) -> Vec<NodeChanges> {
    let NodeChanges { node, instances, mut checks, gone_instances, gone_checks, .. } = changes;
    let empty = || NodeChanges { node: node.clone(), ..NodeChanges::default() };
    let mut batches = Vec::new();
    for gone in gone_instances.chunks(BATCH_MAX) {
        batches.push(NodeChanges { gone_instances: gone.to_vec(), ..empty() });
    }
    for gone in gone_checks.chunks(BATCH_MAX) {
        batches.push(NodeChanges { gone_checks: gone.to_vec(), ..empty() });
    }
    for some in instances.chunks(BATCH_MAX) {
        let names: BTreeSet<_> = some.iter().map(|one| (&one.namespace, &one.id)).collect();
        let of_these = |check: &mut Check| {
            check.instance.as_ref().is_some_and(|instance| names.contains(&(&check.namespace, instance)))
        };
        let own = checks.extract_if(.., of_these).collect();
        batches.push(NodeChanges { instances: some.to_vec(), checks: own, ..empty() });
    }
    for some in checks.chunks(BATCH_MAX) {
        batches.push(NodeChanges { checks: some.to_vec(), ..empty() });
    }
    if batches.is_empty() && !node_is_as_it_should {
        batches.push(empty());
    }
    batches
}

fn name(namespace: &str, id: &str) -> OnNode {
    OnNode { namespace: namespace.to_owned(), id: id.to_owned() }
}

/// Names of nodes are the same in any case, and the servers keep the first.
fn is_same_node(a: &Node, b: &Node) -> bool {
    a.name.eq_ignore_ascii_case(&b.name) && *a == Node { name: a.name.clone(), ..b.clone() }
}

fn is_same_instance(a: &Instance, b: &Instance) -> bool {
    a.node.eq_ignore_ascii_case(&b.node) && *a == Instance { node: a.node.clone(), ..b.clone() }
}

fn is_same_check(a: &Check, b: &Check) -> bool {
    a.node.eq_ignore_ascii_case(&b.node) && *a == Check { node: a.node.clone(), ..b.clone() }
}

#[cfg(test)]
mod tests;
