//! Sessions: what a lock on a key belongs to. A session ends when it is not renewed in time, when a check it relies on
//! turns critical or goes, when its node goes, or when it is destroyed. In one transaction with its end its keys are
//! released or deleted, and kept from being locked again for as long as it says.
//!
//! ```text
//! create, renew ──> lease (in memory, this replica's clock) ──┐
//! catalog's changes: checks, nodes ───────────────────────────┴──> end: session, keys, delays in one transaction
//! ```
//!
//! Renewals never touch the store. Locking a key writes its session anew, so that an end which was decided before it
//! does not overlook the key.

mod commands;
mod entry;
mod rely;
mod view;

pub use entry::{Behavior, ServiceCheck, Session, SessionEntry, SessionRef};
pub(crate) use rely::{is_alive, life};
pub use view::SessionView;
