//! The mesh protocol `weir.mesh.v1`: messages, client and server as generated from `proto/weir/mesh/v1/mesh.proto`
//! by `tools/protogen`. How the messages are meant is said in the `.proto` file.

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::needless_pass_by_value)]
mod generated;

pub use generated::*;

/// The version of the protocol that this binary speaks.
pub const PROTOCOL_VERSION: u32 = 1;
