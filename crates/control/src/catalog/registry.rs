//! The catalog's nodes, instances and checks with their indexes. Changed only by what the store's watch brings.

mod lookup;
mod slot;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_model::registry::{Health, Instance, Node};
use weir_model::{DEFAULT_NAMESPACE, Revision, ServiceRef};

use super::effects::Effects;
use super::entry::{CheckEntry, InstanceEntry, NodeEntry, Versioned};
use super::found::FoundCheck;
use super::kept::{KeptCheck, KeptInstance, Open, Stored};
use super::topic::{Tombstones, Topic};
use lookup::{ByAddress, ById};
pub(crate) use slot::NodeSlot;
use slot::{NamespaceSlot, ServiceSlot};

use crate::bounds::{NODE_TOMBSTONES_MAX, SERVICE_TOMBSTONES_MAX};
use crate::keys::node_key;

pub(crate) struct Registry {
    /// By name in lower case.
    pub(crate) nodes: BTreeMap<Arc<str>, NodeSlot>,
    pub(crate) namespaces: BTreeMap<Arc<str>, NamespaceSlot>,
    pub(super) by_address: ByAddress,
    by_id: ById,
    /// Shared with views, which read what they have taken when they hold the catalog's lock no more.
    pub(super) open: Arc<Open>,
    nodes_index: Revision,
    nodes_gone: Tombstones<String>,
    /// By name in lower case; those of which no spelling is there.
    services_gone: Tombstones<ServiceRef>,
    /// No answer's index lies below it: where this catalog's knowledge of deletions begins.
    floor: Revision,
}

fn health_slot(health: Option<Health>) -> usize {
    match health {
        None => 0,
        Some(Health::Passing) => 1,
        Some(Health::Warning) => 2,
        Some(Health::Critical) => 3,
    }
}

/// A service by its name in lower case.
fn folded(service: &ServiceRef) -> Cow<'_, ServiceRef> {
    match node_key(&service.name) {
        Cow::Borrowed(_) => Cow::Borrowed(service),
        Cow::Owned(name) => Cow::Owned(ServiceRef { namespace: service.namespace.clone(), name }),
    }
}

/// Each tag once.
fn distinct(tags: &[String]) -> impl Iterator<Item = &str> {
    let mut tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    tags.sort_unstable();
    tags.dedup();
    tags.into_iter()
}

impl Registry {
    pub(crate) fn new(floor: Revision) -> Self {
        Self {
            nodes: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            by_address: ByAddress::default(),
            by_id: ById::default(),
            open: Arc::default(),
            nodes_index: floor,
            nodes_gone: Tombstones::new(NODE_TOMBSTONES_MAX, floor),
            services_gone: Tombstones::new(SERVICE_TOMBSTONES_MAX, floor),
            floor,
        }
    }

    pub(crate) fn service(&self, namespace: &str, name: &str) -> Option<&ServiceSlot> {
        self.namespaces.get(namespace)?.services.get(name)
    }

    /// An instance with its checks.
    pub(crate) fn instance(&self, namespace: &str, node: &str, id: &str) -> Option<Arc<InstanceEntry>> {
        self.nodes.get(node)?.instances.get(namespace, id).map(|kept| self.open.entry(kept))
    }

    pub(crate) fn check(&self, namespace: &str, node: &str, id: &str) -> Option<Arc<CheckEntry>> {
        let slot = self.nodes.get(node)?;
        let kept = slot.checks.get(namespace, id)?;
        let among = |checks: &[Arc<CheckEntry>]| {
            let of =
                |check: &Arc<CheckEntry>| (&*check.value.namespace, &*check.value.id).cmp(&(namespace, id));
            checks.binary_search_by(of).ok().map(|at| Arc::clone(&checks[at]))
        };
        let found = match kept.instance() {
            Some(instance) => {
                slot.instances.get(namespace, instance).and_then(|home| among(&self.open.entry(home).checks))
            }
            None => slot.node.as_ref().and_then(|node| among(&node.checks)),
        };
        Some(found.unwrap_or_else(|| kept.read()))
    }

