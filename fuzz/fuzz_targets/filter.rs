//! `fuzz/run 60 filter`; what is promised stands at `weir_edge::fuzzing::filter`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_edge::fuzzing::filter(data));
