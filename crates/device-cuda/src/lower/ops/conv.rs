//! Convolutions: by cuDNN's engines, or as products where the window is a single element.

use super::conv_layout::ToChannelsLast;
use super::conv_problem::{Form, WithEpilogue};
use super::map::{Access, Map, map};
use super::operands::{input, optional, output};
use super::product_calls::{Finish, emit_best};
use super::target::Target;
use crate::dnn::{Convolution, Direction, Layout};
use crate::driver::Address;
use crate::lower::{Emitter, LowerError, Order, Value};
use crate::options::{Precision, Tf32};
use sublet_graph::shape::{Window, conv_geometry, conv_transpose_geometry};
use sublet_graph::{Activation, Conv, DType, Op};

/// Bytes of neighbouring channels that tensor cores take at once.
const TAKEN_BYTES: usize = 16;

/// Whether an operator on values of that type is faster where its values lie channels last: the tensor cores want it so.
/// `shapes`: those of input and weights.
pub fn wants_channels_last(
    op: &Op,
    dtype: DType,
    shapes: [&[usize]; 2],
    precision: Precision,
) -> bool {
    let half = matches!(dtype, DType::F16 | DType::BF16);
    let rounded = dtype == DType::F32 && precision.tf32 != Tf32::Off;
    let is_conv = matches!(op, Op::Conv { .. } | Op::ConvTranspose { .. });
    is_conv && (half || rounded) && shapes.iter().all(|shape| shape.len() == 4)
}

/// Emits `Op::Conv`.
pub fn conv(
    emitter: &mut Emitter<'_>,
    conv: &Conv,
    activation: Activation,
    inputs: &[Option<Value>],
    outputs: &[Option<Value>],
) -> Result<(), LowerError> {
    let (x, w, y) = (input(inputs, 0)?, input(inputs, 1)?, output(outputs, 0)?);
    let bias = optional(inputs, 2);
    let residual = optional(inputs, 3);
    let windows = conv_geometry(conv, &x.shape, &w.shape)?;
    if y.elements() == 0 {
        return Ok(());
    }
    if x.elements() == 0 || w.elements() == 0 {
        return Err(LowerError::unsupported("a convolution of nothing"));
    }
    let channels_last = y.order == Order::ChannelsLast;
    // Fewer channels than tensor cores take at once become as many.
    let mut channels = x.shape[1];
    if channels_last && conv.group == 1 {
        channels = channels.max(TAKEN_BYTES / x.dtype.size());
    }
    let x = ordered(emitter, x, y.order, channels)?;
    let residual = residual
        .map(|residual| ordered(emitter, residual, y.order, residual.shape[1]))
        .transpose()?;
    let filter_channels = if conv.group == 1 { channels } else { w.shape[1] };
    let filter = ToChannelsLast::of(w, filter_channels).filter(|_| channels_last);
    let ordered_w = filter.as_ref().map_or_else(|| w.clone(), |filter| filter.at(w.address));
    let convolution = described(emitter, Direction::Forward, &windows, [&x, &ordered_w, y])?;
    let mut operands = vec![x.address, w.address, y.address];
    operands.extend(bias.map(|bias| bias.address));
    operands.extend(residual.as_ref().map(|residual| residual.address));
    let problem = WithEpilogue {
        gpu: emitter.gpu,
        form: Form { channels_last, group: conv.group, filter },
        convolution: Convolution {
            alignment: crate::blas::Product::alignment_of(&operands),
            ..convolution
        },
        bias: bias.is_some(),
        residual: residual.is_some(),
        activation,
    };
    emit_best(emitter, &problem, &operands)
}

/// Emits `Op::ConvTranspose`.
pub fn conv_transpose(
    emitter: &mut Emitter<'_>,
    conv: &Conv,
    output_padding: &[usize],
    output_shape: Option<&[usize]>,
    inputs: &[Option<Value>],
    outputs: &[Option<Value>],
) -> Result<(), LowerError> {
    let (x, w, y) = (input(inputs, 0)?, input(inputs, 1)?, output(outputs, 0)?);
    let bias = optional(inputs, 2);
    let windows = conv_transpose_geometry(conv, output_padding, output_shape, &x.shape, &w.shape)?;
    if y.elements() == 0 {
        return Ok(());
    }
    if x.elements() == 0 || w.elements() == 0 {
        return Err(LowerError::unsupported("a convolution of nothing"));
    }
    let x = ordered(emitter, x, y.order, x.shape[1])?;
    // It is the convolution from the result to the input, run backward.
    let backward: Vec<Window> = windows.iter().filter_map(reversed).collect();
    let convolution = described(emitter, Direction::BackwardData, &backward, [y, w, &x])?;
    let channels_last = y.order == Order::ChannelsLast;
    let filter = ToChannelsLast::of(w, w.shape[1]).filter(|_| channels_last);
    let mut operands = vec![y.address, w.address, x.address];
    let problem = WithEpilogue {
        gpu: emitter.gpu,
        form: Form { channels_last, group: conv.group, filter },
        convolution: Convolution {
            alignment: crate::blas::Product::alignment_of(&operands),
            ..convolution
        },
        bias: bias.is_some(),
        residual: false,
        activation: Activation::None,
    };
    operands.extend(bias.map(|bias| bias.address));
    emit_best(emitter, &problem, &operands)
}

