//! Operators outside ONNX's own domain that exporters of fused models emit, as far as they are simple.

use super::conv::conv;
use super::lowering::Lowering;
use super::normalization::stash_type;
use super::product::gemm;
use super::quantize;
use crate::onnx::problem::{Problem, unsupported};
use sublet_graph::{Activation, Binary, Compare, DType, Op, Unary};

/// ONNX Runtime's operators, domain `com.microsoft`
/// (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>).
pub fn lower(cx: &mut Lowering<'_, '_>, op: &str) -> Result<bool, Problem> {
    match op {
        "Gelu" => {
            cx.arity(1, 1, 1)?;
            cx.finish_same(Op::Unary(Unary::Gelu { tanh: false }))?;
        }
        "QuickGelu" => {
            cx.arity(1, 1, 1)?;
            let alpha = cx.float_or("alpha", 1.702)?;
            cx.finish_same(Op::Unary(Unary::Swish { alpha }))?;
        }
        "BiasGelu" => biased(cx, Unary::Gelu { tanh: false }, 2)?,
        "FastGelu" => biased(cx, Unary::Gelu { tanh: true }, 1)?,
        "FusedConv" => {
            cx.arity(2, 4, 1)?;
            let (conv, activation) = (conv(cx)?, activation(cx)?);
            cx.finish_same(Op::Conv { conv, activation })?;
        }
        "FusedGemm" => {
            cx.arity(2, 3, 1)?;
            let gemm = gemm(cx)?;
            let product = cx.emit_optional(gemm, cx.inputs.clone());
            let activated = match cx.string_or("activation", "")? {
                "" => Op::Identity,
                "Relu" => Op::Unary(Unary::Relu),
                "Sigmoid" => Op::Unary(Unary::Sigmoid),
                "Tanh" => Op::Unary(Unary::Tanh),
                other => return unsupported(format!("activation `{other}`")),
            };
            cx.finish(activated, vec![Some(product)])?;
        }
        "SkipLayerNormalization" => skip_norm(cx, true)?,
        "SkipSimplifiedLayerNormalization" => skip_norm(cx, false)?,
        "QuantizeLinear" => quantize::quantize(cx)?,
        "DequantizeLinear" => quantize::dequantize(cx)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn biased(cx: &mut Lowering<'_, '_>, unary: Unary, required: usize) -> Result<(), Problem> {
    cx.arity(required, 2, 1)?;
    let mut x = cx.input(0)?;
    if let Some(bias) = cx.optional(1) {
        x = cx.binary(Binary::Add, x, bias);
    }
    cx.finish(Op::Unary(unary), vec![Some(x)])
}

fn activation(cx: &Lowering<'_, '_>) -> Result<Activation, Problem> {
    let parameters = cx.floats("activation_params")?.unwrap_or(&[]);
    Ok(match (cx.string_or("activation", "")?, parameters) {
        ("", []) => Activation::None,
        ("Relu", []) => Activation::Relu,
        ("Sigmoid", []) => Activation::Sigmoid,
        ("Tanh", []) => Activation::Tanh,
        ("HardSwish", []) => Activation::HardSwish,
        ("LeakyRelu", &[alpha]) => Activation::LeakyRelu { alpha },
        ("Clip", &[low, high]) => Activation::Clip { low, high },
        ("HardSigmoid", &[alpha, beta]) => Activation::HardSigmoid { alpha, beta },
        (other, _) => return unsupported(format!("activation `{other}`")),
    })
}

/// Input, skip, scale, then (layer normalisation only) shift, then a bias of the sum. The fourth output is the sum.
fn skip_norm(cx: &mut Lowering<'_, '_>, has_shift: bool) -> Result<(), Problem> {
    stash_type(cx)?;
    cx.arity(3, if has_shift { 5 } else { 4 }, 4)?;
    let epsilon = cx.float_or("epsilon", if has_shift { 1e-12 } else { 1e-6 })?;
    let (x, skip) = (cx.input(0)?, cx.input(1)?);
    let mut sum = cx.binary(Binary::Add, x, skip);
    if let Some(bias) = cx.optional(if has_shift { 4 } else { 3 }) {
        sum = cx.binary(Binary::Add, sum, bias);
    }
    cx.bind(3, sum)?;
    let mut inputs = vec![Some(sum), cx.optional(2)];
    let op = if has_shift {
        inputs.push(cx.optional(3));
        Op::LayerNorm { axis: -1, epsilon }
    } else {
        if cx.reads_output(1) || cx.reads_output(2) {
            return unsupported("a statistics output");
        }
        Op::RmsNorm { axis: -1, epsilon }
    };
    cx.finish(op, inputs)
}

/// Classical machine learning, domain `ai.onnx.ml`, as far as tensors of numbers go.
pub fn lower_ml(cx: &mut Lowering<'_, '_>, op: &str) -> Result<bool, Problem> {
    match op {
        "Binarizer" => {
            cx.arity(1, 1, 1)?;
            let x = cx.input(0)?;
            let threshold = cx.float_or("threshold", 0.0)?;
            let threshold = cx.scalar_like(threshold, x);
            let above = cx.emit(Op::Compare(Compare::Greater), &[x, threshold]);
            cx.finish(Op::CastLike, vec![Some(above), Some(x)])?;
        }
        "ArrayFeatureExtractor" => {
            cx.arity(2, 2, 1)?;
            let (x, index) = (cx.input(0)?, cx.input(1)?);
            let all = cx.i64s(&[-1]);
            let index = cx.emit(Op::Reshape { allow_zero: false }, &[index, all]);
            let index = cx.emit(Op::Cast { to: DType::I64 }, &[index]);
            cx.finish(Op::Gather { axis: -1 }, vec![Some(x), Some(index)])?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}
