//! Small ONNX models, encoded with just the fields that they need.

use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<Opset>,
}

#[derive(Clone, PartialEq, Message)]
struct Opset {
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Graph {
    #[prost(message, repeated, tag = "1")]
    node: Vec<Node>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<Value>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    op_type: String,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
    #[prost(message, repeated, tag = "13")]
    external_data: Vec<Entry>,
    #[prost(int32, tag = "14")]
    data_location: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    r#type: Option<Type>,
}

#[derive(Clone, PartialEq, Message)]
struct Type {
    #[prost(message, optional, tag = "1")]
    tensor: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorType {
    #[prost(int32, tag = "1")]
    elem_type: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<Dim>,
}

#[derive(Clone, PartialEq, Message)]
struct Dim {
    #[prost(int64, optional, tag = "1")]
    value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    param: Option<String>,
}

const FLOAT: i32 = 1;
const INT64: i32 = 7;

/// A graph under construction. A dimension is a number or a name.
#[derive(Default)]
pub struct Builder(Graph);

impl Builder {
    pub fn input(mut self, name: &str, elem_type: i32, dims: &[&str]) -> Self {
        self.0.input.push(value(name, elem_type, dims));
        self
    }

    pub fn output(mut self, name: &str, elem_type: i32, dims: &[&str]) -> Self {
        self.0.output.push(value(name, elem_type, dims));
        self
    }

    pub fn node(mut self, op: &str, inputs: &[&str], output: &str) -> Self {
        self.0.node.push(Node {
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: format!("make_{output}"),
            op_type: op.to_owned(),
        });
        self
    }

    /// Names the last node.
    pub fn named(mut self, name: &str) -> Self {
        self.0.node.last_mut().expect("a node").name = name.to_owned();
        self
    }

    pub fn weight(mut self, name: &str, dims: &[i64], values: &[f32]) -> Self {
        self.0.initializer.push(Tensor {
            dims: dims.to_vec(),
            data_type: FLOAT,
            name: name.to_owned(),
            raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            ..Default::default()
        });
        self
    }

