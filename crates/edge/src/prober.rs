//! Carries out the checks that somebody must go and look at: HTTP requests and TCP connections.
//!
//! What a result means for an instance is decided by the domain; this only looks and reports. It follows no redirect
//! and keeps no connection: a check that reuses one would not notice that new ones are refused.

mod probe;
mod target;

pub use probe::{Outcome, probe};
pub use target::{HttpTarget, http_target, tcp_target};
