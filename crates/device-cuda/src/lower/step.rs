//! The one match over operators.

use super::ops::operands::{input, is_row_major, optional_integers, output};
use super::ops::rows::{self, Softmax};
use super::ops::target::Target;
use super::ops::{
    fused, gather, generate, image, lines, movement, pool, quantize, reduce, statistics, unfold,
};
use super::{Emitter, LowerError, Order, Value};
use sublet_graph::{Op, Reduce, shape};

/// Emits one step.
pub fn emit(
    emitter: &mut Emitter<'_>,
    op: &Op,
    inputs: &[Option<Value>],
    outputs: &[Option<Value>],
) -> Result<(), LowerError> {
    match op {
        // Products and convolutions call libraries, which the emitter has.
        Op::MatMul
        | Op::Linear { .. }
        | Op::Gemm { .. }
        | Op::MatMulInteger
        | Op::QLinearMatMul
        | Op::Einsum { .. }
        | Op::Attention(_)
        | Op::Conv { .. }
        | Op::ConvTranspose { .. }
        | Op::ConvInteger(_)
        | Op::QLinearConv(_) => super::ops::libraries::emit(emitter, op, inputs, outputs),
        _ => own(emitter, op, inputs, outputs),
    }
}

/// Emits a step that needs no library.
pub fn own(
    target: &mut dyn Target,
    op: &Op,
    inputs: &[Option<Value>],
    outputs: &[Option<Value>],
) -> Result<(), LowerError> {
    if reads_any_order(op) {
        return ordered(target, op, inputs, outputs);
    }
    // The others see their operands in row-major order.
    let mut plain = Vec::with_capacity(inputs.len());
    for value in inputs {
        plain.push(match value {
            Some(value) => Some(movement::in_row_major(target, value)?),
            None => None,
        });
    }
    let mut results = Vec::with_capacity(outputs.len());
    for value in outputs {
        results.push(match value {
            Some(value) if !is_row_major(value) => {
                let address = target.scratch(value.bytes());
                Some(Value { address, order: Order::RowMajor, ..value.clone() })
            }
            other => other.clone(),
        });
    }
    ordered(target, op, &plain, &results)?;
    for (from, to) in results.iter().flatten().zip(outputs.iter().flatten()) {
        if from.address != to.address {
            movement::copy(target, "order", from, to)?;
        }
    }
    Ok(())
}

/// Whether an operator's kernels take elements in whatever order they lie.
fn reads_any_order(op: &Op) -> bool {
    super::ops::elementwise::is_elementwise(op)
        || matches!(
            op,
            Op::Identity
                | Op::MaxPool { .. }
                | Op::AveragePool { .. }
                | Op::LpPool { .. }
                | Op::GlobalAveragePool
                | Op::GlobalMaxPool
                | Op::Reduce { .. }
                | Op::Transpose { .. }
                | Op::Expand
                | Op::Tile
                | Op::Concat { .. }
                | Op::Split { .. }
                | Op::Slice
                | Op::DepthToSpace { .. }
                | Op::SpaceToDepth { .. }
        )
}

