//! libFuzzer on the target `config`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sublet_fuzz::run("config", data));
