//! `fuzz/run 60 request_head`; what is promised stands at `weir_http1::fuzzing::request_head`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_http1::fuzzing::request_head(data));
