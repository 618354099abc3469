//! What the catalog holds: immutable entries that views share. A change makes a new entry; views keep the old one.

use std::sync::Arc;

use weir_model::registry::{Check, Health, Instance, Node};
use weir_model::{Revision, ServiceRef};

/// A value with the revisions at which it was created and last changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// The revision that created it.
    pub create_revision: Revision,
    /// The revision that last changed it.
    pub modify_revision: Revision,
}

/// A check, its last report included.
pub type CheckEntry = Versioned<Check>;

/// A node with its own checks (not those of its instances).
#[derive(Clone, Debug, PartialEq)]
pub struct NodeEntry {
    /// The node.
    pub node: Versioned<Node>,
    /// Its own checks, by id.
    pub checks: Vec<Arc<CheckEntry>>,
}

impl NodeEntry {
    /// The worst of its checks; critical in maintenance.
    pub fn health(&self) -> Health {
        if self.node.value.maintenance.is_some() { Health::Critical } else { worst(&self.checks) }
    }
}

/// An instance with its checks (not its node's).
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceEntry {
    /// The instance.
    pub instance: Arc<Versioned<Instance>>,
    /// Its checks, by id.
    pub checks: Vec<Arc<CheckEntry>>,
}

impl InstanceEntry {
    /// The instance itself.
    pub fn value(&self) -> &Instance {
        &self.instance.value
    }

    /// The worst of its own checks; critical in maintenance. Its node counts in [`ServiceMember::health`].
    pub fn health(&self) -> Health {
        if self.value().maintenance.is_some() { Health::Critical } else { worst(&self.checks) }
    }
}

/// An instance where it runs: what a service's view consists of.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceMember {
    /// The node it runs on.
    pub node: Arc<NodeEntry>,
    /// The instance.
    pub instance: Arc<InstanceEntry>,
}

impl ServiceMember {
    /// The worst of its own checks and its node's; critical when either is in maintenance.
    pub fn health(&self) -> Health {
        self.node.health().max(self.instance.health())
    }

    /// Its node's checks, then its own.
    pub fn checks(&self) -> impl Iterator<Item = &Arc<CheckEntry>> {
        self.node.checks.iter().chain(&self.instance.checks)
    }

    /// Why it is in maintenance, be it its own or its node's.
    pub fn maintenance(&self) -> Option<&str> {
        let node = &self.node.node.value.maintenance;
        self.instance.value().maintenance.as_deref().or(node.as_deref())
    }

    /// Where the application listens: its own address, else its node's.
    pub fn address(&self) -> &str {
        let own = &self.instance.value().address;
        if own.is_empty() { &self.node.node.value.address } else { own }
    }
}

fn worst(checks: &[Arc<CheckEntry>]) -> Health {
    checks.iter().map(|check| check.value.health).max().unwrap_or(Health::Passing)
}

/// A node with all that runs on it.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// The node.
    pub node: Arc<NodeEntry>,
    /// Its instances, by namespace and id.
    pub instances: Vec<Arc<InstanceEntry>>,
}

impl NodeView {
    /// All checks on the node: its own, then its instances'.
    pub fn checks(&self) -> impl Iterator<Item = &Arc<CheckEntry>> {
        self.node.checks.iter().chain(self.instances.iter().flat_map(|instance| &instance.checks))
    }
}

/// One line of the list of services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSummary {
    /// The service's name.
    pub name: Arc<str>,
    /// The tags of all its instances, each once, in order.
    pub tags: Vec<Arc<str>>,
    /// How many instances it has, healthy or not.
    pub instances: usize,
}

/// Who has an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Residents {
    /// The nodes, by name.
    pub nodes: Vec<String>,
    /// The services with an instance that has this address itself, rather than its node's.
    pub services: Vec<ServiceRef>,
}

/// An answer with its index.
#[derive(Clone, Debug)]
pub struct View<T> {
    /// The revision at which this answer last changed, deletions included; never 0.
    pub index: Revision,
    /// The answer.
    pub entries: T,
}

/// Names a check.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckRef {
    /// Its namespace.
    pub namespace: String,
    /// Its node.
    pub node: String,
    /// Its id, unique on the node within the namespace.
    pub id: String,
}

impl CheckRef {
    /// A check by its parts.
    pub fn new(namespace: impl Into<String>, node: impl Into<String>, id: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), node: node.into(), id: id.into() }
    }

    /// The name of this check.
    pub fn of(check: &Check) -> Self {
        Self::new(&*check.namespace, &*check.node, &*check.id)
    }
}

impl std::fmt::Display for CheckRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.node, self.id)
    }
}

/// Names an instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceRef {
    /// Its namespace.
    pub namespace: String,
    /// Its node.
    pub node: String,
    /// Its id, unique on the node within the namespace.
    pub id: String,
}

impl InstanceRef {
    /// An instance by its parts.
    pub fn new(namespace: impl Into<String>, node: impl Into<String>, id: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), node: node.into(), id: id.into() }
    }

    /// The name of this instance.
    pub fn of(instance: &Instance) -> Self {
        Self::new(&*instance.namespace, &*instance.node, &*instance.id)
    }
}

impl std::fmt::Display for InstanceRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.node, self.id)
    }
}
