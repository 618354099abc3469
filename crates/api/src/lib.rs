//! What crosses the line between the control plane and everything else: the mesh protocol, the native HTTP types,
//! and the clients that proxies and operators use.

pub mod browser;
pub mod client;
pub mod mesh;
pub mod native;
pub mod report;
pub mod snapshot;
