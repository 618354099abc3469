//! What is counted and logged about requests. Counting must not make workers contend, and logging must not make them
//! wait.
//!
//! ```text
//!  worker: counters, one writer each -----+
//!  worker: counters, one writer each -----+-> added up when somebody asks -> /metrics, /figures
//!  snapshot, endpoints' states -----------+             and now and then -> reports to the control plane
//! ```
//!
//! A request adds to plain numbers of its own worker, and reads the clock once. Rows with labels are made on first use,
//! bounded, and given back once their subject is gone from the snapshot.

mod access_log;
mod breakers;
mod checks;
mod clock;
mod counters;
mod ejections;
mod exposition;
mod grpc;
mod histogram;
mod ids;
mod limits;
mod metrics;
mod process;
mod report;
mod rows;

pub use exposition::MetricsFormat;
pub use metrics::Metrics;

pub(crate) use access_log::{AccessLog, FellBack, Line, Reopen, WorkerLog};
pub(crate) use clock::{Clock, Slept, process_now};
#[cfg(test)]
pub(crate) use counters::Alive;
pub(crate) use counters::{
    CLIENT_GONE, Counter, ListenerCounters, OpenConnection, RequestRow, ServiceCounters, Wire, WorkerCounters,
};
#[allow(unused_imports, reason = "each protocol counts for itself once it is served")]
pub(crate) use counters::{Http2Flood, Side, TlsFailure, TlsVersion};
pub(crate) use grpc::GrpcStatus;
pub(crate) use ids::{B3, RequestId, Trace, b3_trace};
pub(crate) use rows::{NONE, OUTSIDE};
