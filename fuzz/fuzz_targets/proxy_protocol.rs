//! `fuzz/run 60 proxy_protocol`; what is promised stands at `weir_proxy::fuzzing::proxy_protocol`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_proxy::fuzzing::proxy_protocol(data));
