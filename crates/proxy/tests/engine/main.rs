//! The engine from the outside: raw clients, a proxy in this process, raw upstreams.

mod basics;
mod bodies;
mod breakers;
mod capture;
mod faults;
mod filters;
mod hops;
mod hostile;
mod http2;
mod idle;
mod interim;
mod lifecycle;
mod limits;
mod mutations;
mod observe;
mod outliers;
mod policy;
mod retries;
mod sidecar;
mod slow;
mod strict;
mod support;
mod tcp;
mod tls;
mod tracing;
mod websocket;
