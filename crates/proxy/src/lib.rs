//! The request path.

pub mod admin;
mod attempt;
pub mod breaker;
mod check;
mod config;
mod connection;
mod eject;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod handover;
mod http2;
pub mod limit;
pub mod listen;
mod observe;
mod respond;
mod runtime;
mod tcp;
pub mod tls;
mod tunnel;

pub mod explain;
pub mod filter;
pub mod route;
pub mod snapshot;
pub mod source;

pub use config::{
    AccessLogConfig, AccessLogFormat, EngineLimits, EngineTimeouts, Interception, Mode, PlaceConfig,
    ProxyConfig, RequestIdPolicy, SourceConfig, TracePolicy, TracingConfig,
};
pub use error::ProxyError;
pub use handover::HandoverError;
pub use observe::{Metrics, MetricsFormat};
pub use respond::Reason;
pub use runtime::{Engine, run};
