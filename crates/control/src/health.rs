//! Health: TTLs, thresholds, and the eviction of what stays critical.
//!
//! ```text
//! catalog's changes ──> machine (pure, virtual time) ──> actions ──> commands
//! heartbeats, probe outcomes ──┘
//! ```
//!
//! Heartbeats live in memory only; what is committed is transitions. After a start every TTL check gets its full time
//! before it is judged. The probing itself (HTTP, TCP) is not done here: see [`CheckFeed`] and
//! [`Control::report`](crate::Control::report).

mod agents;
mod driver;
mod feed;
mod machine;
mod silence;

pub(crate) use driver::{Monitor, run};
pub use feed::{CheckEvent, CheckFeed};
pub use machine::{Action, Machine};
pub use silence::Preservation;
