//! The HTTP server all HTTP APIs share: one port, one router, one way to refuse.
//!
//! ```text
//! accept (bounded) -> hyper http1 -> router (path, method) -> body (bounded) -> handler -> Response
//! ```
//!
//! It knows no API: the Consul and the native API add their routes to one [`Router`] and [`Server`] serves it. It must
//! not be used on the request path of the data plane, which has a codec of its own.

pub mod percent;
pub mod query;
pub mod request;
pub mod response;
pub mod router;
pub mod server;
pub mod stats;

pub use query::Query;
pub use request::Request;
pub use response::{Body, Response};
pub use router::{Handler, Route, Router};
pub use server::{Server, ServerConfig, ServerError};
pub use stats::ServerStats;