    pub fn external_weight(mut self, name: &str, dims: &[i64], entries: &[(&str, &str)]) -> Self {
        let entry =
            |(key, value): &(&str, &str)| Entry { key: (*key).into(), value: (*value).into() };
        self.0.initializer.push(Tensor {
            dims: dims.to_vec(),
            data_type: FLOAT,
            name: name.to_owned(),
            external_data: entries.iter().map(entry).collect(),
            data_location: 1,
            ..Default::default()
        });
        self
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.0.name = "graph".into();
        let opset = Opset { version: 17 };
        Model { ir_version: 8, graph: Some(self.0), opset_import: vec![opset] }.encode_to_vec()
    }
}

fn value(name: &str, elem_type: i32, dims: &[&str]) -> Value {
    let dim = |text: &&str| match text.parse() {
        Ok(value) => Dim { value: Some(value), param: None },
        Err(_) => Dim { value: None, param: Some((*text).to_owned()) },
    };
    let shape = Shape { dim: dims.iter().map(dim).collect() };
    let tensor = TensorType { elem_type, shape: Some(shape) };
    Value { name: name.to_owned(), r#type: Some(Type { tensor: Some(tensor) }) }
}

/// `x [N, width]` through `layers` products with pseudo-random weights to `y [N, width]`:
/// `4 · layers · width²` bytes of weights.
pub fn tower(seed: u64, layers: usize, width: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let dims = ["N", &width.to_string()].map(str::to_owned);
    let dims = [dims[0].as_str(), dims[1].as_str()];
    let mut builder = Builder::default().input("x", FLOAT, &dims);
    let mut value = "x".to_owned();
    for layer in 0..layers {
        let weights: Vec<f32> = (0..width * width).map(|_| next()).collect();
        let (weight, product) = (format!("w{layer}"), format!("p{layer}"));
        let out = if layer + 1 == layers { "y".to_owned() } else { format!("h{layer}") };
        builder = builder
            .weight(&weight, &[width as i64, width as i64], &weights)
            .node("MatMul", &[&value, &weight], &product)
            .node("Tanh", &[&product], &out);
        value = out;
    }
    builder.output("y", FLOAT, &dims).finish()
}

/// `y = x + b` of `[N, 2]`, with `b` given.
pub fn adder(b: f32) -> Vec<u8> {
    Builder::default()
        .input("x", FLOAT, &["N", "2"])
        .weight("b", &[2], &[b, b])
        .node("Add", &["x", "b"], "y")
        .output("y", FLOAT, &["N", "2"])
        .finish()
}

/// `y [N] = table[i [N]]`, with a table of four numbers: an index out of range fails when it runs.
pub fn lookup() -> Vec<u8> {
    Builder::default()
        .input("i", INT64, &["N"])
        .weight("table", &[4], &[10.0, 11.0, 12.0, 13.0])
        .node("Gather", &["table", "i"], "y")
        .output("y", FLOAT, &["N"])
        .finish()
}

/// `y = the shape of x [N, 2]`, which claims to have `N` rows and always has two.
pub fn two_rows() -> Vec<u8> {
    Builder::default()
        .input("x", FLOAT, &["N", "2"])
        .node("Shape", &["x"], "y")
        .output("y", INT64, &["N"])
        .finish()
}

/// `y [M, 2]`: row and column of each element of `x [N, 2]` that is not zero. Only a run tells how many there are.
pub fn found() -> Vec<u8> {
    Builder::default()
        .input("x", FLOAT, &["N", "2"])
        .node("NonZero", &["x"], "axes")
        .node("Transpose", &["axes"], "y")
        .output("y", INT64, &["M", "2"])
        .finish()
}

/// Two inputs that share a dimension: `s = a + b`, `d = a - b`.
pub fn two_by_two() -> Vec<u8> {
    Builder::default()
        .input("a", FLOAT, &["N", "3"])
        .input("b", FLOAT, &["N", "3"])
        .node("Add", &["a", "b"], "s")
        .node("Sub", &["a", "b"], "d")
        .output("s", FLOAT, &["N", "3"])
        .output("d", FLOAT, &["N", "3"])
        .finish()
}

/// `y = x + w`, where `w` lies in another file.
pub fn external(location: &str, offset: &str) -> Vec<u8> {
    Builder::default()
        .input("x", FLOAT, &["2"])
        .external_weight("w", &[2], &[("location", location), ("offset", offset), ("length", "8")])
        .node("Add", &["x", "w"], "y")
        .output("y", FLOAT, &["2"])
        .finish()
}

/// A model with an operator that does not exist.
pub fn unsupported() -> Vec<u8> {
    Builder::default()
        .input("x", FLOAT, &["2"])
        .node("Teleport", &["x"], "y")
        .output("y", FLOAT, &["2"])
        .finish()
}

/// `y = x + (a + b)` of `[N, 2]`, whose sum of weights is computed when the model is loaded. `b` lies in `b.bin`
/// beside the model: see [`folded_file`].
pub fn folded(a: f32) -> Vec<u8> {
    Builder::default()
        .input("x", FLOAT, &["N", "2"])
        .weight("a", &[2], &[a, a])
        .external_weight("b", &[2], &[("location", "b.bin")])
        .node("Add", &["a", "b"], "c")
        .node("Add", &["x", "c"], "y")
        .output("y", FLOAT, &["N", "2"])
        .finish()
}

/// The file that [`folded`] reads.
pub fn folded_file(b: f32) -> Vec<u8> {
    [b, b].map(f32::to_le_bytes).concat()
}

/// A model with one node, of this name and operator, which reads `[2]` and, where it is given, a weight `[3]`.
pub fn odd(name: &str, op: &str, inputs: &[&str]) -> Vec<u8> {
    Builder::default()
        .input("x", FLOAT, &["2"])
        .weight("w", &[3], &[0.0; 3])
        .node(op, inputs, "y")
        .named(name)
        .output("y", FLOAT, &["2"])
        .finish()
}
