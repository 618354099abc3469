//! `fuzz/run 60 store_log`; what is promised stands at `weir_store::fuzzing::store_log`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_store::fuzzing::store_log(data));
