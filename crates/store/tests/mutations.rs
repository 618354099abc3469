//! What the fuzz target promises, on mutants of its seeds: see `fuzz/mutations.rs`.

#[path = "../../../fuzz/mutations.rs"]
mod mutations;

use mutations::run;

#[test]
fn store_log() {
    run(
        "store_log",
        &[b"weir-rec", b"weir store log 1", &[0xff; 4], &[0; 8]],
        weir_store::fuzzing::store_log,
    );
}
