//! The KV store of applications: values by key, with compare-and-set. Locks and sessions will build on it.

mod commands;
mod entry;

pub use commands::KvPut;
pub use entry::KvEntry;
pub(crate) use entry::{decode, encode};
