//! Weir's policies: what a proxy decides about each request, as pure state machines.
//!
//! Nothing here reads a clock, sleeps, logs, allocates per decision or knows a runtime. Time ([`time::Nanos`]) and
//! randomness (a [`rand::Rng`]) are arguments, so that the proxy and the simulator run the same code and every property
//! can be tested. Whoever calls owns the lock, if one is needed.

pub mod balance;
pub mod breaker;
pub mod deadline;
pub mod hedge;
pub mod idle;
pub mod limit;
pub mod outlier;
pub mod quota;
pub mod retry;
pub mod status;
mod text;
pub mod time;

pub use time::Nanos;

#[cfg(test)]
mod testing;