/// The window of the convolution whose inverse a transposed convolution is. Its end padding is what makes its number of
/// outputs come out; `None` when that is negative.
fn reversed(window: &Window) -> Option<Window> {
    let extent = (window.kernel - 1) * window.dilation + 1;
    let covered = window.input.checked_sub(1)? * window.stride + extent;
    // Where windows do not reach the end, the rest is read by none, and pads are zero.
    let pad_end = covered.saturating_sub(window.output + window.pad_begin);
    Some(Window { input: window.output, output: window.input, pad_end, ..*window })
}

/// `tensors`: what is read going forward, weights, what is written.
fn described(
    emitter: &Emitter<'_>,
    direction: Direction,
    windows: &[Window],
    [x, w, y]: [&Value; 3],
) -> Result<Convolution, LowerError> {
    if !x.dtype.is_float() {
        return Err(LowerError::unsupported(format!("a convolution of {}", x.dtype.wire_name())));
    }
    if !(1..=3).contains(&windows.len()) {
        return Err(LowerError::unsupported(format!("a convolution over {} axes", windows.len())));
    }
    let mut layouts = [x, w, y].map(|value| {
        let order = if std::ptr::eq(value, w) { y.order } else { value.order };
        let value = Value { order, ..value.clone() };
        Layout::new(&value.shape, &value.strides())
    });
    let numbers = |of: fn(&Window) -> usize| -> Vec<i64> {
        windows.iter().map(|window| of(window) as i64).collect()
    };
    let mut axes = [
        numbers(|window| window.pad_begin),
        numbers(|window| window.pad_end),
        numbers(|window| window.stride),
        numbers(|window| window.dilation),
    ];
    if windows.len() == 1 {
        // The library knows two axes and three.
        for layout in &mut layouts {
            let step = layout.sizes[2] * layout.steps[2];
            layout.sizes.insert(2, 1);
            layout.steps.insert(2, step);
        }
        axes.iter_mut().zip([0, 0, 1, 1]).for_each(|(axis, value)| axis.insert(0, value));
    }
    let [x_layout, w_layout, y_layout] = layouts;
    let [pad_begin, pad_end, strides, dilations] = axes;
    Ok(Convolution {
        direction,
        dtype: x.dtype,
        tf32: x.dtype == DType::F32 && emitter.gpu.precision.tf32 != Tf32::Off,
        x: x_layout,
        w: w_layout,
        y: y_layout,
        pad_begin,
        pad_end,
        strides,
        dilations,
        fused: None,
        alignment: 16,
    })
}

/// A value in that order and with as many channels, copied to scratch memory unless it is.
fn ordered(
    emitter: &mut Emitter<'_>,
    value: &Value,
    order: Order,
    channels: usize,
) -> Result<Value, LowerError> {
    let same = value.order == order || value.shape.len() < 3;
    if order == Order::ChannelsLast
        && value.shape.len() > 2
        && let Some(wanted) = ToChannelsLast::of(value, channels)
    {
        let address = emitter.scratch(wanted.bytes());
        let launch = wanted.launch(value.address, address);
        let many = || LowerError::unsupported("a convolution of so many images");
        emitter.launch(launch.ok_or_else(many)?)?;
        return Ok(wanted.at(address));
    }
    if same || order == Order::ChannelsLast {
        return Ok(Value { order, ..value.clone() });
    }
    let address = emitter.scratch(value.bytes());
    let result = Value { order, address, ..value.clone() };
    map(emitter, reordering(value, &result))?;
    Ok(result)
}

/// The kernel that copies between two orders of one value.
fn reordering(from: &Value, to: &Value) -> Map<'static> {
    let access = |value: &Value| Access {
        address: value.address,
        dtype: super::ctype::bits(value.dtype),
        strides: value.strides().iter().map(|&stride| stride as i64).collect(),
    };
    Map {
        name: "reorder",
        dims: from.shape.clone(),
        loads: vec![access(from)],
        stores: vec![access(to)],
        body: "    y0 = x0;\n".to_owned(),
        fault: None,
    }
}

/// The kernel that finishes a convolution into `y`.
pub fn finish(
    convolution: &Convolution,
    y: Address,
    bias: Option<Address>,
    residual: Option<Address>,
    activation: Activation,
) -> Finish {
    let result = match convolution.direction {
        Direction::Forward => &convolution.y,
        Direction::BackwardData => &convolution.x,
    };
    let numbers = |of: &[i64]| -> Vec<usize> { of.iter().map(|&size| size as usize).collect() };
    let (dims, steps) = (numbers(&result.sizes), numbers(&result.steps));
    let mut per_channel = vec![0; dims.len()];
    per_channel[1] = 1;
    Finish {
        dims,
        dtype: convolution.dtype,
        y: (y, steps.clone()),
        bias: bias.map(|bias| (bias, per_channel)),
        residual: residual.map(|residual| (residual, steps)),
        activation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transposed_window_is_read_backward() {
        let window = Window {
            input: 5,
            output: 10,
            kernel: 4,
            stride: 2,
            dilation: 1,
            pad_begin: 1,
            pad_end: 1,
        };
        let back = reversed(&window).unwrap();
        assert_eq!((back.input, back.output, back.pad_begin, back.pad_end), (10, 5, 1, 1));
        // With output padding, the last outputs are covered by no window.
        let back = reversed(&Window { output: 11, ..window }).unwrap();
        assert_eq!((back.input, back.output, back.pad_end), (11, 5, 0));
        // As the library counts them.
        assert_eq!((back.input + 1 - 4) / 2 + 1, 5);
    }
}
