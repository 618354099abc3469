//! Harness for the end-to-end tests: starts real processes, waits for conditions, speaks HTTP over plain sockets.
//!
//! Nothing here knows Weir's code beyond its command line: a test sees what a user sees. Every process is ended by the
//! id it was started with, also when a test panics, and its output is then shown.

pub mod app;
pub mod binary;
pub mod chance;
pub mod cluster;
pub mod databases;
pub mod dns;
pub mod documents;
pub mod http;
pub mod http2;
pub mod lan;
pub mod load;
pub mod namespaces;
pub mod process;
pub mod wait;
pub mod wire;

pub use app::App;
pub use cluster::Cluster;
pub use process::Process;
pub use wait::{eventually, free_port, free_ports};
