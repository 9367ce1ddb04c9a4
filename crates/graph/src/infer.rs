//! Types and shapes of an operator's outputs from those of its inputs: the one place where shapes are computed.

use crate::{DType, Literal, Op};

/// What is known of a tensor.
#[derive(Clone, PartialEq, Debug)]
pub struct TensorType {
    pub dtype: DType,
    /// `None` when it is not known before the run.
    pub shape: Option<Vec<usize>>,
}

/// What is known of an operator's input.
#[derive(Clone, Copy, Debug)]
pub struct InferInput<'a> {
    pub dtype: DType,
    pub shape: Option<&'a [usize]>,
    /// Its value, where it is known: shapes, axes, repeats and the like are read from it.
    pub value: Option<&'a Literal>,
}

/// An operator whose inputs break its rules.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InferError {
    #[error("{0}")]
    Invalid(String),
    #[error("{0} is not supported")]
    Unsupported(String),
}

/// Types and shapes of the first `outputs` outputs of `op`.
///
/// A shape is `None` when it depends on an input shape or an input value that is not known. With all input shapes
/// and values known, only operators with [`Op::shape_depends_on_data`] leave one unknown.
pub fn infer(
    op: &Op,
    inputs: &[Option<InferInput<'_>>],
    outputs: usize,
) -> Result<Vec<TensorType>, InferError> {
    let _ = (op, inputs, outputs);
    Err(InferError::Unsupported("shape inference".into()))
}
