//! Attention weights guarded against queries that see no key: `where(isnan(weights), 0, weights)`.
//!
//! Softmax gives something that is no number only where all scores of a row are −∞, or one of them is +∞ or no number
//! itself. A mask of finite numbers added to products brings none of it in, so that there is nothing to guard against where
//! the products are finite. Where they overflow, the result says so: it is no number, and not the guard's zero.

use super::editor::Editor;
use crate::{Binary, DType, Op, Unary, ValueId};

/// Drops a guard that finite scores do not need.
pub(super) fn guard(editor: &mut Editor, node: usize) -> bool {
    let Some((output, weights)) = guarded(editor, node) else { return false };
    editor.alias(output, weights)
}

fn guarded(editor: &Editor, node: usize) -> Option<(ValueId, ValueId)> {
    if editor.node(node).op != Op::Where {
        return None;
    }
    let [is_nan, zero, weights] = [0, 1, 2].map(|index| editor.input(node, index));
    let (is_nan, zero, weights) = (is_nan?, zero?, weights?);
    let test = editor.maker(is_nan)?;
    let softmax = editor.maker(weights)?;
    let matches = editor.node(test).op == Op::Unary(Unary::IsNaN)
        && editor.input(test, 0) == Some(weights)
        && editor.scalar_beside(zero, weights) == Some(0.0)
        && matches!(editor.node(softmax).op, Op::Softmax { .. });
    let scores = editor.input(softmax, 0)?;
    let finite = match editor.operands(scores, Binary::Add) {
        Some([a, b]) => {
            is_product(editor, a) && is_finite(editor, b, DEPTH_MAX)
                || is_product(editor, b) && is_finite(editor, a, DEPTH_MAX)
        }
        None => is_product(editor, scores),
    };
    (matches && finite).then_some((editor.output(node)?, weights))
}

/// Whether a value is a product of matrices, perhaps scaled.
fn is_product(editor: &Editor, id: ValueId) -> bool {
    let Some(mut node) = editor.maker(id) else { return false };
    if let Some((of, scale)) = super::unary::scaled(editor, node) {
        let Some(inner) = editor.maker(of).filter(|_| scale.is_finite()) else { return false };
        node = inner;
    }
    editor.node(node).op == Op::MatMul
}

/// How far back a mask is followed.
const DEPTH_MAX: usize = 16;

/// Whether a value is made of finite constants, truths and integers alone.
fn is_finite(editor: &Editor, id: ValueId, depth: usize) -> bool {
    if let Some(constant) = editor.constant(id) {
        return match constant.to_f32s() {
            Some(values) => values.iter().all(|value| value.is_finite()),
            None => !constant.dtype().is_float(),
        };
    }
    let (Some(node), Some(depth)) = (editor.maker(id), depth.checked_sub(1)) else { return false };
    let of = |index: usize| {
        editor.input(node, index).is_some_and(|input| is_finite(editor, input, depth))
    };
    match editor.node(node).op {
        Op::Where => of(1) && of(2),
        Op::Identity
        | Op::Reshape { .. }
        | Op::Squeeze
        | Op::Unsqueeze
        | Op::Transpose { .. }
        | Op::Expand
        | Op::Slice
        | Op::Gather { .. } => of(0),
        // A float of half precision does not hold every integer.
        Op::Cast { to: DType::F32 | DType::F64 | DType::Bool } => editor
            .input(node, 0)
            .and_then(|input| editor.value(input).dtype)
            .is_some_and(|from| !from.is_float()),
        _ => false,
    }
}
