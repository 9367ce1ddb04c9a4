//! libFuzzer on the target `http`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sublet_fuzz::run("http", data));
