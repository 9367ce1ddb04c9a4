//! Shapes of a graph's values, tried out.
//!
//! Rules must know ranks, and whether two values have one shape, while dimensions are still dynamic. Instead of
//! symbolic algebra, the graph's shapes are inferred twice with different concrete sizes for the dynamic
//! dimensions; what holds both times is taken to hold always. Should it not, inference refuses the fused operator when a
//! plan is made: a wrong guess is an error and never a wrong result.

use crate::{
    Dim, Evaluate, Graph, InferInput, Literal, Node, Op, Source, ValueId, Weight, infer, shape,
};
use std::collections::HashMap;

/// Shapes of all values, under each assignment of sizes; `None` where inference did not get that far.
#[derive(Default)]
pub(super) struct Probes {
    shapes: Vec<Vec<Option<Vec<usize>>>>,
}

/// The largest value computed to learn a shape, in elements.
const VALUE_LEN_MAX: usize = 1024;

impl Probes {
    pub fn new(graph: &Graph, weights: &[Weight], evaluator: &dyn Evaluate) -> Self {
        let shapes = (0..2).map(|probe| Probe::run(graph, weights, evaluator, probe)).collect();
        Probes { shapes }
    }

    /// The shapes of a value under each assignment, if all are known.
    fn of(&self, id: ValueId) -> Option<Vec<&[usize]>> {
        let shapes: Option<Vec<&[usize]>> =
            self.shapes.iter().map(|shapes| shapes.get(id.0 as usize)?.as_deref()).collect();
        shapes.filter(|shapes| !shapes.is_empty())
    }

    pub fn rank(&self, id: ValueId) -> Option<usize> {
        let shapes = self.of(id)?;
        let rank = shapes[0].len();
        shapes.iter().all(|shape| shape.len() == rank).then_some(rank)
    }

    /// Whether two values have one shape.
    pub fn same_shape(&self, a: ValueId, b: ValueId) -> bool {
        self.of(a).is_some_and(|a| self.of(b).is_some_and(|b| a == b))
    }

    /// A dimension, counted from the back, that does not depend on the inputs' sizes.
    pub fn last_dim(&self, id: ValueId, from_back: usize) -> Option<usize> {
        let shapes = self.of(id)?;
        let dim = |shape: &[usize]| Some(shape[shape.len().checked_sub(from_back)?]);
        let first = dim(shapes[0])?;
        shapes.iter().all(|shape| dim(shape) == Some(first)).then_some(first)
    }

    /// Whether `holds` is true of the shapes of two values under every assignment.
    pub fn relate(
        &self,
        a: ValueId,
        b: ValueId,
        holds: impl Fn(&[usize], &[usize]) -> bool,
    ) -> bool {
        match (self.of(a), self.of(b)) {
            (Some(a), Some(b)) => a.iter().zip(&b).all(|(a, b)| holds(a, b)),
            _ => false,
        }
    }
}

struct Probe<'a> {
    graph: &'a Graph,
    weights: &'a [Weight],
    shapes: Vec<Option<Vec<usize>>>,
    /// Small integers, such as shapes, that follow from the sizes.
    values: Vec<Option<Literal>>,
}

impl<'a> Probe<'a> {
    fn run(
        graph: &'a Graph,
        weights: &'a [Weight],
        evaluator: &dyn Evaluate,
        probe: usize,
    ) -> Vec<Option<Vec<usize>>> {
        let count = graph.values.len();
        let mut this =
            Probe { graph, weights, shapes: vec![None; count], values: vec![None; count] };
        this.assign_inputs(probe);
        for (index, value) in graph.values.iter().enumerate() {
            if let Source::Weight(id) = value.source {
                this.shapes[index] = Some(weights[id.0 as usize].value.shape().to_vec());
            }
        }
        for node in &graph.nodes {
            this.step(node, evaluator);
        }
        this.shapes
    }

    /// Dynamic sizes: small along the first axis, which is the batch; along others multiples of a power of two, which
    /// most networks ask of images, no two the same.
    fn assign_inputs(&mut self, probe: usize) {
        let mut named: HashMap<&str, usize> = HashMap::new();
        let mut next = 0;
        for input in &self.graph.inputs {
            let Some(dims) = &self.graph.value(input.value).dims else { continue };
            let mut size = |axis: usize| {
                next += 1;
                match axis {
                    0 => 2 + probe + 2 * next,
                    _ => 64 * (2 * next + 3 * probe),
                }
            };
            let shape = dims
                .iter()
                .enumerate()
                .map(|(axis, dim)| match dim {
                    Dim::Fixed(size) => *size,
                    Dim::Named(name) => *named.entry(name).or_insert_with(|| size(axis)),
                    Dim::Unknown => size(axis),
                })
                .collect();
            self.shapes[input.value.0 as usize] = Some(shape);
        }
    }

    fn value(&self, id: ValueId) -> Option<&Literal> {
        match self.graph.value(id).source {
            Source::Weight(weight) => Some(&self.weights[weight.0 as usize].value),
            Source::Input | Source::Node => self.values[id.0 as usize].as_ref(),
        }
    }

    fn step(&mut self, node: &Node, evaluator: &dyn Evaluate) {
        let input = |id: ValueId| {
            Some(InferInput {
                dtype: self.graph.value(id).dtype?,
                shape: self.shapes[id.0 as usize].as_deref(),
                value: self.value(id),
            })
        };
        let inputs: Option<Vec<Option<InferInput>>> =
            node.inputs.iter().map(|id| id.map_or(Some(None), |id| input(id).map(Some))).collect();
        let Some(inputs) = inputs else { return };
        let Ok(types) = infer(&node.op, &inputs, node.outputs.len()) else { return };
        let small = types.iter().all(|tensor| {
            let len = tensor.shape.as_ref().and_then(|shape| shape::len(shape).ok());
            len.is_some_and(|len| len <= VALUE_LEN_MAX)
        });
        let values = if small { self.compute(node, &inputs, evaluator) } else { None };
        for (index, (output, tensor)) in node.outputs.iter().zip(types).enumerate() {
            let Some(output) = output else { continue };
            self.shapes[output.0 as usize] = tensor.shape;
            self.values[output.0 as usize] =
                values.as_ref().and_then(|values| values.get(index).cloned());
        }
    }

    fn compute(
        &self,
        node: &Node,
        inputs: &[Option<InferInput>],
        evaluator: &dyn Evaluate,
    ) -> Option<Vec<Literal>> {
        match &node.op {
            // What these tell follows from the shape alone.
            Op::Shape { start, end } => {
                let shape = inputs.first()?.as_ref()?.shape?;
                let end = [end.unwrap_or(i64::MAX)];
                let range = *shape::slice_ranges(&[shape.len()], &[*start], &end, None, None)
                    .ok()?
                    .first()?;
                let taken = &shape[range.start..range.start + range.len];
                let sizes: Vec<i64> = taken.iter().map(|&size| size as i64).collect();
                return Some(vec![Literal::i64(&[sizes.len()], &sizes)]);
            }
            Op::Size => {
                let len = shape::len(inputs.first()?.as_ref()?.shape?).ok()?;
                return Some(vec![Literal::i64(&[], &[len as i64])]);
            }
            op if !op.bodies().is_empty() => return None,
            _ => {}
        }
        let values: Vec<Option<&Literal>> = inputs
            .iter()
            .map(|input| match input {
                Some(input) => input.value.map(Some),
                None => Some(None),
            })
            .collect::<Option<_>>()?;
        evaluator.evaluate(&node.op, &values, node.outputs.len()).ok()
    }
}
