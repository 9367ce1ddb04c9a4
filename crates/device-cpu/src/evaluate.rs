//! Computes single operators on literals, for folding and planning.

use crate::{KernelError, Tensor, View, dispatch};
use sublet_graph::{Evaluate, EvaluateError, InferError, InferInput, Literal, Op, infer};

/// The CPU device's kernels as an [`Evaluate`]. Control flow is refused.
#[derive(Clone, Copy, Default, Debug)]
pub struct Evaluator;

impl Evaluate for Evaluator {
    fn evaluate(
        &self,
        op: &Op,
        inputs: &[Option<&Literal>],
        outputs: usize,
    ) -> Result<Vec<Literal>, EvaluateError> {
        if !op.bodies().is_empty() {
            return Err(EvaluateError::Unsupported(format!("{op} as a constant")));
        }
        let tensors: Vec<_> = inputs.iter().map(|input| input.map(Tensor::from_literal)).collect();
        let views: Vec<Option<View<'_>>> =
            tensors.iter().map(|tensor| tensor.as_ref().map(Tensor::view)).collect();
        if op.shape_depends_on_data() {
            let mut computed = dispatch::run_data_dependent(op, &views)?;
            computed.truncate(outputs);
            return Ok(computed.iter().map(Tensor::to_literal).collect());
        }
        let mut computed = allocate(op, inputs, outputs)?;
        let mut written: Vec<_> =
            computed.iter_mut().map(|tensor| Some(tensor.view_mut())).collect();
        dispatch::run(op, &views, &mut written)?;
        Ok(computed.iter().map(Tensor::to_literal).collect())
    }
}

/// Tensors for the outputs of an operator all of whose inputs are known.
fn allocate(
    op: &Op,
    inputs: &[Option<&Literal>],
    outputs: usize,
) -> Result<Vec<Tensor>, EvaluateError> {
    let known: Vec<_> = inputs
        .iter()
        .map(|input| {
            input.map(|literal| InferInput {
                dtype: literal.dtype(),
                shape: Some(literal.shape()),
                value: Some(literal),
            })
        })
        .collect();
    let types = infer(op, &known, outputs).map_err(|error| match error {
        InferError::Invalid(what) => EvaluateError::Invalid(what),
        InferError::Unsupported(what) => EvaluateError::Unsupported(what),
    })?;
    let make = |of: &sublet_graph::TensorType| {
        let shape = of.shape.as_ref().ok_or_else(|| {
            EvaluateError::Invalid(format!("the shape of the result of {op} is not known"))
        })?;
        Ok(Tensor::zeroed(of.dtype, shape)?)
    };
    types.iter().map(make).collect()
}

impl From<KernelError> for EvaluateError {
    fn from(error: KernelError) -> Self {
        match error {
            KernelError::Unsupported(what) => EvaluateError::Unsupported(what),
            KernelError::Invalid(what) => EvaluateError::Invalid(what),
        }
    }
}
