//! The one exhaustive match over `Op`.

use crate::{KernelError, Tensor, View, ViewMut};
use sublet_graph::Op;

/// Computes an operator into outputs whose types and shapes inference gave. Control flow and operators with
/// [`Op::shape_depends_on_data`] are not computed here: see [`run_data_dependent`] and the executor.
pub fn run(
    op: &Op,
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let _ = (inputs, outputs);
    match op {
        // --- products, convolution, pooling, normalisation, recurrence, quantisation, element-wise arithmetic ---
        Op::Identity => unsupported(op),
        Op::Unary(_) => unsupported(op),
        Op::Binary(_) => unsupported(op),
        Op::Compare(_) => unsupported(op),
        Op::Where => unsupported(op),
        Op::Clip => unsupported(op),
        Op::Cast { .. } => unsupported(op),
        Op::CastLike => unsupported(op),
        Op::MatMul => unsupported(op),
        Op::Linear { .. } => unsupported(op),
        Op::Gemm { .. } => unsupported(op),
        Op::MatMulInteger => unsupported(op),
        Op::QLinearMatMul => unsupported(op),
        Op::Attention(_) => unsupported(op),
        Op::RotaryEmbedding { .. } => unsupported(op),
        Op::Conv { .. } => unsupported(op),
        Op::ConvTranspose { .. } => unsupported(op),
        Op::ConvInteger(_) => unsupported(op),
        Op::QLinearConv(_) => unsupported(op),
        Op::MaxPool { .. } => unsupported(op),
        Op::AveragePool { .. } => unsupported(op),
        Op::LpPool { .. } => unsupported(op),
        Op::GlobalAveragePool => unsupported(op),
        Op::GlobalMaxPool => unsupported(op),
        Op::GlobalLpPool { .. } => unsupported(op),
        Op::BatchNorm { .. } => unsupported(op),
        Op::InstanceNorm { .. } => unsupported(op),
        Op::LayerNorm { .. } => unsupported(op),
        Op::GroupNorm { .. } => unsupported(op),
        Op::RmsNorm { .. } => unsupported(op),
        Op::LpNormalization { .. } => unsupported(op),
        Op::MeanVarianceNormalization { .. } => unsupported(op),
        Op::Lrn { .. } => unsupported(op),
        Op::Softmax { .. } => unsupported(op),
        Op::LogSoftmax { .. } => unsupported(op),
        Op::Hardmax { .. } => unsupported(op),
        Op::Rnn(_) => unsupported(op),
        Op::QuantizeLinear { .. } => unsupported(op),
        Op::DequantizeLinear { .. } => unsupported(op),
        Op::DynamicQuantizeLinear => unsupported(op),
        // --- reduction, movement, generation, images and signals ---
        Op::Einsum { .. } => unsupported(op),
        Op::Reduce { .. } => unsupported(op),
        Op::ArgMax { .. } => unsupported(op),
        Op::ArgMin { .. } => unsupported(op),
        Op::CumSum { .. } => unsupported(op),
        Op::CumProd { .. } => unsupported(op),
        Op::TopK { .. } => unsupported(op),
        Op::Det => unsupported(op),
        Op::Shape { .. } => unsupported(op),
        Op::Size => unsupported(op),
        Op::Reshape { .. } => unsupported(op),
        Op::Flatten { .. } => unsupported(op),
        Op::Squeeze => unsupported(op),
        Op::Unsqueeze => unsupported(op),
        Op::Transpose { .. } => unsupported(op),
        Op::Expand => unsupported(op),
        Op::Tile => unsupported(op),
        Op::Concat { .. } => unsupported(op),
        Op::Split { .. } => unsupported(op),
        Op::Slice => unsupported(op),
        Op::Pad { .. } => unsupported(op),
        Op::Gather { .. } => unsupported(op),
        Op::GatherElements { .. } => unsupported(op),
        Op::GatherND { .. } => unsupported(op),
        Op::ScatterElements { .. } => unsupported(op),
        Op::ScatterND { .. } => unsupported(op),
        Op::TensorScatter { .. } => unsupported(op),
        Op::DepthToSpace { .. } => unsupported(op),
        Op::SpaceToDepth { .. } => unsupported(op),
        Op::ReverseSequence { .. } => unsupported(op),
        Op::CenterCropPad { .. } => unsupported(op),
        Op::Trilu { .. } => unsupported(op),
        Op::ConstantOfShape { .. } => unsupported(op),
        Op::Range => unsupported(op),
        Op::OneHot { .. } => unsupported(op),
        Op::EyeLike { .. } => unsupported(op),
        Op::HannWindow { .. } => unsupported(op),
        Op::HammingWindow { .. } => unsupported(op),
        Op::BlackmanWindow { .. } => unsupported(op),
        Op::MelWeightMatrix { .. } => unsupported(op),
        Op::Resize(_) => unsupported(op),
        Op::GridSample { .. } => unsupported(op),
        Op::AffineGrid { .. } => unsupported(op),
        Op::Dft { .. } => unsupported(op),
        Op::Stft { .. } => unsupported(op),
        Op::MaxUnpool { .. } => unsupported(op),
        Op::Col2Im { .. } => unsupported(op),
        Op::RoiAlign { .. } => unsupported(op),
        // --- not here ---
        Op::NonZero | Op::Unique { .. } | Op::Compress { .. } | Op::NonMaxSuppression { .. } => {
            unreachable!("{op} allocates its outputs")
        }
        Op::If { .. } | Op::Loop { .. } | Op::Scan(_) => {
            unreachable!("{op} is run by the executor")
        }
    }
}

/// Computes an operator that finds the shapes of its outputs itself.
pub fn run_data_dependent(
    op: &Op,
    inputs: &[Option<View<'_>>],
) -> Result<Vec<Tensor>, KernelError> {
    let _ = inputs;
    match op {
        Op::NonZero => unsupported(op),
        Op::Unique { .. } => unsupported(op),
        Op::Compress { .. } => unsupported(op),
        Op::NonMaxSuppression { .. } => unsupported(op),
        _ => unreachable!("{op} has outputs of inferred shape"),
    }
}

fn unsupported<T>(op: &Op) -> Result<T, KernelError> {
    Err(KernelError::Unsupported(format!("{op} on the CPU device")))
}
