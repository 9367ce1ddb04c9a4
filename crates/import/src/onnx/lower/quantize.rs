//! Quantisation.

use super::lowering::Lowering;
use crate::onnx::problem::{Problem, unsupported};
use crate::onnx::types::element_type;
use sublet_graph::{DType, Op};

pub fn lower(cx: &mut Lowering<'_, '_>, op: &str) -> Result<bool, Problem> {
    match op {
        "QuantizeLinear" => quantize(cx)?,
        "DequantizeLinear" => dequantize(cx)?,
        "DynamicQuantizeLinear" => {
            cx.arity(1, 1, 3)?;
            cx.finish_same(Op::DynamicQuantizeLinear)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

pub fn quantize(cx: &mut Lowering<'_, '_>) -> Result<(), Problem> {
    cx.arity(2, 3, 1)?;
    // Matters for 8-bit floats only, which are refused.
    cx.ignore(&["saturate"]);
    match cx.int_or("precision", 0)? {
        0 | 1 => {}
        other => return unsupported(format!("`precision` {other}")),
    }
    cx.finish_same(Op::QuantizeLinear {
        axis: cx.int_or("axis", 1)?,
        block: cx.size_or("block_size", 0)?,
        to: output_type(cx)?,
    })
}

pub fn dequantize(cx: &mut Lowering<'_, '_>) -> Result<(), Problem> {
    cx.arity(2, 3, 1)?;
    let op =
        Op::DequantizeLinear { axis: cx.int_or("axis", 1)?, block: cx.size_or("block_size", 0)? };
    let mut inputs = cx.inputs.clone();
    // The result has the type of the scale: where another is asked for, the scale takes it first.
    if let Some(to) = output_type(cx)? {
        let scale = cx.input(1)?;
        if cx.dtype(scale) != Some(to) {
            inputs[1] = Some(cx.emit(Op::Cast { to }, &[scale]));
        }
    }
    cx.finish(op, inputs)
}

fn output_type(cx: &Lowering<'_, '_>) -> Result<Option<DType>, Problem> {
    match cx.int_or("output_dtype", 0)? {
        0 => Ok(None),
        code => element_type(code).map(Some),
    }
}
