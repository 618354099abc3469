//! Registry operations on a view of the state, one after the other, and their part of one store transaction.
//!
//! The decisions are those of single commands. They are made on a copy of the part of the registry that is named, which
//! shows what the operations before did; what they looked at becomes a condition as it was before all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use weir_model::Revision;
use weir_model::registry::{Check, Instance, Node};
use weir_store::{Entry, Event, Key, KeyRange, Op, Value};

use super::op::{Pending, RegistryFault, RegistryOp, RegistryVerb};
use super::{KnownHealth, OnNode, Registration, decide, namesake};
use crate::catalog::{
    CheckEntry, CheckRef, InstanceEntry, InstanceRef, NodeEntry, NodeSlot, State, Versioned,
};
use crate::commit::Plan;
use crate::keys::{self, Place, node_key, place};
use crate::{Control, Error};

/// The revision of what this transaction writes, until it has one.
pub(super) const DRAFTED: Revision = Revision::MAX;

/// Operations in the making.
pub(crate) struct Draft<'a> {
    base: &'a State,
    /// This server's own node, which stays.
    own_node: &'a str,
    /// What was named, as it would be.
    view: State,
    /// Keys that the view holds, or knows not to be there.
    drawn: BTreeSet<Key>,
    /// Keys that were looked at.
    seen: BTreeSet<Key>,
    writes: BTreeMap<Key, Option<Value>>,
    ranges: Vec<KeyRange>,
    gone: Gone,
}

/// What a transaction removed: what was registered on it meanwhile is removed after it.
#[derive(Default)]
pub(crate) struct Gone {
    nodes: BTreeSet<String>,
    instances: BTreeSet<InstanceRef>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(base: &'a State, own_node: &'a str) -> Self {
        Self {
            base,
            own_node,
            view: State::new(base.position),
            drawn: BTreeSet::new(),
            seen: BTreeSet::new(),
            writes: BTreeMap::new(),
            ranges: Vec::new(),
            gone: Gone::default(),
        }
    }

    /// Does one operation; what it read or wrote, unless it deletes.
    pub(crate) fn step(&mut self, op: &RegistryOp) -> Result<Option<Pending>, RegistryFault> {
        match op {
            RegistryOp::Node { verb, node } => self.node(*verb, node),
            RegistryOp::Instance { verb, instance } => self.instance(*verb, instance),
            RegistryOp::Check { verb, check } => self.check(*verb, check),
        }
    }

    fn node(&mut self, verb: RegistryVerb, node: &Node) -> Result<Option<Pending>, RegistryFault> {
        let name = match verb {
            RegistryVerb::Get if !node.id.is_empty() => self.named(&node.id).ok_or(RegistryFault::Missing)?,
            _ => node.name.clone(),
        };
        let key = keys::node(&name)?;
        self.draw_node(&name)?;
        self.seen.insert(key);
        let known = self.known_node(&name);
        verb.allow(known.as_ref().map(|known| known.node.modify_revision))?;
        match verb {
            RegistryVerb::Get => {}
            RegistryVerb::Set | RegistryVerb::SetIf(_) => {
                self.draw_own_checks(&name)?;
                let others = self.draw_others(node)?;
                self.register(OnNode::Put(node.clone()), None, Vec::new())?;
                let renamed = others.into_iter().filter(|other| self.known_node(other).is_none());
                let renamed: Vec<_> = renamed.collect();
                self.gone.nodes.extend(renamed);
                self.gone.nodes.remove(&*node_key(&name));
            }
            RegistryVerb::Delete | RegistryVerb::DeleteIf(_) => {
                decide::check_leaves(self.own_node, &name)?;
                self.draw_all_on(&name)?;
                self.take(decide::deregister_node(&self.view, &name)?)?;
                self.gone.nodes.insert(node_key(&name).into_owned());
                return Ok(None);
            }
        }
        let entry = self.known_node(&name).ok_or(RegistryFault::Missing)?;
        Ok(Some(Pending::node(&entry)))
    }

    fn instance(&mut self, verb: RegistryVerb, given: &Instance) -> Result<Option<Pending>, RegistryFault> {
        let at = InstanceRef::new(&*given.namespace, &*given.node, &*given.id);
        let key = keys::instance(&at.namespace, &at.node, &at.id)?;
        self.draw_node(&at.node)?;
        self.draw_instance(&at)?;
        self.seen.insert(key);
        verb.allow(self.known_instance(&at).map(|known| known.instance.modify_revision))?;
        match verb {
            RegistryVerb::Get => {}
            RegistryVerb::Set | RegistryVerb::SetIf(_) => {
                self.register(OnNode::Known(at.node.clone()), Some(given.clone()), Vec::new())?;
                self.gone.instances.remove(&at);
            }
            RegistryVerb::Delete | RegistryVerb::DeleteIf(_) => {
                self.take(decide::deregister_instance(&self.view, &at, usize::MAX)?)?;
                self.gone.instances.insert(at);
                return Ok(None);
            }
        }
        let entry = self.known_instance(&at).ok_or(RegistryFault::Missing)?;
        Ok(Some(Pending::instance(&entry)))
    }

