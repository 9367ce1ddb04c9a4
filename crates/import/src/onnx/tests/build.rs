//! Small ONNX files, and imported models as text.

use crate::onnx::import_onnx;
use crate::onnx::proto::attribute_proto::AttributeType;
use crate::onnx::proto::tensor_proto::DataType;
use crate::onnx::proto::tensor_shape_proto::{Dimension, dimension};
use crate::onnx::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};
use crate::{ImportError, Limits, NoExternalData};
use bytes::Bytes;
use prost::Message;
use std::fmt::Write;
use sublet_graph::{Graph, Model, ValueId};

/// A model of IR version 8 with one opset.
pub fn model(opset: i64, graph: GraphProto) -> ModelProto {
    ModelProto {
        ir_version: 8,
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: opset }],
        ..ModelProto::default()
    }
}

/// A graph of `f32` inputs and outputs, with the dimensions `[n, 3, 4]`.
pub fn graph(inputs: &[&str], nodes: Vec<NodeProto>, outputs: &[&str]) -> GraphProto {
    GraphProto {
        name: "test".to_owned(),
        node: nodes,
        input: inputs.iter().map(|name| value(name, DataType::Float)).collect(),
        output: outputs.iter().map(|name| value(name, DataType::Undefined)).collect(),
        ..GraphProto::default()
    }
}

/// A graph for a model: its outputs are declared as `dtype`.
pub fn main_graph(
    inputs: &[&str],
    nodes: Vec<NodeProto>,
    outputs: &[&str],
    dtype: DataType,
) -> GraphProto {
    let mut graph = graph(inputs, nodes, &[]);
    graph.output = outputs.iter().map(|name| value(name, dtype)).collect();
    graph
}

pub fn value(name: &str, dtype: DataType) -> ValueInfoProto {
    let dim = |value| Dimension { value: Some(value) };
    let dims = vec![
        dim(dimension::Value::DimParam("n".to_owned())),
        dim(dimension::Value::DimValue(3)),
        dim(dimension::Value::DimValue(4)),
    ];
    let tensor =
        type_proto::Tensor { elem_type: dtype as i32, shape: Some(TensorShapeProto { dim: dims }) };
    let ty = TypeProto { value: Some(type_proto::Value::Tensor(tensor)) };
    ValueInfoProto { name: name.to_owned(), r#type: Some(ty) }
}

pub fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: outputs.iter().map(|&name| name.to_owned()).collect(),
        name: "it".to_owned(),
        op_type: op.to_owned(),
        ..NodeProto::default()
    }
}

impl NodeProto {
    pub fn with(mut self, name: &str, value: impl Into<AttributeProto>) -> Self {
        let mut attribute: AttributeProto = value.into();
        attribute.name = name.to_owned();
        self.attribute.push(attribute);
        self
    }

    pub fn named(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    pub fn of(mut self, domain: &str) -> Self {
        self.domain = domain.to_owned();
        self
    }
}

fn attribute(ty: AttributeType) -> AttributeProto {
    AttributeProto { r#type: ty as i32, ..AttributeProto::default() }
}

impl From<i64> for AttributeProto {
    fn from(i: i64) -> Self {
        AttributeProto { i, ..attribute(AttributeType::Int) }
    }
}

impl From<f32> for AttributeProto {
    fn from(f: f32) -> Self {
        AttributeProto { f, ..attribute(AttributeType::Float) }
    }
}

impl From<&'static str> for AttributeProto {
    fn from(s: &'static str) -> Self {
        AttributeProto { s: Bytes::from_static(s.as_bytes()), ..attribute(AttributeType::String) }
    }
}

impl From<&[i64]> for AttributeProto {
    fn from(ints: &[i64]) -> Self {
        AttributeProto { ints: ints.to_vec(), ..attribute(AttributeType::Ints) }
    }
}

impl From<&[f32]> for AttributeProto {
    fn from(floats: &[f32]) -> Self {
        AttributeProto { floats: floats.to_vec(), ..attribute(AttributeType::Floats) }
    }
}

impl From<&[&'static str]> for AttributeProto {
    fn from(strings: &[&'static str]) -> Self {
        let strings = strings.iter().map(|s| Bytes::from_static(s.as_bytes())).collect();
        AttributeProto { strings, ..attribute(AttributeType::Strings) }
    }
}

impl From<TensorProto> for AttributeProto {
    fn from(tensor: TensorProto) -> Self {
        AttributeProto { t: Some(Box::new(tensor)), ..attribute(AttributeType::Tensor) }
    }
}

impl From<GraphProto> for AttributeProto {
    fn from(graph: GraphProto) -> Self {
        AttributeProto { g: Some(Box::new(graph)), ..attribute(AttributeType::Graph) }
    }
}

/// An attribute that stands for a parameter of the function.
pub fn reference(parameter: &str, ty: AttributeType) -> AttributeProto {
    AttributeProto { ref_attr_name: parameter.to_owned(), ..attribute(ty) }
}

pub fn f32s(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: DataType::Float as i32,
        raw_data: Bytes::copy_from_slice(bytemuck::cast_slice(values)),
        ..TensorProto::default()
    }
}

pub fn i64s(name: &str, dims: &[i64], values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: DataType::Int64 as i32,
        int64_data: values.to_vec(),
        ..TensorProto::default()
    }
}

pub fn function(
    name: &str,
    inputs: &[&str],
    outputs: &[&str],
    nodes: Vec<NodeProto>,
) -> FunctionProto {
    FunctionProto {
        name: name.to_owned(),
        domain: "local".to_owned(),
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: outputs.iter().map(|&name| name.to_owned()).collect(),
        node: nodes,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 18 }],
        ..FunctionProto::default()
    }
}

pub fn import(model: &ModelProto) -> Result<Model, ImportError> {
    import_onnx(model.encode_to_vec().into(), &NoExternalData, &Limits::default())
}

pub fn imported(model: &ModelProto) -> Model {
    import(model).unwrap_or_else(|error| panic!("{error}"))
}

/// The error's text.
pub fn refused(model: &ModelProto) -> String {
    match import(model) {
        Ok(model) => panic!("was imported:\n{}", text(&model)),
        Err(error) => error.to_string(),
    }
}

/// One line per node, `y = Op(x, w)`: constants by value, other values by name, nested graphs indented.
pub fn text(model: &Model) -> String {
    let mut lines = String::new();
    describe(model, &model.graph, "", &mut lines);
    lines.trim_end().to_owned()
}

fn describe(model: &Model, graph: &Graph, indent: &str, lines: &mut String) {
    let show = |value: &Option<ValueId>| match value {
        None => "_".to_owned(),
        Some(value) => match graph.weight(*value) {
            Some(weight) => format!("{:?}", model.weight(weight).value),
            None => graph.value(*value).name.clone(),
        },
    };
    let list = |values: &[Option<ValueId>]| values.iter().map(show).collect::<Vec<_>>().join(", ");
    for node in &graph.nodes {
        let (outputs, inputs) = (list(&node.outputs), list(&node.inputs));
        writeln!(lines, "{indent}{outputs} = {}({inputs})", node.op).expect("a string grows");
        for body in node.op.bodies() {
            let inner = format!("{indent}  ");
            let values = |ids: Vec<ValueId>| {
                let shown: Vec<_> = ids.into_iter().map(|id| body.value(id).name.clone()).collect();
                shown.join(", ")
            };
            let inputs = values(body.inputs.iter().map(|input| input.value).collect());
            let outputs = values(body.outputs.clone());
            writeln!(lines, "{inner}({inputs}) -> ({outputs})").expect("a string grows");
            describe(model, body, &inner, lines);
        }
    }
}
