//! Carries out health checks: HTTP requests, calls of gRPC's health service, HTTP/2 pings, TCP connections, datagrams, and
//! programs, which only those may run who were told so.
//!
//! ```text
//! definitions -> schedule (pure) -> probe, within its time -> outcome
//! ```
//!
//! What an outcome means is decided by whoever asked: the control plane for what is registered, and a proxy by itself
//! for what is written down, or when there is no control plane. Nothing here follows a redirect or keeps a connection:
//! a check that reuses one would not notice that new ones are refused.

mod grpc;
mod h2ping;
mod look;
mod schedule;
mod script;
mod target;
mod udp;

pub use look::{OUTPUT_BYTES_MAX, Outcome, probe};
pub use schedule::{INTERVAL_MIN, Look, Schedule};
pub use script::script;
pub use target::{HttpTarget, http_target, tcp_target};
