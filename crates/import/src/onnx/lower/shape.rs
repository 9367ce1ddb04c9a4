//! Operators that rearrange elements without choosing them by value.

use super::lowering::Lowering;
use crate::onnx::problem::{Problem, invalid, unsupported};
use sublet_graph::{Op, PadMode};

pub fn lower(cx: &mut Lowering<'_, '_>, op: &str) -> Result<bool, Problem> {
    match op {
        "Shape" => {
            cx.arity(1, 1, 1)?;
            cx.finish_same(Op::Shape { start: cx.int_or("start", 0)?, end: cx.int("end")? })?;
        }
        "Size" => {
            cx.arity(1, 1, 1)?;
            cx.finish_same(Op::Size)?;
        }
        "Reshape" => reshape(cx)?,
        "Flatten" => {
            cx.arity(1, 1, 1)?;
            cx.finish_same(Op::Flatten { axis: cx.int_or("axis", 1)? })?;
        }
        "Squeeze" => with_list(cx, Op::Squeeze, "axes", 13, false)?,
        "Unsqueeze" => with_list(cx, Op::Unsqueeze, "axes", 13, true)?,
        "Transpose" => {
            cx.arity(1, 1, 1)?;
            cx.finish_same(Op::Transpose { perm: cx.sizes("perm")? })?;
        }
        "Expand" => {
            cx.arity(2, 2, 1)?;
            cx.finish_same(Op::Expand)?;
        }
        "Tile" => {
            if cx.opset < 6 {
                return unsupported("this operator before opset 6");
            }
            cx.arity(2, 2, 1)?;
            cx.finish_same(Op::Tile)?;
        }
        "Concat" => {
            cx.arity(1, usize::MAX, 1)?;
            if cx.inputs.iter().any(Option::is_none) {
                return invalid("an input is missing");
            }
            let axis = if cx.opset < 4 { cx.int_or("axis", 1)? } else { cx.required_int("axis")? };
            cx.finish_same(Op::Concat { axis })?;
        }
        "Split" => split(cx)?,
        "Slice" => slice(cx)?,
        "Pad" => pad(cx)?,
        "DepthToSpace" => {
            cx.arity(1, 1, 1)?;
            let column_row_depth = match cx.string_or("mode", "DCR")? {
                "DCR" => false,
                "CRD" => true,
                other => return invalid(format!("unknown mode `{other}`")),
            };
            let block = cx.required_size("blocksize")?;
            cx.finish_same(Op::DepthToSpace { block, column_row_depth })?;
        }
        "SpaceToDepth" => {
            cx.arity(1, 1, 1)?;
            cx.finish_same(Op::SpaceToDepth { block: cx.required_size("blocksize")? })?;
        }
        "ReverseSequence" => {
            cx.arity(2, 2, 1)?;
            cx.finish_same(Op::ReverseSequence {
                batch_axis: cx.int_or("batch_axis", 1)?,
                time_axis: cx.int_or("time_axis", 0)?,
            })?;
        }
        "CenterCropPad" => {
            cx.arity(2, 2, 1)?;
            cx.finish_same(Op::CenterCropPad { axes: cx.ints("axes")?.map(<[i64]>::to_vec) })?;
        }
        "Trilu" => {
            cx.arity(1, 2, 1)?;
            cx.finish_same(Op::Trilu { upper: cx.flag("upper", true)? })?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// An operator whose second input was an attribute before opset `since`.
fn with_list(
    cx: &mut Lowering<'_, '_>,
    op: Op,
    attribute: &str,
    since: i64,
    required: bool,
) -> Result<(), Problem> {
    if cx.opset >= since {
        cx.arity(if required { 2 } else { 1 }, 2, 1)?;
        return cx.finish_same(op);
    }
    cx.arity(1, 1, 1)?;
    let x = cx.input(0)?;
    let list = match cx.ints(attribute)? {
        Some(list) => Some(cx.i64s(list)),
        None if required => return invalid(format!("attribute `{attribute}` is missing")),
        None => None,
    };
    cx.finish(op, vec![Some(x), list])
}

fn reshape(cx: &mut Lowering<'_, '_>) -> Result<(), Problem> {
    let op = Op::Reshape { allow_zero: cx.flag("allowzero", false)? };
    cx.ignore(&["consumed_inputs"]);
    with_list(cx, op, "shape", 5, true)
}

/// The number of parts is the number of outputs, read or not.
fn split(cx: &mut Lowering<'_, '_>) -> Result<(), Problem> {
    let parts = cx.output_count();
    cx.arity(1, 2, parts)?;
    if let Some(declared) = cx.int("num_outputs")?
        && i64::try_from(parts) != Ok(declared)
    {
        return invalid(format!("{parts} outputs, but `num_outputs` is {declared}"));
    }
    let op = Op::Split { axis: cx.int_or("axis", 0)?, parts };
    let x = cx.input(0)?;
    let mut sizes = cx.optional(1);
    if cx.opset < 13
        && let Some(list) = cx.ints("split")?
    {
        sizes = Some(cx.i64s(list));
    }
    cx.finish_with(op, vec![Some(x), sizes], parts)
}

fn slice(cx: &mut Lowering<'_, '_>) -> Result<(), Problem> {
    if cx.opset >= 10 {
        cx.arity(3, 5, 1)?;
        return cx.finish_same(Op::Slice);
    }
    cx.arity(1, 1, 1)?;
    let x = cx.input(0)?;
    let (Some(starts), Some(ends)) = (cx.ints("starts")?, cx.ints("ends")?) else {
        return invalid("attribute `starts` or `ends` is missing");
    };
    let axes = cx.ints("axes")?;
    let starts = cx.i64s(starts);
    let ends = cx.i64s(ends);
    let axes = axes.map(|axes| cx.i64s(axes));
    cx.finish(Op::Slice, vec![Some(x), Some(starts), Some(ends), axes])
}

fn pad(cx: &mut Lowering<'_, '_>) -> Result<(), Problem> {
    let mode = match cx.string_or("mode", "constant")? {
        "constant" => PadMode::Constant,
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Edge,
        "wrap" => PadMode::Wrap,
        other => return invalid(format!("unknown mode `{other}`")),
    };
    if cx.opset >= 11 {
        cx.arity(2, 4, 1)?;
        return cx.finish_same(Op::Pad { mode });
    }
    cx.arity(1, 1, 1)?;
    let x = cx.input(0)?;
    let name = if cx.opset < 2 { "paddings" } else { "pads" };
    let Some(pads) = cx.ints(name)? else {
        return invalid(format!("attribute `{name}` is missing"));
    };
    let value = cx.float_or("value", 0.0)?;
    let pads = cx.i64s(pads);
    let value = if value == 0.0 { None } else { Some(cx.scalar_like(value, x)) };
    cx.finish(Op::Pad { mode }, vec![Some(x), Some(pads), value])
}
