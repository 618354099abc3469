//! `fuzz/run 60 routing`; what is promised stands at `weir_proxy::fuzzing::routing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_proxy::fuzzing::routing(data));