    /// Of all services of this name in any case.
    pub(crate) fn service_index(&self, service: &ServiceRef) -> Revision {
        let spelled = self.spelled(&service.namespace, &service.name).map(|slot| slot.index).max();
        spelled.unwrap_or_else(|| self.services_gone.index(&folded(service)))
    }

    pub(crate) fn services_index(&self, namespace: &str) -> Revision {
        self.namespaces.get(namespace).map_or(self.floor, |slot| slot.services_index.max(self.floor))
    }

    pub(crate) fn node_index(&self, node: &str) -> Revision {
        self.nodes.get(node).map_or_else(|| self.nodes_gone.index(&node.to_owned()), |slot| slot.index)
    }

    pub(crate) fn nodes_index(&self) -> Revision {
        self.nodes_index
    }

    pub(crate) fn checks_index(&self, namespace: &str, health: Option<Health>) -> Revision {
        let slot = self.namespaces.get(namespace);
        slot.map_or(self.floor, |slot| slot.checks_index[health_slot(health)].max(self.floor))
    }

    pub(crate) fn put_node(&mut self, name: &str, node: Versioned<Node>, effects: &mut Effects) {
        let revision = effects.revision();
        self.nodes_gone.revive(&name.to_owned());
        let (open, slot) = self.open_and_slot(name);
        let known = slot.node.take();
        let fresh = known.is_none();
        let was_maintained = known.as_ref().is_some_and(|entry| entry.node.value.maintenance.is_some());
        let maintained = was_maintained || node.value.maintenance.is_some();
        let renamed = (known.as_ref().map(|entry| entry.node.value.id.clone()), node.value.id.clone());
        let moved =
            (known.as_ref().map(|entry| entry.node.value.address.clone()), node.value.address.clone());
        let checks = known.map(|entry| entry.checks.clone()).unwrap_or_default();
        slot.node = Some(Arc::new(NodeEntry { node, checks }));
        if fresh && slot.unattached > 0 {
            let orphans: Vec<_> = slot.checks.iter().filter(|c| c.instance().is_none()).cloned().collect();
            for check in orphans {
                slot.unattached -= usize::from(slot.attach(&check, &check.read(), open));
            }
        }
        self.by_address.node(name, moved.0.as_deref(), Some(&moved.1));
        self.by_id.node(name, renamed.0.as_deref(), Some(&renamed.1));
        self.nodes_index = revision;
        effects.touch(|| Topic::Nodes);
        self.touch_node(name, effects);
        self.touch_services_of(name, effects);
        if maintained {
            self.touch_node_maintenance(name, effects);
        }
    }

    pub(crate) fn delete_node(&mut self, name: &str, effects: &mut Effects) {
        let Some(slot) = self.nodes.get_mut(name) else { return };
        let Some(node) = slot.node.take() else { return };
        slot.unattached += node.checks.len();
        self.by_address.node(name, Some(&node.node.value.address), None);
        self.by_id.node(name, Some(&node.node.value.id), None);
        if node.node.value.maintenance.is_some() {
            self.touch_node_maintenance(name, effects);
        }
        self.nodes_index = effects.revision();
        effects.touch(|| Topic::Nodes);
        self.touch_node(name, effects);
        self.touch_services_of(name, effects);
        self.sweep_node(name, effects);
    }

