//! The model IR: a closed set of operators, values and constants, independent of device and of concrete shapes.
//!
//! A [`Model`] is one [`Graph`] with the [`Weight`]s that it and its nested graphs refer to. `import` makes
//! it from a file, `rewrite` folds and fuses it, `plan` compiles it for concrete shapes.

mod check;
mod dtype;
mod evaluate;
mod graph;
mod infer;
mod literal;
mod op;
mod rewrite;
pub mod shape;

pub use check::{CheckError, CheckErrorKind, NESTING_MAX, check};
pub use dtype::DType;
pub use evaluate::{Evaluate, EvaluateError};
pub use graph::{
    Dim, Graph, GraphInput, Model, Node, Source, ValueId, ValueInfo, Weight, WeightId,
};
pub use infer::{
    InferError, InferInput, TensorType, TypeError, infer, infer_dtypes, infer_graph_types,
    infer_with_weights,
};
pub use literal::{Literal, byte_len};
pub use op::{
    Activation, Attention, AutoPad, Binary, Compare, Conv, CoordinateTransform, Direction,
    GridPadding, Interpolation, KeepAspect, NearestMode, Op, PadMode, Pool, Reduce, Resize, Rnn,
    RnnKind, Scalar, ScanOptions, ScatterReduction, Unary,
};
pub use rewrite::{Precision, Report, RewriteOptions, rewrite};
