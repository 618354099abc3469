//! Writes the Rust code of the gRPC protocols from their `.proto` files, without `protoc`.
//!
//! Run it from the repository root after a change to one of them: `cargo run --manifest-path tools/protogen/Cargo.toml`.
//! The result is committed, so that nobody else needs this tool.

use std::path::Path;

/// A protocol.
struct Protocol {
    /// Where its file is, and below that its name.
    root: &'static str,
    file: &'static str,
    /// Where its code belongs.
    out: &'static str,
    package: &'static str,
    /// Whether somebody here answers.
    serves: bool,
}

const PROTOCOLS: [Protocol; 2] = [
    Protocol {
        root: "crates/api/proto",
        file: "weir/mesh/v1/mesh.proto",
        out: "crates/api/src/mesh",
        package: "weir.mesh.v1",
        serves: true,
    },
    Protocol {
        root: "crates/store/proto",
        file: "etcd.proto",
        out: "crates/store/src/etcd",
        package: "etcdserverpb",
        serves: false,
    },
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for Protocol { root, file, out, package, serves } in PROTOCOLS {
        let descriptors = protox::compile([file], [root])?;
        tonic_prost_build::configure().build_server(serves).out_dir(out).compile_fds(descriptors)?;
        let generated = Path::new(out).join("generated.rs");
        std::fs::rename(Path::new(out).join(format!("{package}.rs")), &generated)?;
        // As the rest of the tree, so that the formatting check needs no exception.
        let status = std::process::Command::new("rustfmt").args(["--edition", "2024"]).arg(generated).status()?;
        if !status.success() {
            return Err(format!("rustfmt: {status}").into());
        }
    }
    Ok(())
}
