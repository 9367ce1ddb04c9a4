//! Problems of products, convolutions and attention, alone and with what follows them in networks.

use super::builder::{Builder, literal};
use sublet_graph::{
    Activation, Attention, AutoPad, Binary, Conv, DType, Literal, Op, Unary, ValueId,
};

/// A weight whose products with ordinary values stay ordinary.
fn weight(b: &mut Builder, dtype: DType, shape: &[usize], terms: usize) -> ValueId {
    let bound = (3.0 / terms.max(1) as f32).sqrt();
    let value = b.values_in(dtype, shape, -bound, bound);
    b.weight(value)
}

fn input(b: &mut Builder, dtype: DType, shape: &[usize]) -> ValueId {
    let value = b.values(dtype, shape);
    b.input(value)
}

/// A size of a product: small, odd, or one that libraries have good kernels for.
fn size(b: &mut Builder) -> usize {
    match b.draw.u8(..4) {
        0 => b.draw.usize(1..=9),
        1 => b.draw.usize(1..=130),
        _ => b.draw.usize(1..=16) * 8,
    }
}

pub fn matmul(b: &mut Builder) {
    let dtype = b.float();
    let (m, k, n) = (size(b), size(b), size(b));
    let batch = b.draw.usize(0..=2);
    let outer: Vec<usize> = (0..batch).map(|_| b.draw.usize(1..=5)).collect();
    let left = [&outer[..], &[m, k]].concat();
    // Broadcast over some of the outer dimensions, or over all.
    let shared = b.draw.usize(..=batch);
    let mut right: Vec<usize> =
        outer[shared..].iter().map(|&size| if b.draw.bool() { 1 } else { size }).collect();
    right.extend([k, n]);
    let one = input(b, dtype, &left);
    let two = if b.draw.bool() { weight(b, dtype, &right, k) } else { input(b, dtype, &right) };
    b.node(Op::MatMul, &[one, two]);
}

/// A layer as exporters write it: product, bias, activation, residual.
pub fn linear(b: &mut Builder) {
    let dtype = b.float();
    let (rows, k, n) = (size(b), size(b), size(b));
    let batch = b.draw.usize(1..=3);
    let x = input(b, dtype, &[batch, rows, k]);
    let w = weight(b, dtype, &[k, n], k);
    let mut value = b.node(Op::MatMul, &[x, w]);
    if b.draw.u8(..4) > 0 {
        let bias = b.values(dtype, &[n]);
        let bias = b.weight(bias);
        value = b.node(Op::Binary(Binary::Add), &[bias, value]);
    }
    value = match b.draw.u8(..5) {
        0 => b.node(Op::Unary(Unary::Relu), &[value]),
        1 => b.node(Op::Unary(Unary::Gelu { tanh: false }), &[value]),
        2 => b.node(Op::Unary(Unary::Tanh), &[value]),
        3 => b.node(Op::Unary(Unary::Swish { alpha: 1.0 }), &[value]),
        _ => value,
    };
    if b.draw.bool() {
        let other = input(b, dtype, &[batch, rows, n]);
        b.node(Op::Binary(Binary::Add), &[value, other]);
    }
}

pub fn gemm(b: &mut Builder) {
    let dtype = b.float();
    let (m, k, n) = (size(b), size(b), size(b));
    let (trans_a, trans_b) = (b.draw.bool(), b.draw.bool());
    let one = input(b, dtype, &if trans_a { [k, m] } else { [m, k] });
    let shape = if trans_b { [n, k] } else { [k, n] };
    let two = if b.draw.bool() { weight(b, dtype, &shape, k) } else { input(b, dtype, &shape) };
    let (alpha, beta) = (b.pick(&[1.0, 0.5]), b.pick(&[1.0, 2.0]));
    let op = Op::Gemm { alpha, beta, trans_a, trans_b };
    let mut inputs = vec![one, two];
    if b.draw.bool() {
        let shape = match b.draw.u8(..3) {
            0 => vec![n],
            1 => vec![m, n],
            _ => vec![m, 1],
        };
        let bias = b.values(dtype, &shape);
        inputs.push(b.either(bias));
    }
    b.node(op, &inputs);
}

/// Attributes that suit an image of at least five by five.
fn attributes(b: &mut Builder, spatial: usize) -> (Conv, Vec<usize>) {
    let kernel: Vec<usize> = (0..spatial).map(|_| b.pick(&[1, 2, 3, 3, 5])).collect();
    let dilation = if kernel.iter().all(|&size| size <= 3) { b.pick(&[1, 1, 2]) } else { 1 };
    let auto_pad =
        b.pick(&[AutoPad::Explicit, AutoPad::Explicit, AutoPad::SameUpper, AutoPad::Valid]);
    let pads = match auto_pad {
        AutoPad::Explicit => (0..2 * spatial).map(|_| b.draw.usize(..=2)).collect(),
        _ => Vec::new(),
    };
    let strides = (0..spatial).map(|_| b.pick(&[1, 1, 2])).collect();
    let dilations = vec![dilation; spatial];
    (Conv { kernel: Vec::new(), strides, dilations, pads, auto_pad, group: 1 }, kernel)
}

