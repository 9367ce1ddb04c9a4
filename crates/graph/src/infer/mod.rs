//! Types and shapes of an operator's outputs from those of its inputs: the one place where shapes are computed.

mod attention;
mod context;
mod control;
mod convolution;
mod elementwise;
mod generation;
mod graph;
mod image;
mod indexing;
mod movement;
mod normalization;
mod product;
mod quantization;
mod recurrent;
mod reduction;

pub use graph::{TypeError, infer_dtypes, infer_graph_types};

use crate::{DType, Literal, Op, Weight, byte_len};
use context::Context;

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
/// and values known, only operators with [`Op::shape_depends_on_data`] leave one unknown, and scans whose bodies
/// read weights: for those see [`infer_with_weights`].
pub fn infer(
    op: &Op,
    inputs: &[Option<InferInput<'_>>],
    outputs: usize,
) -> Result<Vec<TensorType>, InferError> {
    infer_with_weights(op, inputs, outputs, &[])
}

/// As [`infer`], for an operator whose bodies may read `weights`, the weights of its model.
pub fn infer_with_weights(
    op: &Op,
    inputs: &[Option<InferInput<'_>>],
    outputs: usize,
    weights: &[Weight],
) -> Result<Vec<TensorType>, InferError> {
    let context = Context::new(inputs, outputs, weights);
    let checked = infer_op(op, &context).and_then(|types| limit(types, outputs));
    checked.map_err(|error| match error {
        InferError::Invalid(text) => InferError::Invalid(format!("{}: {text}", op.name())),
        unsupported => unsupported,
    })
}

/// The first `outputs` types, none of which may be larger than memory can be addressed.
fn limit(mut types: Vec<TensorType>, outputs: usize) -> Result<Vec<TensorType>, InferError> {
    if types.len() < outputs {
        let text = format!("has {} outputs, {outputs} are wanted", types.len());
        return Err(InferError::Invalid(text));
    }
    types.truncate(outputs);
    for tensor in &types {
        let Some(shape) = &tensor.shape else { continue };
        if byte_len(tensor.dtype, shape).is_none_or(|len| len > isize::MAX as usize / 2) {
            let text = format!("an output of shape {shape:?} is too large");
            return Err(InferError::Invalid(text));
        }
    }
    Ok(types)
}

fn infer_op(op: &Op, context: &Context) -> Result<Vec<TensorType>, InferError> {
    match op {
        Op::Identity | Op::Trilu { .. } => elementwise::same(context),
        Op::Unary(unary) => elementwise::unary(*unary, context),
        Op::Binary(binary) => elementwise::binary(*binary, context),
        Op::Compare(_) => elementwise::compare(context),
        Op::Where => elementwise::select(context),
        Op::Clip => elementwise::clip(context),
        Op::Cast { to } => elementwise::cast(*to, context),
        Op::CastLike => elementwise::cast(context.dtype(1)?, context),

        Op::MatMul => product::matmul(context),
        Op::Linear { .. } => product::linear(context),
        Op::Gemm { trans_a, trans_b, .. } => product::gemm(*trans_a, *trans_b, context),
        Op::MatMulInteger => product::matmul_integer(context),
        Op::QLinearMatMul => product::qlinear_matmul(context),
        Op::Einsum { equation } => product::einsum(equation, context),
        Op::Attention(attention) => attention::attention(attention, context),
        Op::RotaryEmbedding { num_heads, rotary_dim, .. } => {
            attention::rotary_embedding(*num_heads, *rotary_dim, context)
        }

        Op::Conv { conv, .. } => convolution::conv(conv, context),
        Op::ConvTranspose { conv, output_padding, output_shape } => {
            convolution::conv_transpose(conv, output_padding, output_shape.as_deref(), context)
        }
        Op::ConvInteger(conv) => convolution::conv_integer(conv, context),
        Op::QLinearConv(conv) => convolution::qlinear_conv(conv, context),
        Op::MaxPool { pool, .. } => convolution::max_pool(pool, context),
        Op::AveragePool { pool, .. } | Op::LpPool { pool, .. } => convolution::pool(pool, context),
        Op::GlobalAveragePool | Op::GlobalMaxPool | Op::GlobalLpPool { .. } => {
            convolution::global_pool(context)
        }
        Op::MaxUnpool { kernel, strides, pads } => {
            convolution::max_unpool(kernel, strides, pads, context)
        }
        Op::Col2Im { dilations, pads, strides } => {
            convolution::col2im(dilations, pads, strides, context)
        }
        Op::RoiAlign { output, .. } => convolution::roi_align(*output, context),

        Op::BatchNorm { .. } => normalization::per_channel(4, context),
        Op::InstanceNorm { .. } => normalization::per_channel(2, context),
        Op::LayerNorm { axis, .. } => normalization::layer_norm(*axis, context),
        Op::GroupNorm { groups, .. } => normalization::group_norm(*groups, context),
        Op::RmsNorm { axis, .. } => normalization::rms_norm(*axis, context),
        Op::LpNormalization { axis, .. }
        | Op::Softmax { axis }
        | Op::LogSoftmax { axis }
        | Op::Hardmax { axis } => normalization::along_axis(*axis, context),
        Op::MeanVarianceNormalization { axes } => normalization::along_axes(axes, context),
        Op::Lrn { size, .. } => normalization::lrn(*size, context),

        Op::Reduce { keep_dims, noop_with_empty_axes, .. } => {
            reduction::reduce(*keep_dims, *noop_with_empty_axes, context)
        }
        Op::ArgMax { axis, keep_dims, .. } | Op::ArgMin { axis, keep_dims, .. } => {
            reduction::arg_reduce(*axis, *keep_dims, context)
        }
        Op::CumSum { .. } | Op::CumProd { .. } => reduction::cumulative(context),
        Op::TopK { axis, .. } => reduction::top_k(*axis, context),
        Op::Unique { axis, .. } => reduction::unique(*axis, context),
        Op::NonZero => reduction::non_zero(context),
        Op::Det => reduction::det(context),

        Op::Shape { start, end } => movement::shape(*start, *end, context),
        Op::Size => movement::size(context),
        Op::Reshape { allow_zero } => movement::reshape(*allow_zero, context),
        Op::Flatten { axis } => movement::flatten(*axis, context),
        Op::Squeeze => movement::squeeze(context),
        Op::Unsqueeze => movement::unsqueeze(context),
        Op::Transpose { perm } => movement::transpose(perm, context),
        Op::Expand => movement::expand(context),
        Op::Tile => movement::tile(context),
        Op::Concat { axis } => movement::concat(*axis, context),
        Op::Split { axis, parts } => movement::split(*axis, *parts, context),
        Op::Slice => movement::slice(context),
        Op::Pad { .. } => movement::pad(context),
        Op::DepthToSpace { block, .. } => movement::depth_to_space(*block, context),
        Op::SpaceToDepth { block } => movement::space_to_depth(*block, context),
        Op::ReverseSequence { batch_axis, time_axis } => {
            movement::reverse_sequence(*batch_axis, *time_axis, context)
        }
        Op::CenterCropPad { axes } => movement::center_crop_pad(axes.as_deref(), context),

        Op::Gather { axis } => indexing::gather(*axis, context),
        Op::GatherElements { axis } => indexing::gather_elements(*axis, context),
        Op::GatherND { batch_dims } => indexing::gather_nd(*batch_dims, context),
        Op::ScatterElements { axis, .. } => indexing::scatter_elements(*axis, context),
        Op::ScatterND { .. } => indexing::scatter_nd(context),
        Op::TensorScatter { axis, .. } => indexing::tensor_scatter(*axis, context),
        Op::Compress { axis } => indexing::compress(*axis, context),
        Op::OneHot { axis } => indexing::one_hot(*axis, context),

        Op::ConstantOfShape { value } => generation::constant_of_shape(value.dtype, context),
        Op::Range => generation::range(context),
        Op::EyeLike { dtype, .. } => generation::eye_like(*dtype, context),
        Op::HannWindow { dtype, .. }
        | Op::HammingWindow { dtype, .. }
        | Op::BlackmanWindow { dtype, .. } => generation::window(*dtype, context),
        Op::MelWeightMatrix { dtype } => generation::mel_weight_matrix(*dtype, context),

        Op::Resize(resize) => image::resize(resize, context),
        Op::GridSample { .. } => image::grid_sample(context),
        Op::AffineGrid { .. } => image::affine_grid(context),
        Op::NonMaxSuppression { .. } => image::non_max_suppression(context),
        Op::Dft { inverse, onesided } => image::dft(*inverse, *onesided, context),
        Op::Stft { onesided } => image::stft(*onesided, context),

        Op::Rnn(rnn) => recurrent::rnn(rnn, context),

        Op::QuantizeLinear { axis, block, to } => {
            quantization::quantize(*axis, *block, *to, context)
        }
        Op::DequantizeLinear { axis, block } => quantization::dequantize(*axis, *block, context),
        Op::DynamicQuantizeLinear => quantization::dynamic_quantize(context),

        Op::If { then_branch, else_branch } => control::branch(then_branch, else_branch, context),
        Op::Loop { body, carried } => control::repeat(body, *carried, context),
        Op::Scan(scan) => control::scan(scan, context),
    }
}
