//! Activations spelled out in smaller operators: hard sigmoid and swish, swish, mish.

use super::editor::Editor;
use super::pattern::near;
use crate::{Binary, Op, Unary, ValueId};

/// `clip(x + 3, 0, 6) / 6`.
pub(super) fn hard_sigmoid(editor: &mut Editor, node: usize) -> bool {
    let Some((clipped, scale)) = scaled(editor, node) else { return false };
    let Some(x) =
        relu6_of_shifted(editor, clipped).filter(|&x| near(scale, 1.0 / 6.0, editor.tolerance(x)))
    else {
        return false;
    };
    let op = Op::Unary(Unary::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 });
    editor.replace(node, op, vec![Some(x)]);
    true
}

/// `x · gate(x)`.
pub(super) fn gated(editor: &mut Editor, node: usize) -> bool {
    let Some((x, unary)) = gate(editor, node).or_else(|| late_hard_swish(editor, node)) else {
        return false;
    };
    editor.replace(node, Op::Unary(unary), vec![Some(x)]);
    true
}

fn gate(editor: &Editor, node: usize) -> Option<(ValueId, Unary)> {
    if editor.node(node).op != Op::Binary(Binary::Mul) {
        return None;
    }
    let [a, b] = [editor.input(node, 0)?, editor.input(node, 1)?];
    [(a, b), (b, a)].into_iter().find_map(|(x, gate)| {
        let inner = editor.inner(gate)?;
        let Op::Unary(unary) = editor.node(inner).op else { return None };
        let of = editor.input(inner, 0)?;
        let joined = match unary {
            Unary::Sigmoid if of == x => Unary::Swish { alpha: 1.0 },
            Unary::Sigmoid => {
                let (scaled, alpha) = scaled(editor, editor.inner(of)?)?;
                (scaled == x).then_some(Unary::Swish { alpha })?
            }
            Unary::HardSigmoid { alpha, beta }
                if of == x
                    && near(alpha, 1.0 / 6.0, editor.tolerance(x))
                    && near(beta, 0.5, editor.tolerance(x)) =>
            {
                Unary::HardSwish
            }
            Unary::Tanh if editor.inner_unary(of, Unary::Softplus) == Some(x) => Unary::Mish,
            _ => return None,
        };
        editor.is_real(x).then_some((x, joined))
    })
}

/// `(x · clip(x + 3, 0, 6)) / 6`.
fn late_hard_swish(editor: &Editor, node: usize) -> Option<(ValueId, Unary)> {
    let (product, scale) = scaled(editor, node)?;
    let [a, b] = editor.inner_operands(product, Binary::Mul)?;
    let found = relu6_of_shifted(editor, a) == Some(b) || relu6_of_shifted(editor, b) == Some(a);
    let x = if relu6_of_shifted(editor, a) == Some(b) { b } else { a };
    (found && near(scale, 1.0 / 6.0, editor.tolerance(x))).then_some((x, Unary::HardSwish))
}

/// The operand and the factor of a product with, or a division by, a scalar.
pub(super) fn scaled(editor: &Editor, node: usize) -> Option<(ValueId, f32)> {
    let operands = || Some([editor.input(node, 0)?, editor.input(node, 1)?]);
    match editor.node(node).op {
        Op::Binary(Binary::Mul) => editor.with_scalar(operands()?),
        Op::Binary(Binary::Div) => {
            let [x, divisor] = operands()?;
            Some((x, 1.0 / editor.scalar_beside(divisor, x)?))
        }
        _ => None,
    }
}

/// The `x` of an inner `clip(x + 3, 0, 6)`.
fn relu6_of_shifted(editor: &Editor, id: ValueId) -> Option<ValueId> {
    let clip = editor.inner(id)?;
    if editor.node(clip).op != Op::Clip {
        return None;
    }
    let bound = |index| editor.element(editor.input(clip, index)?);
    if bound(1)? != 0.0 || bound(2)? != 6.0 {
        return None;
    }
    let sum = editor.input(clip, 0)?;
    let (x, shift) = editor.with_scalar(editor.inner_operands(sum, Binary::Add)?)?;
    (shift == 3.0 && editor.is_real(x)).then_some(x)
}
