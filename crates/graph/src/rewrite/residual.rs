//! A tensor of equal shape added to the result of a convolution becomes an input of it.

use super::editor::Editor;
use crate::{Activation, Binary, Op, ValueId};

pub(super) fn residual(editor: &mut Editor, node: usize) -> bool {
    if editor.node(node).op != Op::Binary(Binary::Add) {
        return false;
    }
    let (Some(a), Some(b)) = (editor.input(node, 0), editor.input(node, 1)) else { return false };
    // The convolution that runs last: what it adds to is there by then, and is not held for longer.
    let pairs = if editor.maker(a) > editor.maker(b) { [(a, b), (b, a)] } else { [(b, a), (a, b)] };
    pairs.into_iter().any(|(convolved, added)| apply(editor, node, convolved, added).is_some())
}

fn apply(editor: &mut Editor, node: usize, convolved: ValueId, added: ValueId) -> Option<()> {
    let conv = editor.inner(convolved)?;
    let op = editor.node(conv).op.clone();
    if !matches!(op, Op::Conv { activation: Activation::None, .. })
        || editor.input(conv, 3).is_some()
        || !editor.is_real(convolved)
        || !editor.probes.same_shape(convolved, added)
    {
        return None;
    }
    let [x, w, bias] = [0, 1, 2].map(|index| editor.input(conv, index));
    editor.replace(node, op, vec![x, w, bias, Some(added)]);
    Some(())
}
