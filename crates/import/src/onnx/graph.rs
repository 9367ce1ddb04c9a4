//! A graph of the file → a graph of the IR: inputs, initializers, nodes in order, outputs.

use super::lower;
use super::order::{self, Order};
use super::problem::Problem;
use super::proto::{GraphProto, NodeProto, ValueInfoProto};
use super::scope::{Body, Frame, FrameKind, Importer, Opsets, Resolved};
use super::types::Declared;
use crate::error::Name;
use crate::{ImportError, Place};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use sublet_graph::{Graph, GraphInput, Node, Op, Source, ValueId, ValueInfo};

/// From this IR version on, an initializer need not be listed among the inputs; one that is, is a default.
const IR_WITH_DEFAULTS: i64 = 4;

impl<'m> Importer<'m> {
    pub fn main_graph(
        &mut self,
        graph: &'m GraphProto,
        opsets: Opsets<'m>,
    ) -> Result<Graph, ImportError> {
        let frame = Frame {
            kind: FrameKind::Main,
            names: HashMap::new(),
            initializers: HashMap::new(),
            opsets: Rc::new(opsets),
            arguments: Rc::default(),
            prefix: String::new(),
        };
        self.enter(&|| Place::Graph(graph.name.clone()), frame)?;
        self.contents(graph)?;
        self.declare_outputs(graph)?;
        Ok(self.leave_graph().graph)
    }

    /// A nested graph of the node `name`.
    pub fn body(&mut self, graph: &'m GraphProto, name: &str) -> Result<Body, ImportError> {
        let outer = self.frame();
        let frame = Frame {
            kind: FrameKind::Body,
            names: HashMap::new(),
            initializers: HashMap::new(),
            opsets: outer.opsets.clone(),
            arguments: outer.arguments.clone(),
            prefix: format!("{}{name}/", outer.prefix),
        };
        self.enter(&|| Place::Graph(name.to_owned()), frame)?;
        self.contents(graph)?;
        Ok(self.leave_graph())
    }

    /// Inputs, nodes and outputs of `graph` into the graph under construction.
    fn contents(&mut self, graph: &'m GraphProto) -> Result<(), ImportError> {
        let place = || Place::Graph(graph.name.clone());
        if !graph.sparse_initializer.is_empty() {
            return Err(place().unsupported("a sparse initializer"));
        }
        for tensor in &graph.initializer {
            let initializers = &mut self.frame_mut().initializers;
            if tensor.name.is_empty() {
                return Err(place().invalid("an initializer has no name"));
            }
            if initializers.insert(&tensor.name, tensor).is_some() {
                return Err(Place::Tensor(tensor.name.clone()).invalid("is defined twice"));
            }
        }
        for input in &graph.input {
            self.input(input)?;
        }
        let outputs = graph.output.iter().map(|output| output.name.as_str());
        self.nodes(&graph.node, outputs)?;
        for output in &graph.output {
            let value = match self.resolve(&output.name)? {
                Resolved::Value(value) => value,
                Resolved::Absent | Resolved::Unknown => {
                    return Err(Place::Output(output.name.clone()).invalid("nothing computes it"));
                }
            };
            self.graph_mut().outputs.push(value);
        }
        Ok(())
    }

