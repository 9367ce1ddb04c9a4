//! Types of all values of a graph, node by node.

use super::control::{loop_body_inputs, scan_body_inputs};
use super::{InferError, InferInput, TensorType, infer_with_weights};
use crate::{DType, Graph, GraphInput, Model, Node, Op, Source, ValueId, Weight};

/// A node whose types or shapes do not work out.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("node `{node}`: {error}")]
pub struct TypeError {
    pub node: String,
    pub error: InferError,
}

/// Records the element type of every value of a model, in nested graphs too.
///
/// Shapes that follow from weights and from fixed input dimensions alone are checked on the way.
///
/// # Errors
/// The first node whose inputs break its rules, or an output whose declared type is not the computed one.
pub fn infer_dtypes(model: &mut Model) -> Result<(), TypeError> {
    let inputs: Vec<Option<TensorType>> = model
        .graph
        .inputs
        .iter()
        .map(|input| {
            let dtype = input_dtype(&model.graph, input, &model.weights)?;
            Some(TensorType { dtype, shape: None })
        })
        .collect();
    annotate(&mut model.graph, &inputs, &model.weights)
}

/// Types and shapes of a graph's outputs from those of its inputs.
///
/// `inputs` has one entry per graph input; `None` where nothing is known beyond what the graph declares.
/// `weights` are the model's; a value whose weight is not among them keeps its declared type.
pub fn infer_graph_types(
    graph: &Graph,
    inputs: &[Option<InferInput<'_>>],
    weights: &[Weight],
) -> Result<Vec<TensorType>, TypeError> {
    check_arity(graph, inputs.len())?;
    let mut table = Table::new(graph, weights);
    for (slot, input) in graph.inputs.iter().zip(inputs) {
        if let Some(input) = input {
            table.types[slot.value.0 as usize] =
                Some(TensorType { dtype: input.dtype, shape: input.shape.map(<[usize]>::to_vec) });
            table.given.push((slot.value, input));
        }
    }
    for node in &graph.nodes {
        let types = table.infer(graph, node)?;
        table.record(node, types);
    }
    graph
        .outputs
        .iter()
        .map(|&output| {
            table.types[output.0 as usize].clone().ok_or_else(|| {
                let name = &graph.value(output).name;
                graph_error(format!("the type of output `{name}` is not known"))
            })
        })
        .collect()
}

/// What is known so far of each value of a graph.
struct Table<'a> {
    types: Vec<Option<TensorType>>,
    weights: &'a [Weight],
    /// Inputs whose values the caller knows.
    given: Vec<(ValueId, &'a InferInput<'a>)>,
}

impl<'a> Table<'a> {
    fn new(graph: &Graph, weights: &'a [Weight]) -> Self {
        let types = graph
            .values
            .iter()
            .map(|value| match value.source {
                Source::Weight(id) => match weights.get(id.0 as usize) {
                    Some(weight) => Some(TensorType {
                        dtype: weight.value.dtype(),
                        shape: Some(weight.value.shape().to_vec()),
                    }),
                    None => value.dtype.map(|dtype| TensorType { dtype, shape: None }),
                },
                Source::Input => value.dtype.map(|dtype| TensorType { dtype, shape: None }),
                Source::Node => None,
            })
            .collect();
        Table { types, weights, given: Vec::new() }
    }

    fn infer(&self, graph: &Graph, node: &Node) -> Result<Vec<TensorType>, TypeError> {
        let inputs = self.inputs(graph, node)?;
        infer_with_weights(&node.op, &inputs, node.outputs.len(), self.weights)
            .map_err(|error| TypeError { node: node.name.clone(), error })
    }

