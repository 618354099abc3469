//! Writes the Rust code of the mesh protocol from its `.proto` file, without `protoc`.
//!
//! Run it from the repository root after a change to the `.proto` file: `cargo run --manifest-path tools/protogen/Cargo.toml`.
//! The result is committed, so that nobody else needs this tool.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = protox::compile(["weir/mesh/v1/mesh.proto"], ["crates/api/proto"])?;
    tonic_prost_build::configure().out_dir("crates/api/src/mesh").compile_fds(descriptors)?;
    let generated = "crates/api/src/mesh/generated.rs";
    std::fs::rename("crates/api/src/mesh/weir.mesh.v1.rs", generated)?;
    // As the rest of the tree, so that the formatting check needs no exception.
    let status = std::process::Command::new("rustfmt").args(["--edition", "2024", generated]).status()?;
    if status.success() { Ok(()) } else { Err(format!("rustfmt: {status}").into()) }
}
