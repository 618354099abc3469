//! What can be wrong with a compressed block.

use thiserror::Error;

/// A fault that leaves the tables of both sides out of step: the connection ends with `COMPRESSION_ERROR` (RFC 9113 section
/// 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HpackError {
    /// RFC 7541 section 5.
    #[error("the block ends inside a field")]
    Truncated,
    /// RFC 7541 section 5.1.
    #[error("an integer has more than four octets beyond its prefix")]
    Integer,
    /// RFC 7541 section 6.1.
    #[error("index 0 names no field")]
    IndexZero,
    /// RFC 7541 section 2.3.3.
    #[error("index {0} is beyond the tables")]
    Index(u32),
    /// RFC 7541 section 5.2.
    #[error("a Huffman-coded string holds the symbol EOS")]
    Eos,
    /// RFC 7541 section 5.2.
    #[error("a Huffman-coded string is padded with something other than fewer than eight ones")]
    Padding,
    /// RFC 7541 section 4.2.
    #[error("a table size update stands behind the first field of its block")]
    UpdateLate,
    /// RFC 7541 section 4.2.
    #[error("a block has more than two table size updates")]
    UpdateRepeated,
    /// RFC 7541 section 6.3.
    #[error("the table is to hold {wanted} bytes, and at most {allowed} are allowed")]
    UpdateTooLarge {
        /// What the update asks for.
        wanted: u32,
        /// What may be asked for.
        allowed: u32,
    },
    /// RFC 9113 section 4.3.1.
    #[error("the table's allowed size was reduced, and the block does not begin with an update to it")]
    UpdateMissing,
}
