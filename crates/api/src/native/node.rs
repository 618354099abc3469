//! What a host's agent and the servers tell each other of the agent's node.
//!
//! Instances and checks travel as they are stored: the model's own form, of which fields are only ever added.

use serde::{Deserialize, Serialize};
use weir_model::Position;
use weir_model::registry::{Check, Instance, Node};

use super::Problem;

/// The path of a [`Problem`] that is an agent's datacenter: it is not the server's.
pub const AGENT_DATACENTER: &str = "datacenter";

/// A node with all that is registered on it, in all namespaces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeState {
    /// The position at which it was read.
    pub position: Position,
    /// The revision at which it last changed.
    pub revision: u64,
    /// The node.
    pub node: Node,
    /// Its instances.
    pub instances: Vec<Instance>,
    /// Its checks and those of its instances.
    pub checks: Vec<Check>,
}

/// What an agent wants changed of its node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeChanges {
    /// The node as it is to be; its name is the path's.
    pub node: Node,
    /// The datacenter that the agent is of; empty from agents of versions that do not say.
    #[serde(default)]
    pub datacenter: String,
    /// Instances to register, or to change into this.
    #[serde(default)]
    pub instances: Vec<Instance>,
    /// Checks to register, or to change into this.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// Instances to deregister, with their checks.
    #[serde(default)]
    pub gone_instances: Vec<OnNode>,
    /// Checks to deregister.
    #[serde(default)]
    pub gone_checks: Vec<OnNode>,
}

/// Names an instance or a check on a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OnNode {
    /// Its namespace.
    pub namespace: String,
    /// Its id.
    pub id: String,
}

/// The answer to changes: what could not be done. All else is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeChanged {
    /// What was refused.
    #[serde(default)]
    pub refused: Vec<Problem>,
}

/// A sign of life of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentAlive {
    /// The node's id, by which two agents that use one name are told apart; empty if it has none.
    #[serde(default)]
    pub id: String,
    /// The datacenter that the agent is of; empty from agents of versions that do not say.
    #[serde(default)]
    pub datacenter: String,
}

/// The answer to a sign of life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentHeard {
    /// Whether the node is registered by an agent. If not, all of it is to be registered anew.
    pub known: bool,
    /// The revision at which the node or something on it last changed.
    pub revision: u64,
    /// Where this server serves DNS: `off`, a port of the host at which it is asked, or `IP:PORT`; absent from servers of
    /// versions that do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<String>,
}

/// What [`AgentHeard::dns`] says of a server that serves none.
pub const DNS_OFF: &str = "off";
