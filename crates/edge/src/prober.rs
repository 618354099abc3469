//! Carries out the checks that somebody must go and look at: HTTP requests, calls of
//! gRPC's health service, and TCP connections.
//!
//! ```text
//! registry's changes -> schedule (pure) -> probe (bounded number) -> report to the domain
//! ```
//!
//! What a result means for an instance is decided by the domain; this only looks and reports. It follows no redirect
//! and keeps no connection: a check that reuses one would not notice that new ones are refused.

mod grpc;
mod probe;
mod run;
mod schedule;
mod target;

pub use probe::{OUTPUT_BYTES_MAX, Outcome, probe};
pub use run::{LOOKS_MAX, run};
pub use target::{HttpTarget, http_target, tcp_target};
