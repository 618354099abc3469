//! What must hold for every packet and filter that strangers send. The fuzz target and the seeded mutation test call the same
//! function; it panics when a promise is broken.

pub use crate::consul::fuzzing::filter;
pub use crate::dns::fuzzing::dns;
