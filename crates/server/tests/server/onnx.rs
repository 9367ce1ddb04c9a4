//! Tiny ONNX models, written in protobuf's wire format with only the fields that they need.

/// ONNX's numbers for element types.
pub const FLOAT: u64 = 1;
pub const INT64: u64 = 7;
pub const FLOAT16: u64 = 10;

/// A model of one operator: `y = op(x, x, …)`, `x` given `uses` times. A dimension of −1 is the dynamic batch.
pub fn model(op: &str, uses: usize, dtype: u64, dims: &[i64]) -> Vec<u8> {
    let mut node = Vec::new();
    for _ in 0..uses {
        bytes(&mut node, 1, b"x");
    }
    bytes(&mut node, 2, b"y");
    bytes(&mut node, 4, op.as_bytes());
    let mut graph = Vec::new();
    bytes(&mut graph, 1, &node);
    bytes(&mut graph, 2, op.as_bytes());
    bytes(&mut graph, 11, &value("x", dtype, dims));
    bytes(&mut graph, 12, &value("y", dtype, dims));
    let mut opset = Vec::new();
    int(&mut opset, 2, 17);
    let mut model = Vec::new();
    int(&mut model, 1, 8);
    bytes(&mut model, 7, &graph);
    bytes(&mut model, 8, &opset);
    model
}

fn value(name: &str, dtype: u64, dims: &[i64]) -> Vec<u8> {
    let mut shape = Vec::new();
    for &dim in dims {
        let mut written = Vec::new();
        match u64::try_from(dim) {
            Ok(size) => int(&mut written, 1, size),
            Err(_) => bytes(&mut written, 2, b"N"),
        }
        bytes(&mut shape, 1, &written);
    }
    let mut tensor = Vec::new();
    int(&mut tensor, 1, dtype);
    bytes(&mut tensor, 2, &shape);
    let mut kind = Vec::new();
    bytes(&mut kind, 1, &tensor);
    let mut value = Vec::new();
    bytes(&mut value, 1, name.as_bytes());
    bytes(&mut value, 2, &kind);
    value
}

fn int(message: &mut Vec<u8>, field: u64, value: u64) {
    varint(message, field << 3);
    varint(message, value);
}

fn bytes(message: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    varint(message, field << 3 | 2);
    varint(message, bytes.len() as u64);
    message.extend_from_slice(bytes);
}

fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}
