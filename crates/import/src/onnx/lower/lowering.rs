//! One node being lowered: what it reads, and what is emitted for it.

use crate::error::Name;
use crate::onnx::attributes::Attributes;
use crate::onnx::problem::{Problem, invalid};
use crate::onnx::proto::NodeProto;
use crate::onnx::scope::Importer;
use crate::scalar::scalar;
use std::collections::HashSet;
use std::ops::Deref;
use sublet_graph::{
    Binary, DType, Dim, InferInput, Literal, Node, Op, Scalar, Source, ValueId, ValueInfo, infer,
};

pub struct Lowering<'i, 'm> {
    pub importer: &'i mut Importer<'m>,
    pub op: &'m str,
    /// Version of the operator set that gives the operator its meaning.
    pub opset: i64,
    /// One per input of the file's node; `None` for an optional input left out.
    pub inputs: Vec<Option<ValueId>>,
    attributes: Attributes<'m>,
    /// One per output of the file's node; `None` where nobody reads it.
    outputs: Vec<Option<&'m str>>,
    pub name: String,
    emitted: usize,
}

/// Attributes are read as if they were the lowering's own: `cx.int("axis")`.
impl<'m> Deref for Lowering<'_, 'm> {
    type Target = Attributes<'m>;

    fn deref(&self) -> &Attributes<'m> {
        &self.attributes
    }
}

impl<'i, 'm> Lowering<'i, 'm> {
    pub fn new(
        importer: &'i mut Importer<'m>,
        node: &'m NodeProto,
        name: &str,
        opset: i64,
        mut inputs: Vec<Option<ValueId>>,
        attributes: Attributes<'m>,
        read: &HashSet<&'m str>,
    ) -> Self {
        while inputs.last() == Some(&None) {
            inputs.pop();
        }
        let is_read = |name: &&'m str| !name.is_empty() && read.contains(name);
        let outputs = node.output.iter().map(|name| Some(name.as_str()).filter(is_read)).collect();
        Lowering {
            op: &node.op_type,
            opset,
            inputs,
            attributes,
            outputs,
            name: format!("{}{name}", importer.frame().prefix),
            importer,
            emitted: 0,
        }
    }

    /// Fails unless the first `required` inputs are there, and no more inputs and outputs than the operator has.
    pub fn arity(&self, required: usize, inputs: usize, outputs: usize) -> Result<(), Problem> {
        for index in 0..required {
            self.input(index)?;
        }
        if self.inputs.len() > inputs {
            return invalid(format!("{} inputs where it takes {inputs}", self.inputs.len()));
        }
        if self.outputs.iter().skip(outputs).any(Option::is_some) {
            return invalid(format!("{} outputs where it has {outputs}", self.outputs.len()));
        }
        Ok(())
    }

    /// A required input.
    pub fn input(&self, index: usize) -> Result<ValueId, Problem> {
        self.optional(index)
            .ok_or_else(|| Problem::Invalid(format!("required input {index} is missing")))
    }

    pub fn optional(&self, index: usize) -> Option<ValueId> {
        self.inputs.get(index).copied().flatten()
    }

    /// Number of outputs in the file, read or not.
    pub fn output_count(&self) -> usize {
        self.outputs.len()
    }

    /// Whether anybody reads an output.
    pub fn reads_output(&self, index: usize) -> bool {
        self.outputs.get(index).is_some_and(Option::is_some)
    }

    /// The constant behind a value, where it is one.
    pub fn literal(&self, value: ValueId) -> Option<&Literal> {
        self.importer.literal(value)
    }

    pub fn dtype(&self, value: ValueId) -> Option<DType> {
        self.importer.graph().value(value).dtype
    }

    /// A dimension of a value that the file declares, where it does.
    pub fn fixed_dim(&self, value: ValueId, axis: usize) -> Option<usize> {
        match self.importer.graph().value(value).dims.as_ref()?.get(axis)? {
            Dim::Fixed(size) => Some(*size),
            Dim::Named(_) | Dim::Unknown => None,
        }
    }

    /// A constant of the model.
    pub fn constant(&mut self, literal: Literal) -> ValueId {
        self.emitted += 1;
        let name = format!("{}/constant{}", self.name, self.emitted);
        self.importer.add_constant(name, literal)
    }

    /// Lets the node's first output stand for a constant, which takes its name.
    pub fn bind_constant(&mut self, literal: Literal) -> Result<(), Problem> {
        let Some(output) = self.outputs.first().copied().flatten() else {
            return Ok(());
        };
        let name = format!("{}{output}", self.importer.frame().prefix);
        let value = self.importer.add_constant(name, literal);
        self.bind(0, value)
    }

    /// A one-dimensional constant.
    pub fn i64s(&mut self, values: &[i64]) -> ValueId {
        self.constant(Literal::i64(&[values.len()], values))
    }

