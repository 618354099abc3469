//! The KV store of applications: values by key, with compare-and-set, locks that belong to sessions, and transactions.
//!
//! Every write is a `Draft`: operations on a view of the state, from which one store transaction
//! follows. A key that was never locked is written without looking at it, so that writers do not wait for each other;
//! the transaction only makes sure that nobody locked it meanwhile.

mod commands;
mod draft;
mod entry;
mod txn;

pub use commands::{KvLock, KvPut};
pub(crate) use draft::{Draft, NotEnded};
pub use entry::KvEntry;
pub(crate) use entry::{Header, decode, encode};
pub use txn::{KvFault, KvOp, KvResult, KvVerb};
pub(crate) use txn::{Pending, check_op, step};
