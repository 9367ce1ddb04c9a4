//! Operators that work element by element.

use super::lowering::Lowering;
use crate::onnx::problem::{Problem, invalid, unsupported};
use crate::onnx::types::{element_type, element_type_named};
use sublet_graph::{Binary, Compare, DType, Literal, Op, Scalar, Unary, ValueId};

pub fn lower(cx: &mut Lowering<'_, '_>, op: &str) -> Result<bool, Problem> {
    if let Some(unary) = unary(cx, op)? {
        // What the first versions wrote about memory reuse.
        cx.ignore(&["consumed_inputs"]);
        cx.arity(1, 1, 1)?;
        return cx.finish_same(Op::Unary(unary)).map(|()| true);
    }
    if let Some(binary) = binary(cx, op)? {
        return two_operands(cx, Op::Binary(binary)).map(|()| true);
    }
    if let Some(compare) = compare(op) {
        return two_operands(cx, Op::Compare(compare)).map(|()| true);
    }
    match op {
        "Max" => variadic(cx, Binary::Max)?,
        "Min" => variadic(cx, Binary::Min)?,
        "Sum" => variadic(cx, Binary::Add)?,
        "Mean" => mean(cx)?,
        "PRelu" => prelu(cx)?,
        "Where" => {
            cx.arity(3, 3, 1)?;
            cx.finish_same(Op::Where)?;
        }
        "Clip" => clip(cx)?,
        "Cast" => cast(cx)?,
        "CastLike" => {
            cx.ignore(&["saturate", "round_mode"]);
            cx.arity(2, 2, 1)?;
            cx.finish_same(Op::CastLike)?;
        }
        "Identity" => {
            cx.arity(1, 1, 1)?;
            let value = cx.input(0)?;
            cx.bind(0, value)?;
        }
        "Dropout" => dropout(cx)?,
        "OptionalHasElement" => {
            cx.arity(0, 1, 1)?;
            let present = cx.optional(0).is_some();
            cx.bind_constant(Literal::bool(&[], &[present]))?;
        }
        // Optionals are refused as graph inputs, so what arrives here is a tensor.
        "OptionalGetElement" => {
            cx.arity(1, 1, 1)?;
            let value = cx.input(0)?;
            cx.bind(0, value)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn unary(cx: &Lowering<'_, '_>, op: &str) -> Result<Option<Unary>, Problem> {
    Ok(Some(match op {
        "Abs" => Unary::Abs,
        "Acos" => Unary::Acos,
        "Acosh" => Unary::Acosh,
        "Asin" => Unary::Asin,
        "Asinh" => Unary::Asinh,
        "Atan" => Unary::Atan,
        "Atanh" => Unary::Atanh,
        "BitwiseNot" => Unary::BitwiseNot,
        "Ceil" => Unary::Ceil,
        "Celu" => Unary::Celu { alpha: cx.float_or("alpha", 1.0)? },
        "Cos" => Unary::Cos,
        "Cosh" => Unary::Cosh,
        "Elu" => Unary::Elu { alpha: cx.float_or("alpha", 1.0)? },
        "Erf" => Unary::Erf,
        "Exp" => Unary::Exp,
        "Floor" => Unary::Floor,
        "Gelu" => Unary::Gelu { tanh: gelu_by_tanh(cx)? },
        "HardSigmoid" => Unary::HardSigmoid {
            alpha: cx.float_or("alpha", 0.2)?,
            beta: cx.float_or("beta", 0.5)?,
        },
        "HardSwish" => Unary::HardSwish,
        "IsInf" => Unary::IsInf {
            negative: cx.flag("detect_negative", true)?,
            positive: cx.flag("detect_positive", true)?,
        },
        "IsNaN" => Unary::IsNaN,
        "LeakyRelu" => Unary::LeakyRelu { alpha: cx.float_or("alpha", 0.01)? },
        "Log" => Unary::Log,
        "Mish" => Unary::Mish,
        "Neg" => Unary::Neg,
        "Not" => Unary::Not,
        "Reciprocal" => Unary::Reciprocal,
        "Relu" => Unary::Relu,
        "Round" => Unary::Round,
        "Selu" => {
            // The first version had rounder defaults.
            let (alpha, gamma) =
                if cx.opset < 6 { (1.6732, 1.0507) } else { (1.673_263_2, 1.050_701) };
            Unary::Selu { alpha: cx.float_or("alpha", alpha)?, gamma: cx.float_or("gamma", gamma)? }
        }
        "Shrink" => {
            Unary::Shrink { bias: cx.float_or("bias", 0.0)?, lambd: cx.float_or("lambd", 0.5)? }
        }
        "Sigmoid" => Unary::Sigmoid,
        "Sign" => Unary::Sign,
        "Sin" => Unary::Sin,
        "Sinh" => Unary::Sinh,
        "Softplus" => Unary::Softplus,
        "Softsign" => Unary::Softsign,
        "Sqrt" => Unary::Sqrt,
        "Swish" => Unary::Swish { alpha: cx.float_or("alpha", 1.0)? },
        "Tan" => Unary::Tan,
        "Tanh" => Unary::Tanh,
        "ThresholdedRelu" => Unary::ThresholdedRelu { alpha: cx.float_or("alpha", 1.0)? },
        _ => return Ok(None),
    }))
}

pub fn gelu_by_tanh(cx: &Lowering<'_, '_>) -> Result<bool, Problem> {
    match cx.string_or("approximate", "none")? {
        "none" => Ok(false),
        "tanh" => Ok(true),
        other => invalid(format!("unknown approximation `{other}`")),
    }
}

fn binary(cx: &Lowering<'_, '_>, op: &str) -> Result<Option<Binary>, Problem> {
    Ok(Some(match op {
        "Add" => Binary::Add,
        "Sub" => Binary::Sub,
        "Mul" => Binary::Mul,
        "Div" => Binary::Div,
        "Pow" => Binary::Pow,
        "Mod" => Binary::Mod { fmod: cx.flag("fmod", false)? },
        "And" => Binary::And,
        "Or" => Binary::Or,
        "Xor" => Binary::Xor,
        "BitwiseAnd" => Binary::BitwiseAnd,
        "BitwiseOr" => Binary::BitwiseOr,
        "BitwiseXor" => Binary::BitwiseXor,
        "BitShift" => match cx.string_or("direction", "")? {
            "LEFT" => Binary::BitShift { left: true },
            "RIGHT" => Binary::BitShift { left: false },
            other => return invalid(format!("unknown direction `{other}`")),
        },
        _ => return Ok(None),
    }))
}

fn compare(op: &str) -> Option<Compare> {
    Some(match op {
        "Equal" => Compare::Equal,
        "Less" => Compare::Less,
        "LessOrEqual" => Compare::LessOrEqual,
        "Greater" => Compare::Greater,
        "GreaterOrEqual" => Compare::GreaterOrEqual,
        _ => return None,
    })
}

fn two_operands(cx: &mut Lowering<'_, '_>, op: Op) -> Result<(), Problem> {
    cx.arity(2, 2, 1)?;
    let (a, mut b) = (cx.input(0)?, cx.input(1)?);
    if cx.opset < 7 {
        cx.ignore(&["consumed_inputs"]);
        // Without `broadcast` shapes are equal; with it and without `axis` the last dimensions match, as today.
        let broadcast = cx.flag("broadcast", false)?;
        if let Some(axis) = cx.int("axis")?
            && broadcast
        {
            b = from_axis(cx, a, b, axis)?;
        }
    }
    cx.finish(op, vec![Some(a), Some(b)])
}

/// `b` with ones appended to its shape, so that its dimensions match those of `a` from `axis` on.
fn from_axis(
    cx: &mut Lowering<'_, '_>,
    a: ValueId,
    b: ValueId,
    axis: i64,
) -> Result<ValueId, Problem> {
    if axis < 0 {
        return unsupported(format!("broadcasting from axis {axis}"));
    }
    let shape_a = cx.shape_of(a, 0, None);
    let rank_a = cx.shape_of(shape_a, 0, None);
    let shape_b = cx.shape_of(b, 0, None);
    let rank_b = cx.shape_of(shape_b, 0, None);
    let axis = cx.i64s(&[axis]);
    let rest = cx.binary(Binary::Sub, rank_a, rank_b);
    let rest = cx.binary(Binary::Sub, rest, axis);
    let value = Scalar { dtype: DType::I64, bits: 1 };
    let ones = cx.emit(Op::ConstantOfShape { value }, &[rest]);
    let shape = cx.emit(Op::Concat { axis: 0 }, &[shape_b, ones]);
    Ok(cx.emit(Op::Reshape { allow_zero: true }, &[b, shape]))
}

fn prelu(cx: &mut Lowering<'_, '_>) -> Result<(), Problem> {
    cx.ignore(&["consumed_inputs"]);
    cx.arity(2, 2, 1)?;
    let (x, mut slope) = (cx.input(0)?, cx.input(1)?);
    if cx.opset < 7 {
        slope = from_axis(cx, x, slope, 1)?;
    }
    cx.finish(Op::Binary(Binary::PRelu), vec![Some(x), Some(slope)])
}

/// All inputs combined from left to right.
fn fold(cx: &mut Lowering<'_, '_>, binary: Binary) -> Result<ValueId, Problem> {
    cx.ignore(&["consumed_inputs"]);
    cx.arity(1, usize::MAX, 1)?;
    let mut result = cx.input(0)?;
    for index in 1..cx.inputs.len() {
        let next = cx.input(index)?;
        result = cx.binary(binary, result, next);
    }
    Ok(result)
}

fn variadic(cx: &mut Lowering<'_, '_>, binary: Binary) -> Result<(), Problem> {
    let result = fold(cx, binary)?;
    cx.bind(0, result)
}

fn mean(cx: &mut Lowering<'_, '_>) -> Result<(), Problem> {
    let sum = fold(cx, Binary::Add)?;
    let count = cx.scalar_like(cx.inputs.len() as f32, sum);
    cx.finish(Op::Binary(Binary::Div), vec![Some(sum), Some(count)])
}

fn clip(cx: &mut Lowering<'_, '_>) -> Result<(), Problem> {
    if cx.opset >= 11 {
        cx.arity(1, 3, 1)?;
        return cx.finish_same(Op::Clip);
    }
    cx.ignore(&["consumed_inputs"]);
    cx.arity(1, 1, 1)?;
    let x = cx.input(0)?;
    let (low, high) = (cx.float("min")?, cx.float("max")?);
    let low = low.map(|low| cx.scalar_like(low, x));
    let high = high.map(|high| cx.scalar_like(high, x));
    cx.finish(Op::Clip, vec![Some(x), low, high])
}

fn cast(cx: &mut Lowering<'_, '_>) -> Result<(), Problem> {
    // Both matter for 8-bit floats only, which are refused.
    cx.ignore(&["saturate", "round_mode"]);
    cx.arity(1, 1, 1)?;
    let to = if cx.opset < 6 {
        element_type_named(cx.string_or("to", "")?)?
    } else {
        element_type(cx.required_int("to")?)?
    };
    cx.finish_same(Op::Cast { to })
}

/// At inference dropout changes nothing, and its mask is all true.
fn dropout(cx: &mut Lowering<'_, '_>) -> Result<(), Problem> {
    cx.ignore(&["consumed_inputs", "is_test", "seed"]);
    cx.arity(1, 3, 2)?;
    let x = cx.input(0)?;
    if cx.opset < 12 {
        cx.float("ratio")?;
    } else if let Some(training) = cx.optional(2) {
        let off = |bytes: &[u8]| bytes.iter().all(|&byte| byte == 0);
        let is_off = |value| cx.literal(value).is_some_and(|literal| off(literal.bytes()));
        let drops = cx.optional(1).is_none_or(|ratio| !is_off(ratio));
        if !is_off(training) && drops {
            return unsupported("dropout in training mode");
        }
    }
    if cx.reads_output(1) {
        if cx.opset < 10 {
            return unsupported("the mask of dropout before opset 10");
        }
        let shape = cx.shape_of(x, 0, None);
        let value = Scalar { dtype: DType::Bool, bits: 1 };
        let mask = cx.emit(Op::ConstantOfShape { value }, &[shape]);
        cx.bind(1, mask)?;
    }
    cx.bind(0, x)
}
