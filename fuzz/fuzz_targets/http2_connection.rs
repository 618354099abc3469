//! `fuzz/run 60 http2_connection`; what is promised stands at `weir_http2::fuzzing::http2_connection`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_http2::fuzzing::http2_connection(data));
