//! The difference between what the catalog holds and what the store holds, as events: so a resync is applied like
//! any revision, and only what really differs counts as changed. Both are of one history: of another, equal revisions mean
//! nothing.

use std::collections::{HashMap, HashSet};

use weir_model::Revision;
use weir_store::{Event, Key, Record};

use super::state::State;
use crate::keys::{self, Place, place};

/// The events that lead from a state to the store's entries.
pub(crate) fn difference(state: &State, entries: &[Record]) -> Vec<Event> {
    let held = held(state);
    let mut events = Vec::new();
    let mut present = HashSet::new();
    for record in entries {
        let key = record.key();
        let known = held.get(&key) == Some(&record.mod_revision());
        if !known {
            events.push(Event { key: key.clone(), now: Some(record.entry()), before: None });
        }
        present.insert(key);
    }
    for key in held.keys().filter(|key| !present.contains(*key)) {
        events.push(Event { key: key.clone(), now: None, before: None });
    }
    let cut: Vec<_> = state
        .declared
        .log
        .values()
        .filter_map(|change_set| keys::part(keys::CHANGE_SET, &change_set.id, 0).ok())
        .filter(|key| !present.contains(key))
        .collect();
    events.extend(cut.into_iter().map(|key| Event { key, now: None, before: None }));
    events
}

/// The keys that the catalog holds with the revisions it knows. Pieces of change sets are not among them: they are
/// immutable, and looking at one again does no harm.
fn held(state: &State) -> HashMap<Key, Revision> {
    let mut held = HashMap::new();
    let mut hold = |key: Result<Key, crate::Error>, revision| {
        if let Ok(key) = key {
            debug_assert!(place(&key).is_some_and(|place| !matches!(place, Place::ChangeSet { .. })));
            held.insert(key, revision);
        }
    };
    for (name, slot) in &state.registry.nodes {
        if let Some(node) = &slot.node {
            hold(keys::node(name), node.node.modify_revision);
        }
        for kept in slot.instances.iter() {
            hold(Ok(kept.stored.key()), kept.stored.modify_revision());
        }
        for check in slot.checks.iter() {
            hold(Ok(check.stored.key()), check.stored.modify_revision());
        }
    }
    for (id, replica) in &state.replicas {
        hold(keys::replica(id), replica.modify_revision);
    }
    for (id, revision) in state.told.all() {
        hold(keys::told(id), revision);
    }
    for (namespace, entry) in state.kv.all() {
        hold(keys::kv(namespace, &entry.key), entry.modify_revision);
    }
    for ((namespace, key), revision) in state.kv.delays() {
        hold(keys::kv_delayed(namespace, key), *revision);
    }
    for entry in state.sessions.all() {
        hold(keys::session(&entry.value.namespace, &entry.value.id), entry.modify_revision);
    }
    for (name, slot) in state.locks.all() {
        if let Some(lock) = &slot.lock {
            hold(keys::lock(&name.namespace, &name.name), lock.modify_revision);
        }
        for claim in slot.claims() {
            hold(keys::claim(&name.namespace, &name.name, &claim.value.id), claim.modify_revision);
        }
    }
    for (table, revision) in state.records.heads() {
        hold(keys::table(table), revision);
    }
    for (table, entry) in state.records.all() {
        hold(keys::record(table, &entry.value.name), entry.modify_revision);
    }
    if state.declared.head.is_some() {
        hold(keys::head(), state.declared.head_revision);
    }
    held
}
