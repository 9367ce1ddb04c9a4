//! Softmax and its relatives.

use super::lowering::Lowering;
use crate::onnx::problem::Problem;
use sublet_graph::Op;

pub fn lower(cx: &mut Lowering<'_, '_>, op: &str) -> Result<bool, Problem> {
    let along = match op {
        "Softmax" => |axis| Op::Softmax { axis },
        "LogSoftmax" => |axis| Op::LogSoftmax { axis },
        "Hardmax" => |axis| Op::Hardmax { axis },
        _ => return Ok(false),
    };
    cx.arity(1, 1, 1)?;
    let axis = cx.int_or("axis", if cx.opset < 13 { 1 } else { -1 })?;
    if cx.opset >= 13 || axis == -1 {
        cx.finish_same(along(axis))?;
        return Ok(true);
    }
    // Until opset 13 the input was taken as a matrix: dimensions before `axis`, dimensions from it on.
    let x = cx.input(0)?;
    let shape = cx.shape_of(x, 0, None);
    let matrix = cx.emit(Op::Flatten { axis }, &[x]);
    let result = cx.emit(along(-1), &[matrix]);
    cx.finish(Op::Reshape { allow_zero: true }, vec![Some(result), Some(shape)])?;
    Ok(true)
}
