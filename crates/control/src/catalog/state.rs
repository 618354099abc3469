//! The catalog's whole state and how the store's events change it.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use weir_model::registry::Instance;
use weir_model::{Position, Revision};
use weir_store::{Entry, Event, Key, Record};

use super::declared::Declared;
use super::effects::Effects;
use super::entry::Versioned;
use super::found::{Found, FoundCheck};
use super::kept::{Stored, read};
use super::kv::KvTable;
use super::locks::Locks;
use super::records::Records;
use super::registry::Registry;
use super::sessions::Sessions;
use super::topic::Topic;
use crate::keys::{Place, place};
use crate::lock::{ClaimRef, LockRef};
use crate::records::TableRef;
use crate::session::SessionRef;
use crate::told::Told;
use crate::{Replica, kv};

pub(crate) struct State {
    pub(crate) position: Position,
    pub(crate) registry: Registry,
    pub(crate) kv: KvTable,
    pub(crate) sessions: Sessions,
    pub(crate) locks: Locks,
    pub(crate) records: Records,
    pub(crate) declared: Declared,
    pub(crate) replicas: BTreeMap<String, Versioned<Replica>>,
    pub(crate) told: Told,
}

/// An instance that is about to be put, with its checks that follow it.
type Arriving = (Stored, Box<Versioned<Instance>>, Vec<FoundCheck>);

/// The order in which the events of one revision are applied, so that nothing is an orphan on the way: things
/// appear from the outside in, vanish from the inside out, and the head moves last.
fn rank(place: Option<&Place<'_>>, exists: bool) -> u8 {
    match (place, exists) {
        (Some(Place::Node(_)), true) => 0,
        (Some(Place::Instance { .. }), true) => 1,
        (Some(Place::Check { .. }), _) => 2,
        (Some(Place::Instance { .. }), false) => 3,
        (Some(Place::Node(_)), false) => 4,
        (Some(Place::Head), _) => 6,
        _ => 5,
    }
}

impl State {
    /// A state that knows nothing from before this position.
    pub(crate) fn new(position: Position) -> Self {
        // Nobody knows what was deleted before: every answer counts as changed here.
        let floor = position.revision.max(1);
        Self {
            position,
            registry: Registry::new(floor),
            kv: KvTable::new(floor),
            sessions: Sessions::new(floor),
            locks: Locks::new(floor),
            records: Records::new(floor),
            declared: Declared::new(floor),
            replicas: BTreeMap::new(),
            told: Told::default(),
        }
    }

    /// What a store held at a position.
    pub(crate) fn of(position: Position, entries: Vec<Record>) -> Self {
        let mut state = Self::new(position);
        state.load(entries);
        state
    }

    /// Applies one revision, or one resync.
    pub(crate) fn apply(&mut self, position: Position, events: &[Event]) -> Effects {
        let mut effects = Effects::at(position);
        self.apply_into(events, &mut effects);
        self.position = position;
        effects
    }

