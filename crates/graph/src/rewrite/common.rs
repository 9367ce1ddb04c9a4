//! Two nodes that compute the same from the same become one.

use super::editor::Editor;

/// How many nodes one node is compared with, so that hostile graphs do not take quadratic time.
const COMPARED_MAX: usize = 64;

pub(super) fn common(editor: &mut Editor, node: usize) -> bool {
    let this = editor.node(node);
    // Comparing whole bodies is not worth it.
    if !this.op.bodies().is_empty() {
        return false;
    }
    let rarest = this.inputs.iter().flatten().min_by_key(|input| editor.readers(**input).len());
    let Some(input) = rarest.copied() else { return false };
    let same = |&other: &usize| {
        let other = editor.node(other);
        other.op == this.op && other.inputs == this.inputs
    };
    let readers = editor.readers(input).iter().copied().take(COMPARED_MAX);
    let earlier = readers.filter(|&other| other < node).find(same);
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
