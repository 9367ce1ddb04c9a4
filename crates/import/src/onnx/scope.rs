//! The state of an import: graphs under construction, and what names mean in them.
//!
//! Two stacks. A *level* is a graph under construction: the model's, and above it the bodies of control-flow
//! nodes that are being read. A *frame* is a set of names: each graph has one, and so has each function call, whose nodes
//! go into the caller's level under names of their own.

use super::attributes::Arguments;
use super::domain;
use super::external::ExternalData;
use super::proto::{FunctionProto, ModelProto, TensorProto};
use super::tensor::TensorReader;
use crate::{ImportError, Limits, Place};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;
use sublet_graph::{
    DType, Dim, Graph, GraphInput, Literal, Source, ValueId, ValueInfo, Weight, WeightId,
};

/// Operator set version by domain.
pub type Opsets<'m> = HashMap<&'m str, i64>;

pub struct Importer<'m> {
    pub ir_version: i64,
    pub limits: &'m Limits,
    pub functions: HashMap<(&'m str, &'m str, &'m str), &'m FunctionProto>,
    tensors: TensorReader<'m>,
    weights: Vec<Weight>,
    /// Names that are taken, with the number to try next where one is wanted again.
    weight_names: HashMap<String, usize>,
    nodes: usize,
    attribute_bytes: u64,
    levels: Vec<Level>,
    frames: Vec<Frame<'m>>,
}

/// A graph under construction.
#[derive(Default)]
struct Level {
    graph: Graph,
    /// Values of the level below that this one reads, as (outer, inner).
    captures: Vec<(ValueId, ValueId)>,
    captured: HashMap<ValueId, ValueId>,
}

/// What names mean.
pub struct Frame<'m> {
    pub kind: FrameKind,
    /// `None`: the name of an optional input that a function call left out.
    pub names: HashMap<&'m str, Option<ValueId>>,
    /// Initializers that nothing has read yet.
    pub initializers: HashMap<&'m str, &'m TensorProto>,
    pub opsets: Rc<Opsets<'m>>,
    pub arguments: Rc<Arguments<'m>>,
    /// Put before names, so that those of two calls of one function differ.
    pub prefix: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    Main,
    /// A nested graph: sees the names of the frame below.
    Body,
    /// A function call: sees its own names only.
    Function,
}

/// A nested graph that has been read.
pub struct Body {
    /// Its inputs are the formal ones; captured values are added when the node is made.
    pub graph: Graph,
    /// Values of the surrounding graph that it reads, and what they are inside, as (outer, inner).
    pub captures: Vec<(ValueId, ValueId)>,
}

/// What a name stands for.
pub enum Resolved {
    Value(ValueId),
    /// An optional input of a function that the call left out.
    Absent,
    Unknown,
}

impl<'m> Importer<'m> {
    pub fn new(
        proto: &'m ModelProto,
        external: &'m dyn ExternalData,
        limits: &'m Limits,
    ) -> Result<Self, ImportError> {
        let mut functions = HashMap::new();
        for function in &proto.functions {
            let key =
                (domain(&function.domain), function.name.as_str(), function.overload.as_str());
            if functions.insert(key, function).is_some() {
                let reason = format!("function `{}` is defined twice", function.name);
                return Err(Place::Model.invalid(reason));
            }
        }
        Ok(Importer {
            ir_version: proto.ir_version,
            limits,
            functions,
            tensors: TensorReader { external, limits, weights_bytes: 0 },
            weights: Vec::new(),
            weight_names: HashMap::new(),
            nodes: 0,
            attribute_bytes: 0,
            levels: Vec::new(),
            frames: Vec::new(),
        })
    }

    pub fn into_weights(self) -> Vec<Weight> {
        self.weights
    }

    /// The graph under construction.
    pub fn graph(&self) -> &Graph {
        &self.levels.last().expect("a graph is under construction").graph
    }

    pub fn graph_mut(&mut self) -> &mut Graph {
        &mut self.levels.last_mut().expect("a graph is under construction").graph
    }

