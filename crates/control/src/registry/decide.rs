//! The decisions behind registry commands: pure functions from the catalog's state to a transaction.

use std::borrow::Cow;
use std::collections::BTreeSet;

use weir_model::registry::{Check, Health, Instance, Node, Runner};
use weir_model::units::Span;
use weir_model::validate::cut;
use weir_model::{DEFAULT_NAMESPACE, Revision};

use super::{KnownHealth, OnNode, Registration};
use super::{namesake, validate};
use crate::Error;
use crate::bounds::{CHECK_OUTPUT_BYTES_MAX, DEREGISTER_AFTER_MIN, REGISTRATION_CHECKS_MAX};
use crate::catalog::{CheckRef, InstanceRef, NodeSlot, State};
use crate::commit::Plan;
use crate::keys::{self, node_key};
use crate::told::expect_silence;

/// Operations of a transaction that removes an instance beside those of its checks: conditions on it and on the check that it
/// is evicted for, and its own end.
const INSTANCE_OPS: usize = 3;

/// A registration; of checks that go with it, no more than a transaction has room for. Also whether those were all: if not, it is to
/// be planned again.
pub(super) fn register(
    state: &State,
    registration: &Registration,
    ops_max: usize,
) -> Result<(Plan, bool), Error> {
    let count = registration.checks.len();
    if count > REGISTRATION_CHECKS_MAX {
        let what = "the number of checks".to_owned();
        return Err(Error::TooLarge { what, max: REGISTRATION_CHECKS_MAX as u64, actual: count as u64 });
    }
    let mut plan = Plan::nothing();
    let node = put_node(state, &registration.node, &mut plan)?;
    let instance = match &registration.instance {
        Some(instance) => Some(put_instance(state, &node, instance, &mut plan)?),
        None => None,
    };
    let mut checks = Vec::with_capacity(count);
    for check in &registration.checks {
        let known_health = registration.known_health;
        checks.push(put_check(state, &node, instance.as_deref(), check, known_health, &mut plan)?);
    }
    let mut given = BTreeSet::new();
    for check in &checks {
        if !given.insert((&*check.namespace, &*check.id)) {
            return Err(Error::invalid("check.id", format!("{:?} is registered twice", check.id)));
        }
    }
    let is_whole = match &instance {
        Some(instance) => {
            settle_other_checks(state, instance, &given, registration.replace_checks, ops_max, &mut plan)?
        }
        None => true,
    };
    Ok((plan, is_whole))
}

/// Plans the node and returns its name as it is registered.
fn put_node(state: &State, node: &OnNode, plan: &mut Plan) -> Result<String, Error> {
    let name = match node {
        OnNode::Put(node) | OnNode::LetIn(node) => &node.name,
        OnNode::Known(name) => name,
    };
    let known = state.registry.nodes.get(&*node_key(name)).and_then(|slot| slot.node.as_ref());
    let key = keys::node(name)?;
    plan.expect(key.clone(), known.map_or(0, |entry| entry.node.modify_revision));
    match (node, known) {
        (OnNode::Known(name), None) => Err(Error::not_found("node", name)),
        (OnNode::Known(_), Some(known)) => Ok(known.node.value.name.clone()),
        (OnNode::Put(given) | OnNode::LetIn(given), known) => {
            validate::check_node(given)?;
            namesake::settle(state, given, matches!(node, OnNode::LetIn(_)), plan)?;
            let mut node = given.clone();
            if let Some(known) = known {
                node.name.clone_from(&known.node.value.name);
                node.maintenance.clone_from(&known.node.value.maintenance);
                if node.id.is_empty() {
                    node.id.clone_from(&known.node.value.id);
                }
                // Another id is another machine.
                node.is_server |=
                    known.node.value.is_server && node.id.eq_ignore_ascii_case(&known.node.value.id);
            }
            if known.is_none() {
                // What runs on it registers at the same time.
                plan.founds();
            }
            if known.is_none_or(|known| known.node.value != node) {
                plan.put(key, &node)?;
            }
            Ok(node.name)
        }
    }
}

