//! Operators that choose or place elements by index.

use super::lowering::Lowering;
use crate::onnx::problem::{Problem, invalid};
use sublet_graph::{Op, ScatterReduction};

pub fn lower(cx: &mut Lowering<'_, '_>, op: &str) -> Result<bool, Problem> {
    match op {
        "Gather" => {
            cx.arity(2, 2, 1)?;
            cx.finish_same(Op::Gather { axis: cx.int_or("axis", 0)? })?;
        }
        "GatherElements" => {
            cx.arity(2, 2, 1)?;
            cx.finish_same(Op::GatherElements { axis: cx.int_or("axis", 0)? })?;
        }
        "GatherND" => {
            cx.arity(2, 2, 1)?;
            cx.finish_same(Op::GatherND { batch_dims: cx.size_or("batch_dims", 0)? })?;
        }
        // `Scatter` is what `ScatterElements` was called at first.
        "Scatter" | "ScatterElements" => {
            cx.arity(3, 3, 1)?;
            let axis = cx.int_or("axis", 0)?;
            cx.finish_same(Op::ScatterElements { axis, reduction: reduction(cx)? })?;
        }
        "ScatterND" => {
            cx.arity(3, 3, 1)?;
            cx.finish_same(Op::ScatterND { reduction: reduction(cx)? })?;
        }
        "TensorScatter" => {
            cx.arity(2, 3, 1)?;
            let circular = match cx.string_or("mode", "linear")? {
                "linear" => false,
                "circular" => true,
                other => return invalid(format!("unknown mode `{other}`")),
            };
            cx.finish_same(Op::TensorScatter { axis: cx.int_or("axis", -2)?, circular })?;
        }
        "Compress" => {
            cx.arity(2, 2, 1)?;
            cx.finish_same(Op::Compress { axis: cx.int("axis")? })?;
        }
        "NonZero" => {
            cx.arity(1, 1, 1)?;
            cx.finish_same(Op::NonZero)?;
        }
        "Unique" => {
            cx.arity(1, 1, 4)?;
            let (axis, sorted) = (cx.int("axis")?, cx.flag("sorted", true)?);
            cx.finish_same(Op::Unique { axis, sorted })?;
        }
        "NonMaxSuppression" => {
            cx.arity(2, 5, 1)?;
            let center_point_box = cx.flag("center_point_box", false)?;
            cx.finish_same(Op::NonMaxSuppression { center_point_box })?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn reduction(cx: &Lowering<'_, '_>) -> Result<ScatterReduction, Problem> {
    Ok(match cx.string_or("reduction", "none")? {
        "none" => ScatterReduction::None,
        "add" => ScatterReduction::Add,
        "mul" => ScatterReduction::Mul,
        "max" => ScatterReduction::Max,
        "min" => ScatterReduction::Min,
        other => return invalid(format!("unknown reduction `{other}`")),
    })
}
