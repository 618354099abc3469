//! Registering and deregistering nodes, instances and checks; maintenance; what checks report.

mod commands;
mod decide;
mod draft;
mod namesake;
mod op;
mod validate;

pub use crate::commit::Committed;
pub(crate) use draft::{Draft, Gone};
pub use namesake::conflict as id_conflict;
pub(crate) use op::Pending;
pub use op::{RegistryFault, RegistryOp, RegistryResult, RegistryVerb};
pub(crate) use validate::check_namespace;

use weir_model::registry::{Check, Instance, Node};

/// What is registered together, in one transaction.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The node that everything is on.
    pub node: OnNode,
    /// An instance on it; its `node` is overwritten.
    pub instance: Option<Instance>,
    /// Checks of the node (no `instance`), of this instance or of another one on the node. Their `node` and `service`
    /// are overwritten; an empty `namespace` becomes the instance's, else the default.
    pub checks: Vec<Check>,
    /// What becomes of the health of a check that is there already.
    pub known_health: KnownHealth,
    /// Whether the instance's checks that are not in `checks` are deregistered.
    pub replace_checks: bool,
}

/// The node of a registration.
#[derive(Clone, Debug)]
pub enum OnNode {
    /// Registers the node, or changes it. Maintenance stays as it is on a known node.
    /// Another node of its id goes, or if that is alive this is refused.
    Put(Node),
    /// The same by whoever runs on it, whom the caller has let in: another of its id goes however alive it looks, unless that is a
    /// server's own.
    LetIn(Node),
    /// One that is registered already, by its name in any case.
    Known(String),
}

/// What becomes of the reported health and output of a check that is registered anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownHealth {
    /// Stays, since it is about the same thing as before: what an agent does.
    Keep,
    /// Is replaced by what the registration says.
    Overwrite,
}
