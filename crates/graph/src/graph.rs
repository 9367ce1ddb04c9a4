//! Values, nodes, graphs, weights.

use crate::{DType, Literal, Op};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A value within one [`Graph`]: the index into [`Graph::values`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ValueId(pub u32);

/// A weight of a [`Model`]: the index into [`Model::weights`]. Nested graphs share the numbering.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct WeightId(pub u32);

/// A model as imported: its graph, and every constant that the graph or a nested graph reads.
#[derive(Clone, Debug)]
pub struct Model {
    /// What the file calls itself; not the name that clients use.
    pub name: String,
    pub graph: Graph,
    pub weights: Vec<Weight>,
    /// Free-form properties of the file (ONNX `metadata_props`): labels, dictionaries, authorship.
    pub metadata: Vec<(String, String)>,
}

/// A constant tensor.
#[derive(Clone, Debug)]
pub struct Weight {
    /// Unique within the model.
    pub name: String,
    pub value: Literal,
}

/// A dataflow graph in execution order: every node comes after the nodes whose outputs it reads.
///
/// Nested graphs (the bodies of [`Op::If`], [`Op::Loop`], [`Op::Scan`]) are closed: what a body reads from
/// outside is an ordinary input of the node and of the body. Weights are reached from anywhere.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Graph {
    pub values: Vec<ValueInfo>,
    pub nodes: Vec<Node>,
    pub inputs: Vec<GraphInput>,
    pub outputs: Vec<ValueId>,
}

/// What is known of a value before shapes are concrete.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ValueInfo {
    pub name: String,
    pub source: Source,
    /// `None` until inferred. Graph inputs and outputs of an imported model always have one.
    pub dtype: Option<DType>,
    /// As declared by the file, for graph inputs and outputs; `None` when not declared.
    pub dims: Option<Vec<Dim>>,
}

/// Where a value comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Source {
    /// Given by the caller of the graph.
    Input,
    /// A weight of the model.
    Weight(WeightId),
    /// An output of a node.
    Node,
}

/// An input of a graph.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GraphInput {
    pub value: ValueId,
    /// The value used when the caller leaves the input out (an ONNX initializer with an input's name).
    pub default: Option<WeightId>,
}

/// A declared dimension.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Dim {
    Fixed(usize),
    /// Dynamic and named: equal names mean equal sizes.
    Named(String),
    Unknown,
}

/// One operator applied to values.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Node {
    /// The file's name for it, or `op#index` where it has none. Errors and traces use it.
    pub name: String,
    pub op: Op,
    /// `None` for an optional input left out.
    pub inputs: Vec<Option<ValueId>>,
    /// `None` for an optional output that nobody reads.
    pub outputs: Vec<Option<ValueId>>,
}

impl Graph {
    pub fn value(&self, id: ValueId) -> &ValueInfo {
        &self.values[id.0 as usize]
    }

    pub fn add_value(&mut self, info: ValueInfo) -> ValueId {
        let id = ValueId(u32::try_from(self.values.len()).expect("fewer than 2^32 values"));
        self.values.push(info);
        id
    }

    /// The weight behind a value, if it is one.
    pub fn weight(&self, id: ValueId) -> Option<WeightId> {
        match self.value(id).source {
            Source::Weight(weight) => Some(weight),
            Source::Input | Source::Node => None,
        }
    }
}

impl Model {
    pub fn weight(&self, id: WeightId) -> &Weight {
        &self.weights[id.0 as usize]
    }

    pub fn add_weight(&mut self, name: String, value: Literal) -> WeightId {
        let id = WeightId(u32::try_from(self.weights.len()).expect("fewer than 2^32 weights"));
        self.weights.push(Weight { name, value });
        id
    }

    /// The literal behind a value of the outermost graph, if it is a weight.
    pub fn literal(&self, id: ValueId) -> Option<&Literal> {
        self.graph.weight(id).map(|weight| &self.weight(weight).value)
    }

    /// Bytes of all weights.
    pub fn weight_bytes(&self) -> usize {
        self.weights.iter().map(|weight| weight.value.bytes().len()).sum()
    }
}

impl Weight {
    pub fn bytes(&self) -> &Bytes {
        self.value.bytes()
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Fixed(size) => write!(f, "{size}"),
            Dim::Named(name) => f.write_str(name),
            Dim::Unknown => f.write_str("?"),
        }
    }
}

/// One line per node: `%7 = Conv{…}(%3, %5)`.
impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |id: &Option<ValueId>| id.map_or("_".to_owned(), |id| format!("%{}", id.0));
        for node in &self.nodes {
            let outputs: Vec<_> = node.outputs.iter().map(show).collect();
            let inputs: Vec<_> = node.inputs.iter().map(show).collect();
            writeln!(
                f,
                "{} = {}({})  # {}",
                outputs.join(", "),
                node.op,
                inputs.join(", "),
                node.name
            )?;
        }
        Ok(())
    }
}
