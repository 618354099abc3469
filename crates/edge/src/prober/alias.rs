//! A check that follows another instance or node.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use weir_control::Control;
use weir_control::catalog::{CheckEntry, CheckRef, InstanceRef};
use weir_model::registry::Health;
use weir_probe::Outcome;

/// What a question about another node comes to.
pub type ElsewhereFuture = Pin<Box<dyn Future<Output = Result<Outcome, String>> + Send>>;

/// Knows of the nodes that are not in the own catalog: an agent asks the servers.
pub trait Elsewhere: Send + Sync {
    /// How an instance of a node is, or the node itself. An error is why that cannot be known now.
    fn look(&self, namespace: &str, node: &str, instance: Option<&str>) -> ElsewhereFuture;
}

/// How the target of an alias is. `None` while that cannot be known: the check stays as it is.
pub(super) async fn look(
    control: &Control,
    elsewhere: Option<&Arc<dyn Elsewhere>>,
    own: &CheckRef,
    node: &str,
    instance: Option<&str>,
) -> Option<Outcome> {
    let node = if node.is_empty() { &own.node } else { node };
    let is_here = control.catalog().node(node).is_some();
    match elsewhere.filter(|_| !is_here) {
        None => Some(here(control, own, node, instance)),
        Some(elsewhere) => match elsewhere.look(&own.namespace, node, instance).await {
            Ok(outcome) => Some(outcome),
            Err(reason) => {
                tracing::debug!(check = %own, node, reason, "the target of an alias is not known now");
                None
            }
        },
    }
}

fn here(control: &Control, own: &CheckRef, node: &str, instance: Option<&str>) -> Outcome {
    let catalog = control.catalog();
    let Some(id) = instance else {
        let Some(node) = catalog.node(node) else { return missing(&format!("node {node:?}")) };
        return worst(own, node.node.value.maintenance.is_some(), &node.checks);
    };
    let name = InstanceRef::new(&*own.namespace, node, id);
    let Some(member) = catalog.instance(&name) else {
        return missing(&format!("instance {id:?} of node {node:?}"));
    };
    let checks: Vec<_> = member.checks().cloned().collect();
    worst(own, member.maintenance().is_some(), &checks)
}

/// What is said of a target that nobody has registered.
pub(super) fn missing(what: &str) -> Outcome {
    Outcome { health: Health::Critical, output: format!("{what} is not registered") }
}

/// The worst of some checks. The alias itself, which may be one of them, would else never leave what it once said.
fn worst(own: &CheckRef, in_maintenance: bool, checks: &[Arc<CheckEntry>]) -> Outcome {
    if in_maintenance {
        return Outcome { health: Health::Critical, output: "the target is in maintenance".to_owned() };
    }
    let others = checks.iter().filter(|check| CheckRef::of(&check.value) != *own);
    let worst = others.max_by_key(|check| check.value.health);
    match worst.map(|check| &check.value).filter(|check| check.health != Health::Passing) {
        None => Outcome { health: Health::Passing, output: "All checks passing.".to_owned() },
        Some(check) => Outcome {
            health: check.health,
            output: format!("Aliased check {:?} is {}", check.name, check.health.as_str()),
        },
    }
}
