//! `fuzz/run 60 path`; what is promised stands at `weir_http1::fuzzing::path`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_http1::fuzzing::path(data));
