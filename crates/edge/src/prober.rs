//! Carries out the registry's checks that somebody must go and look at.
//!
//! ```text
//! registry's changes -> schedule (pure) -> probe (bounded number) -> report to the domain
//!                                           alias: what the catalog says
//!                                           script: a program, where that is allowed
//! ```
//!
//! What a result means for an instance is decided by the domain; how to look is `weir_probe`'s. This only follows the
//! registry, and reports.

mod alias;
mod run;

pub use alias::{Elsewhere, ElsewhereFuture};
pub use run::{DATAGRAMS_MAX, LOOKS_MAX, Prober, SCRIPTS_MAX, run};