    fn input(&mut self, input: &'m ValueInfoProto) -> Result<(), ImportError> {
        let place = || Place::Input(input.name.clone());
        if input.name.is_empty() {
            return Err(place().invalid("an input has no name"));
        }
        let is_initializer = self.frame().initializers.contains_key(input.name.as_str());
        if is_initializer && self.ir_version < IR_WITH_DEFAULTS {
            return Ok(());
        }
        let declared = Declared::read(input.r#type.as_ref(), self.limits.rank)
            .map_err(|problem| problem.at(place))?;
        let is_main = self.frame().kind == FrameKind::Main;
        if is_main && declared.dtype.is_none() {
            return Err(place().invalid("has no element type"));
        }
        let default = match self.frame_mut().initializers.remove(input.name.as_str()) {
            Some(tensor) => {
                let name = format!("{}{}", self.frame().prefix, input.name);
                Some(self.read_weight(tensor, name)?)
            }
            None => None,
        };
        let value = self.add_input(&input.name, declared.dtype, declared.dims, default);
        self.define(&input.name, Some(value)).map_err(|reason| place().invalid(reason))
    }

    /// Lowers `nodes` in order, as far as `outputs` need them.
    pub fn nodes(
        &mut self,
        nodes: &'m [NodeProto],
        outputs: impl Iterator<Item = &'m str>,
    ) -> Result<(), ImportError> {
        self.count_nodes(order::count(nodes))?;
        let order = Order::new(nodes, outputs)?;
        for (index, node) in order.nodes {
            lower::node(self, node, index, &order.read)?;
        }
        Ok(())
    }

    /// Names, types and shapes of the model's outputs. Where a name stands for a value that has another name already
    /// (an input, a weight, another output), the output gets a value of its own.
    fn declare_outputs(&mut self, graph: &'m GraphProto) -> Result<(), ImportError> {
        let mut names = HashSet::new();
        for (index, output) in graph.output.iter().enumerate() {
            let place = || Place::Output(output.name.clone());
            if !names.insert(output.name.as_str()) {
                return Err(place().invalid("is listed twice"));
            }
            let declared = Declared::read(output.r#type.as_ref(), self.limits.rank)
                .map_err(|problem| problem.at(place))?;
            let value = self.named_output(index, &output.name);
            let info = &mut self.graph_mut().values[value.0 as usize];
            match (info.dtype, declared.dtype) {
                (Some(known), Some(declared)) if known != declared => {
                    let reason = format!("is declared as {declared} and computed as {known}");
                    return Err(place().invalid(reason));
                }
                (None, None) => return Err(place().invalid("has no element type")),
                (known, declared) => info.dtype = known.or(declared),
            }
            if info.source == Source::Node {
                info.dims = declared.dims;
            }
        }
        Ok(())
    }

    fn named_output(&mut self, index: usize, name: &str) -> ValueId {
        let graph = self.graph_mut();
        let value = graph.outputs[index];
        let taken = graph.outputs[..index].contains(&value);
        let info = &mut graph.values[value.0 as usize];
        if info.name == name {
            return value;
        }
        if info.source == Source::Node && !taken {
            info.name = name.to_owned();
            return value;
        }
        let dtype = info.dtype;
        let named = ValueInfo { name: name.to_owned(), source: Source::Node, dtype, dims: None };
        let named = graph.add_value(named);
        graph.nodes.push(Node {
            name: name.to_owned(),
            op: Op::Identity,
            inputs: vec![Some(value)],
            outputs: vec![Some(named)],
        });
        graph.outputs[index] = named;
        named
    }
}

/// Closes nested graphs of one node: each captured value becomes an input of every graph, in one order. Returns the
/// graphs and the outer values, which become inputs of the node.
pub fn close<const N: usize>(bodies: [Body; N]) -> ([Graph; N], Vec<ValueId>) {
    let mut outer: Vec<ValueId> = Vec::new();
    for (captured, _) in bodies.iter().flat_map(|body| &body.captures) {
        if !outer.contains(captured) {
            outer.push(*captured);
        }
    }
    let infos: Vec<Option<ValueInfo>> = outer
        .iter()
        .map(|outer| {
            let known = |body: &Body| {
                let inner = body.captures.iter().find(|(captured, _)| captured == outer)?.1;
                Some(body.graph.value(inner).clone())
            };
            bodies.iter().find_map(known)
        })
        .collect();
    let graphs = bodies.map(|mut body| {
        for (captured, info) in outer.iter().zip(&infos) {
            let inner = body.captures.iter().find(|(outer, _)| outer == captured);
            let value = match (inner, info) {
                (Some((_, inner)), _) => *inner,
                (None, Some(info)) => body.graph.add_value(info.clone()),
                (None, None) => unreachable!("a captured value is known to one body"),
            };
            body.graph.inputs.push(GraphInput { value, default: None });
        }
        body.graph
    });
    (graphs, outer)
}

/// The value of a name that a node reads; `None` for an optional one left out.
pub fn read<'m>(
    importer: &mut Importer<'m>,
    index: usize,
    name: &'m str,
) -> Result<Option<ValueId>, Problem> {
    if name.is_empty() {
        return Ok(None);
    }
    match importer.resolve(name)? {
        Resolved::Value(value) => Ok(Some(value)),
        Resolved::Absent => Ok(None),
        Resolved::Unknown => {
            Err(Problem::Invalid(format!("input {index}, {}, is not defined", Name(name))))
        }
    }
}