/// Channels in, channels out and groups: one, some, or one per channel.
fn channels(b: &mut Builder) -> (usize, usize, usize) {
    match b.draw.u8(..4) {
        0 => {
            let channels = b.draw.usize(1..=40);
            (channels, channels * b.draw.usize(1..=2), channels)
        }
        1 => {
            let group = b.draw.usize(2..=4);
            (group * b.draw.usize(1..=8), group * b.draw.usize(1..=8), group)
        }
        _ => (size(b).min(64), size(b).min(64), 1),
    }
}

pub fn conv(b: &mut Builder) {
    let dtype = b.float();
    let spatial = b.pick(&[1, 2, 2, 2, 3]);
    let (attributes, kernel) = attributes(b, spatial);
    let (c, m, group) = channels(b);
    let mut shape = vec![b.draw.usize(1..=3), c];
    shape.extend((0..spatial).map(|_| b.draw.usize(5..=if spatial == 3 { 9 } else { 24 })));
    let x = input(b, dtype, &shape);
    let terms = c / group * kernel.iter().product::<usize>();
    let w = weight(b, dtype, &[&[m, c / group], &kernel[..]].concat(), terms);
    let mut inputs = vec![x, w];
    if b.draw.bool() {
        let bias = b.values(dtype, &[m]);
        inputs.push(b.weight(bias));
    }
    let conv = Conv { group, ..attributes };
    b.node(Op::Conv { conv, activation: Activation::None }, &inputs);
}

/// A convolution with normalisation, activation and residual, twice.
pub fn conv_block(b: &mut Builder) {
    let dtype = b.float();
    let c = b.draw.usize(1..=6) * 8;
    let shape = [b.draw.usize(1..=3), c, b.draw.usize(4..=20), b.draw.usize(4..=20)];
    let x = input(b, dtype, &shape);
    let mut value = x;
    for _ in 0..2 {
        let depthwise = b.draw.u8(..3) == 0;
        let group = if depthwise { c } else { 1 };
        let w = weight(b, dtype, &[c, c / group, 3, 3], c / group * 9);
        let conv = Conv {
            kernel: vec![3, 3],
            strides: Vec::new(),
            dilations: Vec::new(),
            pads: vec![1; 4],
            auto_pad: AutoPad::Explicit,
            group,
        };
        value = b.node(Op::Conv { conv, activation: Activation::None }, &[value, w]);
        if b.draw.bool() {
            value = super::reductions::batch_norm_of(b, dtype, value, c);
        }
        if b.draw.bool() {
            value = b.node(Op::Binary(Binary::Add), &[value, x]);
        }
        value = match b.draw.u8(..4) {
            0 => b.node(Op::Unary(Unary::Relu), &[value]),
            1 => b.node(Op::Unary(Unary::HardSwish), &[value]),
            2 => {
                let gate = b.node(Op::Unary(Unary::Sigmoid), &[value]);
                b.node(Op::Binary(Binary::Mul), &[value, gate])
            }
            _ => value,
        };
    }
    b.output(value);
}

pub fn conv_transpose(b: &mut Builder) {
    let dtype = b.float();
    let (c, m, group) = channels(b);
    let m = m / group;
    let kernel = [b.draw.usize(1..=4), b.draw.usize(1..=4)];
    let x = {
        let shape = [b.draw.usize(1..=3), c, b.draw.usize(1..=9), b.draw.usize(1..=9)];
        input(b, dtype, &shape)
    };
    let w = weight(b, dtype, &[c, m, kernel[0], kernel[1]], c / group);
    let stride = b.draw.usize(1..=2);
    let conv = Conv {
        kernel: Vec::new(),
        strides: vec![stride; 2],
        dilations: Vec::new(),
        pads: Vec::new(),
        auto_pad: AutoPad::Explicit,
        group,
    };
    let output_padding = if stride == 2 && b.draw.bool() { vec![1, 1] } else { Vec::new() };
    b.node(Op::ConvTranspose { conv, output_padding, output_shape: None }, &[x, w]);
}

/// Batch, heads, sequence and head size of attention.
fn heads(b: &mut Builder) -> [usize; 4] {
    let length = if b.draw.bool() { b.draw.usize(1..=70) } else { b.draw.usize(1..=4) * 32 };
    [b.draw.usize(1..=2), b.draw.usize(1..=4), length, b.pick(&[8, 16, 32, 40, 64])]
}

pub fn attention(b: &mut Builder) {
    let dtype = b.float();
    let [batch, count, length, size] = heads(b);
    let keys = if b.draw.bool() { length } else { b.draw.usize(1..=90) };
    let q = input(b, dtype, &[batch, count, length, size]);
    let k = input(b, dtype, &[batch, count, keys, size]);
    let v = input(b, dtype, &[batch, count, keys, size]);
    let is_causal = length == keys && b.draw.bool();
    let mut inputs = vec![q, k, v];
    if !is_causal && b.draw.bool() {
        let mask = b.values(dtype, &[length, keys]);
        inputs.push(b.either(mask));
    }
    let attention = Attention {
        scale: None,
        is_causal,
        q_num_heads: 0,
        kv_num_heads: 0,
        softcap: 0.0,
        qk_output_mode: 0,
    };
    b.node(Op::Attention(attention), &inputs);
}

