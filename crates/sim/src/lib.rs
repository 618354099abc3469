//! A deterministic world on virtual time.

mod histogram;
mod queue;
mod rng;
mod slab;
