//! Losses, written out in simpler operators.

use super::lowering::Lowering;
use crate::onnx::problem::{Problem, invalid};
use sublet_graph::{Binary, Compare, DType, Literal, Op, Reduce, Unary, ValueId};

pub fn lower(cx: &mut Lowering<'_, '_>, op: &str) -> Result<bool, Problem> {
    match op {
        "NegativeLogLikelihoodLoss" => {
            cx.arity(2, 3, 1)?;
            let log_probabilities = cx.input(0)?;
            negative_log_likelihood(cx, log_probabilities)?;
        }
        "SoftmaxCrossEntropyLoss" => {
            cx.arity(2, 3, 2)?;
            let scores = cx.input(0)?;
            let log_probabilities = cx.emit(Op::LogSoftmax { axis: 1 }, &[scores]);
            cx.bind(1, log_probabilities)?;
            negative_log_likelihood(cx, log_probabilities)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Log probabilities `[n, c, d…]`, target classes `[n, d…]` (the node's second input), weights by class `[c]` (its
/// third, optional). A target of `ignore_index` contributes nothing.
fn negative_log_likelihood(
    cx: &mut Lowering<'_, '_>,
    log_probabilities: ValueId,
) -> Result<(), Problem> {
    let target = cx.input(1)?;
    let ignored = match cx.int("ignore_index")? {
        None => None,
        Some(index) => {
            let index = integer_like(cx, index, target);
            Some(cx.emit(Op::Compare(Compare::Equal), &[target, index]))
        }
    };
    // An ignored target may lie outside the classes.
    let class = match ignored {
        None => target,
        Some(ignored) => {
            let zero = integer_like(cx, 0, target);
            cx.emit(Op::Where, &[ignored, zero, target])
        }
    };
    let axis = cx.i64s(&[1]);
    let index = cx.emit(Op::Unsqueeze, &[class, axis]);
    let picked = cx.emit(Op::GatherElements { axis: 1 }, &[log_probabilities, index]);
    let picked = cx.emit(Op::Squeeze, &[picked, axis]);
    let mut loss = cx.emit(Op::Unary(Unary::Neg), &[picked]);

    let zero = cx.scalar_like(0.0, log_probabilities);
    let weights = cx.optional(2);
    let mut weight = weights.map(|weights| cx.emit(Op::Gather { axis: 0 }, &[weights, class]));
    if let Some(ignored) = ignored {
        let counted = match weight {
            Some(weight) => weight,
            None => cx.scalar_like(1.0, log_probabilities),
        };
        weight = Some(cx.emit(Op::Where, &[ignored, zero, counted]));
        loss = cx.emit(Op::Where, &[ignored, zero, loss]);
    }
    if let Some(weight) = weight {
        loss = cx.binary(Binary::Mul, loss, weight);
    }
    match (cx.string_or("reduction", "mean")?, weight) {
        ("none", _) => cx.bind(0, loss),
        ("sum", _) => cx.finish(reduce(Reduce::Sum), vec![Some(loss)]),
        ("mean", None) => cx.finish(reduce(Reduce::Mean), vec![Some(loss)]),
        ("mean", Some(weight)) => {
            let loss = cx.emit(reduce(Reduce::Sum), &[loss]);
            let weight = cx.emit(reduce(Reduce::Sum), &[weight]);
            cx.finish(Op::Binary(Binary::Div), vec![Some(loss), Some(weight)])
        }
        (other, _) => invalid(format!("unknown reduction `{other}`")),
    }
}

/// Over all axes.
fn reduce(reduce: Reduce) -> Op {
    Op::Reduce { reduce, keep_dims: false, noop_with_empty_axes: false }
}

/// A constant of shape `[]` of the integer type of `like`.
fn integer_like(cx: &mut Lowering<'_, '_>, value: i64, like: ValueId) -> ValueId {
    let constant = cx.constant(Literal::i64(&[], &[value]));
    match cx.dtype(like) {
        Some(DType::I64) => constant,
        _ => cx.emit(Op::CastLike, &[constant, like]),
    }
}