    fn check(&mut self, verb: RegistryVerb, given: &Check) -> Result<Option<Pending>, RegistryFault> {
        let at = CheckRef::new(&*given.namespace, &*given.node, &*given.id);
        let key = keys::check(&at.namespace, &at.node, &at.id)?;
        self.draw_node(&at.node)?;
        self.draw_check(&at)?;
        if let Some(id) = &given.instance {
            self.draw_instance(&InstanceRef::new(&*at.namespace, &*at.node, &**id))?;
        }
        self.seen.insert(key);
        verb.allow(self.known_check(&at).map(|known| known.modify_revision))?;
        match verb {
            RegistryVerb::Get => {}
            RegistryVerb::Set | RegistryVerb::SetIf(_) => {
                self.register(OnNode::Known(at.node.clone()), None, vec![given.clone()])?;
            }
            RegistryVerb::Delete | RegistryVerb::DeleteIf(_) => {
                self.take(decide::deregister_check(&self.view, &at)?)?;
                return Ok(None);
            }
        }
        let entry = self.known_check(&at).ok_or(RegistryFault::Missing)?;
        let about = entry.value.instance.as_deref();
        let about =
            about.and_then(|id| self.known_instance(&InstanceRef::new(&*at.namespace, &*at.node, id)));
        Ok(Some(Pending::check(entry, about)))
    }

    fn register(
        &mut self,
        node: OnNode,
        instance: Option<Instance>,
        checks: Vec<Check>,
    ) -> Result<(), RegistryFault> {
        let known_health = KnownHealth::Overwrite;
        let registration = Registration { node, instance, checks, known_health, replace_checks: false };
        let (plan, _) = decide::register(&self.view, &registration, usize::MAX)?;
        Ok(self.take(plan)?)
    }

    /// The name of the node with this id.
    fn named(&mut self, id: &str) -> Option<String> {
        let named = |state: &State| state.registry.with_id(id).next().map(|name| name.to_string());
        let is_drawn = |name: &str| keys::node(name).is_ok_and(|key| self.drawn.contains(&key));
        named(&self.view).or_else(|| named(self.base).filter(|name| !is_drawn(name)))
    }

    fn known_node(&self, name: &str) -> Option<Arc<NodeEntry>> {
        self.view.registry.nodes.get(&*node_key(name))?.node.clone()
    }

    fn known_instance(&self, at: &InstanceRef) -> Option<Arc<InstanceEntry>> {
        self.view.registry.instance(&at.namespace, &node_key(&at.node), &at.id)
    }

    fn known_check(&self, at: &CheckRef) -> Option<Arc<CheckEntry>> {
        self.view.registry.check(&at.namespace, &node_key(&at.node), &at.id)
    }

