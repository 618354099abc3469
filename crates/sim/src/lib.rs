//! A deterministic world on virtual time that drives Weir's policies: clients, proxies, servers, a network, and faults.
//!
//! ```text
//! scenario (YAML) -> World: events by time -> Report -> summary | JSON | plots (SVG)
//!                      |
//!                      +-> proxy: the very code of weir_policy, with `now` and chance of this world
//! ```
//!
//! The same scenario and seed give the same report, to the byte. Nothing here reads a clock, a file or the network, and
//! nothing depends on the order of a hash table. What it must not do: have policies of its own. Where a scenario needs one, it
//! is `weir_policy`'s, so that what holds here holds in the proxy.

mod histogram;
mod measure;
pub mod plot;
mod proxy;
pub mod queue;
pub mod report;
pub mod rng;
pub mod scenario;
mod slab;
mod world;

pub use report::{Report, summary};
pub use scenario::Scenario;
pub use world::{Progress, Stopped, run, run_watched};
