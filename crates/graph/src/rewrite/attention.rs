//! Attention spelled out: `softmax(scale · q · kᵀ + mask) · v`.

use super::editor::Editor;
use crate::{Attention, Binary, Op, ValueId};

/// Parts of a matched pattern.
struct Parts {
    query: ValueId,
    /// The keys before some transpose, and the axes that bring them to `[batch, heads, sequence, size]`.
    key: (ValueId, Vec<usize>),
    value: ValueId,
    mask: Option<ValueId>,
    scale: f32,
}

pub(super) fn attention(editor: &mut Editor, node: usize) -> bool {
    let Some(parts) = matched(editor, node) else { return false };
    let (source, perm) = parts.key;
    let key = if perm.iter().copied().eq(0..4) {
        source
    } else {
        let name = format!("{}/key", editor.node(node).name);
        let dtype = editor.value(source).dtype.expect("a product's operand has a type");
        editor.insert_before(node, &name, Op::Transpose { perm }, vec![Some(source)], dtype)
    };
    let op = Op::Attention(Attention {
        scale: Some(parts.scale),
        is_causal: false,
        q_num_heads: 0,
        kv_num_heads: 0,
        softcap: 0.0,
        qk_output_mode: 0,
    });
    let mut inputs = vec![Some(parts.query), Some(key), Some(parts.value)];
    inputs.extend(parts.mask.map(Some));
    editor.replace(node, op, inputs);
    true
}

fn matched(editor: &Editor, node: usize) -> Option<Parts> {
    let [weights, value] = matmul(editor, node)?;
    let softmax = editor.inner(weights)?;
    if !matches!(editor.node(softmax).op, Op::Softmax { axis: -1 | 3 }) {
        return None;
    }
    let mut scores = editor.input(softmax, 0)?;
    let mut mask = None;
    if let Some([a, b]) = editor.inner_operands(scores, Binary::Add) {
        // The scores are what a product of matrices is in, perhaps scaled; the mask is the other one.
        let (of, other) = if is_scores(editor, a) { (a, b) } else { (b, a) };
        let stretches = editor.probes.relate(other, of, |mask, scores| {
            let offset = scores.len().wrapping_sub(mask.len());
            (2..=4).contains(&mask.len())
                && scores.len() == 4
                && mask.last() == scores.last()
                && mask.iter().zip(&scores[offset..]).all(|(&m, &s)| m == 1 || m == s)
        });
        if !stretches || !editor.is_real(other) {
            return None;
        }
        (scores, mask) = (of, Some(other));
    }
    let (scores, scale) = unscaled(editor, scores);
    let [query, key] = matmul(editor, editor.inner(scores)?)?;
    let (query, query_scale) = unscaled(editor, query);
    let (key, key_scale) = unscaled(editor, key);
    let transpose = editor.maker(key)?;
    let Op::Transpose { perm } = &editor.node(transpose).op else { return None };
    let &[a, b, c, d] = perm.as_slice() else { return None };
    // A product broadcasts batch and heads; attention does not.
    let fits = |other: ValueId| {
        editor.probes.relate(query, other, |query, other| {
            query.len() == 4 && other.len() == 4 && query[..2] == other[..2]
        })
    };
    if !editor.is_real(query) || !fits(key) || !fits(value) {
        return None;
    }
    Some(Parts {
        query,
        key: (editor.input(transpose, 0)?, vec![a, b, d, c]),
        value,
        mask,
        scale: scale * query_scale * key_scale,
    })
}

fn matmul(editor: &Editor, node: usize) -> Option<[ValueId; 2]> {
    (editor.node(node).op == Op::MatMul).then_some(())?;
    Some([editor.input(node, 0)?, editor.input(node, 1)?])
}

fn is_scores(editor: &Editor, id: ValueId) -> bool {
    let (of, _) = unscaled(editor, id);
    editor.inner(of).is_some_and(|node| editor.node(node).op == Op::MatMul)
}

/// What an inner product with a scalar scales, and the scalar.
fn unscaled(editor: &Editor, id: ValueId) -> (ValueId, f32) {
    let scaled = editor.inner(id).and_then(|node| super::unary::scaled(editor, node));
    scaled.unwrap_or((id, 1.0))
}

