//! The catalog's locks: their claims in order, and what claims end with.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use weir_model::{Revision, ServiceRef};

use super::effects::Effects;
use super::entry::Versioned;
use super::topic::{Tombstones, Topic};
use crate::bounds::LOCK_TOMBSTONES_MAX;
use crate::lock::{Claim, ClaimEntry, ClaimRef, Lock, LockRef};
use crate::session::SessionRef;

/// One lock.
#[derive(Default)]
pub(crate) struct LockSlot {
    /// Absent only while a damaged store holds claims without their lock.
    pub(crate) lock: Option<Versioned<Lock>>,
    /// By the revision that created them.
    claims: BTreeMap<Revision, Arc<ClaimEntry>>,
    by_id: HashMap<String, Revision>,
    index: Revision,
}

impl LockSlot {
    /// How many claims may hold it at a time.
    pub(crate) fn count(&self) -> u32 {
        self.lock.as_ref().map_or(1, |lock| lock.value.count)
    }

    /// The claims in their order: first those that hold the lock, then those that wait.
    pub(crate) fn claims(&self) -> impl Iterator<Item = &Arc<ClaimEntry>> {
        self.claims.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.claims.len()
    }

    /// The claims that hold the lock.
    pub(crate) fn holders(&self) -> impl Iterator<Item = &Arc<ClaimEntry>> {
        self.claims().take(self.count() as usize)
    }

    /// How many claims came before this one.
    pub(crate) fn place(&self, id: &str) -> Option<usize> {
        let revision = self.by_id.get(id)?;
        Some(self.claims.range(..revision).count())
    }

    pub(crate) fn claim(&self, id: &str) -> Option<&Arc<ClaimEntry>> {
        self.claims.get(self.by_id.get(id)?)
    }
}

pub(crate) struct Locks {
    locks: BTreeMap<LockRef, LockSlot>,
    by_service: HashMap<ServiceRef, BTreeSet<ClaimRef>>,
    by_session: HashMap<SessionRef, BTreeSet<ClaimRef>>,
    claims: usize,
    lists: BTreeMap<String, Revision>,
    gone: Tombstones<LockRef>,
}

impl Locks {
    pub(crate) fn new(floor: Revision) -> Self {
        Self {
            locks: BTreeMap::new(),
            by_service: HashMap::new(),
            by_session: HashMap::new(),
            claims: 0,
            lists: BTreeMap::new(),
            gone: Tombstones::new(LOCK_TOMBSTONES_MAX, floor),
        }
    }

    pub(crate) fn get(&self, lock: &LockRef) -> Option<&LockSlot> {
        self.locks.get(lock)
    }

    pub(crate) fn claim(&self, claim: &ClaimRef) -> Option<&Arc<ClaimEntry>> {
        self.get(&claim.lock)?.claim(&claim.id)
    }

