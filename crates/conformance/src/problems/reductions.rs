//! Problems that reduce or normalise along axes.

use super::builder::Builder;
use sublet_graph::{AutoPad, DType, Literal, Op, Pool, Reduce, ValueId};

fn input(b: &mut Builder, dtype: DType, shape: &[usize]) -> ValueId {
    let value = b.values(dtype, shape);
    b.input(value)
}

/// An axis, counted from either end.
fn axis(b: &mut Builder, rank: usize) -> i64 {
    let axis = b.draw.usize(..rank) as i64;
    if b.draw.bool() { axis } else { axis - rank as i64 }
}

pub fn reduce(b: &mut Builder) {
    let (dtype, shape) = (b.float(), b.any_shape());
    let kinds = [
        Reduce::Sum,
        Reduce::Mean,
        Reduce::Max,
        Reduce::Min,
        Reduce::L1,
        Reduce::L2,
        Reduce::LogSumExp,
        Reduce::SumSquare,
    ];
    let reduce = b.pick(&kinds);
    // All of one sign, so that sums do not cancel.
    let value = b.values_in(dtype, &shape, 0.1, 1.0);
    let mut inputs = vec![b.input(value)];
    let axes: Vec<i64> = (0..shape.len() as i64).filter(|_| b.draw.bool()).collect();
    if !axes.is_empty() {
        inputs.push(b.integers(&axes));
    }
    let op = Op::Reduce { reduce, keep_dims: b.draw.bool(), noop_with_empty_axes: false };
    b.node(op, &inputs);
}

pub fn softmax(b: &mut Builder) {
    let (dtype, shape) = (b.float(), b.any_shape());
    let axis = axis(b, shape.len());
    let x = input(b, dtype, &shape);
    match b.draw.u8(..4) {
        0 => b.node(Op::LogSoftmax { axis }, &[x]),
        _ => b.node(Op::Softmax { axis }, &[x]),
    };
}

pub fn norm(b: &mut Builder) {
    let dtype = b.float();
    let rank = b.draw.usize(2..=4);
    let mut shape = b.shape(rank);
    let epsilon = 1e-5;
    match b.draw.u8(..5) {
        0 | 1 => {
            let axis = b.draw.usize(1..rank);
            let x = input(b, dtype, &shape);
            let (scale, bias) = (b.values(dtype, &shape[axis..]), b.values(dtype, &shape[axis..]));
            let mut inputs = vec![x, b.weight(scale)];
            if b.draw.bool() {
                inputs.push(b.weight(bias));
            }
            b.node(Op::LayerNorm { axis: axis as i64, epsilon }, &inputs);
        }
        2 => {
            let x = input(b, dtype, &shape);
            let scale = b.values(dtype, &shape[rank - 1..]);
            let scale = b.weight(scale);
            b.node(Op::RmsNorm { axis: -1, epsilon }, &[x, scale]);
        }
        3 => {
            let groups = b.draw.usize(1..=4);
            shape[1] = groups * b.draw.usize(1..=6);
            let x = input(b, dtype, &shape);
            let (scale, bias) = (b.values(dtype, &shape[1..2]), b.values(dtype, &shape[1..2]));
            let (scale, bias) = (b.weight(scale), b.weight(bias));
            b.node(Op::GroupNorm { groups, epsilon }, &[x, scale, bias]);
        }
        _ => {
            let shape = [b.draw.usize(1..=3), b.draw.usize(1..=20), b.draw.usize(2..=60)];
            let x = input(b, dtype, &shape);
            let (scale, bias) = (b.values(dtype, &shape[1..2]), b.values(dtype, &shape[1..2]));
            let (scale, bias) = (b.weight(scale), b.weight(bias));
            b.node(Op::InstanceNorm { epsilon }, &[x, scale, bias]);
        }
    }
}

pub fn batch_norm(b: &mut Builder) {
    let dtype = b.float();
    let rank = b.draw.usize(2..=4);
    let shape = b.shape(rank);
    let x = input(b, dtype, &shape);
    batch_norm_of(b, dtype, x, shape[1]);
}

/// A batch norm with weights of its own over so many channels.
pub fn batch_norm_of(b: &mut Builder, dtype: DType, x: ValueId, channels: usize) -> ValueId {
    let mut inputs = vec![x];
    for (low, high) in [(0.5, 1.5), (-1.0, 1.0), (-0.5, 0.5), (0.5, 2.0)] {
        let value = b.values_in(dtype, &[channels], low, high);
        inputs.push(b.weight(value));
    }
    b.node(Op::BatchNorm { epsilon: 1e-5 }, &inputs)
}

pub fn pool(b: &mut Builder) {
    let dtype = b.float();
    let shape =
        [b.draw.usize(1..=3), b.draw.usize(1..=20), b.draw.usize(5..=25), b.draw.usize(5..=25)];
    let x = input(b, dtype, &shape);
    if b.draw.u8(..4) == 0 {
        let op = if b.draw.bool() { Op::GlobalAveragePool } else { Op::GlobalMaxPool };
        b.node(op, &[x]);
        return;
    }
    let kernel = vec![b.draw.usize(2..=4), b.draw.usize(2..=4)];
    // A pad must be smaller than the kernel.
    let pads = (0..4).map(|_| b.draw.usize(..=1)).collect();
    let strides = vec![b.draw.usize(1..=3), b.draw.usize(1..=3)];
    let auto_pad = AutoPad::Explicit;
    let pool =
        Pool { kernel, strides, dilations: Vec::new(), pads, auto_pad, ceil_mode: b.draw.bool() };
    let op = match b.draw.bool() {
        true => Op::MaxPool { pool, column_major: false },
        false => Op::AveragePool { pool, count_include_pad: b.draw.bool() },
    };
    b.node(op, &[x]);
}

pub fn arg(b: &mut Builder) {
    let (dtype, shape) = (b.pick(&[DType::F32, DType::F16, DType::I32]), b.any_shape());
    let axis = axis(b, shape.len());
    let x = input(b, dtype, &shape);
    let (keep_dims, last) = (b.draw.bool(), b.draw.bool());
    match b.draw.bool() {
        true => b.node(Op::ArgMax { axis, keep_dims, last }, &[x]),
        false => b.node(Op::ArgMin { axis, keep_dims, last }, &[x]),
    };
}

pub fn cumsum(b: &mut Builder) {
    let int = b.draw.bool();
    let dtype = if int { DType::I64 } else { DType::F32 };
    b.computes(dtype);
    let shape = b.any_shape();
    let value = b.values_in(dtype, &shape, 0.1, 1.0);
    let x = b.input(value);
    let axis = axis(b, shape.len());
    let axis = b.weight(Literal::i64(&[], &[axis]));
    let (exclusive, reverse) = (b.draw.bool(), b.draw.bool());
    b.node(Op::CumSum { exclusive, reverse }, &[x, axis]);
}

pub fn top_k(b: &mut Builder) {
    let (dtype, shape) = (b.pick(&[DType::F32, DType::F16, DType::I64]), b.any_shape());
    b.computes(dtype);
    let at = b.draw.usize(..shape.len());
    let x = input(b, dtype, &shape);
    let k = b.draw.usize(1..=shape[at]);
    let k = b.integers(&[k as i64]);
    let op = Op::TopK { axis: at as i64, largest: b.draw.bool(), sorted: true };
    b.node_with(op, vec![Some(x), Some(k)], 2);
}
