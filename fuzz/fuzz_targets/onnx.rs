//! libFuzzer on the target `onnx`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sublet_fuzz::run("onnx", data));
