//! A host's agent: what is registered on the host is its own, and everything else it asks the servers.
//!
//! ```text
//! /v1/agent/...  -> the host's own registry (weir_control over a local store), checks carried out here
//!                        | changes, at once; all of it, now and then
//!                        v
//!                   plan (pure) -> differences -> the servers' registry
//! other requests -> forward -> the server in use -> else the next one
//! ```
//!
//! The registry, the API over it and what carries out checks are the servers' own code, on a registry that has one node.
//! This crate only keeps the two registries equal and passes requests on. It decides nothing about health.

mod anti_entropy;
pub mod bounds;
mod elsewhere;
mod forward;
mod operate;
mod plan;
mod servers;
mod status;

pub use anti_entropy::AntiEntropy;
pub use elsewhere::AskServers;
pub use forward::Forward;
pub use operate::mount as mount_operate;
pub use plan::{Registered, plan};
pub use servers::{Answered, Ask, Servers, ServersDns, Unanswered};
pub use status::{Status, Unwelcome};
