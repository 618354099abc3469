//! The one position that runs through the whole system: from the store's commit counter to the proxy's log line.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The store's commit counter: rises by one with every committed transaction. 0 means "nothing committed yet".
pub type Revision = u64;

/// Where in the history of a store something stands.
///
/// The epoch rises whenever a store is new, imported or restored, so that a revision of the old history is never
/// taken for one of the new. Ordered by epoch first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Which history this is.
    pub epoch: u64,
    /// The commit counter within that history.
    pub revision: Revision,
}

impl Position {
    /// A position from its two parts.
    pub const fn new(epoch: u64, revision: Revision) -> Self {
        Self { epoch, revision }
    }
}

impl fmt::Display for Position {
    /// `epoch.revision`, as logs and tables show it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.revision)
    }
}
