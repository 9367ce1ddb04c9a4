//! Operators that make values from little or nothing.

use super::lowering::{Lowering, to_scalar};
use crate::onnx::problem::{Problem, invalid, unsupported};
use crate::onnx::types::element_type;
use sublet_graph::{DType, Literal, Op, Scalar};

pub fn lower(cx: &mut Lowering<'_, '_>, op: &str) -> Result<bool, Problem> {
    match op {
        "Constant" => constant(cx)?,
        "ConstantOfShape" => constant_of_shape(cx)?,
        "Range" => {
            // The precision of the steps; only single precision is defined so far.
            if cx.int_or("stash_type", 1)? != 1 {
                return unsupported("a `stash_type` other than 1");
            }
            cx.arity(3, 3, 1)?;
            cx.finish_same(Op::Range)?;
        }
        "OneHot" => {
            cx.arity(3, 3, 1)?;
            cx.finish_same(Op::OneHot { axis: cx.int_or("axis", -1)? })?;
        }
        "EyeLike" => {
            cx.arity(1, 1, 1)?;
            let dtype = cx.int("dtype")?.map(element_type).transpose()?;
            cx.finish_same(Op::EyeLike { dtype, k: cx.int_or("k", 0)? })?;
        }
        "HannWindow" | "HammingWindow" | "BlackmanWindow" => window(cx, op)?,
        "MelWeightMatrix" => {
            cx.arity(5, 5, 1)?;
            cx.finish_same(Op::MelWeightMatrix { dtype: output_type(cx)? })?;
        }
        "Bernoulli" | "Multinomial" | "RandomNormal" | "RandomNormalLike" | "RandomUniform"
        | "RandomUniformLike" => {
            return unsupported("a random operator, whose result differs from run to run,");
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn constant(cx: &mut Lowering<'_, '_>) -> Result<(), Problem> {
    cx.arity(0, 0, 1)?;
    let literal = if let Some(tensor) = cx.tensor("value")? {
        cx.importer.read_tensor(tensor)?
    } else if let Some(value) = cx.float("value_float")? {
        Literal::f32(&[], &[value])
    } else if let Some(values) = cx.floats("value_floats")? {
        Literal::f32(&[values.len()], values)
    } else if let Some(value) = cx.int("value_int")? {
        Literal::i64(&[], &[value])
    } else if let Some(values) = cx.ints("value_ints")? {
        Literal::i64(&[values.len()], values)
    } else if cx.has("value_string") || cx.has("value_strings") {
        return unsupported("a constant of strings");
    } else if cx.has("sparse_value") {
        return unsupported("a sparse constant");
    } else {
        return invalid("has no value");
    };
    cx.bind_constant(literal)
}

fn constant_of_shape(cx: &mut Lowering<'_, '_>) -> Result<(), Problem> {
    cx.arity(1, 1, 1)?;
    let value = match cx.tensor("value")? {
        None => Scalar { dtype: DType::F32, bits: 0 },
        Some(tensor) => match to_scalar(&cx.importer.read_tensor(tensor)?) {
            Some(value) => value,
            None => return invalid("`value` has not one element"),
        },
    };
    cx.finish_same(Op::ConstantOfShape { value })
}

fn window(cx: &mut Lowering<'_, '_>, op: &str) -> Result<(), Problem> {
    cx.arity(1, 1, 1)?;
    let periodic = cx.flag("periodic", true)?;
    let dtype = output_type(cx)?;
    cx.finish_same(match op {
        "HannWindow" => Op::HannWindow { periodic, dtype },
        "HammingWindow" => Op::HammingWindow { periodic, dtype },
        _ => Op::BlackmanWindow { periodic, dtype },
    })
}

fn output_type(cx: &Lowering<'_, '_>) -> Result<DType, Problem> {
    element_type(cx.int_or("output_datatype", 1)?)
}
