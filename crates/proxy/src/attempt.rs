//! Phase `attempt`: balance, connect, exchange, and perhaps again.
//!
//! ```text
//!  pick an endpoint -> pooled connection, or connect -> exchange -> back to the pool
//!        ^                                                |
//!        +---- retry: safe, possible, affordable <--------+ failed
//! ```
//!
//! Whether a retry is right is decided by `weir_policy::retry`; which endpoint, by `weir_policy::balance`. This module
//! must not look at routes.

mod again;
mod connect;
mod exchange;
mod hedge;
mod load;
mod manner;
mod pool;
mod probe;
mod reach;
mod run;
mod upstream;

pub(crate) use connect::{ConnectFault, Dial, connect};
pub(crate) use exchange::{Call, Exchange, Keeping};
pub(crate) use load::{LOAD_FIELD, say_load};
pub(crate) use manner::{Manner, RouteStates};
pub(crate) use pool::{Pool, PoolTime};
pub(crate) use probe::{Probes, probe_avoided};
pub(crate) use reach::{Reached, Seeker, Tries, leads_back, reach};
pub(crate) use run::{Outcome, run};
pub(crate) use upstream::{Carried, Held, LocalUpstream};
