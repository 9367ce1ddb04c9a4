//! One pass over a graph: infer, compute what is known, draft steps for the rest.

use super::CompileOptions;
use super::value::{Home, Id, Value};
use crate::{KNOWN_WEIGHT_BYTES_MAX, Layout, Plan, PlanError, WeightSource};
use std::collections::HashMap;
use sublet_graph::{
    DType, Evaluate, Graph, InferError, Literal, Node, Op, TensorType, ValueId, WeightId, byte_len,
    infer,
};
use sublet_units::Bytes;

/// Collects values and drafts of steps.
pub struct Emitter<'a> {
    pub weights: &'a dyn WeightSource,
    pub layout: &'a Layout,
    pub evaluator: &'a dyn Evaluate,
    pub options: &'a CompileOptions,
    /// Whether this is the body of a control-flow operator, whose values have no place in the arena.
    pub in_body: bool,
    pub values: Vec<Value>,
    pub drafts: Vec<Draft>,
    weight_values: HashMap<WeightId, Id>,
    folded_bytes: usize,
}

/// A step whose operands have no places yet.
pub struct Draft {
    pub name: String,
    pub op: Op,
    pub inputs: Vec<Option<Id>>,
    pub outputs: Vec<Option<Id>>,
    pub bodies: Vec<Plan>,
}

impl<'a> Emitter<'a> {
    pub fn new(
        weights: &'a dyn WeightSource,
        layout: &'a Layout,
        evaluator: &'a dyn Evaluate,
        options: &'a CompileOptions,
    ) -> Self {
        Emitter {
            weights,
            layout,
            evaluator,
            options,
            in_body: false,
            values: Vec::new(),
            drafts: Vec::new(),
            weight_values: HashMap::new(),
            folded_bytes: 0,
        }
    }

    /// An emitter for a body of control flow.
    pub fn nested(&self) -> Self {
        Emitter {
            in_body: true,
            ..Emitter::new(self.weights, self.layout, self.evaluator, self.options)
        }
    }

    pub fn value(&self, id: Id) -> &Value {
        &self.values[id.0]
    }

    pub fn add(&mut self, value: Value) -> Id {
        self.values.push(value);
        Id(self.values.len() - 1)
    }

    /// The value of a weight, the same each time.
    pub fn weight(&mut self, id: WeightId) -> Id {
        if let Some(&value) = self.weight_values.get(&id) {
            return value;
        }
        let (dtype, shape) = self.weights.weight_type(id);
        let small = byte_len(dtype, shape).is_some_and(|len| len <= KNOWN_WEIGHT_BYTES_MAX);
        let literal = small.then(|| self.weights.weight_value(id));
        let shape = Some(shape.to_vec());
        let value = self.add(Value { dtype, shape, literal, home: Home::Weight(id) });
        self.weight_values.insert(id, value);
        value
    }

    /// Emits the nodes of a graph whose inputs are bound to `inputs`; returns its outputs.
    pub fn graph(&mut self, graph: &Graph, inputs: &[Id]) -> Result<Vec<Id>, PlanError> {
        let mut bound = vec![None; graph.values.len()];
        for (input, &id) in graph.inputs.iter().zip(inputs) {
            bound[input.value.0 as usize] = Some(id);
        }
        let live = live_nodes(graph);
        for (node, _) in graph.nodes.iter().zip(live).filter(|(_, live)| *live) {
            let mut operands = Vec::with_capacity(node.inputs.len());
            for &value in &node.inputs {
                let operand = value.map(|value| self.lookup(graph, &bound, value));
                operands.push(operand.transpose()?);
            }
            let outputs = self.node(node, &operands)?;
            for (value, id) in node.outputs.iter().zip(outputs) {
                if let Some(value) = value {
                    bound[value.0 as usize] = Some(id);
                }
            }
        }
        graph.outputs.iter().map(|&value| self.lookup(graph, &bound, value)).collect()
    }

    fn lookup(
        &mut self,
        graph: &Graph,
        bound: &[Option<Id>],
        value: ValueId,
    ) -> Result<Id, PlanError> {
        if let Some(weight) = graph.weight(value) {
            return Ok(self.weight(weight));
        }
        bound[value.0 as usize].ok_or_else(|| PlanError::Undefined(graph.value(value).name.clone()))
    }

    /// Values of the node's outputs, one for each, also for those that nobody reads.
    fn node(&mut self, node: &Node, inputs: &[Option<Id>]) -> Result<Vec<Id>, PlanError> {
        match &node.op {
            Op::If { then_branch, else_branch } => {
                return self.branch(node, then_branch, else_branch, inputs);
            }
            Op::Loop { body, carried } => return self.repeat(node, body, *carried, inputs),
            Op::Scan(scan) => return self.scan(node, scan, inputs),
            _ => {}
        }
        if let Some(same) = self.same_value(&node.op, inputs) {
            return Ok(vec![same]);
        }
        if let Some(literal) = self.shape_value(&node.op, inputs) {
            return Ok(vec![self.add(Value::literal(literal))]);
        }
        let known: Vec<_> =
            inputs.iter().map(|input| input.map(|id| self.value(id).infer_input())).collect();
        let types = infer(&node.op, &known, node.outputs.len())
            .map_err(|error| PlanError::Infer { node: node.name.clone(), error })?;
        if let Some(literals) = self.fold(node, inputs, &types) {
            return Ok(literals.into_iter().map(|value| self.add(Value::literal(value))).collect());
        }
        if let Some(view) = self.view(&node.op, inputs, &types) {
            return Ok(vec![view]);
        }
        self.step(node, inputs, types, Vec::new())
    }

