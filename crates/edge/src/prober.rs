//! Carries out the registry's checks that somebody must go and look at.
//!
//! ```text
//! registry's changes -> schedule (pure) -> probe (bounded number) -> report to the domain
//! ```
//!
//! What a result means for an instance is decided by the domain; how to look is `weir_probe`'s. This only follows the
//! registry, and reports.

mod run;

pub use run::{LOOKS_MAX, run};
