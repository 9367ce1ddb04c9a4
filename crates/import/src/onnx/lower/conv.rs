//! Convolution and pooling.

use super::lowering::Lowering;
use crate::onnx::problem::{Problem, invalid, unsupported};
use sublet_graph::{Activation, AutoPad, Binary, Conv, Op, Pool, Unary};

pub fn lower(cx: &mut Lowering<'_, '_>, op: &str) -> Result<bool, Problem> {
    match op {
        "Conv" => {
            cx.arity(2, 3, 1)?;
            let conv = conv(cx)?;
            cx.finish_same(Op::Conv { conv, activation: Activation::None })?;
        }
        "ConvTranspose" => {
            cx.arity(2, 3, 1)?;
            let output_shape = cx.sizes("output_shape")?;
            cx.finish_same(Op::ConvTranspose {
                conv: conv(cx)?,
                output_padding: cx.sizes("output_padding")?,
                output_shape: (!output_shape.is_empty()).then_some(output_shape),
            })?;
        }
        "ConvInteger" => {
            cx.arity(2, 4, 1)?;
            let conv = conv(cx)?;
            cx.finish_same(Op::ConvInteger(conv))?;
        }
        "QLinearConv" => {
            cx.arity(8, 9, 1)?;
            let conv = conv(cx)?;
            cx.finish_same(Op::QLinearConv(conv))?;
        }
        "CausalConvWithState" => causal_conv(cx)?,
        "MaxPool" => {
            cx.arity(1, 1, 2)?;
            let column_major = cx.flag("storage_order", false)?;
            cx.finish_same(Op::MaxPool { pool: pool(cx)?, column_major })?;
        }
        "AveragePool" => {
            cx.arity(1, 1, 1)?;
            let count_include_pad = cx.flag("count_include_pad", false)?;
            cx.finish_same(Op::AveragePool { pool: pool(cx)?, count_include_pad })?;
        }
        "LpPool" => {
            cx.arity(1, 1, 1)?;
            cx.finish_same(Op::LpPool { pool: pool(cx)?, p: norm(cx)? })?;
        }
        "GlobalAveragePool" => {
            cx.arity(1, 1, 1)?;
            cx.finish_same(Op::GlobalAveragePool)?;
        }
        "GlobalMaxPool" => {
            cx.arity(1, 1, 1)?;
            cx.finish_same(Op::GlobalMaxPool)?;
        }
        "GlobalLpPool" => {
            cx.arity(1, 1, 1)?;
            cx.finish_same(Op::GlobalLpPool { p: norm(cx)? })?;
        }
        "MaxUnpool" => {
            cx.arity(2, 3, 1)?;
            cx.finish_same(Op::MaxUnpool {
                kernel: kernel(cx)?,
                strides: cx.sizes("strides")?,
                pads: cx.sizes("pads")?,
            })?;
        }
        "Col2Im" => {
            cx.arity(3, 3, 1)?;
            cx.finish_same(Op::Col2Im {
                dilations: cx.sizes("dilations")?,
                pads: cx.sizes("pads")?,
                strides: cx.sizes("strides")?,
            })?;
        }
        "RoiAlign" => roi_align(cx)?,
        _ => return Ok(false),
    }
    Ok(true)
}

pub fn conv(cx: &Lowering<'_, '_>) -> Result<Conv, Problem> {
    let conv = Conv {
        kernel: cx.sizes("kernel_shape")?,
        strides: cx.sizes("strides")?,
        dilations: cx.sizes("dilations")?,
        pads: cx.sizes("pads")?,
        auto_pad: auto_pad(cx)?,
        group: cx.size_or("group", 1)?,
    };
    window(&conv.kernel, &conv.strides, &conv.dilations, &conv.pads)?;
    if conv.group == 0 {
        return invalid("`group` is zero");
    }
    Ok(conv)
}

fn pool(cx: &Lowering<'_, '_>) -> Result<Pool, Problem> {
    let pool = Pool {
        kernel: kernel(cx)?,
        strides: cx.sizes("strides")?,
        dilations: cx.sizes("dilations")?,
        pads: cx.sizes("pads")?,
        auto_pad: auto_pad(cx)?,
        ceil_mode: cx.flag("ceil_mode", false)?,
    };
    window(&pool.kernel, &pool.strides, &pool.dilations, &pool.pads)?;
    Ok(pool)
}

fn kernel(cx: &Lowering<'_, '_>) -> Result<Vec<usize>, Problem> {
    let kernel = cx.sizes("kernel_shape")?;
    if kernel.is_empty() { invalid("attribute `kernel_shape` is missing") } else { Ok(kernel) }
}

