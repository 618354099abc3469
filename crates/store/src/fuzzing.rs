//! What must hold for every log that is found beside a store. The fuzz target and the seeded mutation test call the same function;
//! it panics when a promise is broken.

pub use crate::embedded::fuzzing::store_log;
