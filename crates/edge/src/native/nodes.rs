//! Nodes, and whether they are heard from.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_api::native::{HealthCounts, Heartbeats, List, NodeView};
use weir_control::catalog::NodeView as Node;
use weir_model::registry::{CheckKind, Health, Runner};

use super::refusal::Refusal;
use super::{NativeApi, known_parameters, ok};
use crate::http::{Request, Response};

impl NativeApi {
    pub(super) async fn nodes(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &["name"])?;
        let position = self.control.position();
        let (catalog, silent) = (self.control.catalog(), self.control.silent_nodes());
        let name = request.query.get_filled("name");
        let names = catalog.nodes_view().entries.into_iter().map(|entry| entry.node.value.name.clone());
        let wanted = names.filter(|found| name.is_none_or(|name| found.eq_ignore_ascii_case(name)));
        let nodes = wanted.filter_map(|name| catalog.node_view(&name).entries);
        let items: Vec<_> = nodes.map(|node| node_view(&node, &silent)).collect();
        Ok(ok(&List { position, items }))
    }
}

fn node_view(node: &Node, silent: &BTreeMap<String, bool>) -> NodeView {
    let value = &node.node.node.value;
    let mut instances = HealthCounts::default();
    for instance in &node.instances {
        instances.add(instance.health().max(node.node.health()));
    }
    // Those of an agent are the agent's to wait for.
    let waited_for = node.checks().filter(|check| check.value.runner != Runner::Agent);
    let has_ttl = waited_for
        .filter_map(|check| check.value.definition.as_ref())
        .any(|definition| definition.kind == CheckKind::Ttl);
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
