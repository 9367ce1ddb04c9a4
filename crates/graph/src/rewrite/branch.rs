//! A condition that is known: the branch taken becomes part of the graph.

use super::editor::Editor;
use crate::{Node, Op, Source, ValueId};

pub(super) fn branch(editor: &mut Editor, node: usize) -> bool {
    let Op::If { then_branch, else_branch } = &editor.node(node).op else { return false };
    let Some(condition) = editor.input(node, 0).and_then(|id| editor.constant(id)) else {
        return false;
    };
    let taken = condition.bytes().first().is_some_and(|&byte| byte != 0);
    let body = if taken { then_branch.as_ref().clone() } else { else_branch.as_ref().clone() };
    let this = editor.node(node).clone();
    // An outer output, whose name must stay, can be given only by the node that computes it.
    let mut assigned: Vec<ValueId> = Vec::new();
    for (output, inner) in this.outputs.iter().zip(&body.outputs) {
        let Some(output) = output else { continue };
        let kept = editor.outermost() && editor.is_exported(*output);
        let computed = body.value(*inner).source == Source::Node && !assigned.contains(inner);
        if kept && !computed {
            return false;
        }
        assigned.push(*inner);
    }
    let mut outer: Vec<Option<ValueId>> = vec![None; body.values.len()];
    for (input, given) in body.inputs.iter().zip(&this.inputs[1..]) {
        outer[input.value.0 as usize] = *given;
        if given.is_none() {
            return false;
        }
    }
    for (output, inner) in this.outputs.iter().zip(&body.outputs) {
        let slot = &mut outer[inner.0 as usize];
        if body.value(*inner).source == Source::Node && slot.is_none() {
            *slot = *output;
        }
    }
    for (value, outer) in body.values.iter().zip(&mut outer) {
        if outer.is_none() {
            *outer = Some(editor.copy_value(value));
        }
    }
    let place = |id: &Option<ValueId>| id.and_then(|id| outer[id.0 as usize]);
    for inner in &body.nodes {
        editor.insert_node_before(
            node,
            Node {
                name: format!("{}/{}", this.name, inner.name),
                op: inner.op.clone(),
                inputs: inner.inputs.iter().map(place).collect(),
                outputs: inner.outputs.iter().map(place).collect(),
            },
        );
    }
    editor.disown(node);
    // What the body only passes on is read directly, and must not die with the node that passed it on.
    for (output, inner) in this.outputs.iter().zip(&body.outputs) {
        let source = outer[inner.0 as usize];
        if let (Some(output), Some(source)) = (output, source)
            && *output != source
        {
            editor.alias(*output, source);
        }
    }
    editor.remove(node);
    true
}
