//! Records: small JSON documents that a protocol server keeps for its own protocol, and that mean nothing to the domain.
//!
//! ```text
//! table (namespace, name) ──> head: how often it was written
//!                        └──> records, by name and perhaps by another one
//! ```
//!
//! Every write of a table also writes its head, on condition that the head is as it was. So what is decided on a table
//! is decided on all of it: names are taken once, bounds and places in a ring are exact on any replica. Tables are for
//! what is written rarely. Records of several tables that must fit each other ([`Fit`]) share the head of one more table.

mod commands;
mod entry;

pub(crate) use commands::end_with_sessions;
pub use commands::{Fit, When};
pub(crate) use entry::Head;
pub use entry::{Record, RecordEntry, RecordRef, TableRef};
