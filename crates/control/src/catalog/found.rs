//! What is found in a store, read as far as that can be done without the catalog's state.

use std::sync::Arc;

use weir_model::registry::Instance;
use weir_store::Record;

use super::entry::{CheckEntry, Versioned};
use super::kept::{KeptCheck, Stored};
use crate::keys::{Place, place_at};

/// What is under a key.
pub(super) enum Found {
    /// An instance on a node.
    Instance(Stored, Box<Versioned<Instance>>),
    /// A check on a node.
    Check(FoundCheck),
    /// Anything else: there are few of them.
    Other(Record),
}

/// A check as it was found.
pub(super) struct FoundCheck {
    pub(super) kept: Arc<KeptCheck>,
    /// What it says, if somebody may ask for that now.
    entry: Option<Arc<CheckEntry>>,
}

impl Found {
    /// `None` if it is not the catalog's business, or cannot be read, which is reported. What checks say is not kept.
    pub(super) fn of(record: Record) -> Option<Self> {
        match place_at(record.path())? {
            Place::Instance { .. } => Self::instance(record),
            Place::Check { .. } => Self::check(record, false),
            _ => Some(Self::Other(record)),
        }
    }

    /// The record of an instance.
    pub(super) fn instance(record: Record) -> Option<Self> {
        let stored = Stored::new(record);
        let instance = Box::new(stored.read()?);
        Some(Self::Instance(stored, instance))
    }

    /// The record of a check. `whole` says whether what it says is wanted, or no more than what is kept of it.
    pub(super) fn check(record: Record, whole: bool) -> Option<Self> {
        let stored = Stored::new(record);
        let check: CheckEntry = stored.read()?;
        let kept = Arc::new(KeptCheck::new(stored, &check.value));
        Some(Self::Check(FoundCheck { kept, entry: whole.then(|| Arc::new(check)) }))
    }
}

impl FoundCheck {
    /// One that is kept already.
    pub(super) fn again(kept: Arc<KeptCheck>) -> Self {
        Self { kept, entry: None }
    }

    /// What it says.
    pub(super) fn entry(&self) -> Arc<CheckEntry> {
        self.entry.clone().unwrap_or_else(|| self.kept.read())
    }
}
