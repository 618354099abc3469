//! `fuzz/run 60 response_head`; what is promised stands at `weir_http1::fuzzing::response_head`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_http1::fuzzing::response_head(data));
