//! The one exhaustive match over `Op`.

use crate::kernels::cumulative::Running;
use crate::kernels::extreme::Extreme;
use crate::kernels::halves::through_f32;
use crate::kernels::operands::{input, optional, output};
use crate::kernels::{
    binary, cast, choose, concat, conv, cumulative, extreme, gather, generate, integer, matmul, movement, non_max_suppression, pad, reduce, scatter, select, unary, window_function,
};
use crate::{KernelError, Tensor, View, ViewMut};
use sublet_graph::Op;

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
        },
        Op::MatMulInteger => integer::matmul(inputs, outputs),
        Op::QLinearMatMul => integer::quantised_matmul(inputs, outputs),
        Op::Attention(_) => unsupported(op),
        Op::RotaryEmbedding { .. } => unsupported(op),
        Op::Conv { conv, activation } => wide(&|i, o| conv::run(conv, *activation, i, o)),
        Op::ConvTranspose { conv, output_padding, output_shape } => wide(&|i, o| {
            conv::transposed::run(conv, output_padding, output_shape.as_deref(), i, o)
        }),
        Op::ConvInteger(conv) => conv::integer::run(conv, inputs, outputs),
        Op::QLinearConv(conv) => conv::integer::quantised(conv, inputs, outputs),
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
        Op::Reduce { reduce: kind, noop_with_empty_axes, .. } => reduce::reduce(
            input(inputs, 0)?,
            optional(inputs, 1),
            *kind,
            *noop_with_empty_axes,
            output(outputs, 0)?,
        ),
        Op::ArgMax { axis, last, .. } => extreme::arg_extreme(
            input(inputs, 0)?,
            *axis,
            Extreme::Largest,
            *last,
            output(outputs, 0)?,
        ),
        Op::ArgMin { axis, last, .. } => extreme::arg_extreme(
            input(inputs, 0)?,
            *axis,
            Extreme::Smallest,
            *last,
            output(outputs, 0)?,
        ),
        Op::CumSum { exclusive, reverse } => cumulative::cumulative(
            input(inputs, 0)?,
            input(inputs, 1)?,
            Running::Sum,
            *exclusive,
            *reverse,
            output(outputs, 0)?,
        ),
        Op::CumProd { exclusive, reverse } => cumulative::cumulative(
            input(inputs, 0)?,
            input(inputs, 1)?,
            Running::Product,
            *exclusive,
            *reverse,
            output(outputs, 0)?,
        ),
        Op::TopK { axis, largest, .. } => {
            let extreme = if *largest { Extreme::Largest } else { Extreme::Smallest };
            let mut outputs = outputs.iter_mut().map(Option::as_mut);
            let (values, indices) = (outputs.next().flatten(), outputs.next().flatten());
            extreme::top_k(input(inputs, 0)?, *axis, extreme, values, indices)
        }
        Op::Det => unsupported(op),
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
        Op::ScatterElements { axis, reduction } => {
            scatter::scatter_elements(three(inputs)?, *axis, *reduction, output(outputs, 0)?)
        }
        Op::ScatterND { reduction } => {
            scatter::scatter_nd(three(inputs)?, *reduction, output(outputs, 0)?)
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
        Op::ReverseSequence { batch_axis, time_axis } => generate::reverse_sequence(
            input(inputs, 0)?,
            input(inputs, 1)?,
            *batch_axis,
            *time_axis,
            output(outputs, 0)?,
        ),
        Op::CenterCropPad { .. } => pad::center_crop_pad(input(inputs, 0)?, output(outputs, 0)?),
        Op::Trilu { upper } => generate::trilu(inputs, *upper, output(outputs, 0)?),
        Op::ConstantOfShape { value } => generate::constant_of_shape(*value, output(outputs, 0)?),
        Op::Range => generate::range(input(inputs, 0)?, input(inputs, 2)?, output(outputs, 0)?),
        Op::OneHot { axis } => {
            generate::one_hot(input(inputs, 0)?, input(inputs, 2)?, *axis, output(outputs, 0)?)
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
        Op::MelWeightMatrix { .. } => window_function::mel_weight_matrix(inputs, output(outputs, 0)?),
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

fn unsupported<T>(op: &Op) -> Result<T, KernelError> {
    Err(KernelError::Unsupported(format!("{op} on the CPU device")))
}
