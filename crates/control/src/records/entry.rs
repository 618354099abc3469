//! A record and its stored form.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::catalog::Versioned;

/// Names a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name: lower-case letters, digits and dashes.
    pub name: String,
}

impl TableRef {
    /// A table by its parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// One of its records.
    pub fn record(&self, name: impl Into<String>) -> RecordRef {
        RecordRef { table: self.clone(), name: name.into() }
    }
}

/// Names a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordRef {
    /// Its table.
    pub table: TableRef,
    /// Its name, unique in the table.
    pub name: String,
}

/// A record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its name.
    pub name: String,
    /// Another name that it is found by. No two records of a table share a name, be it the one or the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The session, of the table's namespace, that it is deleted with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// What it says.
    pub content: Value,
}

/// A record with its revisions.
pub type RecordEntry = Versioned<Record>;

/// What a table is besides its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// How often it was written.
    pub(crate) written: u64,
}
