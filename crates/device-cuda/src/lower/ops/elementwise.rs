//! Operators that compute each element of their result from one element of every input: as C++ expressions, which fuse.

use super::ctype::{attribute, computed, constant};
use crate::lower::LowerError;
use sublet_graph::{Activation, Binary, Compare, DType, Literal, Op, Unary};

/// How an input lies over the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// As numpy broadcasts: aligned at the last axis.
    Broadcast,
    /// One element, or one for each index of the axis.
    Axis(usize),
}

/// One element of an input.
#[derive(Clone, Debug)]
pub struct Element {
    /// An expression of the computed type.
    pub text: String,
    pub dtype: DType,
    /// The input's only element, where that is known.
    pub known: Option<Literal>,
}

/// Whether an operator computes element by element, for all types that it has.
pub fn is_elementwise(op: &Op) -> bool {
    match op {
        Op::Unary(_) | Op::Binary(_) | Op::Compare(_) | Op::Where | Op::Clip => true,
        Op::Cast { .. } | Op::CastLike | Op::BatchNorm { .. } => true,
        Op::QuantizeLinear { block, .. } | Op::DequantizeLinear { block, .. } => *block == 0,
        _ => false,
    }
}

/// How input `index` of an operator lies over a result of that rank.
pub fn spread(op: &Op, index: usize, rank: usize) -> Result<Spread, LowerError> {
    Ok(match op {
        Op::BatchNorm { .. } if index > 0 => Spread::Axis(1),
        Op::QuantizeLinear { axis, .. } | Op::DequantizeLinear { axis, .. } if index > 0 => {
            // A scale of the whole tensor has no axis, which then may be out of range.
            Spread::Axis(sublet_graph::shape::axis(*axis, rank).unwrap_or(0))
        }
        _ => Spread::Broadcast,
    })
}

/// How many of an operator's inputs its result is computed from: the others only give types.
pub fn read(op: &Op, inputs: usize) -> usize {
    match op {
        Op::CastLike => 1,
        _ => inputs,
    }
}

/// What is wrong when a step's expression reports a fault; `None` when it never does.
pub fn fault(op: &Op, inputs: &[Option<Element>]) -> Option<&'static str> {
    let divides = matches!(op, Op::Binary(Binary::Div | Binary::Mod { .. }));
    let by = inputs.get(1).and_then(Option::as_ref);
    let by_integers = by.is_some_and(|by| by.dtype.is_int());
    (divides && by_integers).then_some("division of integers by zero")
}

/// The result's element, in its computed type.
///
/// # Errors
/// [`LowerError::Unsupported`] for types that the operator is not computed in.
pub fn expression(
    op: &Op,
    inputs: &[Option<Element>],
    result: DType,
) -> Result<String, LowerError> {
    let get = |index: usize| inputs.get(index).and_then(Option::as_ref);
    let need = |index: usize| {
        get(index).ok_or_else(|| LowerError::Invalid(format!("input {index} is missing")))
    };
    match op {
        Op::Unary(of) => unary(*of, need(0)?),
        Op::Binary(of) => binary(*of, need(0)?, need(1)?),
        Op::Compare(of) => compare(*of, need(0)?, need(1)?),
        Op::Where => {
            let (condition, a, b) = (need(0)?, need(1)?, need(2)?);
            same_type("Where", a, b)?;
            Ok(format!("({} ? {} : {})", condition.text, a.text, b.text))
        }
        Op::Clip => clip(need(0)?, get(1), get(2)),
        Op::Cast { .. } | Op::CastLike => Ok(cast(need(0)?, result)),
        Op::BatchNorm { epsilon } => batch_norm(*epsilon, result, inputs),
        Op::QuantizeLinear { .. } => quantize(need(0)?, need(1)?, get(2), result),
        Op::DequantizeLinear { .. } => dequantize(need(0)?, need(1)?, get(2), result),
        other => Err(LowerError::unsupported(other.name())),
    }
}

fn unsupported(what: &str, dtype: DType) -> LowerError {
    LowerError::unsupported(format!("{what} of {dtype}"))
}

