//! Two nodes that compute the same from the same become one.

use super::editor::Editor;

pub(super) fn common(editor: &mut Editor, node: usize) -> bool {
    let this = editor.node(node);
    // Comparing whole bodies is not worth it.
    if !this.op.bodies().is_empty() {
        return false;
    }
    let Some(input) = this.inputs.iter().flatten().next().copied() else { return false };
    let same = |&other: &usize| {
        let other = editor.node(other);
        other.op == this.op && other.inputs == this.inputs
    };
    let earlier = editor.readers(input).iter().copied().filter(|&other| other < node).find(same);
    let Some(earlier) = earlier else { return false };
    let pairs: Vec<_> =
        this.outputs.iter().copied().zip(editor.node(earlier).outputs.iter().copied()).collect();
    let covered = this.outputs.len() <= pairs.len()
        && pairs.iter().all(|(ours, theirs)| match (ours, theirs) {
            (Some(ours), Some(_)) => !editor.is_exported(*ours),
            (Some(ours), None) => editor.uses(*ours) == 0,
            (None, _) => true,
        });
    if !covered {
        return false;
    }
    for pair in pairs {
        if let (Some(ours), Some(theirs)) = pair {
            editor.alias(ours, theirs);
        }
    }
    true
}