    fn inputs<'b>(
        &'b self,
        graph: &Graph,
        node: &Node,
    ) -> Result<Vec<Option<InferInput<'b>>>, TypeError> {
        let known = |id: ValueId| {
            let Some(tensor) = self.types.get(id.0 as usize).and_then(Option::as_ref) else {
                let text = format!("the type of value %{} is not known", id.0);
                return Err(TypeError {
                    node: node.name.clone(),
                    error: InferError::Invalid(text),
                });
            };
            let value = match graph.value(id).source {
                Source::Weight(weight) => {
                    self.weights.get(weight.0 as usize).map(|weight| &weight.value)
                }
                Source::Input => {
                    let given = self.given.iter().find(|(given, _)| *given == id);
                    given.and_then(|(_, input)| input.value)
                }
                Source::Node => None,
            };
            Ok(InferInput { dtype: tensor.dtype, shape: tensor.shape.as_deref(), value })
        };
        node.inputs.iter().map(|input| input.map(known).transpose()).collect()
    }

    fn record(&mut self, node: &Node, types: Vec<TensorType>) {
        for (output, tensor) in node.outputs.iter().zip(types) {
            if let Some(slot) = output.and_then(|output| self.types.get_mut(output.0 as usize)) {
                *slot = Some(tensor);
            }
        }
    }
}

fn annotate(
    graph: &mut Graph,
    inputs: &[Option<TensorType>],
    weights: &[Weight],
) -> Result<(), TypeError> {
    check_arity(graph, inputs.len())?;
    let mut table = Table::new(graph, weights);
    for (slot, input) in graph.inputs.iter().zip(inputs) {
        if input.is_some() {
            table.types[slot.value.0 as usize] = input.clone();
        }
    }
    let mut nodes = std::mem::take(&mut graph.nodes);
    let walked = nodes.iter_mut().try_for_each(|node| {
        annotate_bodies(&table, graph, node, weights)?;
        let types = table.infer(graph, node)?;
        table.record(node, types);
        Ok(())
    });
    graph.nodes = nodes;
    walked?;
    for (value, tensor) in graph.values.iter_mut().zip(table.types) {
        let Some(tensor) = tensor else { continue };
        if let (Some(declared), Source::Node) = (value.dtype, value.source)
            && declared != tensor.dtype
        {
            let (name, found) = (&value.name, tensor.dtype);
            return Err(graph_error(format!("`{name}` is declared {declared} but is {found}")));
        }
        value.dtype = Some(tensor.dtype);
    }
    Ok(())
}

/// Annotates the bodies of a control-flow node before the node itself is inferred from them.
fn annotate_bodies(
    table: &Table,
    graph: &Graph,
    node: &mut Node,
    weights: &[Weight],
) -> Result<(), TypeError> {
    if node.op.bodies().is_empty() {
        return Ok(());
    }
    let inputs = table.inputs(graph, node)?;
    let body_inputs: Vec<Option<InferInput>> = match &node.op {
        Op::Loop { .. } => loop_body_inputs(inputs.get(2..).unwrap_or_default()),
        Op::Scan(scan) => scan_body_inputs(scan, &inputs, &[]),
        _ => inputs.get(1..).unwrap_or_default().to_vec(),
    };
    let types: Vec<Option<TensorType>> = body_inputs
        .into_iter()
        .map(|input| input.map(|input| TensorType { dtype: input.dtype, shape: None }))
        .collect();
    for body in node.op.bodies_mut() {
        annotate(body, &types, weights).map_err(|inner| TypeError {
            node: format!("{}/{}", node.name, inner.node),
            error: inner.error,
        })?;
    }
    Ok(())
}

fn input_dtype(graph: &Graph, input: &GraphInput, weights: &[Weight]) -> Option<DType> {
    let default = || Some(weights.get(input.default?.0 as usize)?.value.dtype());
    graph.value(input.value).dtype.or_else(default)
}

fn check_arity(graph: &Graph, given: usize) -> Result<(), TypeError> {
    if graph.inputs.len() == given {
        return Ok(());
    }
    Err(graph_error(format!("the graph has {} inputs, {given} are given", graph.inputs.len())))
}

fn graph_error(text: String) -> TypeError {
    TypeError { node: "graph".into(), error: InferError::Invalid(text) }
}
