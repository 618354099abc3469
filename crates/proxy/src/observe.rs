//! What is counted and logged about requests. Counting must not make workers contend, and logging must not make them
//! wait.

mod access_log;
mod metrics;

pub use metrics::Metrics;

pub(crate) use access_log::{AccessLog, AccessRecord, Reopen};
pub(crate) use metrics::{UpstreamCounters, WorkerCounters};