    /// Keeps an instance that reads like this, with checks of its own that come with it.
    pub(super) fn put_instance(
        &mut self,
        stored: Stored,
        instance: Versioned<Instance>,
        with: Vec<FoundCheck>,
        effects: &mut Effects,
    ) {
        let service = self.service_name(&instance.value.namespace, &instance.value.service);
        let slot = self.node_slot(stored.node());
        slot.touch(stored.node(), effects);
        let known = slot.instances.get(&instance.value.namespace, &instance.value.id).cloned();
        let is_there =
            |check: &FoundCheck| slot.checks.get(check.kept.namespace(), check.kept.id()).is_some();
        let (changed, fresh): (Vec<_>, Vec<_>) = with.into_iter().partition(is_there);
        let mut checks = known.as_ref().map(|known| known.checks.to_vec()).unwrap_or_default();
        checks.extend(fresh.iter().map(|check| Arc::clone(&check.kept)));
        checks.sort_by(|a, b| a.id().cmp(b.id()));
        let kept = Arc::new(KeptInstance::new(stored, service, checks.into()));
        let node = kept.node();
        slot.instances.put(Arc::clone(&kept));
        let has_orphans = slot.unattached > 0;
        let known_entry = known.as_ref().map(|known| Open::peek(known));
        // Joining first keeps the list of services still when only this instance's details change.
        self.join_service(&kept, &instance.value, effects);
        if let Some(entry) = &known_entry {
            let stays = entry.value().service == instance.value.service;
            self.leave_service(entry.value(), node, stays, effects);
        }
        let was_maintained = known_entry.as_ref().is_some_and(|known| known.value().maintenance.is_some());
        if was_maintained || instance.value.maintenance.is_some() {
            self.touch_maintenance(&instance.value.namespace, effects);
        }
        // What nobody has asked for yet is read when somebody does: most of what registers is one of many.
        if known.as_ref().is_some_and(|known| known.is_open()) {
            let mut checks = known_entry.map(|known| known.checks.clone()).unwrap_or_default();
            checks.extend(fresh.iter().map(FoundCheck::entry));
            checks.sort_by(|a, b| a.value.id.cmp(&b.value.id));
            let instance = Arc::new(instance);
            self.open.keep(&kept, Arc::new(InstanceEntry { instance, checks }));
        }
        if known.is_none() && has_orphans {
            self.adopt_orphans(node, &kept, effects);
        }
        if !fresh.is_empty() {
            let slot = self.node_slot(node);
            fresh.iter().for_each(|check| slot.checks.put(Arc::clone(&check.kept)));
        }
        for check in fresh {
            self.touch_check(&check.kept, None, effects);
            effects.check(|| check.entry(), true);
        }
        changed.iter().for_each(|check| self.put_check(check, effects));
    }

    pub(crate) fn delete_instance(&mut self, namespace: &str, node: &str, id: &str, effects: &mut Effects) {
        let Some(slot) = self.nodes.get_mut(node) else { return };
        let Some(kept) = slot.instances.remove(namespace, id) else { return };
        slot.unattached += kept.checks.len();
        let entry = Open::peek(&kept);
        self.leave_service(entry.value(), node, false, effects);
        if entry.value().maintenance.is_some() {
            self.touch_maintenance(namespace, effects);
        }
        self.touch_node(node, effects);
        self.sweep_node(node, effects);
    }

    /// Keeps a check.
    pub(super) fn put_check(&mut self, found: &FoundCheck, effects: &mut Effects) {
        let (kept, check) = (&found.kept, found.entry());
        let node = kept.stored.node();
        let slot = self.node_slot(node);
        let known = slot.checks.get(kept.namespace(), kept.id()).cloned();
        slot.checks.put(Arc::clone(kept));
        if let Some(known) = &known
            && known.instance() != kept.instance()
        {
            self.detach(node, known, effects);
        } else if known.is_some() && !self.nodes[node].has_home(kept) {
            // It was an orphan and stays one: it is counted already.
            self.node_slot(node).unattached -= 1;
        }
        self.attach(node, kept, &check, effects);
        self.touch_check(kept, known.as_ref().map(|known| known.health), effects);
        self.touch_node(node, effects);
        effects.check(|| check, true);
    }

    pub(crate) fn delete_check(&mut self, namespace: &str, node: &str, id: &str, effects: &mut Effects) {
        let Some(slot) = self.nodes.get_mut(node) else { return };
        let Some(check) = slot.checks.remove(namespace, id) else { return };
        self.detach(node, &check, effects);
        self.touch_check(&check, None, effects);
        self.touch_node(node, effects);
        self.sweep_node(node, effects);
        effects.check(|| check.read(), false);
    }

    fn open_and_slot(&mut self, name: &str) -> (&Open, &mut NodeSlot) {
        // One search; most often the name is made for nothing, which costs less than a second one.
        (&self.open, self.nodes.entry(name.into()).or_default())
    }

