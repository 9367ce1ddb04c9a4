//! Fourier transforms.

use super::lowering::Lowering;
use crate::onnx::problem::Problem;
use sublet_graph::{Literal, Op};

pub fn lower(cx: &mut Lowering<'_, '_>, op: &str) -> Result<bool, Problem> {
    match op {
        "DFT" => dft(cx)?,
        "STFT" => {
            cx.arity(2, 4, 1)?;
            cx.finish_same(Op::Stft { onesided: cx.flag("onesided", true)? })?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn dft(cx: &mut Lowering<'_, '_>) -> Result<(), Problem> {
    let op = Op::Dft { inverse: cx.flag("inverse", false)?, onesided: cx.flag("onesided", false)? };
    if cx.opset >= 20 {
        cx.arity(1, 3, 1)?;
        return cx.finish_same(op);
    }
    cx.arity(1, 2, 1)?;
    let axis = cx.int_or("axis", 1)?;
    let axis = cx.constant(Literal::i64(&[], &[axis]));
    cx.finish(op, vec![cx.optional(0), cx.optional(1), Some(axis)])
}
