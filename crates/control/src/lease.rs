//! What lives only as long as somebody renews it: sessions with a TTL, and claims on locks.
//!
//! ```text
//! catalog's changes ──> leases (pure, virtual time) ──> what is over ──> commands
//! renewals ─────────────┘
//! ```
//!
//! Renewals are in memory only. After a start everything has its full time again, and so it has after this process
//! was stopped for a while: who could not have been heard is not judged.

mod driver;
mod leases;

pub(crate) use driver::{Ended, Keeper, run};
pub(crate) use leases::LeaseKey;
