//! The request path.

pub mod route;
pub mod snapshot;
pub mod source;
