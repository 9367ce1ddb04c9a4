//! Matrix products and what is built on them.

use super::lowering::Lowering;
use crate::onnx::problem::{Problem, invalid, unsupported};
use sublet_graph::{Attention, Op};

pub fn lower(cx: &mut Lowering<'_, '_>, op: &str) -> Result<bool, Problem> {
    match op {
        "MatMul" => {
            cx.arity(2, 2, 1)?;
            cx.finish_same(Op::MatMul)?;
        }
        "Gemm" => {
            // The first versions said whether `c` is broadcast; it is wherever its shape needs it.
            cx.ignore(if cx.opset < 7 { &["broadcast"] } else { &[] });
            cx.arity(2, 3, 1)?;
            let gemm = gemm(cx)?;
            cx.finish_same(gemm)?;
        }
        "MatMulInteger" => {
            cx.arity(2, 4, 1)?;
            cx.finish_same(Op::MatMulInteger)?;
        }
        "QLinearMatMul" => {
            cx.arity(8, 8, 1)?;
            cx.finish_same(Op::QLinearMatMul)?;
        }
        "Einsum" => {
            cx.arity(1, usize::MAX, 1)?;
            let Some(equation) = cx.string("equation")? else {
                return invalid("attribute `equation` is missing");
            };
            cx.finish_same(Op::Einsum { equation: equation.to_owned() })?;
        }
        "Attention" => attention(cx)?,
        "RotaryEmbedding" => {
            cx.arity(3, 4, 1)?;
            cx.finish_same(Op::RotaryEmbedding {
                interleaved: cx.flag("interleaved", false)?,
                num_heads: cx.size_or("num_heads", 0)?,
                rotary_dim: cx.size_or("rotary_embedding_dim", 0)?,
            })?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

pub fn gemm(cx: &Lowering<'_, '_>) -> Result<Op, Problem> {
    Ok(Op::Gemm {
        alpha: cx.float_or("alpha", 1.0)?,
        beta: cx.float_or("beta", 1.0)?,
        trans_a: cx.flag("transA", false)?,
        trans_b: cx.flag("transB", false)?,
    })
}

fn attention(cx: &mut Lowering<'_, '_>) -> Result<(), Problem> {
    cx.arity(3, 7, 4)?;
    // The softmax may always be computed more precisely than asked for.
    cx.ignore(&["softmax_precision"]);
    let mode = cx.int_or("qk_matmul_output_mode", 0)?;
    let qk_output_mode = match u8::try_from(mode) {
        Ok(mode @ 0..=3) => mode,
        _ => return unsupported(format!("`qk_matmul_output_mode` {mode}")),
    };
    cx.finish_same(Op::Attention(Attention {
        scale: cx.float("scale")?,
        is_causal: cx.flag("is_causal", false)?,
        q_num_heads: cx.size_or("q_num_heads", 0)?,
        kv_num_heads: cx.size_or("kv_num_heads", 0)?,
        softcap: cx.float_or("softcap", 0.0)?,
        qk_output_mode,
    }))
}
