//! Nodes that give back what they get.

use super::editor::Editor;
use crate::{Binary, Op, ValueId};

pub(super) fn identity(editor: &mut Editor, node: usize) -> bool {
    let Some((from, to)) = forwarded(editor, node) else { return false };
    editor.alias(from, to)
}

/// The output and the input that it equals.
fn forwarded(editor: &Editor, node: usize) -> Option<(ValueId, ValueId)> {
    let (input, output) = (editor.input(node, 0)?, editor.output(node)?);
    let at = &editor.node(node).op;
    let same = match at {
        Op::Identity => true,
        Op::Cast { to } => editor.value(input).dtype == Some(*to),
        Op::CastLike => {
            let like = editor.input(node, 1)?;
            editor.value(input).dtype.is_some()
                && editor.value(input).dtype == editor.value(like).dtype
        }
        Op::Concat { .. } => editor.node(node).inputs.len() == 1,
        Op::Transpose { perm } => !perm.is_empty() && perm.iter().copied().eq(0..perm.len()),
        Op::Pad { .. } => {
            let pads = editor.constant(editor.input(node, 1)?)?.to_i64s()?;
            pads.iter().all(|&pad| pad == 0)
        }
        Op::Clip => editor.node(node).inputs[1..].iter().all(Option::is_none),
        // Minus zero plus zero is zero: only the sign of a zero is lost.
        Op::Binary(Binary::Add | Binary::Sub) => neutral(editor, node, 0.0)?,
        Op::Binary(Binary::Mul | Binary::Div) => neutral(editor, node, 1.0)?,
        // Axes inserted and removed again.
        Op::Squeeze => {
            let inner = editor.maker(input)?;
            let axes = |node| editor.constant(editor.input(node, 1)?)?.to_i64s();
            if editor.node(inner).op != Op::Unsqueeze || axes(inner)? != axes(node)? {
                return None;
            }
            return Some((output, editor.input(inner, 0)?));
        }
        _ => false,
    };
    same.then_some((output, input))
}

/// Whether the second operand is this scalar. Operands are not swapped: exporters write the constant last.
fn neutral(editor: &Editor, node: usize, scalar: f32) -> Option<bool> {
    Some(editor.scalar_beside(editor.input(node, 1)?, editor.input(node, 0)?)? == scalar)
}