    fn slot(&self, node: &str) -> Option<&'a NodeSlot> {
        self.base.registry.nodes.get(&*node_key(node))
    }

    /// Copies a node into the view, but not what is on it.
    fn draw_node(&mut self, name: &str) -> Result<(), Error> {
        let key = keys::node(name)?;
        if self.drawn.insert(key.clone())
            && let Some(node) = self.slot(name).and_then(|slot| slot.node.as_ref())
        {
            let entry = stored(&key, &node.node)?;
            self.show(&[Event { key, now: Some(entry), before: None }]);
        }
        Ok(())
    }

    /// Copies an instance with its checks.
    fn draw_instance(&mut self, at: &InstanceRef) -> Result<(), Error> {
        let mut events = Vec::new();
        let key = keys::instance(&at.namespace, &at.node, &at.id)?;
        if self.drawn.insert(key.clone())
            && let Some(kept) = self.slot(&at.node).and_then(|slot| slot.instances.get(&at.namespace, &at.id))
        {
            events.push(Event { key, now: Some(kept.stored.entry()), before: None });
            for check in kept.checks.iter() {
                let key = check.stored.key();
                if self.drawn.insert(key.clone()) {
                    events.push(Event { key, now: Some(check.stored.entry()), before: None });
                }
            }
        }
        self.show(&events);
        Ok(())
    }

    /// Copies a check with the instance that it is about.
    fn draw_check(&mut self, at: &CheckRef) -> Result<(), Error> {
        let key = keys::check(&at.namespace, &at.node, &at.id)?;
        let kept = self.slot(&at.node).and_then(|slot| slot.checks.get(&at.namespace, &at.id));
        if let Some(instance) = kept.and_then(|kept| kept.instance()) {
            self.draw_instance(&InstanceRef::new(&*at.namespace, &*at.node, instance))?;
        }
        if self.drawn.insert(key.clone())
            && let Some(kept) = kept
        {
            self.show(&[Event { key, now: Some(kept.stored.entry()), before: None }]);
        }
        Ok(())
    }

    /// Copies all that is on a node, in all namespaces.
    fn draw_all_on(&mut self, node: &str) -> Result<(), Error> {
        let Some(slot) = self.slot(node) else { return Ok(()) };
        for kept in slot.instances.iter() {
            self.draw_instance(&InstanceRef::new(kept.namespace(), node, kept.id()))?;
        }
        for kept in slot.checks.iter() {
            self.draw_check(&CheckRef::new(kept.namespace(), node, kept.id()))?;
        }
        Ok(())
    }

    /// Copies the checks of a node itself: one of them says whether its agent is there.
    fn draw_own_checks(&mut self, node: &str) -> Result<(), Error> {
        let Some(slot) = self.slot(node) else { return Ok(()) };
        for kept in slot.checks.iter().filter(|kept| kept.instance().is_none()) {
            self.draw_check(&CheckRef::new(kept.namespace(), node, kept.id()))?;
        }
        Ok(())
    }

    /// Copies the other nodes that have this one's id, with all that is on them, and names them.
    fn draw_others(&mut self, node: &Node) -> Result<Vec<String>, Error> {
        let mut others = namesake::others(self.base, node);
        others.extend(namesake::others(&self.view, node));
        for other in &others {
            self.draw_node(other)?;
            self.draw_all_on(other)?;
        }
        Ok(others.iter().map(|other| other.to_string()).collect())
    }

    fn show(&mut self, events: &[Event]) {
        let position = self.view.position;
        self.view.apply(position, events);
    }

    /// Adds a decision that was made on the view, and shows what it does.
    fn take(&mut self, plan: Plan) -> Result<(), Error> {
        let txn = plan.into_txn();
        self.seen.extend(txn.compares.iter().map(|compare| compare.key().clone()));
        let mut events = Vec::new();
        for op in txn.writes {
            match op {
                Op::Put { key, value, .. } => {
                    let created = self.at_first(&key).map_or(DRAFTED, |[created, _]| created);
                    let entry = Entry {
                        value: value.clone(),
                        create_revision: created,
                        mod_revision: DRAFTED,
                        version: 1,
                        lease: None,
                    };
                    events.push(Event { key: key.clone(), now: Some(entry), before: None });
                    self.writes.insert(key, Some(value));
                }
                Op::Delete(key) => self.delete(key, &mut events),
                Op::DeleteRange(range) => {
                    let nodes = self.view.registry.nodes.values();
                    let keys = nodes.flat_map(|slot| {
                        let instances = slot.instances.iter().map(|kept| kept.stored.key());
                        instances.chain(slot.checks.iter().map(|kept| kept.stored.key()))
                    });
                    let keys: Vec<_> = keys.filter(|key| range.contains(key)).collect();
                    keys.into_iter().for_each(|key| self.delete(key, &mut events));
                    self.ranges.push(range);
                }
            }
        }
        self.show(&events);
        Ok(())
    }

    fn delete(&mut self, key: Key, events: &mut Vec<Event>) {
        events.push(Event { key: key.clone(), now: None, before: None });
        self.writes.insert(key, None);
    }

    /// The revisions that created and last changed a key before this draft.
    fn at_first(&self, key: &Key) -> Option<[Revision; 2]> {
        match place(key)? {
            Place::Node(name) => {
                let node = &self.slot(name)?.node.as_ref()?.node;
                Some([node.create_revision, node.modify_revision])
            }
            Place::Instance { namespace, node, id } => {
                Some(self.slot(node)?.instances.get(namespace, id)?.stored.revisions())
            }
            Place::Check { namespace, node, id } => {
                Some(self.slot(node)?.checks.get(namespace, id)?.stored.revisions())
            }
            _ => None,
        }
    }

    /// Adds to a transaction all that is to be done, if everything still is as it was looked at.
    pub(crate) fn into_plan(mut self, plan: &mut Plan) -> Gone {
        for key in &self.seen {
            plan.expect(key.clone(), self.at_first(key).map_or(0, |[_, changed]| changed));
        }
        // No key is written twice: where something is put again, what was there goes key by key.
        let is_put =
            |range: &KeyRange| self.writes.iter().any(|(key, put)| put.is_some() && range.contains(key));
        self.ranges.retain(|range| !is_put(range));
        for (key, put) in self.writes {
            match put {
                Some(value) => plan.put_raw(key, value),
                None if self.ranges.iter().any(|range| range.contains(&key)) => {}
                None => plan.delete(key),
            }
        }
        let mut ranges = BTreeSet::new();
        for range in self.ranges {
            if ranges.insert(format!("{range:?}")) {
                plan.delete_range(range);
            }
        }
        self.gone
    }
}

/// What a store holds of a value.
fn stored<T: Serialize>(key: &Key, known: &Versioned<T>) -> Result<Entry, Error> {
    Ok(Entry {
        value: weir_store::json::to_value(key, &known.value)?,
        create_revision: known.create_revision,
        mod_revision: known.modify_revision,
        version: 1,
        lease: None,
    })
}

impl Control {
    /// Removes what was registered on something while it was removed.
    pub(crate) async fn sweep(&self, gone: &Gone) -> Result<(), Error> {
        for node in &gone.nodes {
            let what = || format!("node {node:?}");
            self.execute(what, |state| decide::deregister_node_leftovers(state, node)).await?;
        }
        let ops_max = self.store().limits().txn_ops_max;
        for instance in &gone.instances {
            self.deregister_leftovers(instance, ops_max).await?;
        }
        Ok(())
    }
}