/// Plans an instance and returns it as it is registered: copied only where that differs from what is given.
fn put_instance<'a>(
    state: &State,
    node: &str,
    given: &'a Instance,
    plan: &mut Plan,
) -> Result<Cow<'a, Instance>, Error> {
    let mut instance = Cow::Borrowed(given);
    if instance.node != node {
        node.clone_into(&mut instance.to_mut().node);
    }
    if instance.namespace.is_empty() {
        DEFAULT_NAMESPACE.clone_into(&mut instance.to_mut().namespace);
    }
    validate::check_instance(&instance)?;
    let known = state.registry.instance(&instance.namespace, &node_key(node), &instance.id);
    let key = keys::instance(&instance.namespace, node, &instance.id)?;
    plan.expect(key.clone(), known.as_ref().map_or(0, |entry| entry.instance.modify_revision));
    if let Some(known) = known.as_ref().filter(|known| known.value().maintenance != instance.maintenance) {
        instance.to_mut().maintenance.clone_from(&known.value().maintenance);
    }
    if known.is_none_or(|known| *known.value() != *instance) {
        plan.put(key, &*instance)?;
    }
    Ok(instance)
}

/// The same of a check.
fn put_check<'a>(
    state: &State,
    node: &str,
    instance: Option<&Instance>,
    given: &'a Check,
    known_health: KnownHealth,
    plan: &mut Plan,
) -> Result<Cow<'a, Check>, Error> {
    let mut check = Cow::Borrowed(given);
    if check.node != node {
        node.clone_into(&mut check.to_mut().node);
    }
    if check.namespace.is_empty() {
        let namespace = instance.map_or(DEFAULT_NAMESPACE, |instance| &*instance.namespace);
        namespace.clone_into(&mut check.to_mut().namespace);
    }
    if check.output.len() > CHECK_OUTPUT_BYTES_MAX {
        cut(&mut check.to_mut().output, CHECK_OUTPUT_BYTES_MAX);
    }
    validate::check_check(&check)?;
    let service = service_of(state, node, instance, &check, plan)?;
    if check.service != *service {
        check.to_mut().service = service.into_owned();
    }
    let after = check.definition.as_ref().and_then(|definition| definition.deregister_after);
    if after.is_some_and(|after| after < Span(DEREGISTER_AFTER_MIN))
        && let Some(definition) = &mut check.to_mut().definition
    {
        definition.deregister_after = Some(Span(DEREGISTER_AFTER_MIN));
    }
    let known = state.registry.check(&check.namespace, &node_key(node), &check.id);
    if let Some(known) = known
        .as_ref()
        .filter(|known| known_health == KnownHealth::Keep && known.value.instance == check.instance)
    {
        let check = check.to_mut();
        check.health = known.value.health;
        check.output.clone_from(&known.value.output);
    }
    let key = keys::check(&check.namespace, node, &check.id)?;
    plan.expect(key.clone(), known.as_ref().map_or(0, |known| known.modify_revision));
    if known.is_none_or(|known| known.value != *check) {
        plan.put(key, &*check)?;
    }
    Ok(check)
}

/// The service of a check's instance, which must be there or come with this registration; empty for a node's check.
fn service_of<'a>(
    state: &State,
    node: &str,
    instance: Option<&'a Instance>,
    check: &Check,
    plan: &mut Plan,
) -> Result<Cow<'a, str>, Error> {
    let Some(id) = &check.instance else { return Ok(Cow::Borrowed("")) };
    if let Some(instance) = instance.filter(|own| own.id == *id && own.namespace == check.namespace) {
        return Ok(Cow::Borrowed(&instance.service));
    }
    let known = state.registry.instance(&check.namespace, &node_key(node), id);
    let known = known.ok_or_else(|| Error::not_found("instance", id))?;
    // So that the check does not outlive an instance that is deregistered at this moment.
    plan.expect(keys::instance(&check.namespace, node, id)?, known.instance.modify_revision);
    Ok(Cow::Owned(known.value().service.clone()))
}

/// The instance's checks that were not named: they go, or follow the instance to its new service. Whether all found room.
fn settle_other_checks(
    state: &State,
    instance: &Instance,
    given: &BTreeSet<(&str, &str)>,
    replace: bool,
    ops_max: usize,
    plan: &mut Plan,
) -> Result<bool, Error> {
    let node = node_key(&instance.node);
    let Some(known) = state.registry.instance(&instance.namespace, &node, &instance.id) else {
        return Ok(true);
    };
    for check in &known.checks {
        let value = &check.value;
        if given.contains(&(&*value.namespace, &*value.id)) {
            continue;
        }
        if plan.ops() >= ops_max {
            return Ok(false);
        }
        let key = keys::check(&value.namespace, &node, &value.id)?;
        if replace {
            plan.delete(key);
        } else if value.service != instance.service {
            plan.expect(key.clone(), check.modify_revision);
            plan.put(key, &Check { service: instance.service.clone(), ..value.clone() })?;
        }
    }
    Ok(true)
}

