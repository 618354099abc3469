//! A strict, sans-IO HTTP/2 codec for a proxy (RFC 9113, RFC 7541).
//!
//! It decides what bytes mean, and nothing else: no sockets, no clock, no tasks, no logging.
//!
//! ```
//! use weir_http1::KnownField;
//! use weir_http2::hpack::{Decoder, Encoder, Name, Scratch};
//!
//! let (mut encoder, mut decoder, mut scratch) = (Encoder::new(), Decoder::new(16 * 1024), Scratch::default());
//! let mut block = Vec::new();
//! let mut fields = encoder.block(&mut block);
//! fields.method(b"POST");
//! fields.path(b"/shop.Cart/Add");
//! fields.field(KnownField::Te, b"TE", b"trailers");
//!
//! let mut seen = Vec::new();
//! let section = decoder.decode(&block, &mut scratch, |field| seen.push((field.id, field.value.to_vec())))?;
//! assert_eq!(seen[1], (Name::Path, b"/shop.Cart/Add".to_vec()));
//! assert_eq!(seen[2], (Name::Field(KnownField::Te), b"trailers".to_vec()));
//! assert!(!section.too_large);
//! # Ok::<(), weir_http2::hpack::HpackError>(())
//! ```

#![forbid(unsafe_code)]

pub use code::{Code, StreamFault};
pub use connection::{Bench, Config, Connection, Event, Failure, Opened, PREFACE, Role, Slot};
pub use floods::Flood;

mod connection;
mod stream;

mod head;
pub mod hpack;
mod inbox;

mod frame;

mod floods;

mod code;
mod ids;

#[doc(hidden)]
pub mod fuzzing;
