//! Finds the `weir` binary, built by the same cargo and in the same profile as the tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The path of an up-to-date `weir`; builds it on the first call.
///
/// `WEIR_BIN` names another binary to test instead, for instance a release build.
pub fn weir() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("WEIR_BIN") {
        Some(path) => path.into(),
        None => build(),
    })
}

fn build() -> PathBuf {
    // target/<profile>/deps/<this test>
    let this = std::env::current_exe().unwrap();
    let profile_dir = this.parent().and_then(Path::parent).unwrap().to_owned();
    let profile = profile_dir.file_name().unwrap().to_str().unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--package", "weir", "--bin", "weir"]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).arg("--target-dir").arg(profile_dir.parent().unwrap());
    cargo.arg("--profile").arg(if profile == "debug" { "dev" } else { profile });
    assert!(cargo.status().unwrap().success(), "`weir` does not build");
    profile_dir.join("weir")
}
