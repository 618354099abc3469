//! The mesh protocol `weir.mesh.v1`: messages, client and server as generated from `proto/weir/mesh/v1/mesh.proto`
//! by `tools/protogen`. How the messages are meant is said in the `.proto` file.

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::needless_pass_by_value)]
mod generated;

pub use generated::*;

/// The version of the protocol that this binary speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// The largest message that either side accepts. The first update of a stream carries everything that a proxy needs at
/// once, so the limit is generous; it exists so that a broken peer cannot make the other one run out of memory.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