    /// Drafts a step.
    pub fn step(
        &mut self,
        node: &Node,
        inputs: &[Option<Id>],
        types: Vec<TensorType>,
        bodies: Vec<Plan>,
    ) -> Result<Vec<Id>, PlanError> {
        let mut outputs = Vec::with_capacity(types.len());
        for of in types {
            let value = Value::computed(of);
            self.check_size(&node.name, &value)?;
            outputs.push(self.add(value));
        }
        self.drafts.push(Draft {
            name: node.name.clone(),
            op: node.op.clone(),
            inputs: inputs.to_vec(),
            outputs: node
                .outputs
                .iter()
                .zip(&outputs)
                .map(|(used, &id)| used.map(|_| id))
                .collect(),
            bodies,
        });
        Ok(outputs)
    }

    /// Refuses a tensor that cannot lie in any arena.
    pub fn check_size(&self, node: &str, value: &Value) -> Result<(), PlanError> {
        let Some(shape) = &value.shape else { return Ok(()) };
        let limit = self.options.arena_bytes_max;
        let bytes = byte_len(value.dtype, shape);
        if bytes.is_none_or(|bytes| bytes > limit) {
            return Err(PlanError::TooLarge {
                node: node.to_owned(),
                bytes: bytes.map_or(Bytes(u64::MAX), Bytes::from),
                limit: Bytes::from(limit),
            });
        }
        Ok(())
    }

    pub fn invalid(&self, node: &Node, what: impl Into<String>) -> PlanError {
        PlanError::Infer { node: node.name.clone(), error: InferError::Invalid(what.into()) }
    }

    /// The input, when the operator only passes it on.
    fn same_value(&self, op: &Op, inputs: &[Option<Id>]) -> Option<Id> {
        let first = inputs.first().copied().flatten()?;
        let to: DType = match op {
            Op::Identity => return Some(first),
            Op::Cast { to } => *to,
            Op::CastLike => self.value(inputs.get(1).copied().flatten()?).dtype,
            _ => return None,
        };
        (self.value(first).dtype == to).then_some(first)
    }

    /// The result of an operator that reads only its input's shape, where that is known.
    fn shape_value(&self, op: &Op, inputs: &[Option<Id>]) -> Option<Literal> {
        if !matches!(op, Op::Shape { .. } | Op::Size) {
            return None;
        }
        let shape = self.value(inputs.first().copied().flatten()?).shape.as_ref()?;
        let dims: Vec<i64> = shape.iter().map(|&dim| dim as i64).collect();
        let rank = dims.len() as i64;
        let clamp = |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank);
        match op {
            Op::Shape { start, end } => {
                let start = clamp(*start);
                let end = clamp(end.unwrap_or(rank)).max(start);
                let dims = &dims[start as usize..end as usize];
                Some(Literal::i64(&[dims.len()], dims))
            }
            _ => Some(Literal::i64(&[], &[dims.iter().try_fold(1i64, |n, &d| n.checked_mul(d))?])),
        }
    }

    /// The outputs, when every input is known and they are not too large. An operator that fails here becomes a
    /// step, and fails in the run if anybody reads it.
    fn fold(
        &mut self,
        node: &Node,
        inputs: &[Option<Id>],
        types: &[TensorType],
    ) -> Option<Vec<Literal>> {
        let mut known = Vec::with_capacity(inputs.len());
        for input in inputs {
            known.push(match input {
                Some(id) => Some(self.value(*id).literal.as_ref()?),
                None => None,
            });
        }
        let left = self.options.literals_bytes_max - self.folded_bytes;
        let max = self.options.literal_bytes_max.min(left);
        for of in types {
            if let Some(shape) = &of.shape {
                byte_len(of.dtype, shape).filter(|&len| len <= max)?;
            }
        }
        let literals = self.evaluator.evaluate(&node.op, &known, node.outputs.len()).ok()?;
        let bytes: usize = literals.iter().map(|literal| literal.bytes().len()).sum();
        if literals.len() != node.outputs.len() || bytes > left {
            return None;
        }
        self.folded_bytes += bytes;
        Some(literals)
    }

    /// The same bytes under another shape, for operators that move nothing.
    fn view(&mut self, op: &Op, inputs: &[Option<Id>], types: &[TensorType]) -> Option<Id> {
        let reshapes =
            matches!(op, Op::Reshape { .. } | Op::Flatten { .. } | Op::Squeeze | Op::Unsqueeze);
        if !reshapes || self.in_body || types.len() != 1 {
            return None;
        }
        let base = inputs.first().copied().flatten()?;
        self.value(base).shape.as_ref()?;
        let shape = types[0].shape.clone()?;
        let root = match self.value(base).home {
            Home::Computed => base,
            Home::View(root) => root,
            Home::Weight(_) | Home::Literal => return None,
        };
        let dtype = self.value(base).dtype;
        Some(self.add(Value { dtype, shape: Some(shape), literal: None, home: Home::View(root) }))
    }
}

/// Which nodes an output of the graph depends on.
fn live_nodes(graph: &Graph) -> Vec<bool> {
    let mut wanted = vec![false; graph.values.len()];
    for output in &graph.outputs {
        wanted[output.0 as usize] = true;
    }
    let mut live = vec![false; graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        live[index] = node.outputs.iter().flatten().any(|value| wanted[value.0 as usize]);
        if live[index] {
            for value in node.inputs.iter().flatten() {
                wanted[value.0 as usize] = true;
            }
        }
    }
    live
}
