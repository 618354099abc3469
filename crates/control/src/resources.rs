//! Declared resources: a log of change sets with a head.
//!
//! A change set is judged whole, written as immutable objects, and takes effect when one small transaction moves the
//! head, comparing its old value. A crash in between leaves the old head in force, and orphans that are cleaned up
//! later. Nothing here judges what a resource means: that is `weir_model::validate`'s work.

mod apply;
mod cleanup;
mod closure;
mod history;
mod plan;
mod set;
pub(crate) mod stored;

pub use apply::{ApplyReport, ChangeKind, ChangeRequest};
pub(crate) use cleanup::clean_up_at_start;
pub use closure::{Closure, Subscription, closure};
pub use history::ChangeSetContent;
pub use set::{ResourceEntry, ResourceSet};
pub use stored::ChangeSet;
