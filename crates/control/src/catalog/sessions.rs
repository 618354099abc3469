//! The catalog's sessions with their indexes, and who relies on what.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use weir_model::Revision;

use super::effects::Effects;
use super::entry::CheckRef;
use super::topic::{Tombstones, Topic};
use crate::bounds::SESSION_TOMBSTONES_MAX;
use crate::keys::node_key;
use crate::session::{SessionEntry, SessionRef};

/// What a session is found by beside its name.
type Members = BTreeSet<SessionRef>;

pub(crate) struct Sessions {
    sessions: BTreeMap<SessionRef, Arc<SessionEntry>>,
    by_node: BTreeMap<String, Members>,
    by_check: HashMap<CheckRef, Members>,
    /// The last change of each namespace's list.
    lists: BTreeMap<String, Revision>,
    /// The last change of what is on a node, by namespace and node.
    nodes: BTreeMap<(String, String), Revision>,
    nodes_gone: Tombstones<(String, String)>,
    gone: Tombstones<SessionRef>,
}

/// A check as sessions refer to it: node names are compared without regard to case.
fn check_key(check: CheckRef) -> CheckRef {
    CheckRef { node: node_key(&check.node).into_owned(), ..check }
}

impl Sessions {
    pub(crate) fn new(floor: Revision) -> Self {
        Self {
            sessions: BTreeMap::new(),
            by_node: BTreeMap::new(),
            by_check: HashMap::new(),
            lists: BTreeMap::new(),
            nodes: BTreeMap::new(),
            nodes_gone: Tombstones::new(SESSION_TOMBSTONES_MAX, floor),
            gone: Tombstones::new(SESSION_TOMBSTONES_MAX, floor),
        }
    }

    pub(crate) fn get(&self, namespace: &str, id: &str) -> Option<&Arc<SessionEntry>> {
        self.sessions.get(&SessionRef::new(namespace, id))
    }

    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<SessionEntry>> {
        self.sessions.values()
    }

    /// The sessions of a namespace, by id.
    pub(crate) fn list(&self, namespace: &str) -> impl Iterator<Item = &Arc<SessionEntry>> {
        let from = SessionRef::new(namespace, "");
        self.sessions
            .range(from..)
            .take_while(move |(name, _)| name.namespace == namespace)
            .map(|(_, entry)| entry)
    }

    /// The sessions on a node, of all namespaces.
    pub(crate) fn on_node(&self, node: &str) -> impl Iterator<Item = &Arc<SessionEntry>> {
        let members = self.by_node.get(&*node_key(node)).into_iter().flatten();
        members.filter_map(|name| self.sessions.get(name))
    }

    /// The sessions that rely on a check.
    pub(crate) fn relying_on(&self, check: &CheckRef) -> impl Iterator<Item = &Arc<SessionEntry>> {
        let members = self.by_check.get(&check_key(check.clone())).into_iter().flatten();
        members.filter_map(|name| self.sessions.get(name))
    }

    pub(crate) fn put(&mut self, entry: SessionEntry, effects: &mut Effects) {
        let name = SessionRef::of(&entry.value);
        // Locking a key writes it anew; nobody who reads sessions is to be woken for that.
        let same = self.sessions.get(&name).is_some_and(|known| known.value == entry.value);
        if !same {
            self.delete(&name, effects);
            self.gone.revive(&name);
            self.by_node.entry(node_key(&entry.value.node).into_owned()).or_default().insert(name.clone());
            for check in entry.value.checks() {
                self.by_check.entry(check_key(check)).or_default().insert(name.clone());
            }
            self.touch(&entry, effects);
        } else {
            effects.renewed_session(&name);
        }
        self.sessions.insert(name, Arc::new(entry));
    }

    pub(crate) fn delete(&mut self, name: &SessionRef, effects: &mut Effects) {
        let Some(entry) = self.sessions.remove(name) else { return };
        let node = node_key(&entry.value.node).into_owned();
        if let Some(members) = self.by_node.get_mut(&node) {
            members.remove(name);
            if members.is_empty() {
                self.by_node.remove(&node);
            }
        }
        for check in entry.value.checks().map(check_key) {
            if let Some(members) = self.by_check.get_mut(&check) {
                members.remove(name);
                if members.is_empty() {
                    self.by_check.remove(&check);
                }
            }
        }
        self.gone.bury(name.clone(), effects.revision());
        self.touch(&entry, effects);
        let place = (name.namespace.clone(), node);
        if !self.on_node(&place.1).any(|other| other.value.namespace == name.namespace) {
            self.nodes.remove(&place);
            self.nodes_gone.bury(place, effects.revision());
        }
    }

    fn touch(&mut self, entry: &SessionEntry, effects: &mut Effects) {
        let SessionRef { namespace, id } = SessionRef::of(&entry.value);
        let node = node_key(&entry.value.node).into_owned();
        self.lists.insert(namespace.clone(), effects.revision());
        let place = (namespace.clone(), node.clone());
        self.nodes_gone.revive(&place);
        self.nodes.insert(place, effects.revision());
        effects.touch(|| Topic::Session(SessionRef::new(&*namespace, id)));
        effects.touch(|| Topic::Sessions { namespace: namespace.clone() });
        effects.touch(|| Topic::NodeSessions { namespace, node });
    }

    pub(crate) fn index(&self, name: &SessionRef) -> Revision {
        self.sessions.get(name).map_or_else(|| self.gone.index(name), |entry| entry.create_revision)
    }

    pub(crate) fn list_index(&self, namespace: &str) -> Revision {
        self.lists.get(namespace).copied().unwrap_or_default().max(self.gone.floor())
    }

    pub(crate) fn node_index(&self, namespace: &str, node: &str) -> Revision {
        let place = (namespace.to_owned(), node_key(node).into_owned());
        self.nodes.get(&place).copied().unwrap_or_else(|| self.nodes_gone.index(&place))
    }
}
