//! What must hold for every input. The fuzz targets and the tests on stable Rust call the same functions; each panics when its
//! promise is broken.

mod connection;
mod hpack;

pub use connection::http2_connection;
pub use hpack::hpack;
