//! Normalisation.

use super::lowering::Lowering;
use crate::onnx::problem::{Problem, invalid, unsupported};
use sublet_graph::{Binary, Op, Reduce, ValueId};

const EPSILON: f32 = 1e-5;

pub fn lower(cx: &mut Lowering<'_, '_>, op: &str) -> Result<bool, Problem> {
    match op {
        "BatchNormalization" => batch_norm(cx)?,
        "InstanceNormalization" => {
            cx.ignore(&["consumed_inputs"]);
            cx.arity(3, 3, 1)?;
            cx.finish_same(Op::InstanceNorm { epsilon: cx.float_or("epsilon", EPSILON)? })?;
        }
        "LayerNormalization" => {
            stash_type(cx)?;
            cx.arity(2, 3, 3)?;
            cx.finish_same(Op::LayerNorm {
                axis: cx.int_or("axis", -1)?,
                epsilon: cx.float_or("epsilon", EPSILON)?,
            })?;
        }
        // The second name is what ONNX Runtime called it before it was standardised.
        "RMSNormalization" | "SimplifiedLayerNormalization" => {
            stash_type(cx)?;
            cx.arity(2, 2, 1)?;
            cx.finish_same(Op::RmsNorm {
                axis: cx.int_or("axis", -1)?,
                epsilon: cx.float_or("epsilon", EPSILON)?,
            })?;
        }
        "GroupNormalization" => group_norm(cx)?,
        "LpNormalization" => {
            cx.arity(1, 1, 1)?;
            let (axis, p) = (cx.int_or("axis", -1)?, cx.int_or("p", 2)?);
            cx.finish_same(Op::LpNormalization { axis, p })?;
        }
        "MeanVarianceNormalization" => {
            cx.arity(1, 1, 1)?;
            let axes = cx.ints("axes")?.unwrap_or(&[0, 2, 3]).to_vec();
            cx.finish_same(Op::MeanVarianceNormalization { axes })?;
        }
        "LRN" => {
            cx.arity(1, 1, 1)?;
            cx.finish_same(Op::Lrn {
                alpha: cx.float_or("alpha", 1e-4)?,
                beta: cx.float_or("beta", 0.75)?,
                bias: cx.float_or("bias", 1.0)?,
                size: cx.required_size("size")?,
            })?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// The precision of the statistics: single, which is what the IR's operators have.
pub fn stash_type(cx: &Lowering<'_, '_>) -> Result<(), Problem> {
    match cx.int_or("stash_type", 1)? {
        1 => Ok(()),
        other => unsupported(format!("`stash_type` {other}")),
    }
}

fn batch_norm(cx: &mut Lowering<'_, '_>) -> Result<(), Problem> {
    cx.ignore(&["consumed_inputs"]);
    cx.arity(5, 5, if cx.opset < 14 { 5 } else { 3 })?;
    let epsilon = cx.float_or("epsilon", EPSILON)?;
    let momentum = cx.float_or("momentum", 0.9)?;
    if cx.opset < 9 && cx.int_or("spatial", 1)? != 1 {
        return unsupported("normalisation of each position by itself (`spatial` 0)");
    }
    if cx.opset >= 14 && cx.flag("training_mode", false)? {
        return batch_norm_training(cx, epsilon, momentum);
    }
    cx.ignore(if cx.opset < 7 { &["is_test"] } else { &[] });
    if (1..5).any(|output| cx.reads_output(output)) {
        return unsupported("training: an output beside the first");
    }
    cx.finish_same(Op::BatchNorm { epsilon })
}

/// Statistics of the batch itself, and the running ones updated by them.
fn batch_norm_training(
    cx: &mut Lowering<'_, '_>,
    epsilon: f32,
    momentum: f32,
) -> Result<(), Problem> {
    let x = cx.input(0)?;
    // All axes but that of the channels.
    let shape = cx.shape_of(x, 0, None);
    let rank = cx.emit(Op::Size, &[shape]);
    let two = cx.constant(sublet_graph::Literal::i64(&[], &[2]));
    let one = cx.constant(sublet_graph::Literal::i64(&[], &[1]));
    let spatial = cx.emit(Op::Range, &[two, rank, one]);
    let batch = cx.i64s(&[0]);
    let axes = cx.emit(Op::Concat { axis: 0 }, &[batch, spatial]);

    let reduce =
        |keep_dims| Op::Reduce { reduce: Reduce::Mean, keep_dims, noop_with_empty_axes: false };
    let centre = cx.emit(reduce(true), &[x, axes]);
    let mean = cx.emit(reduce(false), &[x, axes]);
    let distance = cx.binary(Binary::Sub, x, centre);
    let square = cx.binary(Binary::Mul, distance, distance);
    let variance = cx.emit(reduce(false), &[square, axes]);

    let normalised = [x, cx.input(1)?, cx.input(2)?, mean, variance];
    let y = cx.emit(Op::BatchNorm { epsilon }, &normalised);
    cx.bind(0, y)?;
    for (output, (running, batch)) in [(3, mean), (4, variance)].into_iter().enumerate() {
        if cx.reads_output(output + 1) {
            let running = cx.input(running)?;
            let updated = running_average(cx, running, batch, momentum);
            cx.bind(output + 1, updated)?;
        }
    }
    Ok(())
}

/// `running · momentum + batch · (1 − momentum)`, in the type of `running`.
fn running_average(
    cx: &mut Lowering<'_, '_>,
    running: ValueId,
    batch: ValueId,
    momentum: f32,
) -> ValueId {
    let keep = cx.scalar_like(momentum, running);
    let take = cx.scalar_like(1.0 - momentum, running);
    let batch = cx.emit(Op::CastLike, &[batch, running]);
    let kept = cx.binary(Binary::Mul, running, keep);
    let taken = cx.binary(Binary::Mul, batch, take);
    cx.binary(Binary::Add, kept, taken)
}

fn group_norm(cx: &mut Lowering<'_, '_>) -> Result<(), Problem> {
    cx.arity(3, 3, 1)?;
    stash_type(cx)?;
    let groups = cx.required_size("num_groups")?;
    if groups == 0 {
        return invalid("`num_groups` is zero");
    }
    let op = Op::GroupNorm { groups, epsilon: cx.float_or("epsilon", EPSILON)? };
    if cx.opset >= 21 {
        return cx.finish_same(op);
    }
    // Until opset 21 scale and bias had one element per group.
    let (x, scale, bias) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let channels = cx.shape_of(x, 1, Some(2));
    let groups = cx.i64s(&[groups as i64]);
    let group_size = cx.binary(Binary::Div, channels, groups);
    let repeated = cx.emit(Op::Concat { axis: 0 }, &[groups, group_size]);
    let per_channel = |cx: &mut Lowering<'_, '_>, value| {
        let axis = cx.i64s(&[1]);
        let column = cx.emit(Op::Unsqueeze, &[value, axis]);
        let matrix = cx.emit(Op::Expand, &[column, repeated]);
        cx.emit(Op::Reshape { allow_zero: false }, &[matrix, channels])
    };
    let scale = per_channel(cx, scale);
    let bias = per_channel(cx, bias);
    cx.finish(op, vec![Some(x), Some(scale), Some(bias)])
}
