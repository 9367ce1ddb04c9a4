//! From a graph and input shapes to a plan.
//!
//! `emit` walks the graph once: it infers types, computes what is known already and drafts steps for the rest;
//! `control` does the same for bodies of control flow; `finish` drops what nobody reads and gives every value its
//! place.

mod control;
mod emit;
mod finish;
mod value;

#[cfg(test)]
mod branch_tests;
#[cfg(test)]
mod tests;

use crate::{Layout, Plan, PlanError, WeightSource};
use emit::Emitter;
use sublet_graph::{Evaluate, Graph, Literal};
use value::{Home, Value};

/// Limits of a plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompileOptions {
    /// Largest arena, and largest single tensor, in bytes.
    pub arena_bytes_max: usize,
    /// Largest value that is computed when the plan is made rather than in every run.
    pub literal_bytes_max: usize,
    /// All such values together.
    pub literals_bytes_max: usize,
}

impl Default for CompileOptions {
    fn default() -> Self {
        CompileOptions {
            arena_bytes_max: 4 << 30,
            literal_bytes_max: 256 << 10,
            literals_bytes_max: 8 << 20,
        }
    }
}

impl Plan {
    /// Compiles `graph` for concrete input shapes.
    ///
    /// `inputs` has the shape of each graph input, in order; an input whose shape is `None` takes its default
    /// value and is no input of the plan. Values that depend only on shapes and small constants are computed here,
    /// with `evaluator`. A value whose shape only the run tells is `Place::Dynamic`; so is everything in bodies of
    /// control flow.
    pub fn compile(
        graph: &Graph,
        weights: &dyn WeightSource,
        layout: &Layout,
        inputs: &[Option<Vec<usize>>],
        evaluator: &dyn Evaluate,
        options: &CompileOptions,
    ) -> Result<Plan, PlanError> {
        Self::compile_knowing(graph, weights, layout, inputs, &[], evaluator, options)
    }

    /// As [`Plan::compile`], for inputs whose values are known too: `known` is as long as `inputs`, or empty. The
    /// plan still takes these inputs, and is right only for these values. Branches that they decide are taken here (see
    /// [`control_inputs`](crate::control_inputs)).
    pub fn compile_knowing(
        graph: &Graph,
        weights: &dyn WeightSource,
        layout: &Layout,
        inputs: &[Option<Vec<usize>>],
        known: &[Option<Literal>],
        evaluator: &dyn Evaluate,
        options: &CompileOptions,
    ) -> Result<Plan, PlanError> {
        if inputs.len() != graph.inputs.len() {
            return Err(PlanError::InputCount { given: inputs.len(), wanted: graph.inputs.len() });
        }
        let mut emitter = Emitter::new(weights, layout, evaluator, options);
        let mut bound = Vec::with_capacity(inputs.len());
        let mut given = Vec::with_capacity(inputs.len());
        for (index, (input, shape)) in graph.inputs.iter().zip(inputs).enumerate() {
            let info = graph.value(input.value);
            let id = match (shape, input.default) {
                (Some(shape), _) => {
                    let dtype =
                        info.dtype.ok_or_else(|| PlanError::InputUntyped(info.name.clone()))?;
                    let literal = known.get(index).cloned().flatten().filter(|literal| {
                        literal.dtype() == dtype && literal.shape() == shape.as_slice()
                    });
                    let shape = Some(shape.clone());
                    let value = Value { dtype, shape, literal, home: Home::Computed };
                    emitter.check_size(&info.name, &value)?;
                    let id = emitter.add(value);
                    given.push((info.name.clone(), id));
                    id
                }
                (None, Some(default)) => emitter.weight(default),
                (None, None) => return Err(PlanError::InputMissing(info.name.clone())),
            };
            bound.push(id);
        }
        let outputs = emitter.graph(graph, &bound)?;
        let named = graph.outputs.iter().map(|&id| graph.value(id).name.clone());
        emitter.finish(given, named.zip(outputs).collect())
    }
}
