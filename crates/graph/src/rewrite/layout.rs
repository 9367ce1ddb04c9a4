//! Chains of transposes and of reshapes, and reshapes about a softmax or a transpose.

use super::editor::Editor;
use crate::{Op, ValueId};

/// A transpose of a transpose is one transpose, or nothing.
pub(super) fn transpose(editor: &mut Editor, node: usize) -> bool {
    let Some((x, perm)) = joined(editor, node) else { return false };
    let output = editor.output(node);
    if perm.iter().copied().eq(0..perm.len())
        && output.is_some_and(|output| editor.alias(output, x))
    {
        return true;
    }
    editor.replace(node, Op::Transpose { perm }, vec![Some(x)]);
    true
}

fn joined(editor: &Editor, node: usize) -> Option<(ValueId, Vec<usize>)> {
    let Op::Transpose { perm: outer } = &editor.node(node).op else { return None };
    let inner_node = editor.maker(editor.input(node, 0)?)?;
    let Op::Transpose { perm: inner } = &editor.node(inner_node).op else { return None };
    let x = editor.input(inner_node, 0)?;
    let rank = outer.len().max(inner.len());
    let explicit = |perm: &[usize]| match perm {
        [] => (0..rank).rev().collect(),
        perm => perm.to_vec(),
    };
    // Two reversals of an unknown rank are not told apart from those of rank 0, and cancel.
    let (outer, inner): (Vec<usize>, Vec<usize>) = (explicit(outer), explicit(inner));
    if outer.is_empty() || outer.len() != inner.len() {
        return None;
    }
    Some((x, outer.iter().map(|&axis| inner.get(axis).copied()).collect::<Option<_>>()?))
}

/// A reshape of something reshaped is one reshape, when the target stands on its own.
pub(super) fn reshape(editor: &mut Editor, node: usize) -> bool {
    let Some((op, x, target)) = reshaped(editor, node) else { return false };
    editor.replace(node, op, vec![Some(x), Some(target)]);
    true
}

fn reshaped(editor: &Editor, node: usize) -> Option<(Op, ValueId, ValueId)> {
    let op = editor.node(node).op.clone();
    let Op::Reshape { .. } = op else { return None };
    let (input, target) = (editor.input(node, 0)?, editor.input(node, 1)?);
    let sizes = editor.constant(target)?.to_i64s()?;
    // A zero copies a size of the input, or belongs to an empty tensor.
    if sizes.contains(&0) {
        return None;
    }
    let before = editor.maker(input)?;
    let only_shape = matches!(
        editor.node(before).op,
        Op::Reshape { .. } | Op::Flatten { .. } | Op::Squeeze | Op::Unsqueeze
    );
    only_shape.then_some((op, editor.input(before, 0)?, target))
}

/// A softmax between a flattening that only joins leading axes, and a reshape back: older models flatten for every axis.
pub(super) fn softmax(editor: &mut Editor, node: usize) -> bool {
    let Some((op, x)) = unflattened(editor, node) else { return false };
    editor.replace(node, op, vec![Some(x)]);
    true
}

fn unflattened(editor: &Editor, node: usize) -> Option<(Op, ValueId)> {
    if !matches!(editor.node(node).op, Op::Reshape { .. }) {
        return None;
    }
    let softmax = editor.inner(editor.input(node, 0)?)?;
    let op = editor.node(softmax).op.clone();
    let (Op::Softmax { axis: -1 } | Op::LogSoftmax { axis: -1 } | Op::Hardmax { axis: -1 }) = op
    else {
        return None;
    };
    let flatten = editor.inner(editor.input(softmax, 0)?)?;
    let Op::Flatten { axis } = editor.node(flatten).op else { return None };
    let x = editor.input(flatten, 0)?;
    let last = editor.probes.rank(x)? as i64 - 1;
    let shape = editor.maker(editor.input(node, 1)?)?;
    let back = editor.node(shape).op == Op::Shape { start: 0, end: None }
        && editor.input(shape, 0) == Some(x);
    (back && last >= 0 && (axis == last || axis == -1)).then_some((op, x))
}

/// A transpose of the last two axes between a reshape that joins the axes before them, and one that parts them again.
pub(super) fn matrices(editor: &mut Editor, node: usize) -> bool {
    let Some((x, perm)) = unjoined(editor, node) else { return false };
    editor.replace(node, Op::Transpose { perm }, vec![Some(x)]);
    true
}

fn unjoined(editor: &Editor, node: usize) -> Option<(ValueId, Vec<usize>)> {
    let is_reshape = |node: usize| matches!(editor.node(node).op, Op::Reshape { .. });
    let transpose = editor.inner(editor.input(node, 0)?)?;
    let Op::Transpose { perm } = &editor.node(transpose).op else { return None };
    let joined = editor.input(transpose, 0)?;
    let join = editor.maker(joined)?;
    if !is_reshape(node) || !is_reshape(join) || perm[..] != [0, 2, 1] {
        return None;
    }
    let x = editor.input(join, 0)?;
    let rank = editor.probes.rank(x).filter(|&rank| rank > 3)?;
    let joins = editor.probes.relate(x, joined, |x, joined| x[rank - 2..] == joined[1..]);
    let parts = editor.probes.relate(x, editor.output(node)?, |x, y| {
        let (lead, last) = x.split_at(rank - 2);
        y.len() == rank && y[..rank - 2] == *lead && y[rank - 2..] == [last[1], last[0]]
    });
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 2, rank - 1);
    (joins && parts).then_some((x, perm))
}
