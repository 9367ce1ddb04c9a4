//! Why a plan could not be made.

use sublet_graph::InferError;
use sublet_units::Bytes;

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// Shapes or types break an operator's rules, or shape inference does not know the operator.
    #[error("node `{node}`: {error}")]
    Infer { node: String, error: InferError },
    /// A tensor, or the arena with it, is larger than the device allows.
    #[error("node `{node}`: {bytes} of activations is more than the limit of {limit}")]
    TooLarge { node: String, bytes: Bytes, limit: Bytes },
    /// The graph has another number of inputs than there are shapes.
    #[error("{given} input shapes for a graph of {wanted} inputs")]
    InputCount { given: usize, wanted: usize },
    /// An input without a default value was left out.
    #[error("input `{0}` has no default value and must be given")]
    InputMissing(String),
    /// The graph does not say which type an input has.
    #[error("input `{0}` has no element type")]
    InputUntyped(String),
    /// The graph is not in execution order.
    #[error("value `{0}` is read before it is computed")]
    Undefined(String),
}
