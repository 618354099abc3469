//! Registry operations of a transaction, and what comes of them.

use std::sync::Arc;

use weir_model::Revision;
use weir_model::registry::{Check, Instance, Node};

use super::draft::DRAFTED;
use crate::Error;
use crate::catalog::{CheckEntry, InstanceEntry, NodeEntry, Versioned};

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistryVerb {
    /// Reads it; it must be there.
    Get,
    /// Registers it, or changes it.
    Set,
    /// The same if it was last changed at this revision; 0: if it is not there.
    SetIf(Revision),
    /// Removes it with all that is on it; nothing if it is not there.
    Delete,
    /// The same if it is there and was last changed at this revision.
    DeleteIf(Revision),
}

/// One operation. Those that do not set look at no more than what names it.
#[derive(Clone, Debug)]
pub enum RegistryOp {
    /// On a node. [`RegistryVerb::Get`] finds it by its id, if that is given.
    Node {
        /// What is done.
        verb: RegistryVerb,
        /// The node.
        node: Node,
    },
    /// On an instance.
    Instance {
        /// What is done.
        verb: RegistryVerb,
        /// The instance, with its node.
        instance: Instance,
    },
    /// On a check.
    Check {
        /// What is done.
        verb: RegistryVerb,
        /// The check, with its node; its `service` is overwritten.
        check: Check,
    },
}

/// What an operation read or wrote.
#[derive(Clone, Debug, PartialEq)]
pub enum RegistryResult {
    /// A node; its checks are left out.
    Node(NodeEntry),
    /// An instance; its checks are left out.
    Instance(InstanceEntry),
    /// A check, and the instance that it is about.
    Check(Arc<CheckEntry>, Option<Arc<InstanceEntry>>),
}

/// Why an operation cannot be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryFault {
    /// It is not there.
    Missing,
    /// It was changed, is gone, or is there already.
    Stale,
    /// The registry refuses it: [`Error::NotFound`] if what it is on is not there.
    Refused(Error),
}

impl From<Error> for RegistryFault {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl RegistryVerb {
    /// Whether it sets something.
    pub const fn sets(self) -> bool {
        matches!(self, Self::Set | Self::SetIf(_))
    }

    /// Whether it can be done to what was last changed at this revision, or is not there. What the same transaction has
    /// changed has no revision yet.
    pub(super) fn allow(self, known: Option<Revision>) -> Result<(), RegistryFault> {
        let is_at = |revision| known == Some(revision) && revision != DRAFTED;
        match self {
            Self::Get if known.is_none() => Err(RegistryFault::Missing),
            Self::SetIf(0) if known.is_some() => Err(RegistryFault::Stale),
            Self::SetIf(revision) if revision != 0 && !is_at(revision) => Err(RegistryFault::Stale),
            Self::DeleteIf(revision) if !is_at(revision) => Err(RegistryFault::Stale),
            _ => Ok(()),
        }
    }
}

/// A result whose revisions may be those of the transaction itself.
pub(crate) struct Pending(RegistryResult);

impl Pending {
    pub(super) fn node(entry: &NodeEntry) -> Self {
        Self(RegistryResult::Node(NodeEntry { node: entry.node.clone(), checks: Vec::new() }))
    }

    pub(super) fn instance(entry: &InstanceEntry) -> Self {
        let instance = entry.instance.clone();
        Self(RegistryResult::Instance(InstanceEntry { instance, checks: Vec::new() }))
    }

    pub(super) fn check(entry: Arc<CheckEntry>, about: Option<Arc<InstanceEntry>>) -> Self {
        Self(RegistryResult::Check(entry, about))
    }

    /// The result, once the transaction has a revision.
    pub(crate) fn at(self, revision: Revision) -> RegistryResult {
        let mut result = self.0;
        match &mut result {
            RegistryResult::Node(entry) => settle(&mut entry.node, revision),
            RegistryResult::Instance(entry) => {
                settle(Arc::make_mut(&mut entry.instance), revision);
            }
            RegistryResult::Check(entry, _) => settle(Arc::make_mut(entry), revision),
        }
        result
    }
}

fn settle<T>(entry: &mut Versioned<T>, revision: Revision) {
    for at in [&mut entry.create_revision, &mut entry.modify_revision] {
        if *at == DRAFTED {
            *at = revision;
        }
    }
}
