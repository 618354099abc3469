//! A strict, sans-IO HTTP/1.1 codec for a proxy (RFC 9110, RFC 9112).
//!
//! It decides what bytes mean, and nothing else: no sockets, no clock, no tasks, no logging, and no allocation per
//! message once the reusable parts ([`RequestHead`], [`ResponseHead`], output `Vec`s) have grown to their working size.
//!
//! ```text
//!  client bytes -> parse_request -> RequestHead -> HeadWriter::request  -> upstream bytes
//!               -> BodyDecoder   -> data spans  -> BodyEncoder          ->
//!  client bytes <- HeadWriter::response <- ResponseHead <- parse_response <- upstream bytes
//!               <- BodyEncoder          <- data spans   <- BodyDecoder    <-
//! ```
//!
//! ```
//! use weir_http1::*;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let received = b"GET /a/../cart?id=7 HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nAccept: */*\r\n\r\n";
//! let (mut head, mut path, mut out) = (RequestHead::default(), Vec::new(), Vec::new());
//! assert_eq!(parse_request(received, &Limits::default(), &mut head)?, Parsed::Complete(received.len()));
//!
//! let path = match normalize_path(head.path(received), &mut path)? {
//!     Normalized::Unchanged => head.path(received),
//!     Normalized::Changed => &path,
//! };
//! let mut writer = HeadWriter::request(&mut out, head.method_bytes(received), path, head.query(received))?;
//! writer.host(head.host(received).unwrap_or(b"shop"))?;
//! writer.copy(received, head.fields(), FieldSet::FORWARDING).framing(head.body());
//! writer.finish();
//! assert_eq!(out, b"GET /cart?id=7 HTTP/1.1\r\nHost: shop\r\nAccept: */*\r\n\r\n");
//! # Ok(())
//! # }
//! ```
//!
//! Strict means: what two recipients could read differently is refused, not repaired. It must never forward a byte
//! that it has not validated, and its writers cannot emit a CR, LF or NUL that came from outside.

#![forbid(unsafe_code)]

pub use body::{BodyDecoder, BodyKind, Step};
pub use encode::{BodyEncoder, CHUNK_END, ChunkPrefix, LAST_CHUNK, chunk_prefix};
pub use error::{BodyError, FieldError, PathError, RequestError, ResponseError, ShownName, WriteError};
pub use fields::{Field, FieldTable};
pub use known::{FieldSet, KnownField};
pub use limits::Limits;
pub use path::{Normalized, normalize_path};
pub use reason::reason_phrase;
pub use request::{Method, RequestHead, parse_noted_request, parse_request};
pub use response::{RelayFraming, ResponseHead, Sent, parse_noted_response, parse_response};
pub use span::{Parsed, Span, Version};
pub use target::{Authority, TargetForm, split_authority};
pub use trailers::Trailers;
pub use write::{ConnectionOption, FieldLines, FieldName, HeadWriter, is_field_value, is_token};

mod reason;
mod request;
mod response;

mod fields;
mod known;

mod connection;
mod framing;
mod target;

mod body;
mod chunked;
mod encode;
mod trailers;

mod path;
mod write;

mod error;
mod limits;
mod resume;
mod scan;
mod span;

#[doc(hidden)]
pub mod fuzzing;
