//! Weir's model: resources, names, units and their validation. No IO, no runtime, no clock.

pub mod dns_names;
pub mod document;
pub mod names;
pub mod network;
pub mod pattern;
pub mod position;
pub mod registry;
pub mod resource;
pub mod units;
pub mod validate;

pub use position::{Position, Revision};
pub use resource::{DEFAULT_NAMESPACE, Kind, Resource, ResourceId, ServiceRef, Spec};