/// Removes an instance with its checks, as many as a transaction has room for; nothing if it is not there.
pub(super) fn deregister_instance(
    state: &State,
    instance: &InstanceRef,
    ops_max: usize,
) -> Result<Plan, Error> {
    let mut plan = Plan::nothing();
    let node = node_key(&instance.node);
    let Some(known) = state.registry.instance(&instance.namespace, &node, &instance.id) else {
        return Ok(plan);
    };
    let key = keys::instance(&instance.namespace, &node, &instance.id)?;
    plan.expect(key.clone(), known.instance.modify_revision);
    plan.delete(key);
    for check in known.checks.iter().take(ops_max.saturating_sub(INSTANCE_OPS)) {
        plan.delete(keys::check(&check.value.namespace, &node, &check.value.id)?);
    }
    Ok(plan)
}

/// Removes an instance whose check is critical, and still was not written since this was first decided.
pub(super) fn evict(
    state: &State,
    instance: &InstanceRef,
    check: &CheckRef,
    seen: &mut Option<Revision>,
    ops_max: usize,
) -> Result<Plan, Error> {
    while_critical(state, check, seen, || deregister_instance(state, instance, ops_max))
}

/// Removes a node whose agent's check is critical, and still was not written since this was first decided.
pub(super) fn forget_node(
    state: &State,
    presence: &CheckRef,
    seen: &mut Option<Revision>,
) -> Result<Plan, Error> {
    while_critical(state, presence, seen, || deregister_node(state, &presence.node))
}

/// A plan that holds only while a check is critical and as it was when this was first decided.
fn while_critical(
    state: &State,
    check: &CheckRef,
    seen: &mut Option<Revision>,
    plan: impl FnOnce() -> Result<Plan, Error>,
) -> Result<Plan, Error> {
    let known = state.registry.check(&check.namespace, &node_key(&check.node), &check.id);
    let Some(known) = known.filter(|known| known.value.health == Health::Critical) else {
        return Ok(Plan::nothing());
    };
    if *seen.get_or_insert(known.modify_revision) != known.modify_revision {
        return Ok(Plan::nothing());
    }
    let mut plan = plan()?;
    if !plan.is_empty() {
        plan.expect(keys::check(&check.namespace, &check.node, &check.id)?, known.modify_revision);
    }
    Ok(plan)
}

/// Removes the checks of an instance that is gone, as many as a transaction has room for.
pub(super) fn deregister_leftovers(
    state: &State,
    instance: &InstanceRef,
    ops_max: usize,
) -> Result<Plan, Error> {
    let mut plan = Plan::nothing();
    let node = node_key(&instance.node);
    let Some(slot) = state.registry.nodes.get(&*node) else { return Ok(plan) };
    if slot.instances.get(&instance.namespace, &instance.id).is_none() {
        plan.expect(keys::instance(&instance.namespace, &node, &instance.id)?, 0);
        let orphans = slot.orphans_of(&instance.namespace, &instance.id);
        for check in orphans.into_iter().take(ops_max.saturating_sub(INSTANCE_OPS).max(1)) {
            plan.delete(check.stored.key());
        }
    }
    Ok(plan)
}

/// Refuses to remove the server's own node.
pub(super) fn check_leaves(own_node: &str, name: &str) -> Result<(), Error> {
    if node_key(name) == node_key(own_node) {
        return Err(Error::invalid(
            "node",
            format!("{name:?} is this server's own node, which stays registered"),
        ));
    }
    Ok(())
}

/// Removes a node with all that is on it, in all namespaces; nothing if it is not there.
pub(super) fn deregister_node(state: &State, name: &str) -> Result<Plan, Error> {
    let mut plan = Plan::nothing();
    let name = node_key(name);
    if let Some(slot) = state.registry.nodes.get(&*name) {
        delete_node(slot, &name, &mut plan)?;
    }
    Ok(plan)
}

pub(super) fn delete_node(slot: &NodeSlot, name: &str, plan: &mut Plan) -> Result<(), Error> {
    let Some(node) = &slot.node else { return Ok(()) };
    let key = keys::node(name)?;
    plan.expect(key.clone(), node.node.modify_revision);
    plan.delete(key);
    delete_all_on(slot, name, plan);
    Ok(())
}