fn same_type(what: &str, a: &Element, b: &Element) -> Result<(), LowerError> {
    if a.dtype == b.dtype {
        return Ok(());
    }
    Err(LowerError::Invalid(format!("{what} of {} and {}", a.dtype, b.dtype)))
}

fn unary(of: Unary, x: &Element) -> Result<String, LowerError> {
    let (text, dtype) = (&x.text, x.dtype);
    let c = computed(dtype);
    let named = |name: &str| format!("{name}<{c}>({text})");
    match of {
        Unary::Not if dtype == DType::Bool => return Ok(format!("(!{text})")),
        Unary::BitwiseNot if dtype.is_int() => return Ok(format!("({c})(~{text})")),
        Unary::Abs if dtype != DType::Bool => return Ok(named("Abs")),
        Unary::Neg if dtype != DType::Bool => return Ok(named("Neg")),
        Unary::Sign if dtype != DType::Bool => return Ok(named("Sign")),
        Unary::Relu if dtype != DType::Bool => return Ok(named("Relu")),
        Unary::Not | Unary::BitwiseNot | Unary::Abs | Unary::Neg | Unary::Sign | Unary::Relu => {
            return Err(unsupported(&format!("{of:?}"), dtype));
        }
        _ => {}
    }
    if !dtype.is_float() {
        return Err(unsupported(&format!("{of:?}"), dtype));
    }
    let with = |name: &str, attributes: &[f32]| {
        let attributes: String =
            attributes.iter().map(|&value| format!(", {}", attribute(value, dtype))).collect();
        format!("{name}<{c}>({text}{attributes})")
    };
    let plain = |name: &str| format!("{name}({text})");
    Ok(match of {
        Unary::Acos => plain("Acos"),
        Unary::Acosh => plain("Acosh"),
        Unary::Asin => plain("Asin"),
        Unary::Asinh => plain("Asinh"),
        Unary::Atan => plain("Atan"),
        Unary::Atanh => plain("Atanh"),
        Unary::Ceil => plain("Ceil"),
        Unary::Celu { alpha } => with("Celu", &[alpha]),
        Unary::Cos => plain("Cos"),
        Unary::Cosh => plain("Cosh"),
        Unary::Elu { alpha } => with("Elu", &[alpha]),
        Unary::Erf => plain("Erf"),
        Unary::Exp => plain("Exp"),
        Unary::Floor => plain("Floor"),
        Unary::Gelu { tanh: false } => with("Gelu", &[]),
        Unary::Gelu { tanh: true } => with("GeluTanh", &[]),
        Unary::HardSigmoid { alpha, beta } => with("HardSigmoid", &[alpha, beta]),
        Unary::HardSwish => with("HardSwish", &[]),
        Unary::IsInf { negative, positive } => {
            format!("IsInf<{c}>({text}, {negative}, {positive})")
        }
        Unary::IsNaN => with("is_nan", &[]),
        Unary::LeakyRelu { alpha } => with("LeakyRelu", &[alpha]),
        Unary::Log => plain("Log"),
        Unary::Mish => with("Mish", &[]),
        Unary::Reciprocal => format!("(({c})1 / {text})"),
        Unary::Round => plain("Round"),
        Unary::Selu { alpha, gamma } => with("Selu", &[alpha, gamma]),
        Unary::Shrink { bias, lambd } => with("Shrink", &[bias, lambd]),
        Unary::Sigmoid => with("Sigmoid", &[]),
        Unary::Sin => plain("Sin"),
        Unary::Sinh => plain("Sinh"),
        Unary::Softplus => with("Softplus", &[]),
        Unary::Softsign => with("Softsign", &[]),
        Unary::Sqrt => plain("Sqrt"),
        Unary::Swish { alpha } => with("Swish", &[alpha]),
        Unary::Tan => plain("Tan"),
        Unary::Tanh => plain("Tanh"),
        Unary::ThresholdedRelu { alpha } => with("ThresholdedRelu", &[alpha]),
        Unary::Abs | Unary::Neg | Unary::Sign | Unary::Relu | Unary::Not | Unary::BitwiseNot => {
            unreachable!("answered above")
        }
    })
}

