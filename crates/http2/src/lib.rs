//! A strict, sans-IO HTTP/2 codec for a proxy (RFC 9113, RFC 7541).
//!
//! It decides what bytes mean, and nothing else: no sockets, no clock, no tasks, no logging.
//!
//! ```text
//!  peer's bytes -> Connection::receive -> events, and for each stream HTTP/1.1 to read
//!               <- Connection::output  <- call, respond, send, send_trailers
//! ```
//!
//! ```
//! use weir_http2::{Bench, Code, Config, Connection, Event};
//!
//! let config = Config {
//!     streams_max: 100,
//!     stream_window_bytes: 65_535,
//!     connection_window_bytes: 65_535,
//!     head_bytes_max: 16 * 1024,
//! };
//! let (mut client, mut server, mut bench) = (Connection::client(config, 0), Connection::server(config, 0), Bench::default());
//! client.call(true, false, |block| {
//!     block.method(b"GET");
//!     block.scheme(false);
//!     block.authority(b"shop");
//!     block.path(b"/cart");
//! });
//! server.receive(client.output(), 0, &mut bench);
//! let Some(Event::Opened(stream, _)) = server.next_event() else { panic!("a request has come") };
//! let mut buf = [0; 100];
//! let len = server.read(stream, &mut buf);
//! assert_eq!(&buf[..len], b"GET /cart HTTP/1.1\r\nhost: shop\r\n\r\n");
//!
//! server.respond(stream, false, |block| block.status(200));
//! assert_eq!(server.send(stream, b"empty", true), 5);
//! server.close(stream, Code::INTERNAL_ERROR);
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