    pub fn frame(&self) -> &Frame<'m> {
        self.frames.last().expect("a graph is under construction")
    }

    pub fn frame_mut(&mut self) -> &mut Frame<'m> {
        self.frames.last_mut().expect("a graph is under construction")
    }

    /// Opens a frame, and for a graph its level.
    pub fn enter(
        &mut self,
        place: &dyn Fn() -> Place,
        frame: Frame<'m>,
    ) -> Result<(), ImportError> {
        if self.frames.len() > self.limits.nesting {
            return Err(place().limit("nested graphs and functions", self.limits.nesting as u64));
        }
        if frame.kind != FrameKind::Function {
            self.levels.push(Level::default());
        }
        self.frames.push(frame);
        Ok(())
    }

    /// Closes a function's frame.
    pub fn leave_function(&mut self) {
        let frame = self.frames.pop().expect("a frame is open");
        debug_assert!(frame.kind == FrameKind::Function);
    }

    /// Closes a graph's frame and level.
    pub fn leave_graph(&mut self) -> Body {
        self.frames.pop().expect("a frame is open");
        let level = self.levels.pop().expect("a graph is under construction");
        Body { graph: level.graph, captures: level.captures }
    }

    /// Counts nodes that are about to be looked at.
    pub fn count_nodes(&mut self, count: usize) -> Result<(), ImportError> {
        self.nodes = self.nodes.saturating_add(count);
        if self.nodes > self.limits.nodes {
            return Err(Place::Model.limit("nodes", self.limits.nodes as u64));
        }
        Ok(())
    }

    /// Counts what a node's lists take. A function repeats them with each call, so that the file's size is no bound.
    pub fn count_attributes(&mut self, bytes: u64) -> Result<(), ImportError> {
        self.attribute_bytes = self.attribute_bytes.saturating_add(bytes);
        if self.attribute_bytes > self.limits.decoded_bytes {
            return Err(Place::Model.limit("bytes of attributes", self.limits.decoded_bytes));
        }
        Ok(())
    }

    /// What `name` stands for in the innermost frame. An outer value becomes a captured input of the nested graphs
    /// on the way.
    pub fn resolve(&mut self, name: &'m str) -> Result<Resolved, ImportError> {
        self.resolve_in(self.frames.len() - 1, self.levels.len() - 1, name)
    }

    fn resolve_in(
        &mut self,
        frame: usize,
        level: usize,
        name: &'m str,
    ) -> Result<Resolved, ImportError> {
        if let Some(value) = self.frames[frame].names.get(name) {
            return Ok(value.map_or(Resolved::Absent, Resolved::Value));
        }
        if let Some(tensor) = self.frames[frame].initializers.remove(name) {
            let full_name = format!("{}{name}", self.frames[frame].prefix);
            let weight = self.read_weight(tensor, full_name)?;
            let value = self.add_weight_value(level, name.to_owned(), weight);
            self.frames[frame].names.insert(name, Some(value));
            return Ok(Resolved::Value(value));
        }
        if self.frames[frame].kind != FrameKind::Body {
            return Ok(Resolved::Unknown);
        }
        let outer = match self.resolve_in(frame - 1, level - 1, name)? {
            Resolved::Value(outer) => outer,
            other => return Ok(other),
        };
        let inner = self.capture(level, outer);
        self.frames[frame].names.insert(name, Some(inner));
        Ok(Resolved::Value(inner))
    }

    /// The value of `level` that stands for `outer` of the level below.
    fn capture(&mut self, level: usize, outer: ValueId) -> ValueId {
        if let Some(&inner) = self.levels[level].captured.get(&outer) {
            return inner;
        }
        let info = self.levels[level - 1].graph.value(outer).clone();
        let is_weight = matches!(info.source, Source::Weight(_));
        let source = if is_weight { info.source } else { Source::Input };
        let level = &mut self.levels[level];
        let inner = level.graph.add_value(ValueInfo { source, ..info });
        level.captured.insert(outer, inner);
        if !is_weight {
            level.captures.push((outer, inner));
        }
        inner
    }

    /// Gives a name a value in the innermost frame; fails when it has one.
    pub fn define(&mut self, name: &'m str, value: Option<ValueId>) -> Result<(), String> {
        let frame = self.frame_mut();
        if frame.initializers.contains_key(name) {
            return Err(format!("value {} is also an initializer", crate::error::Name(name)));
        }
        match frame.names.entry(name) {
            Entry::Vacant(entry) => {
                entry.insert(value);
                Ok(())
            }
            Entry::Occupied(_) => {
                Err(format!("value {} is defined twice", crate::error::Name(name)))
            }
        }
    }

    /// A new input of the graph under construction.
    pub fn add_input(
        &mut self,
        name: &str,
        dtype: Option<DType>,
        dims: Option<Vec<Dim>>,
        default: Option<WeightId>,
    ) -> ValueId {
        let info = ValueInfo { name: name.to_owned(), source: Source::Input, dtype, dims };
        let graph = self.graph_mut();
        let value = graph.add_value(info);
        graph.inputs.push(GraphInput { value, default });
        value
    }

    pub fn read_tensor(&mut self, tensor: &TensorProto) -> Result<Literal, ImportError> {
        self.tensors.read(tensor)
    }

    pub fn read_weight(
        &mut self,
        tensor: &TensorProto,
        name: String,
    ) -> Result<WeightId, ImportError> {
        let literal = self.read_tensor(tensor)?;
        Ok(self.add_weight(name, literal))
    }

    /// A weight under `name`, or that name with a number where it is taken.
    fn add_weight(&mut self, name: String, value: Literal) -> WeightId {
        let mut unique = name.clone();
        while self.weight_names.contains_key(&unique) {
            let number = self.weight_names.entry(name.clone()).or_insert(1);
            *number += 1;
            unique = format!("{name}#{number}");
        }
        self.weight_names.insert(unique.clone(), 1);
        let id = WeightId(u32::try_from(self.weights.len()).expect("fewer than 2^32 weights"));
        self.weights.push(Weight { name: unique, value });
        id
    }

    /// A constant as a value of the graph under construction.
    pub fn add_constant(&mut self, name: String, literal: Literal) -> ValueId {
        let weight = self.add_weight(name.clone(), literal);
        self.add_weight_value(self.levels.len() - 1, name, weight)
    }

    fn add_weight_value(&mut self, level: usize, name: String, weight: WeightId) -> ValueId {
        let literal = &self.weights[weight.0 as usize].value;
        let dims = literal.shape().iter().map(|&dim| Dim::Fixed(dim)).collect();
        let info = ValueInfo {
            name,
            source: Source::Weight(weight),
            dtype: Some(literal.dtype()),
            dims: Some(dims),
        };
        self.levels[level].graph.add_value(info)
    }

    /// The constant behind a value of the graph under construction.
    pub fn literal(&self, value: ValueId) -> Option<&Literal> {
        self.graph().weight(value).map(|weight| &self.weights[weight.0 as usize].value)
    }
}