    /// A constant of shape `[]` of the same type as `like`.
    pub fn scalar_like(&mut self, value: f32, like: ValueId) -> ValueId {
        if let Some(literal) = self.dtype(like).and_then(|dtype| scalar(dtype, value)) {
            return self.constant(literal);
        }
        let value = self.constant(Literal::f32(&[], &[value]));
        self.emit(Op::CastLike, &[value, like])
    }

    /// Emits an operator with one output that the file's node does not have itself.
    pub fn emit(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let inputs = inputs.iter().copied().map(Some).collect();
        self.emit_optional(op, inputs)
    }

    pub fn emit_optional(&mut self, op: Op, inputs: Vec<Option<ValueId>>) -> ValueId {
        self.emitted += 1;
        let name = format!("{}/{}", self.name, self.emitted);
        let dtype = self.output_types(&op, &inputs, 1).pop().flatten();
        let graph = self.importer.graph_mut();
        let info = ValueInfo { name: name.clone(), source: Source::Node, dtype, dims: None };
        let value = graph.add_value(info);
        graph.nodes.push(Node { name, op, inputs, outputs: vec![Some(value)] });
        value
    }

    pub fn binary(&mut self, binary: Binary, a: ValueId, b: ValueId) -> ValueId {
        self.emit(Op::Binary(binary), &[a, b])
    }

    /// The shape of a value, or the part of it from `start` to `end`, as an `i64` vector.
    pub fn shape_of(&mut self, value: ValueId, start: i64, end: Option<i64>) -> ValueId {
        self.emit(Op::Shape { start, end }, &[value])
    }

    /// Emits the operator whose outputs are the node's own; outputs at the end that nobody reads are left out.
    pub fn finish(&mut self, op: Op, inputs: Vec<Option<ValueId>>) -> Result<(), Problem> {
        let read = self.outputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        self.finish_with(op, inputs, read)
    }

    /// The same with exactly `count` outputs, for operators whose number of outputs has a meaning.
    pub fn finish_with(
        &mut self,
        op: Op,
        mut inputs: Vec<Option<ValueId>>,
        count: usize,
    ) -> Result<(), Problem> {
        while inputs.last() == Some(&None) {
            inputs.pop();
        }
        let types = self.output_types(&op, &inputs, count);
        let mut outputs = Vec::with_capacity(count);
        for (index, dtype) in types.into_iter().enumerate() {
            let Some(name) = self.outputs.get(index).copied().flatten() else {
                outputs.push(None);
                continue;
            };
            let info = ValueInfo { name: name.to_owned(), source: Source::Node, dtype, dims: None };
            let value = self.importer.graph_mut().add_value(info);
            self.bind(index, value)?;
            outputs.push(Some(value));
        }
        let name = self.name.clone();
        self.importer.graph_mut().nodes.push(Node { name, op, inputs, outputs });
        Ok(())
    }

    /// The operator applied to all inputs of the node.
    pub fn finish_same(&mut self, op: Op) -> Result<(), Problem> {
        let inputs = self.inputs.clone();
        self.finish(op, inputs)
    }

    /// Lets an output of the node stand for a value that exists.
    pub fn bind(&mut self, output: usize, value: ValueId) -> Result<(), Problem> {
        let Some(name) = self.outputs.get_mut(output).and_then(Option::take) else {
            return Ok(());
        };
        self.importer.define(name, Some(value)).map_err(Problem::Invalid)
    }

    /// Called last: every attribute must have been read and every output given a value.
    pub fn finished(&self) -> Result<(), Problem> {
        if let Some(name) = self.outputs.iter().flatten().next() {
            return Err(Problem::Unsupported(format!("output {}", Name(name))));
        }
        self.attributes.all_used()
    }

    /// Element types of an operator's outputs, as far as they follow from those of its inputs.
    fn output_types(
        &self,
        op: &Op,
        inputs: &[Option<ValueId>],
        count: usize,
    ) -> Vec<Option<DType>> {
        let unknown = vec![None; count];
        if let Some(body) = op.bodies().first() {
            let skip = usize::from(matches!(op, Op::Loop { .. }));
            let mut types: Vec<_> =
                body.outputs.iter().skip(skip).map(|&id| body.value(id).dtype).collect();
            types.resize(count, None);
            return types;
        }
        let mut known = Vec::with_capacity(inputs.len());
        for input in inputs {
            match input {
                None => known.push(None),
                Some(value) => match self.dtype(*value) {
                    Some(dtype) => known.push(Some(InferInput { dtype, shape: None, value: None })),
                    None => return unknown,
                },
            }
        }
        match infer(op, &known, count) {
            Ok(types) if types.len() == count => {
                types.into_iter().map(|ty| Some(ty.dtype)).collect()
            }
            _ => unknown,
        }
    }
}

/// A literal of one element as a [`Scalar`].
pub fn to_scalar(literal: &Literal) -> Option<Scalar> {
    if literal.len() != 1 {
        return None;
    }
    let mut bits = [0; 8];
    bits[..literal.bytes().len()].copy_from_slice(literal.bytes());
    Some(Scalar { dtype: literal.dtype(), bits: u64::from_le_bytes(bits) })
}
