//! How instances of other nodes are: asked of the servers, for aliases.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use weir_api::client::encode_segment;
use weir_api::native::{NodeState, PREFIX};
use weir_edge::prober::{Elsewhere, ElsewhereFuture};
use weir_model::registry::Health;
use weir_probe::Outcome;

use crate::bounds::ANSWER_MAX;
use crate::servers::{Ask, Servers};

/// Asks the servers.
#[derive(Debug)]
pub struct AskServers(Arc<Servers>);

impl AskServers {
    /// These.
    pub fn new(servers: Arc<Servers>) -> Self {
        Self(servers)
    }
}

impl Elsewhere for AskServers {
    fn look(&self, namespace: &str, node: &str, instance: Option<&str>) -> ElsewhereFuture {
        let servers = Arc::clone(&self.0);
        let (namespace, node, instance) =
            (namespace.to_owned(), node.to_owned(), instance.map(str::to_owned));
        Box::pin(async move {
            let ask = Ask {
                method: Method::GET,
                target: format!("{PREFIX}/nodes/{}", encode_segment(&node)),
                headers: Vec::new(),
                body: Bytes::new(),
                patience: ANSWER_MAX,
            };
            let answered = servers.ask(&ask).await.map_err(|error| error.to_string())?;
            match answered.status {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND => return Ok(critical(format!("node {node:?} is not registered"))),
                status => return Err(format!("the server answers with {status}")),
            }
            let state: NodeState =
                serde_json::from_slice(&answered.body).map_err(|error| error.to_string())?;
            Ok(judge(&state, &namespace, instance.as_deref()))
        })
    }
}

fn critical(output: String) -> Outcome {
    Outcome { health: Health::Critical, output }
}

/// The worst of the node's checks and, if one is named, of the instance's.
fn judge(state: &NodeState, namespace: &str, instance: Option<&str>) -> Outcome {
    if let Some(id) = instance {
        let found = state.instances.iter().find(|one| one.namespace == namespace && one.id == id);
        match found {
            None => {
                return critical(format!("instance {id:?} of node {:?} is not registered", state.node.name));
            }
            Some(found) if found.maintenance.is_some() => {
                return critical("the target is in maintenance".to_owned());
            }
            Some(_) => {}
        }
    }
    if state.node.maintenance.is_some() {
        return critical("the target is in maintenance".to_owned());
    }
    let counts = state.checks.iter().filter(|check| match &check.instance {
        None => true,
        Some(of) => check.namespace == namespace && Some(&**of) == instance,
    });
    match counts.max_by_key(|check| check.health).filter(|check| check.health != Health::Passing) {
        None => Outcome { health: Health::Passing, output: "All checks passing.".to_owned() },
        Some(worst) => Outcome {
            health: worst.health,
            output: format!("Aliased check {:?} is {}", worst.name, worst.health.as_str()),
        },
    }
}

#[cfg(test)]
mod tests {
    use weir_model::Position;
    use weir_model::registry::{Check, Instance, Node};

    use super::*;

    #[test]
    fn the_worst_of_node_and_instance_counts() {
        let check = |of: Option<&str>, health| Check {
            namespace: "default".to_owned(),
            instance: of.map(str::to_owned),
            health,
            ..Check::default()
        };
        let db = Instance { namespace: "default".to_owned(), id: "db".to_owned(), ..Instance::default() };
        let state = |checks: Vec<Check>| NodeState {
            position: Position::new(1, 1),
            revision: 1,
            node: Node::default(),
            instances: vec![db.clone()],
            checks,
        };
        let judge = |checks, instance| judge(&state(checks), "default", instance).health;
        use Health::{Critical, Passing, Warning};
        assert_eq!(judge(vec![], Some("db")), Passing);
        assert_eq!(judge(vec![], Some("other")), Critical);
        assert_eq!(judge(vec![check(None, Warning), check(Some("db"), Passing)], Some("db")), Warning);
        assert_eq!(judge(vec![check(Some("db"), Critical)], Some("db")), Critical);
        assert_eq!(judge(vec![check(Some("db"), Critical)], None), Passing);
        assert_eq!(judge(vec![check(Some("other"), Critical)], Some("db")), Passing);
    }
}
