//! Nodes, and whether they are heard from.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use weir_api::client::encode_segment;
use weir_api::native::{Gathered, HealthCounts, Heartbeats, List, NodeView, PREFIX};
use weir_control::catalog::{CheckRef, NodeView as Node};
use weir_model::registry::{Check, CheckKind, Health, Runner};

use super::refusal::Refusal;
use super::{NativeApi, OWN, flag, known_parameters, ok};
use crate::http::{Request, Response};

impl NativeApi {
    /// Whether a node is heard from is known to the replicas that judge its ttl checks: they are asked, unless only what this one knows
    /// is wanted.
    pub(super) async fn nodes(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &["name", OWN])?;
        let position = self.control.position();
        let name = request.query.get_filled("name");
        let mut items = self.own_view(name);
        let mut missing = Vec::new();
        if !flag(&request, OWN)? {
            let query = name.map_or_else(String::new, |name| format!("&name={}", encode_segment(name)));
            let others = self.peers.ask::<List<NodeView>>(&format!("{PREFIX}/nodes?{OWN}{query}")).await;
            together(&mut items, others.answers.iter().flat_map(|list| &list.items));
            missing = others.missing;
        }
        Ok(ok(&Gathered { position, items, missing }))
    }

    /// The nodes as this replica knows them: heartbeats are those that it waits for itself.
    fn own_view(&self, name: Option<&str>) -> Vec<NodeView> {
        let (catalog, silent) = (self.control.catalog(), self.control.silent_nodes());
        let names = catalog.nodes_view().entries.into_iter().map(|entry| entry.node.value.name.clone());
        let wanted = names.filter(|found| name.is_none_or(|name| found.eq_ignore_ascii_case(name)));
        let nodes = wanted.filter_map(|name| catalog.node_view(&name).entries);
        let is_own = |check: &Check| self.control.owned_by_other(&CheckRef::of(check)).is_none();
        nodes.map(|node| node_view(&node, &silent, is_own)).collect()
    }
}

/// Adds what other replicas hear: who has all that it waits for overdue knows less than who hears some of the rest.
fn together<'a>(own: &mut [NodeView], others: impl Iterator<Item = &'a NodeView>) {
    let mut heard: HashMap<&str, Vec<Heartbeats>> = HashMap::new();
    for node in others {
        heard.entry(&node.name).or_default().push(node.heartbeats);
    }
    for node in own {
        let others = heard.get(&*node.name).into_iter().flatten();
        node.heartbeats = others.fold(node.heartbeats, |all, one| all_in_all(all, *one));
    }
}

fn all_in_all(a: Heartbeats, b: Heartbeats) -> Heartbeats {
    use Heartbeats as H;
    [H::Heard, H::Doubted, H::Silent].into_iter().find(|heard| a == *heard || b == *heard).unwrap_or(H::None)
}

fn node_view(node: &Node, silent: &BTreeMap<String, bool>, is_own: impl Fn(&Check) -> bool) -> NodeView {
    let value = &node.node.node.value;
    let mut instances = HealthCounts::default();
    for instance in &node.instances {
        instances.add(instance.health().max(node.node.health()));
    }
    // Those of an agent are the agent's to wait for.
    let waited_for = node.checks().filter(|check| check.value.runner != Runner::Agent);
    let is_ttl =
        |check: &Check| check.definition.as_ref().is_some_and(|definition| definition.kind == CheckKind::Ttl);
    let has_ttl = waited_for.map(|check| &check.value).any(|check| is_ttl(check) && is_own(check));
    // What was waited for is forgotten at a restart, what came of it is committed.
    let is_gone = node
        .checks()
        .any(|check| check.value.runner == Runner::Presence && check.value.health == Health::Critical);
    let heartbeats = match silent.get(&value.name) {
        Some(true) => Heartbeats::Doubted,
        Some(false) => Heartbeats::Silent,
        None if is_gone => Heartbeats::Silent,
        None if has_ttl => Heartbeats::Heard,
        None => Heartbeats::None,
    };
    NodeView {
        name: value.name.clone(),
        address: value.address.clone(),
        health: node.node.health(),
        instances,
        heartbeats,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_heard_from_if_any_replica_hears_it() {
        use Heartbeats as H;
        let view = |heartbeats| NodeView {
            name: "n1".to_owned(),
            address: String::new(),
            health: Health::Passing,
            instances: HealthCounts::default(),
            heartbeats,
        };
        for (own, others, expected) in [
            (H::None, &[][..], H::None),
            (H::None, &[H::None, H::Heard], H::Heard),
            (H::Silent, &[H::None], H::Silent),
            (H::Silent, &[H::Heard], H::Heard),
            (H::Silent, &[H::Doubted, H::None], H::Doubted),
            (H::Heard, &[H::Silent, H::Doubted], H::Heard),
        ] {
            let mut all = [view(own)];
            let others: Vec<NodeView> = others.iter().map(|heard| view(*heard)).collect();
            together(&mut all, others.iter());
            assert_eq!(all[0].heartbeats, expected, "{own:?} {others:?}");
        }
    }
}
