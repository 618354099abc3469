//! What applying one revision did: whom to wake and what to tell subscribers.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use weir_model::{Position, ResourceId, Revision, ServiceRef};

use super::entry::{CheckEntry, CheckRef};
use super::topic::Topic;
use crate::changes::Change;
use crate::lock::LockRef;
use crate::session::SessionRef;

/// Collects what one revision changes while it is applied.
pub(crate) struct Effects {
    position: Position,
    pub(crate) touched: HashSet<Topic>,
    checks: BTreeMap<CheckRef, Option<Arc<CheckEntry>>>,
    resources: BTreeSet<ResourceId>,
    removed_resources: BTreeSet<ResourceId>,
    static_services: BTreeSet<ServiceRef>,
    /// Sessions, and locks with claims, that were written as they are.
    renewed_sessions: BTreeSet<SessionRef>,
    renewed_locks: BTreeSet<LockRef>,
    replicas: bool,
    /// Whether anybody will ask.
    observed: bool,
}

impl Effects {
    pub(crate) fn at(position: Position) -> Self {
        Self {
            position,
            observed: true,
            touched: HashSet::new(),
            checks: BTreeMap::new(),
            resources: BTreeSet::new(),
            removed_resources: BTreeSet::new(),
            static_services: BTreeSet::new(),
            renewed_sessions: BTreeSet::new(),
            renewed_locks: BTreeSet::new(),
            replicas: false,
        }
    }

    /// Collects nothing.
    pub(crate) fn unobserved(position: Position) -> Self {
        Self { observed: false, ..Self::at(position) }
    }

    /// Whether anybody will ask: nobody does while everything is loaded.
    pub(crate) fn is_observed(&self) -> bool {
        self.observed
    }

    pub(crate) fn revision(&self) -> Revision {
        self.position.revision
    }

    pub(crate) fn touch(&mut self, topic: impl FnOnce() -> Topic) {
        if self.observed {
            self.touched.insert(topic());
        }
    }

    pub(crate) fn check(&mut self, check: &Arc<CheckEntry>, exists: bool) {
        if self.observed {
            self.checks.insert(CheckRef::of(&check.value), exists.then(|| Arc::clone(check)));
        }
    }

    pub(crate) fn resource(&mut self, id: ResourceId, exists: bool) {
        if !self.observed {
            return;
        }
        if id.kind == weir_model::Kind::Service {
            self.static_services.insert(ServiceRef::new(&*id.namespace, &*id.name));
        }
        if exists {
            self.removed_resources.remove(&id);
            self.resources.insert(id);
        } else {
            self.resources.remove(&id);
            self.removed_resources.insert(id);
        }
    }

    /// A sign of life, for whoever watches over the session; nobody who reads it is to be woken for that.
    pub(crate) fn renewed_session(&mut self, name: &SessionRef) {
        if self.observed {
            self.renewed_sessions.insert(name.clone());
        }
    }

    /// The same of a claim of a lock.
    pub(crate) fn renewed_claim(&mut self, lock: &LockRef) {
        if self.observed {
            self.renewed_locks.insert(lock.clone());
        }
    }

    pub(crate) fn replicas(&mut self) {
        self.replicas = true;
    }

    /// What subscribers are told.
    pub(crate) fn change(&mut self) -> Change {
        let mut services = std::mem::take(&mut self.static_services);
        services.extend(self.touched.iter().filter_map(|topic| match topic {
            Topic::Service(service) => Some(service.clone()),
            _ => None,
        }));
        let mut locks = std::mem::take(&mut self.renewed_locks);
        let mut sessions = std::mem::take(&mut self.renewed_sessions);
        for topic in &self.touched {
            match topic {
                Topic::Lock(lock) => drop(locks.insert(lock.clone())),
                Topic::Session(session) => drop(sessions.insert(session.clone())),
                _ => {}
            }
        }
        let nodes = self.touched.iter().filter_map(|topic| match topic {
            Topic::Node(node) => Some(node.clone()),
            _ => None,
        });
        let tables = self.touched.iter().filter_map(|topic| match topic {
            Topic::Table(table) => Some(table.clone()),
            _ => None,
        });
        Change {
            tables: tables.collect(),
            locks: locks.into_iter().collect(),
            sessions: sessions.into_iter().collect(),
            nodes: nodes.collect(),
            position: self.position,
            services: services.into_iter().collect(),
            resources: std::mem::take(&mut self.resources).into_iter().collect(),
            removed_resources: std::mem::take(&mut self.removed_resources).into_iter().collect(),
            checks: std::mem::take(&mut self.checks).into_iter().collect(),
            replicas: std::mem::take(&mut self.replicas),
        }
    }
}
