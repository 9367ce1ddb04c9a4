//! The one exhaustive match over `Op`.

use crate::kernels::cumulative::Running;
use crate::kernels::extreme::Extreme;
use crate::kernels::grid_sample::Sampling;
use crate::kernels::halves::through_f32;
use crate::kernels::operands::{input, optional, output};
use crate::kernels::roi_align::RoiAlign;
use crate::kernels::rotary::Rotary;
use crate::kernels::softmax::Kind;
use crate::kernels::unfold::Blocks;
use crate::kernels::{
    attention, binary, cast, choose, concat, conv, cumulative, determinant, einsum, extreme,
    fourier, gather, generate, grid_sample, integer, matmul, movement, non_max_suppression,
    normalize, pad, pool, quantize, reduce, resize, rnn, roi_align, rotary, scatter, select,
    softmax, unary, unfold, window_function,
};
use crate::{KernelError, Tensor, View, ViewMut};
use sublet_graph::{Op, ScatterReduction};

type Inputs<'a, 'b> = &'a [Option<View<'b>>];
type Outputs<'a, 'b> = &'a mut [Option<ViewMut<'b>>];

/// Computes an operator into outputs whose types and shapes inference gave. Control flow and operators with
/// [`Op::shape_depends_on_data`] are not computed here: see [`run_data_dependent`] and the executor.
pub fn run(
    op: &Op,
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    // Half-precision tensors are computed in `f32`.
    let mut wide = |kernel: &dyn Fn(Inputs<'_, '_>, Outputs<'_, '_>) -> Result<(), KernelError>| {
        through_f32(inputs, outputs, kernel)
    };
    match op {
        // --- products, convolution, pooling, normalisation, recurrence, quantisation, element-wise arithmetic ---
        Op::Identity => choose::identity(inputs, outputs),
        Op::Unary(f) => wide(&|i, o| unary::run(*f, i, o)),
        Op::Binary(f) => wide(&|i, o| binary::run(*f, i, o)),
        Op::Compare(f) => wide(&|i, o| binary::compare(*f, i, o)),
        Op::Where => choose::choose(inputs, outputs),
        Op::Clip => wide(&|i, o| choose::bound(i, o)),
        Op::Cast { .. } | Op::CastLike => cast::run(inputs, outputs),
        Op::MatMul => wide(&|i, o| matmul::matmul(i, o)),
        Op::Linear { activation } => wide(&|i, o| matmul::linear(*activation, i, o)),
        Op::Gemm { alpha, beta, trans_a, trans_b } => {
            wide(&|i, o| matmul::gemm(*alpha, *beta, (*trans_a, *trans_b), i, o))
        }
        Op::MatMulInteger => integer::matmul(inputs, outputs),
        Op::QLinearMatMul => integer::quantised_matmul(inputs, outputs),
        Op::Attention(a) => wide(&|i, o| attention::run(a, i, o)),
        Op::RotaryEmbedding { interleaved, num_heads, rotary_dim } => {
            let (interleaved, num_heads, rotary_dim) = (*interleaved, *num_heads, *rotary_dim);
            wide(&|i, o| rotary::run(Rotary { interleaved, num_heads, rotary_dim }, i, o))
        }
        Op::Conv { conv, activation } => wide(&|i, o| conv::run(conv, *activation, i, o)),
        Op::ConvTranspose { conv, output_padding, output_shape } => {
            wide(&|i, o| conv::transposed::run(conv, output_padding, output_shape.as_deref(), i, o))
        }
        Op::ConvInteger(conv) => conv::integer::run(conv, inputs, outputs),
        Op::QLinearConv(conv) => conv::integer::quantised(conv, inputs, outputs),
        Op::MaxPool { pool, column_major } => wide(&|i, o| pool::max(pool, *column_major, i, o)),
        Op::AveragePool { pool, count_include_pad } => {
            wide(&|i, o| pool::average(pool, *count_include_pad, i, o))
        }
        Op::LpPool { pool, p } => wide(&|i, o| pool::lp(pool, *p, i, o)),
        Op::GlobalAveragePool => wide(&|i, o| pool::global_average(i, o)),
        Op::GlobalMaxPool => wide(&|i, o| pool::global_max(i, o)),
        Op::GlobalLpPool { p } => wide(&|i, o| pool::global_lp(*p, i, o)),
        Op::BatchNorm { epsilon } => wide(&|i, o| normalize::batch(*epsilon, i, o)),
        Op::InstanceNorm { epsilon } => wide(&|i, o| normalize::instance(*epsilon, i, o)),
        Op::LayerNorm { axis, epsilon } => wide(&|i, o| normalize::layer(*axis, *epsilon, i, o)),
        Op::GroupNorm { groups, epsilon } => {
            wide(&|i, o| normalize::group(*groups, *epsilon, i, o))
        }
        Op::RmsNorm { axis, epsilon } => wide(&|i, o| normalize::rms(*axis, *epsilon, i, o)),
        Op::LpNormalization { axis, p } => wide(&|i, o| normalize::lp(*axis, *p, i, o)),
        Op::MeanVarianceNormalization { axes } => {
            wide(&|i, o| normalize::mean_variance(axes, i, o))
        }
        Op::Lrn { alpha, beta, bias, size } => {
            wide(&|i, o| normalize::local_response((*alpha, *beta, *bias), *size, i, o))
        }
        Op::Softmax { axis } => wide(&|i, o| softmax::run(Kind::Softmax, *axis, i, o)),
        Op::LogSoftmax { axis } => wide(&|i, o| softmax::run(Kind::LogSoftmax, *axis, i, o)),
        Op::Hardmax { axis } => wide(&|i, o| softmax::run(Kind::Hardmax, *axis, i, o)),
        Op::Rnn(layer) => wide(&|i, o| rnn::run(layer, i, o)),
        Op::QuantizeLinear { axis, block, .. } => {
            wide(&|i, o| quantize::quantize(*axis, *block, i, o))
        }
        Op::DequantizeLinear { axis, block } => {
            wide(&|i, o| quantize::dequantize(*axis, *block, i, o))
        }
        Op::DynamicQuantizeLinear => quantize::dynamic(inputs, outputs),
        // --- reduction, movement, generation, images and signals ---
        Op::Einsum { equation } => wide(&|i, o| einsum::einsum(i, equation, output(o, 0)?)),
        Op::Reduce { reduce: kind, noop_with_empty_axes, .. } => wide(&|i, o| {
            reduce::reduce(
                input(i, 0)?,
                optional(i, 1),
                *kind,
                *noop_with_empty_axes,
                output(o, 0)?,
            )
        }),
        Op::ArgMax { axis, last, .. } => wide(&|i, o| {
            extreme::arg_extreme(input(i, 0)?, *axis, Extreme::Largest, *last, output(o, 0)?)
        }),
        Op::ArgMin { axis, last, .. } => wide(&|i, o| {
            extreme::arg_extreme(input(i, 0)?, *axis, Extreme::Smallest, *last, output(o, 0)?)
        }),
        Op::CumSum { exclusive, reverse } => wide(&|i, o| {
            cumulative::cumulative(i, Running::Sum, *exclusive, *reverse, output(o, 0)?)
        }),
        Op::CumProd { exclusive, reverse } => wide(&|i, o| {
            cumulative::cumulative(i, Running::Product, *exclusive, *reverse, output(o, 0)?)
        }),
        Op::TopK { axis, largest, .. } => wide(&|i, o| {
            extreme::top_k(
                input(i, 0)?,
                *axis,
                if *largest { Extreme::Largest } else { Extreme::Smallest },
                o,
            )
        }),
        Op::Det => wide(&|i, o| determinant::determinant(input(i, 0)?, output(o, 0)?)),
        Op::Shape { start, end } => {
            generate::shape_of(input(inputs, 0)?, *start, *end, output(outputs, 0)?)
        }
        Op::Size => generate::size_of(input(inputs, 0)?, output(outputs, 0)?),
        Op::Reshape { .. } | Op::Flatten { .. } | Op::Squeeze | Op::Unsqueeze => {
            movement::reshape(input(inputs, 0)?, output(outputs, 0)?)
        }
        Op::Transpose { perm } => movement::transpose(input(inputs, 0)?, perm, output(outputs, 0)?),
        Op::Expand => movement::expand(input(inputs, 0)?, output(outputs, 0)?),
        Op::Tile => movement::tile(input(inputs, 0)?, input(inputs, 1)?, output(outputs, 0)?),
        Op::Concat { axis } => concat::concat(inputs, *axis, output(outputs, 0)?),
        Op::Split { axis, parts } => {
            movement::split(input(inputs, 0)?, optional(inputs, 1), *axis, *parts, outputs)
        }
        Op::Slice => movement::slice(inputs, output(outputs, 0)?),
        Op::Pad { mode } => pad::pad(inputs, *mode, output(outputs, 0)?),
        Op::Gather { axis } => {
            gather::gather(input(inputs, 0)?, input(inputs, 1)?, *axis, output(outputs, 0)?)
        }
        Op::GatherElements { axis } => gather::gather_elements(
            input(inputs, 0)?,
            input(inputs, 1)?,
            *axis,
            output(outputs, 0)?,
        ),
        Op::GatherND { batch_dims } => gather::gather_nd(
            input(inputs, 0)?,
            input(inputs, 1)?,
            *batch_dims,
            output(outputs, 0)?,
        ),
        Op::ScatterElements { axis, reduction: ScatterReduction::None } => {
            scatter::scatter_elements(
                three(inputs)?,
                *axis,
                ScatterReduction::None,
                output(outputs, 0)?,
            )
        }
        Op::ScatterElements { axis, reduction } => {
            wide(&|i, o| scatter::scatter_elements(three(i)?, *axis, *reduction, output(o, 0)?))
        }
        Op::ScatterND { reduction: ScatterReduction::None } => {
            scatter::scatter_nd(three(inputs)?, ScatterReduction::None, output(outputs, 0)?)
        }
        Op::ScatterND { reduction } => {
            wide(&|i, o| scatter::scatter_nd(three(i)?, *reduction, output(o, 0)?))
        }
        Op::TensorScatter { axis, circular } => scatter::tensor_scatter(
            input(inputs, 0)?,
            input(inputs, 1)?,
            optional(inputs, 2),
            *axis,
            *circular,
            output(outputs, 0)?,
        ),
        Op::DepthToSpace { block, column_row_depth } => movement::depth_to_space(
            input(inputs, 0)?,
            *block,
            *column_row_depth,
            output(outputs, 0)?,
        ),
        Op::SpaceToDepth { block } => {
            movement::space_to_depth(input(inputs, 0)?, *block, output(outputs, 0)?)
        }
        Op::ReverseSequence { batch_axis, time_axis } => movement::reverse_sequence(
            input(inputs, 0)?,
            input(inputs, 1)?,
            *batch_axis,
            *time_axis,
            output(outputs, 0)?,
        ),
        Op::CenterCropPad { .. } => pad::center_crop_pad(input(inputs, 0)?, output(outputs, 0)?),
        Op::Trilu { upper } => generate::trilu(inputs, *upper, output(outputs, 0)?),
        Op::ConstantOfShape { value } => generate::constant_of_shape(*value, output(outputs, 0)?),
        Op::Range => wide(&|i, o| generate::range(input(i, 0)?, input(i, 2)?, output(o, 0)?)),
        Op::OneHot { axis } => {
            wide(&|i, o| generate::one_hot(input(i, 0)?, input(i, 2)?, *axis, output(o, 0)?))
        }
        Op::EyeLike { k, .. } => generate::eye_like(*k, output(outputs, 0)?),
        Op::HannWindow { periodic, .. } => {
            window_function::cosine_sum(window_function::HANN, *periodic, output(outputs, 0)?)
        }
        Op::HammingWindow { periodic, .. } => {
            window_function::cosine_sum(window_function::HAMMING, *periodic, output(outputs, 0)?)
        }
        Op::BlackmanWindow { periodic, .. } => {
            window_function::cosine_sum(window_function::BLACKMAN, *periodic, output(outputs, 0)?)
        }
        Op::MelWeightMatrix { .. } => {
            window_function::mel_weight_matrix(inputs, output(outputs, 0)?)
        }
        Op::Resize(options) => wide(&|i, o| resize::resize(i, options, output(o, 0)?)),
        Op::GridSample { mode, padding, align_corners } => {
            let sampling =
                Sampling { mode: *mode, padding: *padding, align_corners: *align_corners };
            wide(&|i, o| {
                grid_sample::grid_sample(input(i, 0)?, input(i, 1)?, sampling, output(o, 0)?)
            })
        }
        Op::AffineGrid { align_corners } => {
            wide(&|i, o| grid_sample::affine_grid(input(i, 0)?, *align_corners, output(o, 0)?))
        }
        Op::Dft { inverse, onesided } => {
            wide(&|i, o| fourier::dft(i, *inverse, *onesided, output(o, 0)?))
        }
        Op::Stft { .. } => wide(&|i, o| fourier::stft(i, output(o, 0)?)),
        Op::MaxUnpool { kernel, strides, pads } => unfold::max_unpool(
            input(inputs, 0)?,
            input(inputs, 1)?,
            kernel,
            strides,
            pads,
            output(outputs, 0)?,
        ),
        Op::Col2Im { dilations, pads, strides } => {
            let blocks = Blocks { dilations, pads, strides };
            wide(&|i, o| unfold::col2im(i, blocks, output(o, 0)?))
        }
        Op::RoiAlign { output: size, sampling_ratio, spatial_scale, average, half_pixel } => {
            let options = RoiAlign {
                output: *size,
                sampling_ratio: *sampling_ratio,
                spatial_scale: *spatial_scale,
                average: *average,
                half_pixel: *half_pixel,
            };
            wide(&|i, o| roi_align::roi_align(i, options, output(o, 0)?))
        }
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
    match op {
        Op::NonZero => Ok(vec![select::non_zero(input(inputs, 0)?)?]),
        Op::Unique { axis, sorted } => select::unique(input(inputs, 0)?, *axis, *sorted),
        Op::Compress { axis } => {
            Ok(vec![select::compress(input(inputs, 0)?, input(inputs, 1)?, *axis)?])
        }
        Op::NonMaxSuppression { center_point_box } => {
            Ok(vec![non_max_suppression::non_max_suppression(inputs, *center_point_box)?])
        }
        _ => unreachable!("{op} has outputs of inferred shape"),
    }
}

fn three<'a>(inputs: &[Option<View<'a>>]) -> Result<[View<'a>; 3], KernelError> {
    Ok([input(inputs, 0)?, input(inputs, 1)?, input(inputs, 2)?])
}
