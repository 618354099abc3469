//! What a caller must know of an instance to check it by itself.

use serde::{Deserialize, Serialize};

use super::{CheckDefinition, Health, Weights};

/// The checks of an instance that anybody can carry out who can reach it, and what the others say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveChecks {
    /// The worst of all that cannot be seen from afar: heartbeats, maintenance, its node. It holds whatever the checks
    /// come to.
    pub others: Health,
    /// Shares of the requests by health.
    pub weights: Weights,
    /// The checks; at least one.
    pub definitions: Vec<CheckDefinition>,
}

impl ActiveChecks {
    /// Most checks of one instance that travel to its callers. Of an instance with more none do.
    pub const DEFINITIONS_MAX: usize = 8;
    /// Most bytes of one instance's checks, as JSON, that travel to its callers. Of an instance with more none do.
    pub const BYTES_MAX: usize = 8 << 10;
}