    /// All locks, by namespace and name.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&LockRef, &LockSlot)> {
        self.locks.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.locks.len()
    }

    /// The claims of all locks.
    pub(crate) fn claims(&self) -> usize {
        self.claims
    }

    /// The claims that end with an instance of this service.
    pub(crate) fn of_service(&self, service: &ServiceRef) -> impl Iterator<Item = &Arc<ClaimEntry>> {
        self.by_service.get(service).into_iter().flatten().filter_map(|name| self.claim(name))
    }

    /// The claims that end with this session.
    pub(crate) fn of_session(&self, session: &SessionRef) -> impl Iterator<Item = &Arc<ClaimEntry>> {
        self.by_session.get(session).into_iter().flatten().filter_map(|name| self.claim(name))
    }

    pub(crate) fn put_lock(&mut self, name: &LockRef, lock: Versioned<Lock>, effects: &mut Effects) {
        self.slot(name).lock = Some(lock);
        self.touch(name, effects);
    }

    pub(crate) fn delete_lock(&mut self, name: &LockRef, effects: &mut Effects) {
        if let Some(slot) = self.locks.get_mut(name) {
            slot.lock = None;
            self.touch(name, effects);
            self.sweep(name, effects);
        }
    }

    pub(crate) fn put_claim(&mut self, entry: ClaimEntry, effects: &mut Effects) {
        let name = ClaimRef::of(&entry.value);
        if let Some(slot) = self.locks.get_mut(&name.lock)
            && let Some(known) = slot.claims.get_mut(&entry.create_revision)
            && known.value == entry.value
        {
            // A sign of life: nobody who waits is woken.
            *known = Arc::new(entry);
            effects.renewed_claim(&name.lock);
            return;
        }
        // A claim never changes; after a resync the same id may stand for a later one.
        self.delete_claim(&name, effects);
        if let Some(service) = service_of(&entry.value) {
            self.by_service.entry(service).or_default().insert(name.clone());
        }
        if let Some(session) = session_of(&entry.value) {
            self.by_session.entry(session).or_default().insert(name.clone());
        }
        self.claims += 1;
        let slot = self.slot(&name.lock);
        slot.by_id.insert(name.id.clone(), entry.create_revision);
        slot.claims.insert(entry.create_revision, Arc::new(entry));
        self.touch(&name.lock, effects);
    }

    pub(crate) fn delete_claim(&mut self, name: &ClaimRef, effects: &mut Effects) {
        let Some(slot) = self.locks.get_mut(&name.lock) else { return };
        let Some(revision) = slot.by_id.remove(&name.id) else { return };
        let Some(entry) = slot.claims.remove(&revision) else { return };
        self.claims -= 1;
        if let Some(service) = service_of(&entry.value) {
            leave(&mut self.by_service, &service, name);
        }
        if let Some(session) = session_of(&entry.value) {
            leave(&mut self.by_session, &session, name);
        }
        self.touch(&name.lock, effects);
        self.sweep(&name.lock, effects);
    }

    fn slot(&mut self, name: &LockRef) -> &mut LockSlot {
        if !self.locks.contains_key(name) {
            self.gone.revive(name);
        }
        self.locks.entry(name.clone()).or_default()
    }

    fn touch(&mut self, name: &LockRef, effects: &mut Effects) {
        if let Some(slot) = self.locks.get_mut(name) {
            slot.index = effects.revision();
        }
        self.lists.insert(name.namespace.clone(), effects.revision());
        effects.touch(|| Topic::Lock(name.clone()));
        effects.touch(|| Topic::Locks { namespace: name.namespace.clone() });
    }

    fn sweep(&mut self, name: &LockRef, effects: &Effects) {
        if self.locks.get(name).is_some_and(|slot| slot.lock.is_none() && slot.claims.is_empty()) {
            self.locks.remove(name);
            self.gone.bury(name.clone(), effects.revision());
        }
    }

    pub(crate) fn index(&self, lock: &LockRef) -> Revision {
        self.locks.get(lock).map_or_else(|| self.gone.index(lock), |slot| slot.index)
    }

    pub(crate) fn list_index(&self, namespace: &str) -> Revision {
        self.lists.get(namespace).copied().unwrap_or_default().max(self.gone.floor())
    }
}

fn service_of(claim: &Claim) -> Option<ServiceRef> {
    claim.instance.as_ref().map(|instance| ServiceRef::new(&*claim.namespace, &*instance.service))
}

fn session_of(claim: &Claim) -> Option<SessionRef> {
    claim.session.as_ref().map(|session| SessionRef::new(&*claim.namespace, &**session))
}

fn leave<K: std::hash::Hash + Eq>(table: &mut HashMap<K, BTreeSet<ClaimRef>>, key: &K, claim: &ClaimRef) {
    if let Some(claims) = table.get_mut(key) {
        claims.remove(claim);
        if claims.is_empty() {
            table.remove(key);
        }
    }
}
