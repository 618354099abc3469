//! Ids of nodes are unique: what becomes of another node that has the id, or the name, of one that is registered. Pure.
//!
//! ```text
//! the id is another node's    that is alive: refused     else: a rename, the other goes with all that is on it
//! the name is another id's    that is alive: refused     else: the id is new, the node stays
//! ```
//!
//! As Consul's `ensureNodeTxn` and the check of its members do; there a node is alive while gossip says so, here while its agent
//! is heard, and a server's own node always is.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_model::registry::{Health, Node, Runner};

use super::decide::delete_node;
use super::{OnNode, Registration};
use crate::catalog::{CheckEntry, NodeEntry, State};
use crate::commit::Plan;
use crate::keys::{self, node_key};
use crate::{Control, Error};

/// Plans that no other node has the id of this one. `is_let_in`: whoever runs on it says so, and is known to be no second one.
pub(super) fn settle(state: &State, given: &Node, is_let_in: bool, plan: &mut Plan) -> Result<(), Error> {
    if given.id.is_empty() {
        return Ok(());
    }
    let name = node_key(&given.name);
    let others = others(state, given);
    if let Some(known) = state.registry.nodes.get(&*name).and_then(|slot| slot.node.as_ref())
        && !is_let_in
    {
        let id = &known.node.value.id;
        let is_free = id.is_empty() && others.is_empty();
        if !id.eq_ignore_ascii_case(&given.id) && !is_free && is_alive(known, plan)? {
            let Node { name, address, .. } = &known.node.value;
            return refuse(format!(
                "Error while renaming Node ID: {:?}: Node name {} is reserved by node {id} with name {name} ({address})",
                given.id, given.name
            ));
        }
    }
    for other in &others {
        let Some(slot) = state.registry.nodes.get(other) else { continue };
        let Some(known) = &slot.node else { continue };
        if known.node.value.is_server || (!is_let_in && is_alive(known, plan)?) {
            return refuse(conflict(given, &known.node.value.name));
        }
        delete_node(slot, other, plan)?;
    }
    Ok(())
}

/// The keys of the other nodes that have this one's id.
pub(super) fn others(state: &State, given: &Node) -> Vec<Arc<str>> {
    let own = node_key(&given.name);
    state.registry.with_id(&given.id).filter(|name| ***name != *own).cloned().collect()
}

/// In Consul's words, that a node has the id of another one.
pub fn conflict(given: &Node, other: &str) -> String {
    format!("Member '{}' has conflicting node ID '{}' with member '{other}'", given.name, given.id)
}

/// Whether a node's agent is heard, or it is a server's own. The plan holds only while that is so.
fn is_alive(entry: &NodeEntry, plan: &mut Plan) -> Result<bool, Error> {
    if entry.node.value.is_server {
        return Ok(true);
    }
    let Some(check) = presence(entry) else { return Ok(false) };
    let value = &check.value;
    plan.expect(keys::check(&value.namespace, &value.node, &value.id)?, check.modify_revision);
    Ok(value.health != Health::Critical)
}

fn presence(entry: &NodeEntry) -> Option<&Arc<CheckEntry>> {
    entry.checks.iter().find(|check| check.value.runner == Runner::Presence)
}

fn refuse(reason: String) -> Result<(), Error> {
    Err(Error::Refused { reason })
}

/// The nodes that go if this is registered.
pub(super) fn replaced(state: &State, registration: &Registration) -> BTreeSet<Arc<str>> {
    match &registration.node {
        OnNode::Put(node) | OnNode::LetIn(node) => others(state, node).into_iter().collect(),
        OnNode::Known(_) => BTreeSet::new(),
    }
}

impl Control {
    /// Removes what was registered on these nodes while they went.
    pub(super) async fn sweep_nodes(&self, nodes: &BTreeSet<Arc<str>>) -> Result<(), Error> {
        for node in nodes {
            let what = || format!("node {node:?}");
            self.execute(what, |state| super::decide::deregister_node_leftovers(state, node)).await?;
        }
        Ok(())
    }
}