    /// The name of a service that its slot has, or a new one.
    fn service_name(&self, namespace: &str, name: &str) -> Arc<ServiceRef> {
        let known = self.service(namespace, name).map(|slot| Arc::clone(&slot.name));
        known.unwrap_or_else(|| Arc::new(ServiceRef::new(namespace, name)))
    }

    fn node_slot(&mut self, name: &str) -> &mut NodeSlot {
        self.open_and_slot(name).1
    }

    fn namespace_slot(&mut self, name: &str) -> &mut NamespaceSlot {
        if !self.namespaces.contains_key(name) {
            self.namespaces.insert(name.into(), NamespaceSlot::default());
        }
        self.namespaces.get_mut(name).expect("it was just put there")
    }

    /// Puts a check where its views look for it, or counts it as an orphan.
    fn attach(&mut self, node: &str, check: &Arc<KeptCheck>, entry: &Arc<CheckEntry>, effects: &mut Effects) {
        let (open, slot) = self.open_and_slot(node);
        if !slot.attach(check, entry, open) {
            slot.unattached += 1;
            return;
        }
        self.touch_home(node, check, effects);
    }

    fn detach(&mut self, node: &str, check: &KeptCheck, effects: &mut Effects) {
        let (open, slot) = self.open_and_slot(node);
        if !slot.detach(check, open) {
            slot.unattached -= 1;
            return;
        }
        self.touch_home(node, check, effects);
    }

    /// Brings the new entry of a check's instance into its service, or tells all services of the check's node.
    fn touch_home(&mut self, node: &str, check: &KeptCheck, effects: &mut Effects) {
        let Some(id) = check.instance() else {
            self.touch_services_of(node, effects);
            return;
        };
        let home = self.nodes.get(node).and_then(|slot| slot.instances.get(check.namespace(), id)).cloned();
        let Some(kept) = home else { return };
        let service = Arc::clone(&kept.service);
        if let Some(slot) = self.service_mut(&service) {
            slot.members.put(kept);
        }
        self.touch_service(&service, effects);
    }

    fn adopt_orphans(&mut self, node: &str, kept: &KeptInstance, effects: &mut Effects) {
        let Some(slot) = self.nodes.get_mut(node).filter(|slot| slot.unattached > 0) else { return };
        let orphans: Vec<_> = slot.orphans_of(kept.namespace(), kept.id()).cloned().collect();
        slot.unattached -= orphans.len();
        for check in orphans {
            self.attach(node, &check, &check.read(), effects);
        }
    }

    fn service_mut(&mut self, service: &ServiceRef) -> Option<&mut ServiceSlot> {
        self.namespaces.get_mut(&*service.namespace)?.services.get_mut(&*service.name)
    }

    fn join_service(&mut self, kept: &Arc<KeptInstance>, value: &Instance, effects: &mut Effects) {
        let service = &kept.service;
        self.services_gone.revive(&folded(service));
        let namespace = self.namespace_slot(&value.namespace);
        let mut listed = false;
        let slot = match namespace.services.get_mut(&*value.service) {
            Some(slot) => slot,
            None => {
                listed = true;
                namespace.spelled.add(&value.service);
                let name = service.name.as_str().into();
                namespace.services.entry(name).or_insert_with(|| ServiceSlot::new(Arc::clone(service)))
            }
        };
        slot.touch(effects);
        slot.members.put(Arc::clone(kept));
        for tag in distinct(&value.tags) {
            if let Some(count) = slot.tags.get_mut(tag) {
                *count += 1;
            } else {
                slot.tags.insert(tag.into(), 1);
                listed = true;
            }
        }
        self.by_address.join(&value.address, service);
        if listed {
            self.touch_services(&value.namespace, effects);
        }
    }

