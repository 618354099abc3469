//! The stored forms of the log of change sets. Read by versions one older: only add fields, with defaults.

use serde::{Deserialize, Serialize};
use weir_model::{Resource, ResourceId};

/// Which change set is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// Its id.
    pub(crate) id: String,
    /// Its number.
    pub(crate) number: u64,
}

/// What a change set is; its content lies in its parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSet {
    /// Its id, unique: its number and a random part.
    pub id: String,
    /// Its place in the log, from 1.
    pub number: u64,
    /// The id of the change set before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Who applied it.
    #[serde(default)]
    pub author: String,
    /// Why.
    #[serde(default)]
    pub message: String,
    /// When, in milliseconds since 1970 by the server's wall clock; for people only.
    #[serde(default)]
    pub time_ms: u64,
    /// The number of the change set whose state it restores, if it is a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_to: Option<u64>,
    /// Resources it created.
    #[serde(default)]
    pub created: usize,
    /// Resources it changed.
    #[serde(default)]
    pub updated: usize,
    /// Resources it deleted.
    #[serde(default)]
    pub deleted: usize,
    /// How many parts hold its content.
    pub parts: u32,
    /// How many parts hold the whole state after it; 0 if that was not written down.
    #[serde(default)]
    pub checkpoint_parts: u32,
}

/// A piece of a change set's content.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) puts: Vec<Resource>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) deletes: Vec<ResourceId>,
}

/// A piece of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct CheckpointPart {
    pub(crate) resources: Vec<CheckpointEntry>,
}

/// One resource of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CheckpointEntry {
    pub(crate) created_in: u64,
    pub(crate) changed_in: u64,
    pub(crate) resource: Resource,
}

/// The id of a change set: its number, so that ids sort, and a random part, so that writers who race for a number
/// do not mix their pieces.
pub(crate) fn id_of(number: u64, random: u32) -> String {
    format!("{number:08}-{random:08x}")
}

/// The number within an id.
pub(crate) fn number_of(id: &str) -> Option<u64> {
    id.split_once('-')?.0.parse().ok()
}

impl From<CheckpointEntry> for super::ResourceEntry {
    fn from(entry: CheckpointEntry) -> Self {
        Self { resource: entry.resource, created_in: entry.created_in, changed_in: entry.changed_in }
    }
}
