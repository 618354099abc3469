//! `fuzz/run 60 client_hello`; what is promised stands at `weir_proxy::fuzzing::client_hello`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_proxy::fuzzing::client_hello(data));
