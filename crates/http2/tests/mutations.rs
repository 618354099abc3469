//! Mutated blocks, seeded: the bodies of the fuzz targets on stable Rust.

#[path = "../../../fuzz/mutations.rs"]
mod mutations;

use mutations::run;
use weir_http2::fuzzing;

#[test]
fn blocks() {
    run("hpack", &[], fuzzing::hpack);
}

#[test]
fn connections() {
    run("http2_connection", &[], fuzzing::http2_connection);
}
