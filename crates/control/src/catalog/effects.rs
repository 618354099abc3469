//! What applying one revision did: whom to wake and what to tell subscribers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_model::{Position, ResourceId, Revision, ServiceRef};

use super::entry::{CheckEntry, CheckRef};
use super::topic::{Topic, Topics};
use crate::changes::Change;
use crate::lock::LockRef;
use crate::session::SessionRef;
use crate::told::News;

/// Collects what one revision changes while it is applied.
pub(crate) struct Effects {
    position: Position,
    pub(crate) touched: Topics,
    checks: BTreeMap<CheckRef, Option<Arc<CheckEntry>>>,
    resources: BTreeSet<ResourceId>,
    removed_resources: BTreeSet<ResourceId>,
    static_services: BTreeSet<ServiceRef>,
    /// Sessions, and locks with claims, that were written as they are.
    renewed_sessions: BTreeSet<SessionRef>,
    renewed_locks: BTreeSet<LockRef>,
    replicas: bool,
    told: News,
    /// Whether anybody will ask.
    observed: bool,
}

impl Effects {
    pub(crate) fn at(position: Position) -> Self {
        Self {
            position,
            observed: true,
            touched: Topics::default(),
            checks: BTreeMap::new(),
            resources: BTreeSet::new(),
            removed_resources: BTreeSet::new(),
            static_services: BTreeSet::new(),
            renewed_sessions: BTreeSet::new(),
            renewed_locks: BTreeSet::new(),
            replicas: false,
            told: News::default(),
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

    pub(crate) fn check(&mut self, check: impl FnOnce() -> Arc<CheckEntry>, exists: bool) {
        if self.observed {
            let check = check();
            self.checks.insert(CheckRef::of(&check.value), exists.then_some(check));
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

    /// What a replica tells those that judge.
    pub(crate) fn told(&mut self, news: News) {
        self.told.has_gap |= news.has_gap;
        self.told.checks.extend(news.checks);
    }

    /// What subscribers are told.
    pub(crate) fn into_change(self) -> Change {
        let (mut services, mut locks, mut sessions) =
            (self.static_services, self.renewed_locks, self.renewed_sessions);
        let (mut nodes, mut tables) = (Vec::new(), Vec::new());
        for topic in self.touched {
            match topic {
                Topic::Service(service) => drop(services.insert(service)),
                Topic::Lock(lock) => drop(locks.insert(lock)),
                Topic::Session(session) => drop(sessions.insert(session)),
                Topic::Node(node) => nodes.push(node),
                Topic::Table(table) => tables.push(table),
                _ => {}
            }
        }
        Change {
            tables,
            locks: locks.into_iter().collect(),
            sessions: sessions.into_iter().collect(),
            nodes,
            position: self.position,
            services: services.into_iter().collect(),
            resources: self.resources.into_iter().collect(),
            removed_resources: self.removed_resources.into_iter().collect(),
            checks: self.checks.into_iter().collect(),
            replicas: self.replicas,
            told: self.told,
        }
    }
}
