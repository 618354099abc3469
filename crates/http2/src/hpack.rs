//! Compressed field sections (RFC 7541).
//!
//! ```text
//!  block -> Decoder -> Field, Field, ...    names known by number, syntax judged once per table entry
//!  block <- Encoder <- Block::field, ...    what repeats becomes one byte, what never does stays out of the table
//! ```
//!
//! One [`Decoder`] and one [`Encoder`] belong to a connection and live as long as it does; their tables take memory only as
//! they are used. It must never index what is secret, and never give a field that it has not judged.

pub use decoder::{Decoder, Scratch, Section};
pub use encoder::{Block, Encoder};
pub use error::HpackError;
pub use name::{Field, Name};

mod decoder;
mod encoder;

mod name;
mod rule;

mod dynamic_table;
mod static_table;

mod huffman;
mod integer;
mod sightings;

mod error;

/// The size of a table before any setting says otherwise, in bytes as RFC 7541 section 4.1 counts them.
pub const TABLE_BYTES_DEFAULT: u32 = 4096;

/// What a field counts beyond its name and value, in tables (RFC 7541 section 4.1) and lists (RFC 9113 section 6.5.2).
pub const FIELD_OVERHEAD_BYTES: usize = 32;