fn binary(of: Binary, a: &Element, b: &Element) -> Result<String, LowerError> {
    if of == Binary::Pow {
        return power(a, b);
    }
    same_type(&format!("{of:?}"), a, b)?;
    let dtype = a.dtype;
    let c = computed(dtype);
    let (x, y) = (&a.text, &b.text);
    let call = |name: &str| format!("{name}<{c}>({x}, {y})");
    let checked = |name: &str| format!("{name}<{c}>({x}, {y}, fault, code)");
    let bits = |operator: &str| format!("({c})({x} {operator} {y})");
    let unsigned = dtype.is_int() && !dtype.is_signed_int();
    let number = dtype != DType::Bool;
    Ok(match of {
        Binary::Add if number => call("Add"),
        Binary::Sub if number => call("Sub"),
        Binary::Mul if number => call("Mul"),
        Binary::Div if dtype.is_float() => format!("Div({x}, {y})"),
        Binary::Div if number => checked("IntDiv"),
        Binary::Mod { fmod: true } if dtype.is_float() => format!("Fmod({x}, {y})"),
        Binary::Mod { fmod: false } if dtype.is_float() => call("Mod"),
        Binary::Mod { fmod: true } if number => checked("IntFmod"),
        Binary::Mod { fmod: false } if number => checked("IntMod"),
        Binary::Min if number => call("Min"),
        Binary::Max if number => call("Max"),
        Binary::PRelu if number => call("PRelu"),
        Binary::And if !number => bits("&"),
        Binary::Or if !number => bits("|"),
        Binary::Xor if !number => bits("^"),
        Binary::BitwiseAnd if dtype.is_int() => bits("&"),
        Binary::BitwiseOr if dtype.is_int() => bits("|"),
        Binary::BitwiseXor if dtype.is_int() => bits("^"),
        Binary::BitShift { left: true } if unsigned => call("ShiftLeft"),
        Binary::BitShift { left: false } if unsigned => call("ShiftRight"),
        _ => return Err(unsupported(&format!("{of:?}"), dtype)),
    })
}

/// The result has the base's type; the exponent may have another one.
fn power(base: &Element, exponent: &Element) -> Result<String, LowerError> {
    if base.dtype == DType::Bool || exponent.dtype == DType::Bool {
        return Err(unsupported("Pow", DType::Bool));
    }
    let x = &base.text;
    let whole = exponent.known.as_ref().and_then(small_exponent);
    if base.dtype.is_float() && base.dtype != DType::F64 {
        match whole {
            Some(1) => return Ok(x.clone()),
            Some(2) => return Ok(format!("({x} * {x})")),
            Some(3) => return Ok(format!("({x} * {x} * {x})")),
            _ => {}
        }
    }
    let c = computed(base.dtype);
    Ok(format!("Pow<{c}>({x}, (f64)({}))", exponent.text))
}

fn small_exponent(literal: &Literal) -> Option<i64> {
    let value = match literal.to_f32s() {
        Some(values) => f64::from(*values.first()?),
        None => *literal.to_i64s()?.first()? as f64,
    };
    [1, 2, 3].into_iter().find(|&whole| whole as f64 == value)
}

fn compare(of: Compare, a: &Element, b: &Element) -> Result<String, LowerError> {
    same_type(&format!("{of:?}"), a, b)?;
    let operator = match of {
        Compare::Equal => "==",
        Compare::Less => "<",
        Compare::LessOrEqual => "<=",
        Compare::Greater => ">",
        Compare::GreaterOrEqual => ">=",
    };
    Ok(format!("({} {operator} {})", a.text, b.text))
}

fn clip(x: &Element, low: Option<&Element>, high: Option<&Element>) -> Result<String, LowerError> {
    if x.dtype == DType::Bool {
        return Err(unsupported("Clip", DType::Bool));
    }
    for bound in [low, high].into_iter().flatten() {
        same_type("Clip", x, bound)?;
    }
    let c = computed(x.dtype);
    let x = &x.text;
    Ok(match (low, high) {
        (Some(low), Some(high)) => format!("Clip<{c}>({x}, {}, {})", low.text, high.text),
        (Some(low), None) => format!("AtLeast<{c}>({x}, {})", low.text),
        (None, Some(high)) => format!("AtMost<{c}>({x}, {})", high.text),
        (None, None) => x.clone(),
    })
}

