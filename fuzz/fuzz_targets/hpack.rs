//! `fuzz/run 60 hpack`; what is promised stands at `weir_http2::fuzzing::hpack`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_http2::fuzzing::hpack(data));