/// Attention as exporters write it out, from one hidden state.
pub fn attention_steps(b: &mut Builder) {
    let dtype = b.float();
    let [batch, count, length, size] = heads(b);
    let hidden = count * size;
    let x = input(b, dtype, &[batch, length, hidden]);
    let split = b.integers(&[batch as i64, length as i64, count as i64, size as i64]);
    let mut parts = Vec::new();
    for _ in 0..3 {
        let w = weight(b, dtype, &[hidden, hidden], hidden);
        let bias = b.values(dtype, &[hidden]);
        let bias = b.weight(bias);
        let product = b.node(Op::MatMul, &[x, w]);
        let sum = b.node(Op::Binary(Binary::Add), &[product, bias]);
        let split = b.node(Op::Reshape { allow_zero: false }, &[sum, split]);
        parts.push(split);
    }
    let q = b.node(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[parts[0]]);
    let k = b.node(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[parts[1]]);
    let v = b.node(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[parts[2]]);
    let scores = b.node(Op::MatMul, &[q, k]);
    let scale = b.weight(literal(dtype, &[], &[1.0 / (size as f32).sqrt()]));
    let mut scores = b.node(Op::Binary(Binary::Mul), &[scores, scale]);
    match b.draw.u8(..3) {
        0 => {
            let mask = b.values(dtype, &[batch, 1, 1, length]);
            let mask = b.either(mask);
            scores = b.node(Op::Binary(Binary::Add), &[scores, mask]);
        }
        1 => {
            let below = |at: usize| at % length <= at / length;
            let allowed: Vec<bool> = (0..length * length).map(below).collect();
            let allowed = b.weight(Literal::bool(&[1, 1, length, length], &allowed));
            let never = b.weight(literal(dtype, &[], &[-1e4]));
            scores = b.node(Op::Where, &[allowed, scores, never]);
        }
        _ => {}
    }
    let weights = b.node(Op::Softmax { axis: -1 }, &[scores]);
    let context = b.node(Op::MatMul, &[weights, v]);
    let together = b.node(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[context]);
    let shape = b.integers(&[batch as i64, length as i64, hidden as i64]);
    b.node(Op::Reshape { allow_zero: false }, &[together, shape]);
}

/// Attention as decoders are exported: one product makes queries, keys and values, keys are transposed as a row of
/// matrices, a mask hides what comes later, and weights are guarded against rows in which nothing is seen.
pub fn attention_packed(b: &mut Builder) {
    let dtype = b.float();
    let [batch, count, length, size] = heads(b);
    let hidden = count * size;
    let [batches, counts, lengths, sizes] = [batch, count, length, size].map(|size| size as i64);
    let x = input(b, dtype, &[batch, length, hidden]);
    let w = weight(b, dtype, &[hidden, 3 * hidden], hidden);
    let packed = b.node(Op::MatMul, &[x, w]);
    let parts = b.node_with(Op::Split { axis: 2, parts: 3 }, vec![Some(packed)], 3);
    let shape = b.integers(&[batches, lengths, counts, sizes]);
    let [q, k, v]: [ValueId; 3] = std::array::from_fn(|part| {
        let split = b.node(Op::Reshape { allow_zero: false }, &[parts[part], shape]);
        b.node(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[split])
    });
    let joined = b.integers(&[-1, lengths, sizes]);
    let k = b.node(Op::Reshape { allow_zero: false }, &[k, joined]);
    let k = b.node(Op::Transpose { perm: vec![0, 2, 1] }, &[k]);
    let parted = b.integers(&[batches, counts, sizes, lengths]);
    let k = b.node(Op::Reshape { allow_zero: false }, &[k, parted]);
    let root = b.weight(literal(dtype, &[], &[(size as f32).powf(-0.25)]));
    let q = b.node(Op::Binary(Binary::Mul), &[q, root]);
    let k = b.node(Op::Binary(Binary::Mul), &[k, root]);
    let scores = b.node(Op::MatMul, &[q, k]);
    let below = |at: usize| at % length <= at / length % length;
    let seen: Vec<bool> = (0..batch * length * length).map(below).collect();
    let seen = b.weight(Literal::bool(&[batch, 1, length, length], &seen));
    let zero = b.weight(literal(dtype, &[], &[0.0]));
    let hidden_score = b.weight(literal(dtype, &[], &[-6e4]));
    let mask = b.node(Op::Where, &[seen, zero, hidden_score]);
    let scores = b.node(Op::Binary(Binary::Add), &[scores, mask]);
    let weights = b.node(Op::Softmax { axis: -1 }, &[scores]);
    let undefined = b.node(Op::Unary(Unary::IsNaN), &[weights]);
    let weights = b.node(Op::Where, &[undefined, zero, weights]);
    let context = b.node(Op::MatMul, &[weights, v]);
    let together = b.node(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[context]);
    let flat = b.integers(&[-1, counts * sizes]);
    b.node(Op::Reshape { allow_zero: false }, &[together, flat]);
}
