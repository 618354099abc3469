//! Weir's model: resources, names, units and their validation. No IO, no runtime, no clock.

pub mod position;

pub use position::{Position, Revision};