/// Query, key and value that are split into heads only for the attention, and the result that is joined after it: the
/// operator does both itself.
pub(super) fn heads(editor: &mut Editor, node: usize) -> bool {
    let Some(Joined { name, op, inputs, flat }) = joined(editor, node) else { return false };
    if flat {
        // The rows of all batch entries behind each other: another shape of the operator's result.
        let reshape = editor.node(node).op.clone();
        let (split, target) = (editor.input(node, 0), editor.input(node, 1));
        let dtype = split.and_then(|split| editor.value(split).dtype).expect("types are inferred");
        let whole = editor.insert_before(node, &format!("{name}/heads"), op, inputs, dtype);
        editor.replace(node, reshape, vec![Some(whole), target]);
    } else {
        editor.replace(node, op, inputs);
    }
    true
}

/// Attention that joins its heads itself.
struct Joined {
    /// Of the attention that does not.
    name: String,
    op: Op,
    inputs: Vec<Option<ValueId>>,
    /// Whether `[b · s, h · d]` is wanted instead of `[b, s, h · d]`.
    flat: bool,
}

fn joined(editor: &Editor, node: usize) -> Option<Joined> {
    if !matches!(editor.node(node).op, Op::Reshape { .. }) {
        return None;
    }
    let (split, output) = (editor.input(node, 0)?, editor.output(node)?);
    let fused = editor.inner(swapped(editor, split).filter(|_| editor.uses(split) == 1)?)?;
    let Op::Attention(attention) = editor.node(fused).op.clone() else { return None };
    let outputs = editor.node(fused).outputs.iter().flatten().count();
    let plain = attention.q_num_heads == 0 && outputs == 1 && editor.input(fused, 4).is_none();
    let flat = is_flat(editor, output, split);
    if !plain || !(flat || splits(editor, output, split)) {
        return None;
    }
    let mut inputs = Vec::new();
    let mut heads = Vec::new();
    for index in 0..3 {
        let split = swapped(editor, editor.input(fused, index)?)?;
        let reshape = editor.maker(split)?;
        if !matches!(editor.node(reshape).op, Op::Reshape { .. }) {
            return None;
        }
        let whole = editor.input(reshape, 0)?;
        if !splits(editor, whole, split) {
            return None;
        }
        inputs.push(Some(whole));
        heads.push(editor.probes.last_dim(split, 2)?);
    }
    inputs.extend(editor.node(fused).inputs[3..].iter().copied());
    let scale = attention.scale;
    let op = Attention { q_num_heads: heads[0], kv_num_heads: heads[1], scale, ..attention };
    let name = editor.node(fused).name.clone();
    Some(Joined { name, op: Op::Attention(op), inputs, flat })
}

/// The `x` of a transpose of `x` that swaps the two middle axes of four.
fn swapped(editor: &Editor, id: ValueId) -> Option<ValueId> {
    let node = editor.maker(id)?;
    let Op::Transpose { perm } = &editor.node(node).op else { return None };
    (perm[..] == [0, 2, 1, 3]).then_some(())?;
    editor.input(node, 0)
}

/// Whether `split` is `[b, s, h, d]` and `whole` `[b, s, h · d]`.
fn splits(editor: &Editor, whole: ValueId, split: ValueId) -> bool {
    editor.probes.relate(whole, split, |whole, split| match (whole, split) {
        (&[b, s, hidden], &[split_b, split_s, h, d]) => {
            b == split_b && s == split_s && h.checked_mul(d) == Some(hidden)
        }
        _ => false,
    })
}

/// Whether `split` is `[b, s, h, d]` and `flat` `[b · s, h · d]`.
fn is_flat(editor: &Editor, flat: ValueId, split: ValueId) -> bool {
    editor.probes.relate(flat, split, |flat, split| match (flat, split) {
        (&[rows, hidden], &[b, s, h, d]) => {
            b.checked_mul(s) == Some(rows) && h.checked_mul(d) == Some(hidden)
        }
        _ => false,
    })
}
