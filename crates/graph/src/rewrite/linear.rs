//! Products with a constant matrix, and the bias added to them.

use super::editor::{Editor, is_real};
use crate::{Activation, Binary, Literal, Op, ValueId};

pub(super) fn linear(editor: &mut Editor, node: usize) -> bool {
    match editor.node(node).op {
        Op::MatMul => from_matmul(editor, node).is_some(),
        Op::Gemm { .. } => from_gemm(editor, node).is_some(),
        _ => false,
    }
}

fn from_matmul(editor: &mut Editor, node: usize) -> Option<()> {
    let (x, w) = (editor.input(node, 0)?, editor.input(node, 1)?);
    matrix(editor, w)?;
    editor.replace(node, Op::Linear { activation: Activation::None }, vec![Some(x), Some(w)]);
    Some(())
}

fn from_gemm(editor: &mut Editor, node: usize) -> Option<()> {
    let Op::Gemm { alpha, beta, trans_a: false, trans_b } = editor.node(node).op else {
        return None;
    };
    let (x, b) = (editor.input(node, 0)?, editor.input(node, 1)?);
    let w = matrix(editor, b)?.clone();
    let n = w.shape()[if trans_b { 0 } else { 1 }];
    let bias = match editor.input(node, 2) {
        None => None,
        Some(c) => Some(row(editor, c, n, 2)?),
    };
    let name = editor.value(b).name.clone();
    let dtype = w.dtype();
    let w = if trans_b || alpha != 1.0 {
        let mut values = if trans_b { transposed(&w)? } else { w.to_f32s()? };
        values.iter_mut().for_each(|value| *value *= alpha);
        let k = w.shape()[if trans_b { 1 } else { 0 }];
        editor.add_weight(&name, Literal::rounded(dtype, &[k, n], &values))
    } else {
        b
    };
    let bias = bias.map(|mut bias| {
        bias.iter_mut().for_each(|value| *value *= beta);
        editor.add_weight(&format!("{name}.bias"), Literal::rounded(dtype, &[n], &bias))
    });
    let inputs = [Some(x), Some(w)].into_iter().chain(bias.map(Some)).collect();
    editor.replace(node, Op::Linear { activation: Activation::None }, inputs);
    Some(())
}

/// `Linear + constant`.
pub(super) fn bias(editor: &mut Editor, node: usize) -> bool {
    add_bias(editor, node).is_some()
}

fn add_bias(editor: &mut Editor, node: usize) -> Option<()> {
    if editor.node(node).op != Op::Binary(Binary::Add) {
        return None;
    }
    let [a, b] = [editor.input(node, 0)?, editor.input(node, 1)?];
    let (product, added) = if editor.constant(b).is_some() { (a, b) } else { (b, a) };
    let linear = editor.inner(product)?;
    if editor.node(linear).op != (Op::Linear { activation: Activation::None }) {
        return None;
    }
    let (x, w) = (editor.input(linear, 0)?, editor.input(linear, 1)?);
    let (n, dtype) = (matrix(editor, w)?.shape()[1], matrix(editor, w)?.dtype());
    // One axis is never more than the product has.
    let rank = editor.probes.rank(product).unwrap_or(1);
    let mut sum = row(editor, added, n, rank)?;
    if let Some(old) = editor.input(linear, 2) {
        let old = row(editor, old, n, 1)?;
        sum.iter_mut().zip(old).for_each(|(sum, old)| *sum += old);
    }
    let name = format!("{}.bias", editor.value(w).name);
    let bias = editor.add_weight(&name, Literal::rounded(dtype, &[n], &sum));
    let op = Op::Linear { activation: Activation::None };
    editor.replace(node, op, vec![Some(x), Some(w), Some(bias)]);
    Some(())
}

/// A constant matrix in single or half precision.
fn matrix<'a>(editor: &'a Editor, id: ValueId) -> Option<&'a Literal> {
    let literal = editor.constant(id)?;
    (is_real(literal.dtype()) && literal.shape().len() == 2).then_some(literal)
}

/// A constant that is the same for every row of a result with `n` columns and `rank` axes.
fn row(editor: &Editor, id: ValueId, n: usize, rank: usize) -> Option<Vec<f32>> {
    let literal = editor.constant(id).filter(|literal| is_real(literal.dtype()))?;
    let shape = literal.shape();
    let (&last, leading) = shape.split_last().unwrap_or((&1, &[]));
    if shape.len() > rank || leading.iter().any(|&size| size != 1) || (last != 1 && last != n) {
        return None;
    }
    let values = literal.to_f32s()?;
    Some(if values.len() == n { values } else { vec![*values.first()?; n] })
}

fn transposed(matrix: &Literal) -> Option<Vec<f32>> {
    let (rows, columns) = (matrix.shape()[0], matrix.shape()[1]);
    let values = matrix.to_f32s()?;
    let mut result = vec![0.0; values.len()];
    // Tiles keep both sides in the cache.
    const TILE: usize = 32;
    for row_start in (0..rows).step_by(TILE) {
        for column_start in (0..columns).step_by(TILE) {
            for row in row_start..rows.min(row_start + TILE) {
                for column in column_start..columns.min(column_start + TILE) {
                    result[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    Some(result)
}
