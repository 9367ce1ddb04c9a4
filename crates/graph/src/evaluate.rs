//! The seam through which folding and planning compute constants: one evaluator, which the CPU device provides.

use crate::{Literal, Op};

/// Computes one operator on literals, exactly as the CPU device would at run time.
///
/// Folding and planning take an evaluator instead of having arithmetic of their own, so that a folded
/// constant never differs from the value it replaces.
pub trait Evaluate: Send + Sync {
    /// `inputs` has one entry per operator input, `None` for an optional input left out. Returns one literal
    /// per output that the node has (`outputs` of them).
    fn evaluate(
        &self,
        op: &Op,
        inputs: &[Option<&Literal>],
        outputs: usize,
    ) -> Result<Vec<Literal>, EvaluateError>;
}

/// Why an operator could not be computed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EvaluateError {
    /// The device has no kernel for the operator with these element types.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// The values break the operator's rules: an index out of range, shapes that do not broadcast, ….
    #[error("{0}")]
    Invalid(String),
}
