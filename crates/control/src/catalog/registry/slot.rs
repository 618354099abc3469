//! What the registry holds per node, per service and per namespace.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_model::Revision;

use crate::catalog::entry::{CheckEntry, InstanceEntry, NodeEntry};
use crate::catalog::ordered::{By, Entries, Table};
use crate::catalog::registry::lookup::Spellings;

pub(crate) struct ById;

impl By<InstanceEntry> for ById {
    fn pair(entry: &InstanceEntry) -> (&str, &str) {
        (&entry.value().namespace, &entry.value().id)
    }
}

impl By<CheckEntry> for ById {
    fn pair(entry: &CheckEntry) -> (&str, &str) {
        (&entry.value.namespace, &entry.value.id)
    }
}

pub(crate) struct ByNode;

impl By<InstanceEntry> for ByNode {
    fn pair(entry: &InstanceEntry) -> (&str, &str) {
        (&entry.value().node, &entry.value().id)
    }
}

/// A node's name and all that is on it. Exists without a node only while a damaged store holds orphans.
#[derive(Default)]
pub(crate) struct NodeSlot {
    pub(crate) node: Option<Arc<NodeEntry>>,
    pub(crate) instances: Table<InstanceEntry, ById>,
    pub(crate) checks: Table<CheckEntry, ById>,
    /// Checks in `checks` whose instance or node is not there.
    pub(super) unattached: usize,
    pub(crate) index: Revision,
}

#[derive(Default)]
pub(crate) struct ServiceSlot {
    pub(crate) members: Entries<InstanceEntry, ByNode>,
    /// How many members carry each tag.
    pub(crate) tags: BTreeMap<Arc<str>, u32>,
    pub(crate) index: Revision,
}

#[derive(Default)]
pub(crate) struct NamespaceSlot {
    pub(crate) services: BTreeMap<Arc<str>, ServiceSlot>,
    pub(super) spelled: Spellings,
    pub(super) services_index: Revision,
    /// Of all checks, then of those passing, warning, critical.
    pub(super) checks_index: [Revision; 4],
}

impl NodeSlot {
    /// The checks of an instance that is not there.
    pub(crate) fn orphans_of(
        &self,
        namespace: &str,
        instance: &str,
    ) -> impl Iterator<Item = &Arc<CheckEntry>> {
        let mine = move |check: &&Arc<CheckEntry>| {
            check.value.namespace == namespace && check.value.instance.as_deref() == Some(instance)
        };
        // Only a damaged or racing registry has any: look at all checks only then.
        self.checks.iter().take(if self.unattached > 0 { usize::MAX } else { 0 }).filter(mine)
    }

    pub(super) fn has_home(&self, check: &CheckEntry) -> bool {
        match &check.value.instance {
            Some(id) => self.instances.get(&check.value.namespace, id).is_some(),
            None => self.node.is_some(),
        }
    }

    /// Puts a check into the entry of its instance or node. Returns whether there is one.
    pub(super) fn attach(&mut self, check: &Arc<CheckEntry>) -> bool {
        let place = |checks: &[Arc<CheckEntry>]| {
            let mut checks = checks.to_vec();
            let key = |entry: &CheckEntry| (entry.value.namespace.clone(), entry.value.id.clone());
            match checks.binary_search_by_key(&key(check), |entry| key(entry)) {
                Ok(at) => checks[at] = Arc::clone(check),
                Err(at) => checks.insert(at, Arc::clone(check)),
            }
            checks
        };
        self.rehome(check, place)
    }

    /// Takes a check out of the entry of its instance or node. Returns whether it was in one.
    pub(super) fn detach(&mut self, check: &CheckEntry) -> bool {
        let (namespace, id) = (&check.value.namespace, &check.value.id);
        let without = |checks: &[Arc<CheckEntry>]| {
            let other =
                |entry: &&Arc<CheckEntry>| entry.value.namespace != *namespace || entry.value.id != *id;
            checks.iter().filter(other).cloned().collect()
        };
        self.rehome(check, without)
    }

    fn rehome(
        &mut self,
        check: &CheckEntry,
        change: impl Fn(&[Arc<CheckEntry>]) -> Vec<Arc<CheckEntry>>,
    ) -> bool {
        if let Some(id) = &check.value.instance {
            let Some(entry) = self.instances.get(&check.value.namespace, id) else { return false };
            let checks = change(&entry.checks);
            let entry = InstanceEntry { instance: Arc::clone(&entry.instance), checks };
            self.instances.put(Arc::new(entry));
        } else {
            let Some(entry) = &self.node else { return false };
            let checks = change(&entry.checks);
            self.node = Some(Arc::new(NodeEntry { node: entry.node.clone(), checks }));
        }
        true
    }
}
