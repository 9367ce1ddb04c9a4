//! The decoded file: types generated from `proto/onnx.proto`.

include!(concat!(env!("OUT_DIR"), "/onnx.rs"));