/// Lists that are given must be of one length, and nothing but pads may be zero.
fn window(
    kernel: &[usize],
    strides: &[usize],
    dilations: &[usize],
    pads: &[usize],
) -> Result<(), Problem> {
    if !pads.len().is_multiple_of(2) {
        return invalid("`pads` has an odd length");
    }
    let lengths = [kernel.len(), strides.len(), dilations.len(), pads.len() / 2];
    let mut given = lengths.into_iter().filter(|&length| length > 0);
    let first = given.next();
    if given.any(|length| Some(length) != first) {
        return invalid("kernel, strides, dilations and pads differ in their number of axes");
    }
    if kernel.iter().chain(strides).chain(dilations).any(|&size| size == 0) {
        return invalid("a kernel size, stride or dilation is zero");
    }
    Ok(())
}

fn auto_pad(cx: &Lowering<'_, '_>) -> Result<AutoPad, Problem> {
    Ok(match cx.string_or("auto_pad", "NOTSET")? {
        "NOTSET" | "" => AutoPad::Explicit,
        "VALID" => AutoPad::Valid,
        "SAME_UPPER" => AutoPad::SameUpper,
        "SAME_LOWER" => AutoPad::SameLower,
        other => return invalid(format!("unknown `auto_pad` `{other}`")),
    })
}

/// The order of a norm, which the first version wrote as a float.
fn norm(cx: &Lowering<'_, '_>) -> Result<i64, Problem> {
    if cx.opset >= 2 {
        return cx.int_or("p", 2);
    }
    let p = cx.float_or("p", 2.0)?;
    if p.fract() == 0.0 && (1.0..1e6).contains(&p) {
        Ok(p as i64)
    } else {
        unsupported(format!("a norm of order {p}"))
    }
}

fn roi_align(cx: &mut Lowering<'_, '_>) -> Result<(), Problem> {
    cx.arity(3, 3, 1)?;
    let average = match cx.string_or("mode", "avg")? {
        "avg" => true,
        "max" => false,
        other => return invalid(format!("unknown mode `{other}`")),
    };
    // Before opset 16 there was no half-pixel shift.
    let default = if cx.opset < 16 { "output_half_pixel" } else { "half_pixel" };
    let half_pixel = match cx.string_or("coordinate_transformation_mode", default)? {
        "half_pixel" => true,
        "output_half_pixel" => false,
        other => return invalid(format!("unknown coordinate transformation `{other}`")),
    };
    cx.finish_same(Op::RoiAlign {
        output: [cx.size_or("output_height", 1)?, cx.size_or("output_width", 1)?],
        sampling_ratio: cx.size_or("sampling_ratio", 0)?,
        spatial_scale: cx.float_or("spatial_scale", 1.0)?,
        average,
        half_pixel,
    })
}

/// A depthwise convolution over the past state and the input; the last positions become the new state.
fn causal_conv(cx: &mut Lowering<'_, '_>) -> Result<(), Problem> {
    cx.arity(2, 4, 2)?;
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    let Some(channels) = cx.fixed_dim(w, 0).filter(|&channels| channels > 0) else {
        return unsupported("weights without a fixed number of channels");
    };
    let one = cx.i64s(&[1]);
    let kernel = cx.shape_of(w, 2, Some(3));
    let past_len = cx.binary(Binary::Sub, kernel, one);
    let all = match cx.optional(3) {
        Some(past) => cx.emit(Op::Concat { axis: 2 }, &[past, x]),
        None => {
            let before = cx.i64s(&[0, 0]);
            let after = cx.i64s(&[0, 0, 0]);
            let pads = cx.emit(Op::Concat { axis: 0 }, &[before, past_len, after]);
            cx.emit(Op::Pad { mode: sublet_graph::PadMode::Constant }, &[x, pads])
        }
    };
    let conv = Conv {
        kernel: Vec::new(),
        strides: Vec::new(),
        dilations: Vec::new(),
        pads: Vec::new(),
        auto_pad: AutoPad::Explicit,
        group: channels,
    };
    let conv = Op::Conv { conv, activation: Activation::None };
    let mut y = cx.emit_optional(conv, vec![Some(all), Some(w), cx.optional(2)]);
    match cx.string_or("activation", "none")? {
        "none" => {}
        "silu" | "swish" => y = cx.emit(Op::Unary(Unary::Swish { alpha: 1.0 }), &[y]),
        other => return invalid(format!("unknown activation `{other}`")),
    }
    cx.bind(0, y)?;
    if cx.reads_output(1) {
        let end = cx.shape_of(all, 2, Some(3));
        let start = cx.binary(Binary::Sub, end, past_len);
        let axis = cx.i64s(&[2]);
        let state = cx.emit(Op::Slice, &[all, start, end, axis]);
        cx.bind(1, state)?;
    }
    Ok(())
}