fn ordered(
    target: &mut dyn Target,
    op: &Op,
    inputs: &[Option<Value>],
    outputs: &[Option<Value>],
) -> Result<(), LowerError> {
    let x = || input(inputs, 0);
    let y = || output(outputs, 0);
    match op {
        // Element by element.
        Op::Identity => movement::reshape(target, x()?, y()?),
        Op::Unary(_)
        | Op::Binary(_)
        | Op::Compare(_)
        | Op::Where
        | Op::Clip
        | Op::Cast { .. }
        | Op::CastLike
        | Op::BatchNorm { .. } => fused::single(target, op, inputs, y()?),
        Op::QuantizeLinear { block: 0, .. } | Op::DequantizeLinear { block: 0, .. } => {
            fused::single(target, op, inputs, y()?)
        }
        // Pooling.
        Op::MaxPool { pool, column_major } => {
            pool::max(target, pool, *column_major, inputs, outputs)
        }
        Op::AveragePool { pool, count_include_pad } => {
            pool::average(target, pool, *count_include_pad, x()?, y()?)
        }
        Op::LpPool { pool, p } => pool::lp(target, pool, *p, x()?, y()?),
        Op::GlobalAveragePool => pool::global(target, Reduce::Mean, x()?, y()?),
        Op::GlobalMaxPool => pool::global(target, Reduce::Max, x()?, y()?),
        Op::GlobalLpPool { p } => {
            let axes: Vec<usize> = (2..x()?.shape.len()).collect();
            reduce::lp(target, *p, x()?, &axes, y()?)
        }
        // Normalisation.
        Op::InstanceNorm { epsilon } => rows::group_norm(target, None, *epsilon, inputs, outputs),
        Op::GroupNorm { groups, epsilon } => {
            rows::group_norm(target, Some(*groups), *epsilon, inputs, outputs)
        }
        Op::LayerNorm { axis, epsilon } => {
            rows::layer_norm(target, *axis, *epsilon, inputs, outputs, None)
        }
        Op::RmsNorm { axis, epsilon } => {
            rows::rms_norm(target, *axis, *epsilon, inputs, outputs, None)
        }
        Op::LpNormalization { axis, p } => lines::lp_normalization(target, *axis, *p, x()?, y()?),
        Op::MeanVarianceNormalization { axes } => {
            statistics::mean_variance(target, axes, x()?, y()?)
        }
        Op::Lrn { alpha, beta, bias, size } => {
            statistics::local_response(target, (*alpha, *beta, *bias), *size, x()?, y()?)
        }
        Op::RotaryEmbedding { interleaved, num_heads, rotary_dim } => {
            statistics::rotary(target, (*interleaved, *num_heads, *rotary_dim), inputs, y()?)
        }
        Op::Softmax { axis } => rows::softmax(target, Softmax::Plain, *axis, inputs, outputs),
        Op::LogSoftmax { axis } => {
            rows::softmax(target, Softmax::Logarithm, *axis, inputs, outputs)
        }
        Op::Hardmax { axis } => rows::softmax(target, Softmax::OneHot, *axis, inputs, outputs),
        // Reduction.
        Op::Reduce { reduce, noop_with_empty_axes, .. } => {
            reduce::reduce(target, *reduce, *noop_with_empty_axes, inputs, outputs)
        }
        Op::ArgMax { axis, last, .. } => {
            reduce::arg_extreme(target, *axis, true, *last, x()?, y()?)
        }
        Op::ArgMin { axis, last, .. } => {
            reduce::arg_extreme(target, *axis, false, *last, x()?, y()?)
        }
        Op::CumSum { exclusive, reverse } => {
            lines::cumulative(target, false, (*exclusive, *reverse), inputs, y()?)
        }
        Op::CumProd { exclusive, reverse } => {
            lines::cumulative(target, true, (*exclusive, *reverse), inputs, y()?)
        }
        Op::TopK { axis, largest, .. } => statistics::top_k(target, *axis, *largest, x()?, outputs),
        // Movement.
        Op::Reshape { .. } | Op::Flatten { .. } | Op::Squeeze | Op::Unsqueeze => {
            movement::reshape(target, x()?, y()?)
        }
        Op::Transpose { perm } => movement::transpose(target, x()?, perm, y()?),
        Op::Expand => movement::expand(target, x()?, y()?),
        Op::Tile => movement::tile(target, inputs, y()?),
        Op::Concat { axis } => movement::concat(target, inputs, *axis, y()?),
        Op::Split { axis, parts } => {
            let x = x()?;
            let len = x.shape[shape::axis(*axis, x.shape.len())?];
            let sizes = optional_integers(inputs, 1, "sizes of a split")?;
            let sizes = shape::split_sizes(len, *parts, sizes.as_deref())?;
            movement::split(target, x, *axis, outputs, &sizes)
        }
        Op::Slice => movement::slice(target, inputs, y()?),
        Op::DepthToSpace { block, column_row_depth } => {
            movement::depth_to_space(target, x()?, *block, *column_row_depth, y()?)
        }
        Op::SpaceToDepth { block } => movement::space_to_depth(target, x()?, *block, y()?),
        Op::Pad { mode } => image::pad(target, *mode, inputs, y()?),
        Op::CenterCropPad { .. } => image::center_crop_pad(target, x()?, y()?),
        // At indices that the run tells.
        Op::Gather { axis } => gather::gather(target, *axis, inputs, y()?),
        Op::GatherND { batch_dims } => gather::gather_nd(target, *batch_dims, inputs, y()?),
        Op::GatherElements { axis } => gather::gather_elements(target, *axis, inputs, y()?),
        Op::ScatterElements { axis, reduction } => {
            gather::scatter_elements(target, *axis, *reduction, inputs, y()?)
        }
        Op::ScatterND { reduction } => gather::scatter_nd(target, *reduction, inputs, y()?),
        Op::TensorScatter { axis, circular } => {
            gather::tensor_scatter(target, *axis, *circular, inputs, y()?)
        }
        Op::ReverseSequence { batch_axis, time_axis } => {
            gather::reverse_sequence(target, *batch_axis, *time_axis, inputs, y()?)
        }
        // Images.
        Op::Resize(options) => image::resize(target, options, inputs, y()?),
        Op::GridSample { mode, padding, align_corners } => {
            image::grid_sample(target, (*mode, *padding, *align_corners), inputs, y()?)
        }
        Op::AffineGrid { align_corners } => {
            statistics::affine_grid(target, *align_corners, x()?, y()?)
        }
        Op::MaxUnpool { kernel, strides, pads } => {
            unfold::max_unpool(target, [kernel, strides, pads], inputs, y()?)
        }
        Op::Col2Im { dilations, pads, strides } => {
            unfold::col2im(target, [dilations, pads, strides], inputs, y()?)
        }
        // Generation.
        Op::Shape { start, end } => {
            let sizes: Vec<i64> = x()?.shape.iter().map(|&size| size as i64).collect();
            let rank = sizes.len() as i64;
            let clamp =
                |axis: i64| (if axis < 0 { axis + rank } else { axis }).clamp(0, rank) as usize;
            let (start, end) = (clamp(*start), end.map_or(sizes.len(), clamp));
            generate::numbers(target, &sizes[start.min(end)..end], y()?)
        }
        Op::Size => generate::numbers(target, &[x()?.elements() as i64], y()?),
        Op::ConstantOfShape { value } => generate::constant_of_shape(target, value.bits, y()?),
        Op::Range => generate::range(target, inputs, y()?),
        Op::OneHot { axis } => generate::one_hot(target, *axis, inputs, y()?),
        Op::EyeLike { k, .. } => generate::eye_like(target, *k, y()?),
        Op::Trilu { upper } => generate::trilu(target, *upper, inputs, y()?),
        // Quantisation.
        Op::QuantizeLinear { axis, block, .. } => {
            quantize::blocked(target, true, *axis, *block, inputs, y()?)
        }
        Op::DequantizeLinear { axis, block } => {
            quantize::blocked(target, false, *axis, *block, inputs, y()?)
        }
        Op::DynamicQuantizeLinear => quantize::dynamic(target, inputs, outputs),
        // Products and convolutions: see `emit`.
        Op::MatMul
        | Op::Linear { .. }
        | Op::Gemm { .. }
        | Op::MatMulInteger
        | Op::QLinearMatMul
        | Op::Einsum { .. }
        | Op::Attention(_)
        | Op::Conv { .. }
        | Op::ConvTranspose { .. }
        | Op::ConvInteger(_)
        | Op::QLinearConv(_) => {
            Err(LowerError::unsupported(format!("{} without a library", op.name())))
        }
        // Not here: shapes that the run tells, control flow, and what no model on a GPU has asked for.
        Op::NonZero
        | Op::Unique { .. }
        | Op::Compress { .. }
        | Op::NonMaxSuppression { .. }
        | Op::If { .. }
        | Op::Loop { .. }
        | Op::Scan(_)
        | Op::Rnn(_)
        | Op::Det
        | Op::Dft { .. }
        | Op::Stft { .. }
        | Op::RoiAlign { .. }
        | Op::HannWindow { .. }
        | Op::HammingWindow { .. }
        | Op::BlackmanWindow { .. }
        | Op::MelWeightMatrix { .. } => Err(LowerError::unsupported(op.name())),
    }
}
