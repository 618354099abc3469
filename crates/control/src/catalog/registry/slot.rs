//! What the registry holds per node, per service and per namespace.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_model::{Revision, ServiceRef};

use crate::catalog::effects::Effects;
use crate::catalog::entry::{CheckEntry, NodeEntry};
use crate::catalog::kept::{ById, ByNode, KeptCheck, KeptChecks, KeptInstance, Open};
use crate::catalog::ordered::{Entries, Table};
use crate::catalog::registry::lookup::Spellings;
use crate::catalog::topic::Topic;

/// A node's name and all that is on it. Exists without a node only while a damaged store holds orphans.
#[derive(Default)]
pub(crate) struct NodeSlot {
    pub(crate) node: Option<Arc<NodeEntry>>,
    pub(crate) instances: Table<KeptInstance, ById>,
    pub(crate) checks: Table<KeptCheck, ById>,
    /// Checks in `checks` whose instance or node is not there.
    pub(super) unattached: usize,
    pub(crate) index: Revision,
}

pub(crate) struct ServiceSlot {
    /// Its name, which all of its members have from here.
    pub(super) name: Arc<ServiceRef>,
    pub(crate) members: Entries<KeptInstance, ByNode>,
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

impl ServiceSlot {
    /// One without members.
    pub(super) fn new(name: Arc<ServiceRef>) -> Self {
        Self { name, members: Entries::default(), tags: BTreeMap::new(), index: 0 }
    }

    /// It changes, if anybody asks.
    pub(super) fn touch(&mut self, effects: &mut Effects) {
        if effects.is_observed() {
            self.index = effects.revision();
            effects.touch(|| Topic::Service((*self.name).clone()));
        }
    }

    pub(crate) fn name(&self) -> &ServiceRef {
        &self.name
    }
}

impl NamespaceSlot {
    /// Everything in it changed at this revision.
    pub(super) fn touch_all(&mut self, revision: Revision) {
        self.services_index = revision;
        self.checks_index = [revision; 4];
        self.services.values_mut().for_each(|slot| slot.index = revision);
    }
}

impl NodeSlot {
    /// It changes, or something on it, if anybody asks.
    pub(super) fn touch(&mut self, name: &str, effects: &mut Effects) {
        if effects.is_observed() {
            self.index = effects.revision();
            effects.touch(|| Topic::Node(name.to_owned()));
        }
    }

    /// The checks of an instance that is not there.
    pub(crate) fn orphans_of(
        &self,
        namespace: &str,
        instance: &str,
    ) -> impl Iterator<Item = &Arc<KeptCheck>> {
        let mine = move |check: &&Arc<KeptCheck>| {
            check.namespace() == namespace && check.instance() == Some(instance)
        };
        // Only a damaged or racing registry has any: look at all checks only then.
        self.checks.iter().take(if self.unattached > 0 { usize::MAX } else { 0 }).filter(mine)
    }

    pub(super) fn has_home(&self, check: &KeptCheck) -> bool {
        match check.instance() {
            Some(id) => self.instances.get(check.namespace(), id).is_some(),
            None => self.node.is_some(),
        }
    }

    /// Puts a check, which reads like this, into the entry of its instance or node. Returns whether there is one.
    pub(super) fn attach(&mut self, check: &Arc<KeptCheck>, entry: &Arc<CheckEntry>, open: &Open) -> bool {
        let with = |checks: &[Arc<CheckEntry>]| {
            let mut checks = checks.to_vec();
            let wanted = (&*entry.value.namespace, &*entry.value.id);
            match checks.binary_search_by(|entry| (&*entry.value.namespace, &*entry.value.id).cmp(&wanted)) {
                Ok(at) => checks[at] = Arc::clone(entry),
                Err(at) => checks.insert(at, Arc::clone(entry)),
            }
            checks
        };
        let kept = |checks: &[Arc<KeptCheck>]| {
            let mut checks = checks.to_vec();
            let wanted = (check.namespace(), check.id());
            match checks.binary_search_by(|entry| (entry.namespace(), entry.id()).cmp(&wanted)) {
                Ok(at) => checks[at] = Arc::clone(check),
                Err(at) => checks.insert(at, Arc::clone(check)),
            }
            checks.into()
        };
        self.rehome(check, open, kept, with)
    }

    /// Takes a check out of the entry of its instance or node. Returns whether it was in one.
    pub(super) fn detach(&mut self, check: &KeptCheck, open: &Open) -> bool {
        let (namespace, id) = (check.namespace(), check.id());
        let without = |checks: &[Arc<CheckEntry>]| {
            let other = |entry: &&Arc<CheckEntry>| entry.value.namespace != namespace || entry.value.id != id;
            checks.iter().filter(other).cloned().collect()
        };
        let kept = |checks: &[Arc<KeptCheck>]| {
            checks.iter().filter(|kept| kept.namespace() != namespace || kept.id() != id).cloned().collect()
        };
        self.rehome(check, open, kept, without)
    }

    fn rehome(
        &mut self,
        check: &KeptCheck,
        open: &Open,
        kept: impl FnOnce(&[Arc<KeptCheck>]) -> KeptChecks,
        change: impl FnOnce(&[Arc<CheckEntry>]) -> Vec<Arc<CheckEntry>>,
    ) -> bool {
        if let Some(id) = check.instance() {
            let Some(known) = self.instances.get(check.namespace(), id) else { return false };
            let next = open.with_checks(known, kept(&known.checks), change);
            self.instances.put(next);
        } else {
            let Some(entry) = &self.node else { return false };
            let checks = change(&entry.checks);
            self.node = Some(Arc::new(NodeEntry { node: entry.node.clone(), checks }));
        }
        true
    }
}
