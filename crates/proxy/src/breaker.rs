//! Phase `break`: whether a call is made at all, by the breakers of the `TrafficPolicy` documents.
//!
//! ```text
//! rule and service (route) -> chain of breakers -> admitted: permits -> attempts -> what became of the call
//!                                               -> refused: fallback, or 503 and when to come again
//! endpoint (balance) -> its own breakers -> admitted, or another endpoint
//! ```
//!
//! What decides is `weir_policy::breaker`; here calls are reported to it, and what it decides is counted and logged. A breaker
//! is one for all workers: its state is keyed by document, place and target, and for those of rules and instances by these,
//! and goes on from snapshot to snapshot. Permits come back whatever becomes of their request. Breakers act where calls
//! begin, at gateways and where an application's own calls leave, never where they arrive.

mod brake;
mod cached;
mod permits;
mod standing;
mod table;

pub(crate) use brake::Need;
pub use brake::{Brake, Breaker, Change, Instead};
pub use cached::Cached;
pub(crate) use cached::{BODY_BYTES_MAX, Kept, Key, has_directive};
pub(crate) use permits::{CallEnd, Permits, Refused};
pub use standing::UNMET;
pub use table::{BreakerTable, Chain, Link};
