//! `fuzz/run 60 dns`; what is promised stands at `weir_edge::fuzzing::dns`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_edge::fuzzing::dns(data));
