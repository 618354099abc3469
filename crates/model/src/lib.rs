//! Weir's model: resources, names, units and their validation. No IO, no runtime, no clock.

pub mod position;
pub mod registry;
pub mod resource;
pub mod units;

pub use position::{Position, Revision};
pub use resource::{DEFAULT_NAMESPACE, Kind, Resource, ResourceId, ServiceRef, Spec};