    /// Undoes a join. `stays`: the same instance joined the same service anew, only its old tags are to go.
    fn leave_service(&mut self, value: &Instance, node: &str, stays: bool, effects: &mut Effects) {
        let service = self.service_name(&value.namespace, &value.service);
        self.by_address.leave(&value.address, &service);
        let Some(slot) = self.service_mut(&service) else { return };
        if !stays {
            slot.members.remove(node, &value.id);
        }
        let mut listed = false;
        for tag in distinct(&value.tags) {
            if let Some(count) = slot.tags.get_mut(tag) {
                *count -= 1;
                if *count == 0 {
                    slot.tags.remove(tag);
                    listed = true;
                }
            }
        }
        let empty = slot.members.is_empty();
        if empty && let Some(namespace) = self.namespaces.get_mut(&*value.namespace) {
            namespace.services.remove(&*value.service);
            namespace.spelled.remove(&value.service);
            let others: Vec<_> =
                self.spelled(&service.namespace, &service.name).map(|slot| Arc::clone(&slot.name)).collect();
            if others.is_empty() {
                self.services_gone.bury(folded(&service).into_owned(), effects.revision());
            }
            // Whoever asks for the name in any case sees one less.
            others.iter().for_each(|other| self.touch_service(other, effects));
        }
        if empty || listed {
            self.touch_services(&value.namespace, effects);
        }
        self.touch_service(&service, effects);
    }

    /// Everything that is there changed at this revision: it was loaded, which touches nothing one by one.
    pub(crate) fn touch_all(&mut self, revision: Revision) {
        self.nodes.values_mut().for_each(|slot| slot.index = revision);
        self.namespaces.values_mut().for_each(|slot| slot.touch_all(revision));
    }

    fn touch_service(&mut self, service: &ServiceRef, effects: &mut Effects) {
        match self.service_mut(service) {
            Some(slot) => slot.touch(effects),
            None => effects.touch(|| Topic::Service(service.clone())),
        }
    }

    fn touch_services(&mut self, namespace: &str, effects: &mut Effects) {
        if !effects.is_observed() {
            return;
        }
        self.namespace_slot(namespace).services_index = effects.revision();
        effects.touch(|| Topic::Services { namespace: namespace.to_owned() });
    }

    fn touch_node(&mut self, node: &str, effects: &mut Effects) {
        match self.nodes.get_mut(node) {
            Some(slot) => slot.touch(node, effects),
            None => effects.touch(|| Topic::Node(node.to_owned())),
        }
    }

    fn touch_services_of(&mut self, node: &str, effects: &mut Effects) {
        let Some(slot) = self.nodes.get(node).filter(|_| effects.is_observed()) else { return };
        let services: BTreeSet<_> = slot.instances.iter().map(|kept| Arc::clone(&kept.service)).collect();
        for service in services {
            self.touch_service(&service, effects);
        }
    }

    fn touch_check(&mut self, check: &KeptCheck, before: Option<Health>, effects: &mut Effects) {
        let states = [None, Some(check.health), before];
        let known = if before.is_none() || before == Some(check.health) { &states[..2] } else { &states };
        self.touch_checks(check.namespace(), known, effects);
    }

    fn touch_checks(&mut self, namespace: &str, states: &[Option<Health>], effects: &mut Effects) {
        if !effects.is_observed() {
            return;
        }
        let slot = self.namespace_slot(namespace);
        for health in states {
            slot.checks_index[health_slot(*health)] = effects.revision();
            effects.touch(|| Topic::Checks { namespace: namespace.to_owned(), health: *health });
        }
    }

    /// Maintenance counts as critical, and some show it as a check of its own.
    fn touch_maintenance(&mut self, namespace: &str, effects: &mut Effects) {
        self.touch_checks(namespace, &[None, Some(Health::Critical)], effects);
    }

    fn touch_node_maintenance(&mut self, node: &str, effects: &mut Effects) {
        let Some(slot) = self.nodes.get(node) else { return };
        let on_it = slot.instances.iter().map(|kept| kept.namespace().to_owned());
        let namespaces: BTreeSet<_> = on_it.chain([DEFAULT_NAMESPACE.to_owned()]).collect();
        for namespace in namespaces {
            self.touch_maintenance(&namespace, effects);
        }
    }

    /// Forgets a slot that holds nothing any more.
    fn sweep_node(&mut self, name: &str, effects: &Effects) {
        let Some(slot) = self.nodes.get(name) else { return };
        if slot.node.is_none() && slot.instances.is_empty() && slot.checks.is_empty() {
            self.nodes.remove(name);
            self.nodes_gone.bury(name.to_owned(), effects.revision());
        }
    }
}
