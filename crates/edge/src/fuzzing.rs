//! What must hold for every packet that strangers send. The fuzz target and the seeded mutation test call the same
//! function; it panics when a promise is broken.

pub use crate::dns::fuzzing::dns;
