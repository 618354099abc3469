//! `fuzz/run 60 chunked_body`; what is promised stands at `weir_http1::fuzzing::chunked_body`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_http1::fuzzing::chunked_body(data));
