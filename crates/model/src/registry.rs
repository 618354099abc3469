//! What lives in the registry one by one: nodes, instances and their checks.

pub mod active;
pub mod check;
pub mod instance;
pub mod node;
pub mod streak;

pub use active::ActiveChecks;
pub use check::{Check, CheckDefinition, CheckKind, Health, Runner};
pub use instance::{Address, Instance, Weights};
pub use node::Node;
pub use streak::{Streak, Thresholds};