/// Conversion to `to`. Results of half precision are rounded at once, also where they are never stored.
pub fn cast(x: &Element, to: DType) -> String {
    if x.dtype == to {
        return x.text.clone();
    }
    let from = computed(x.dtype);
    match to {
        DType::F16 => format!("ToF16<{from}>::of({})", x.text),
        DType::BF16 => format!("ToBf16<{from}>::of({})", x.text),
        _ => format!("Cast<{}, {from}>::of({})", computed(to), x.text),
    }
}

fn batch_norm(
    epsilon: f32,
    result: DType,
    inputs: &[Option<Element>],
) -> Result<String, LowerError> {
    let [Some(x), Some(scale), Some(bias), Some(mean), Some(variance)] = inputs else {
        return Err(LowerError::Invalid("batch normalisation has five inputs".into()));
    };
    let all_float = inputs.iter().flatten().all(|input| input.dtype.is_float());
    if !all_float {
        return Err(unsupported("BatchNormalization", x.dtype));
    }
    let c = computed(result);
    let epsilon = attribute(epsilon, result);
    let [scale, bias, mean, variance] =
        [scale, bias, mean, variance].map(|input| format!("({c})({})", input.text));
    let factor = format!("({scale} / Sqrt({variance} + {epsilon}))");
    Ok(format!("({} * {factor} + ({bias} - {mean} * {factor}))", x.text))
}

fn quantize(
    x: &Element,
    scale: &Element,
    zero: Option<&Element>,
    result: DType,
) -> Result<String, LowerError> {
    let small = matches!(result, DType::U8 | DType::I8 | DType::U16 | DType::I16);
    if !small || !(x.dtype.is_float() || x.dtype == DType::I32) || !scale.dtype.is_float() {
        return Err(LowerError::unsupported(format!("QuantizeLinear of {} to {result}", x.dtype)));
    }
    let zero = zero.map_or("0.0f".to_owned(), |zero| format!("(f32)({})", zero.text));
    Ok(format!("Quantize<{}>((f32)({}), (f32)({}), {zero})", computed(result), x.text, scale.text))
}

fn dequantize(
    x: &Element,
    scale: &Element,
    zero: Option<&Element>,
    result: DType,
) -> Result<String, LowerError> {
    let from = matches!(x.dtype, DType::U8 | DType::I8 | DType::U16 | DType::I16 | DType::I32);
    let to = matches!(result, DType::F32 | DType::F16 | DType::BF16);
    if !from || !to {
        return Err(LowerError::unsupported(format!(
            "DequantizeLinear of {} to {result}",
            x.dtype
        )));
    }
    let zero = zero.map_or("0.0f".to_owned(), |zero| format!("(f32)({})", zero.text));
    Ok(format!("(((f32)({}) - {zero}) * (f32)({}))", x.text, scale.text))
}

/// The activation of a fused product, on an expression of type `f32`.
pub fn activation(of: Activation, x: &str) -> String {
    let with = |name: &str, attributes: &[f32]| {
        let attributes: String =
            attributes.iter().map(|&value| format!(", {}", attribute(value, DType::F32))).collect();
        format!("{name}<f32>({x}{attributes})")
    };
    match of {
        Activation::None => x.to_owned(),
        Activation::Relu => with("Relu", &[]),
        Activation::Clip { low, high } => with("Clip", &[low, high]),
        Activation::LeakyRelu { alpha } => with("LeakyRelu", &[alpha]),
        Activation::HardSigmoid { alpha, beta } => with("HardSigmoid", &[alpha, beta]),
        Activation::HardSwish => with("HardSwish", &[]),
        Activation::Sigmoid => with("Sigmoid", &[]),
        Activation::Tanh => format!("Tanh({x})"),
        Activation::Gelu { tanh: false } => with("Gelu", &[]),
        Activation::Gelu { tanh: true } => with("GeluTanh", &[]),
        Activation::Swish { alpha } => with("Swish", &[alpha]),
    }
}

/// The only element of a known value, as a constant.
pub fn known_element(known: Option<&Literal>) -> Option<(String, Literal)> {
    let literal = known.filter(|literal| literal.len() == 1)?;
    Some((constant(literal, 0), literal.clone()))
}
