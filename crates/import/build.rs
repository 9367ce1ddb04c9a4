//! Compiles the ONNX schema to Rust, without `protoc`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto/onnx.proto");
    let schema = protox::compile(["proto/onnx.proto"], ["proto"])?;
    let mut config = prost_build::Config::new();
    // Tensor data stays in the file's buffer.
    config.bytes(["."]);
    // Rare and large: keeps a plain attribute small.
    config.boxed(".onnx.AttributeProto.t");
    config.boxed(".onnx.AttributeProto.g");
    config.compile_fds(schema)?;
    Ok(())
}
