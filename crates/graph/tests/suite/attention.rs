//! Attention as exporters write it out, and what the rules make of it.

use crate::model::{Builder, check_rewrite};
use sublet_graph::{Binary, Compare, Op, Unary, ValueId};

fn mul(b: &mut Builder, x: ValueId, y: ValueId) -> ValueId {
    b.node(Op::Binary(Binary::Mul), &[x, y])
}

fn add(b: &mut Builder, x: ValueId, y: ValueId) -> ValueId {
    b.node(Op::Binary(Binary::Add), &[x, y])
}

/// `[batch, sequence, hidden]` → `[batch, heads, sequence, size]`, or with keys already transposed.
fn split(b: &mut Builder, x: ValueId, perm: &[usize]) -> ValueId {
    let shape = b.ints(&[0, 0, 2, 4]);
    let x = b.node(Op::Reshape { allow_zero: false }, &[x, shape]);
    b.node(Op::Transpose { perm: perm.to_vec() }, &[x])
}

#[test]
fn attention_is_recognised_heads_and_all() {
    for masked in [false, true] {
        let build = |b: &mut Builder| {
            let x = b.input("x", &[0, 0, 8]);
            let mask = b.input("mask", &[0, 1, 1, 0]);
            let [q, k, v] = [0, 1, 2].map(|_| {
                let w = b.random(&[8, 8]);
                b.node(Op::MatMul, &[x, w])
            });
            let q = split(b, q, &[0, 2, 1, 3]);
            let k = split(b, k, &[0, 2, 3, 1]);
            let v = split(b, v, &[0, 2, 1, 3]);
            let scores = b.node(Op::MatMul, &[q, k]);
            let root = b.scalar(2.0);
            let mut scores = b.node(Op::Binary(Binary::Div), &[scores, root]);
            if masked {
                // The mask's last dimension is the sequence: told by its name.
                let name = b.model.graph.values[x.0 as usize].dims.clone().unwrap()[1].clone();
                b.model.graph.values[mask.0 as usize].dims.as_mut().unwrap()[3] = name;
                let batch = b.model.graph.values[x.0 as usize].dims.clone().unwrap()[0].clone();
                b.model.graph.values[mask.0 as usize].dims.as_mut().unwrap()[0] = batch;
                scores = add(b, scores, mask);
            }
            let weights = b.node(Op::Softmax { axis: -1 }, &[scores]);
            let y = b.node(Op::MatMul, &[weights, v]);
            let y = b.node(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[y]);
            let shape = b.ints(&[0, 0, 8]);
            let y = b.node(Op::Reshape { allow_zero: false }, &[y, shape]);
            b.output(y);
        };
        let shapes: [&[usize]; 2] = [&[2, 5, 8], &[2, 1, 1, 5]];
        let (model, _) = check_rewrite(build, &shapes, "Linear Linear Linear Attention");
        let Op::Attention(attention) = &model.graph.nodes[3].op else { panic!() };
        assert_eq!((attention.q_num_heads, attention.scale), (2, Some(0.5)));
    }
}

/// Attention as newer exporters write it: keys transposed as a row of matrices, the scale's root on queries and keys, a
/// mask of `hidden` where a key is not seen, weights guarded against rows without any, and a flat result.
fn guarded_attention(b: &mut Builder, hidden: f32) {
    let x = b.input("x", &[0, 6, 8]);
    let [q, k, v] = [0, 1, 2].map(|_| {
        let w = b.random(&[8, 8]);
        b.node(Op::MatMul, &[x, w])
    });
    let [q, k, v] = [q, k, v].map(|x| split(b, x, &[0, 2, 1, 3]));
    let shape = b.ints(&[-1, 6, 4]);
    let k = b.node(Op::Reshape { allow_zero: false }, &[k, shape]);
    let k = b.node(Op::Transpose { perm: vec![0, 2, 1] }, &[k]);
    let shape = b.ints(&[-1, 2, 4, 6]);
    let k = b.node(Op::Reshape { allow_zero: false }, &[k, shape]);
    let root = b.scalar(0.75);
    let (q, k) = (mul(b, q, root), mul(b, k, root));
    let scores = b.node(Op::MatMul, &[q, k]);
    let token = b.input("token", &[1, 1, 6, 6]);
    let zero = b.scalar(0.0);
    let seen = b.node(Op::Compare(Compare::Greater), &[token, zero]);
    let hidden = b.scalar(hidden);
    let mask = b.node(Op::Where, &[seen, zero, hidden]);
    let scores = add(b, scores, mask);
    let weights = b.node(Op::Softmax { axis: -1 }, &[scores]);
    let undefined = b.node(Op::Unary(Unary::IsNaN), &[weights]);
    let weights = b.node(Op::Where, &[undefined, zero, weights]);
    let y = b.node(Op::MatMul, &[weights, v]);
    let y = b.node(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[y]);
    let shape = b.ints(&[-1, 8]);
    let y = b.node(Op::Reshape { allow_zero: false }, &[y, shape]);
    b.output(y);
}

#[test]
fn guarded_attention_is_recognised_where_a_mask_is_finite() {
    let shapes: [&[usize]; 2] = [&[2, 6, 8], &[1, 1, 6, 6]];
    let (model, report) = check_rewrite(
        |b| guarded_attention(b, -6e4),
        &shapes,
        "Linear Linear Linear Greater Where Attention Reshape",
    );
    let Op::Attention(attention) = &model.graph.nodes[5].op else { panic!("{}", model.graph) };
    assert_eq!((attention.q_num_heads, attention.scale), (2, Some(0.5625)));
    assert_eq!((report.count("guard"), report.count("matrices")), (1, 1));
}

#[test]
fn guarded_weights_stay_where_a_mask_may_hide_every_key() {
    let shapes: [&[usize]; 2] = [&[2, 6, 8], &[1, 1, 6, 6]];
    let expected = "Linear Linear Linear Reshape Transpose Reshape Reshape Transpose Transpose Mul Mul \
                    MatMul Greater Where Add Softmax IsNaN Where MatMul Transpose Reshape";
    check_rewrite(|b| guarded_attention(b, f32::NEG_INFINITY), &shapes, expected);
}

#[test]
fn keys_without_a_transpose_are_not_attention() {
    let build = |b: &mut Builder| {
        let q = b.input("q", &[2, 2, 3, 4]);
        let k = b.input("k", &[2, 2, 4, 3]);
        let v = b.input("v", &[2, 2, 3, 4]);
        let scores = b.node(Op::MatMul, &[q, k]);
        let weights = b.node(Op::Softmax { axis: 3 }, &[scores]);
        let y = b.node(Op::MatMul, &[weights, v]);
        b.output(y);
    };
    let shapes: [&[usize]; 3] = [&[2, 2, 3, 4], &[2, 2, 4, 3], &[2, 2, 3, 4]];
    check_rewrite(build, &shapes, "MatMul Softmax MatMul");
}
