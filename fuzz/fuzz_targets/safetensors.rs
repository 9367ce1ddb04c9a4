//! libFuzzer on the target `safetensors`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sublet_fuzz::run("safetensors", data));
