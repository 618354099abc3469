//! The decisions behind locks: pure functions from the catalog's state to a transaction.

use weir_model::registry::Health;
use weir_model::{Revision, ServiceRef};

use super::{Claim, ClaimInstance, ClaimRef, Lock, LockRef};
use crate::Error;
use crate::bounds::{CLAIMS_MAX, LOCK_CLAIMS_MAX};
use crate::catalog::{InstanceRef, State};
use crate::commit::Plan;
use crate::keys::{self, node_key};
use crate::session::SessionRef;

/// Whether what a claim ends with is there and well: its instance, of the same service as before and not critical, and
/// its session. Maintenance ends no claim.
pub(crate) fn is_alive(state: &State, claim: &Claim) -> bool {
    let instance = claim.instance.as_ref().is_none_or(|instance| {
        let name = InstanceRef::new(&*claim.namespace, &*instance.node, &*instance.id);
        health_of(state, &name)
            .is_some_and(|(service, health)| service.name == instance.service && health != Health::Critical)
    });
    let session = claim.session.as_ref();
    instance && session.is_none_or(|id| state.sessions.get(&claim.namespace, id).is_some())
}

/// An instance's service and the worst of its checks and its node's.
fn health_of(state: &State, name: &InstanceRef) -> Option<(ServiceRef, Health)> {
    let key = node_key(&name.node);
    let node = state.registry.nodes.get(&*key)?;
    let entry = state.registry.instance(&name.namespace, &key, &name.id)?;
    let checks = node.node.iter().flat_map(|node| &node.checks).chain(&entry.checks);
    let health = checks.map(|check| check.value.health).max().unwrap_or(Health::Passing);
    Some((ServiceRef::new(&*name.namespace, &*entry.value().service), health))
}

/// The instance that a claim is to end with, as it is registered.
pub(super) fn instance(state: &State, name: &InstanceRef) -> Result<ClaimInstance, Error> {
    let what = || format!("instance {:?} on node {:?}", name.id, name.node);
    let (service, health) = health_of(state, name).ok_or_else(|| Error::NotFound { what: what() })?;
    if health == Health::Critical {
        return Err(Error::refused(format!("{} is critical, and can hold no lock", what())));
    }
    Ok(ClaimInstance { node: name.node.clone(), id: name.id.clone(), service: service.name })
}

/// Makes a claim, unless it is there already.
pub(super) fn claim(state: &State, claim: &Claim, count: u32) -> Result<Plan, Error> {
    let mut plan = Plan::nothing();
    let name = ClaimRef::of(claim);
    let slot = state.locks.get(&name.lock);
    if slot.is_some_and(|slot| slot.claim(&name.id).is_some()) {
        return Ok(plan);
    }
    if let Some(session) = &claim.session {
        let known = state.sessions.get(&claim.namespace, session);
        known
            .ok_or_else(|| Error::not_found("session", &SessionRef::new(&*claim.namespace, &**session).id))?;
        plan.expect_there(keys::session(&claim.namespace, session)?);
    }
    if let Some(instance) = &claim.instance {
        plan.expect_there(keys::instance(&claim.namespace, &instance.node, &instance.id)?);
    }
    let lock = slot.and_then(|slot| slot.lock.as_ref());
    if let Some(lock) = lock.filter(|lock| lock.value.count != count) {
        return Err(Error::refused(format!(
            "lock {:?} is in use with count {}, not {count}: all who claim a lock must name the same count",
            name.lock.name, lock.value.count
        )));
    }
    if slot.is_some_and(|slot| slot.len() >= LOCK_CLAIMS_MAX) {
        return Err(Error::Overloaded { what: "the line of the lock", max: LOCK_CLAIMS_MAX as u64 });
    }
    if state.locks.claims() >= CLAIMS_MAX {
        return Err(Error::Overloaded { what: "the table of claims", max: CLAIMS_MAX as u64 });
    }
    write_lock(&name.lock, lock.map_or(0, |lock| lock.modify_revision), count, &mut plan)?;
    plan.put(keys::claim(&claim.namespace, &claim.lock, &claim.id)?, claim)?;
    Ok(plan)
}

/// Takes claims away, and the lock with the last of them.
pub(super) fn release<'a>(
    state: &State,
    lock: &LockRef,
    ids: impl IntoIterator<Item = &'a str>,
) -> Result<Plan, Error> {
    let mut plan = Plan::nothing();
    let Some(slot) = state.locks.get(lock) else { return Ok(plan) };
    let ids: Vec<&str> = ids.into_iter().filter(|id| slot.claim(id).is_some()).collect();
    if ids.is_empty() {
        return Ok(plan);
    }
    let revision = slot.lock.as_ref().map_or(0, |lock| lock.modify_revision);
    if ids.len() == slot.len() {
        let stored_at = keys::lock(&lock.namespace, &lock.name)?;
        plan.expect(stored_at.clone(), revision);
        plan.delete(stored_at);
    } else {
        write_lock(lock, revision, slot.count(), &mut plan)?;
    }
    for id in ids {
        plan.delete(keys::claim(&lock.namespace, &lock.name, id)?);
    }
    Ok(plan)
}

/// Takes a claim away whose time is over, unless it was written after this revision, which is a renewal elsewhere.
pub(super) fn end(state: &State, name: &ClaimRef, unless_after: Option<Revision>) -> Result<Plan, Error> {
    let Some(known) = state.locks.claim(name) else { return Ok(Plan::nothing()) };
    if unless_after.is_some_and(|seen| known.modify_revision > seen) {
        return Ok(Plan::nothing());
    }
    let mut plan = release(state, &name.lock, [&*name.id])?;
    if unless_after.is_some() {
        plan.expect(keys::claim(&name.lock.namespace, &name.lock.name, &name.id)?, known.modify_revision);
    }
    Ok(plan)
}

/// Every change of a lock's claims writes the lock, so that no two are decided on the same state.
fn write_lock(lock: &LockRef, revision: u64, count: u32, plan: &mut Plan) -> Result<(), Error> {
    let stored_at = keys::lock(&lock.namespace, &lock.name)?;
    plan.expect(stored_at.clone(), revision);
    plan.put(stored_at, &Lock { count })
}