/// Removes what is on a node that is gone.
pub(super) fn deregister_node_leftovers(state: &State, name: &str) -> Result<Plan, Error> {
    let mut plan = Plan::nothing();
    let name = node_key(name);
    if let Some(slot) = state.registry.nodes.get(&*name).filter(|slot| slot.node.is_none()) {
        plan.expect(keys::node(&name)?, 0);
        delete_all_on(slot, &name, &mut plan);
    }
    Ok(plan)
}

fn delete_all_on(slot: &NodeSlot, name: &str, plan: &mut Plan) {
    let instances: BTreeSet<_> = slot.instances.iter().map(|kept| kept.namespace()).collect();
    let checks: BTreeSet<_> = slot.checks.iter().map(|check| check.namespace()).collect();
    for namespace in instances {
        plan.delete_range(keys::of_node(keys::INSTANCE, namespace, name));
    }
    for namespace in checks {
        plan.delete_range(keys::of_node(keys::CHECK, namespace, name));
    }
}

pub(super) fn deregister_check(state: &State, check: &CheckRef) -> Result<Plan, Error> {
    let mut plan = Plan::nothing();
    if state.registry.check(&check.namespace, &node_key(&check.node), &check.id).is_some() {
        plan.delete(keys::check(&check.namespace, &check.node, &check.id)?);
    }
    Ok(plan)
}

/// What a check reports, if it differs from what is known.
pub(crate) fn set_check(
    state: &State,
    check: &CheckRef,
    health: Health,
    output: Option<&str>,
) -> Result<Plan, Error> {
    let known = state.registry.check(&check.namespace, &node_key(&check.node), &check.id);
    let known = known.ok_or_else(|| Error::not_found("check", &check.id))?;
    let mut output = output.unwrap_or(&known.value.output).to_owned();
    cut(&mut output, CHECK_OUTPUT_BYTES_MAX);
    let mut plan = Plan::nothing();
    if known.value.health != health || known.value.output != output {
        let key = keys::check(&check.namespace, &check.node, &check.id)?;
        plan.expect(key.clone(), known.modify_revision);
        plan.put(key, &Check { health, output, ..known.value.clone() })?;
    }
    Ok(plan)
}

/// A TTL check that was not heard from, unless it was written after this revision, or a replica told something: that may be a
/// sign of life which the judge has not seen yet.
pub(super) fn expire(state: &State, check: &CheckRef, seen: Revision) -> Result<Plan, Error> {
    let known = state.registry.check(&check.namespace, &node_key(&check.node), &check.id);
    if known.as_ref().is_some_and(|known| known.modify_revision > seen) || state.told.is_newer_than(seen) {
        return Ok(Plan::nothing());
    }
    let is_agent = known.is_some_and(|known| known.value.runner == Runner::Presence);
    let output = if is_agent { "Agent not live or unreachable" } else { "TTL expired" };
    let mut plan = set_check(state, check, Health::Critical, Some(output))?;
    if !plan.is_empty() {
        expect_silence(state, &mut plan)?;
    }
    Ok(plan)
}

pub(super) fn maintain_instance(
    state: &State,
    instance: &InstanceRef,
    reason: Option<&str>,
) -> Result<Plan, Error> {
    let known = state.registry.instance(&instance.namespace, &node_key(&instance.node), &instance.id);
    let known = known.ok_or_else(|| Error::not_found("instance", &instance.id))?;
    let mut plan = Plan::nothing();
    if known.value().maintenance.as_deref() != reason {
        let key = keys::instance(&instance.namespace, &instance.node, &instance.id)?;
        plan.expect(key.clone(), known.instance.modify_revision);
        plan.put(key, &Instance { maintenance: reason.map(str::to_owned), ..known.value().clone() })?;
    }
    Ok(plan)
}

pub(super) fn maintain_node(state: &State, name: &str, reason: Option<&str>) -> Result<Plan, Error> {
    let known = state.registry.nodes.get(&*node_key(name)).and_then(|slot| slot.node.as_ref());
    let known = &known.ok_or_else(|| Error::not_found("node", name))?.node;
    let mut plan = Plan::nothing();
    if known.value.maintenance.as_deref() != reason {
        let key = keys::node(name)?;
        plan.expect(key.clone(), known.modify_revision);
        plan.put(key, &Node { maintenance: reason.map(str::to_owned), ..known.value.clone() })?;
    }
    Ok(plan)
}