    fn apply_into(&mut self, events: &[Event], effects: &mut Effects) {
        let mut arriving = None;
        // Few at a time when following, so that the common case allocates nothing for the order.
        if let [event] = events {
            self.apply_one(place(&event.key), event, &mut arriving, effects);
            return self.arrive(arriving, effects);
        }
        let placed = events.iter().map(|event| (place(&event.key), event));
        let mut placed: Vec<(Option<Place<'_>>, &Event)> = placed.collect();
        placed.sort_by_key(|(place, event)| rank(place.as_ref(), event.now.is_some()));
        for (place, event) in placed {
            self.apply_one(place, event, &mut arriving, effects);
        }
        self.arrive(arriving, effects);
    }

    /// Applies an event, but for an instance that comes: it waits for its checks, which come next.
    fn apply_one(
        &mut self,
        place: Option<Place<'_>>,
        event: &Event,
        arriving: &mut Option<Arriving>,
        effects: &mut Effects,
    ) {
        let Some(place) = place else { return };
        let record = |entry| Record::of(&event.key, entry);
        let found = match (&place, &event.now) {
            (Place::Instance { .. }, Some(entry)) => Found::instance(record(entry)),
            (Place::Check { .. }, Some(entry)) => Found::check(record(entry), true),
            _ => None,
        };
        match (found, &mut *arriving, &event.now) {
            (Some(Found::Instance(stored, instance)), _, _) => {
                self.arrive(arriving.replace((stored, instance, Vec::new())), effects);
            }
            (Some(Found::Check(check)), Some((instance, _, with)), _) if check.kept.is_of(instance) => {
                with.push(check);
            }
            (Some(Found::Check(check)), _, _) => {
                self.arrive(arriving.take(), effects);
                self.registry.put_check(&check, effects);
            }
            (_, _, None) => {
                self.arrive(arriving.take(), effects);
                self.delete(place, effects);
            }
            (_, _, Some(entry)) if is_read_at_once(&place) => {
                self.put_other(place, &event.key, entry, effects);
            }
            (_, _, Some(entry)) => {
                let record = record(entry);
                self.put_other(place, &record.key(), &record.entry(), effects);
            }
        }
    }

    fn arrive(&mut self, arriving: Option<Arriving>, effects: &mut Effects) {
        if let Some((stored, instance, with)) = arriving {
            self.registry.put_instance(stored, *instance, with, effects);
        }
    }

    pub(super) fn put_other(&mut self, place: Place<'_>, key: &Key, entry: &Entry, effects: &mut Effects) {
        match place {
            Place::Instance { .. } | Place::Check { .. } => {}
            Place::Node(name) => {
                if let Some(node) = decode(key, entry) {
                    self.registry.put_node(name, node, effects);
                }
            }
            Place::Kv { namespace, key: name } => match kv::decode(name, entry) {
                Some(read) => self.kv.put(namespace, read, effects),
                None => tracing::error!(%key, "stored KV value cannot be read and is ignored"),
            },
            Place::KvDelayed { namespace, key } => self.kv.delay(namespace, key, entry.mod_revision),
            Place::Session { .. } => {
                if let Some(session) = decode(key, entry) {
                    self.sessions.put(session, effects);
                }
            }
            Place::Lock { namespace, name } => {
                if let Some(lock) = decode(key, entry) {
                    self.locks.put_lock(&LockRef::new(namespace, name), lock, effects);
                }
            }
            Place::Claim { .. } => {
                if let Some(claim) = decode(key, entry) {
                    self.locks.put_claim(claim, effects);
                }
            }
            Place::Table { namespace, name } => {
                if let Some(head) = decode(key, entry) {
                    self.records.put_head(&TableRef::new(namespace, name), head, effects);
                }
            }
            Place::Record { namespace, table, .. } => {
                if let Some(record) = decode(key, entry) {
                    self.records.put(&TableRef::new(namespace, table), record, effects);
                }
            }
            Place::ChangeSet { id, part } => self.declared.put_part(id, part, entry.value.clone()),
            Place::Checkpoint { id, part } => self.declared.put_checkpoint(id, part, entry.value.clone()),
            Place::Replica(id) => {
                if let Some(replica) = decode::<Replica>(key, entry) {
                    self.replicas.insert(id.to_owned(), replica);
                    effects.replicas();
                }
            }
            Place::Told(id) => effects.told(self.told.put(id, key, entry)),
            Place::Head => {
                let Some(head) = decode(key, entry) else { return };
                if let Err(damage) = self.declared.move_head(head.value, entry.mod_revision, effects) {
                    tracing::error!(%damage, "the declared resources stay as they were");
                }
            }
        }
    }

    fn delete(&mut self, place: Place<'_>, effects: &mut Effects) {
        match place {
            Place::Node(name) => self.registry.delete_node(name, effects),
            Place::Instance { namespace, node, id } => {
                self.registry.delete_instance(namespace, node, id, effects);
            }
            Place::Check { namespace, node, id } => {
                self.registry.delete_check(namespace, node, id, effects);
            }
            Place::Kv { namespace, key } => self.kv.delete(namespace, key, effects),
            Place::KvDelayed { namespace, key } => self.kv.end_delay(namespace, key),
            Place::Session { namespace, id } => {
                self.sessions.delete(&SessionRef::new(namespace, id), effects);
            }
            Place::Lock { namespace, name } => {
                self.locks.delete_lock(&LockRef::new(namespace, name), effects);
            }
            Place::Claim { namespace, lock, id } => {
                self.locks.delete_claim(&ClaimRef::new(LockRef::new(namespace, lock), id), effects);
            }
            Place::Table { namespace, name } => {
                self.records.delete_head(&TableRef::new(namespace, name), effects);
            }
            Place::Record { namespace, table, name } => {
                self.records.delete(&TableRef::new(namespace, table), name, effects);
            }
            Place::ChangeSet { id, part } => self.declared.delete_part(id, part),
            Place::Checkpoint { id, part } => self.declared.delete_checkpoint(id, part),
            Place::Replica(id) => {
                self.replicas.remove(id);
                effects.replicas();
            }
            Place::Told(id) => self.told.delete(id),
            // The log is never taken back: without its head the last state stays in force.
            Place::Head => {
                tracing::error!("the head of the declared resources was deleted from the store");
            }
        }
    }

    /// Whether a node is registered, by its name in lower case.
    pub(crate) fn has_node(&self, key: &str) -> bool {
        self.registry.nodes.get(key).is_some_and(|slot| slot.node.is_some())
    }

    /// The index of a topic's answer; never 0.
    pub(crate) fn index(&self, topic: &Topic) -> Revision {
        let index = match topic {
            Topic::Service(service) => self.registry.service_index(service),
            Topic::Services { namespace } => self.registry.services_index(namespace),
            Topic::Node(name) => self.registry.node_index(name),
            Topic::Nodes => self.registry.nodes_index(),
            Topic::Checks { namespace, health } => self.registry.checks_index(namespace, *health),
            Topic::KvKey { namespace, key } => self.kv.key_index(namespace, key),
            Topic::KvPrefix { namespace, prefix } => self.kv.prefix_index(namespace, prefix),
            Topic::Session(name) => self.sessions.index(name),
            Topic::Sessions { namespace } => self.sessions.list_index(namespace),
            Topic::NodeSessions { namespace, node } => self.sessions.node_index(namespace, node),
            Topic::Lock(name) => self.locks.index(name),
            Topic::Locks { namespace } => self.locks.list_index(namespace),
            Topic::Table(table) => self.records.table_index(table),
            Topic::Record(record) => self.records.index(record),
            Topic::Resources => self.declared.index(),
        };
        index.max(1)
    }
}

/// Whether nothing of what is stored there is kept as it is: then it need not be made a record, which costs more than
/// reading it.
fn is_read_at_once(place: &Place<'_>) -> bool {
    match place {
        Place::Instance { .. } | Place::Check { .. } | Place::Kv { .. } => false,
        Place::ChangeSet { .. } | Place::Checkpoint { .. } => false,
        Place::Node(_) | Place::Session { .. } | Place::Lock { .. } | Place::Claim { .. } => true,
        Place::KvDelayed { .. } | Place::Table { .. } | Place::Record { .. } => true,
        Place::Replica(_) | Place::Told(_) | Place::Head => true,
    }
}

fn decode<T: DeserializeOwned>(key: &Key, entry: &Entry) -> Option<Versioned<T>> {
    read(|| key.as_str(), &entry.value.bytes(), [entry.create_revision, entry.mod_revision])
}
