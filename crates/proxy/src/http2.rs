//! HTTP/2, on both sides: every stream is a connection of its own that speaks HTTP/1.1 to the engine.
//!
//! ```text
//!  client's bytes -> drive -> weir_http2 -> request as HTTP/1.1 -> Served -> connection::serve
//!                          <-            <- Outbox <- response
//!  upstream's     -> drive -> weir_http2 -> response            -> Called -> exchange
//!                          <-            <- Outbox <- request as HTTP/1.1
//! ```
//!
//! So decoding, strictness, routing, retries, timeouts and refusals exist once, and any version can be sent on as any
//! other. One task drives the connection, one serves each stream of a client; what the streams say in one turn goes out with one
//! write. This module must not look at routes, nor decide about retries.

use std::cell::RefCell;

use weir_http1::{FieldTable, Limits, ResponseHead};
use weir_http2::Bench;

mod server;
mod upstream;

mod drive;
mod link;

mod stream;

mod chunks;
mod head;
mod outbox;
mod web;

mod fault;
mod preface;

pub(crate) use fault::{MALFORMED, UNFIT, UNSENT};
pub(crate) use head::{is_grpc, is_grpc_web};
pub(crate) use preface::{Preface, preface};
pub(crate) use server::serve;
pub(crate) use stream::Stream;
pub(crate) use upstream::{Channel, Dialling, NoStream, Room};

/// What a worker keeps for all HTTP/2 streams.
#[derive(Debug, Default)]
pub(crate) struct Local {
    /// Used by one write at a time. The worker's scratch is in use by whoever writes.
    request: RefCell<FieldTable>,
    response: RefCell<ResponseHead>,
    trailers: RefCell<FieldTable>,
    /// Used by one connection at a time, while it receives.
    bench: RefCell<Bench>,
}

/// No bounds: for what the engine has written. It was judged when it was read, and what the proxy has added since must not
/// make it too large.
const WRITTEN_HERE: Limits = Limits {
    head_bytes_max: usize::MAX,
    fields_max: usize::MAX,
    target_bytes_max: usize::MAX,
    method_bytes_max: usize::MAX,
    connection_options_max: usize::MAX,
    chunk_extension_bytes_max: usize::MAX,
    trailer_bytes_max: usize::MAX,
    interim_responses_max: u16::MAX,
};

/// Bytes of one stream's content that a peer may send ahead of what was read: so much of it is in memory at most.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
/// The same for all streams of a client's connection together.
const CLIENT_WINDOW_BYTES: u32 = 1024 * 1024;
/// Bytes of responses that are kept for one client because its windows are shut, all streams together. Beyond, a stream's
/// upstream is read only while nothing is kept for that stream, and a small piece at a time.
const KEPT_BYTES_MAX: usize = 1024 * 1024;
/// The piece: what each stream may have on top.
const PIECE_BYTES: usize = 4 * 1024;
