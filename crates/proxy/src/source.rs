//! Where snapshots come from: files, a control plane, or the last good state on disk.
//!
//! ```text
//! file | mesh | disk -> Inputs -> publish: resolve names -> compile -> bind listeners -> swap -> settle listeners
//! ```
//!
//! A source runs on the control thread, builds aside, validates whole and swaps. It must never block a worker, and it
//! never puts half of a revision in force.

mod shared;
mod subscriptions;

pub use shared::Shared;
pub use subscriptions::{ON_DEMAND_MAX, Subscribed, Subscriptions, WAIT_MAX, WAITERS_MAX};
