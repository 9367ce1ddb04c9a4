//! Computing, ahead of time, what depends on weights alone.

use super::RewriteOptions;
use super::editor::Editor;
use crate::{Evaluate, InferInput, Literal, Op, ValueId, byte_len, infer};

/// A folded constant may be this many times larger than what it was computed from…
const GROWTH_MAX: usize = 4;
/// …or have up to this many bytes.
const SMALL: usize = 64 << 10;

/// Replaces the outputs of nodes that read only weights by weights. Returns how many nodes.
pub(super) fn fold(
    editor: &mut Editor,
    evaluator: &dyn Evaluate,
    options: &RewriteOptions,
) -> usize {
    let mut count = 0;
    // In execution order, so that chains fold in one go.
    for node in 0..editor.node_count() {
        if editor.is_alive(node) && fold_node(editor, node, evaluator, options) {
            count += 1;
        }
    }
    count
}

fn fold_node(
    editor: &mut Editor,
    node: usize,
    evaluator: &dyn Evaluate,
    options: &RewriteOptions,
) -> bool {
    let Some(values) = compute(editor, node, evaluator, options) else { return false };
    let name = editor.node(node).name.clone();
    let outputs = editor.node(node).outputs.clone();
    let mut folded = false;
    for (output, value) in outputs.into_iter().zip(values) {
        let Some(output) = output.filter(|&output| editor.uses(output) > 0) else { continue };
        // An output of the whole model keeps the node, for its name is the value's.
        if editor.outermost() && editor.is_exported(output) {
            continue;
        }
        let value_name = editor.value(output).name.clone();
        let weight =
            editor.add_weight(if value_name.is_empty() { &name } else { &value_name }, value);
        folded |= editor.alias(output, weight);
    }
    folded
}

fn compute(
    editor: &Editor,
    node: usize,
    evaluator: &dyn Evaluate,
    options: &RewriteOptions,
) -> Option<Vec<Literal>> {
    let node = editor.node(node);
    if !node.op.bodies().is_empty() {
        return None;
    }
    let inputs: Vec<Option<&Literal>> = node
        .inputs
        .iter()
        .map(|input| match input {
            Some(input) => editor.constant(*input).map(Some),
            None => Some(None),
        })
        .collect::<Option<_>>()?;
    let exported = |id: &ValueId| editor.outermost() && editor.is_exported(*id);
    if node.outputs.iter().flatten().all(exported) {
        return None;
    }
    if matches!(node.op, Op::DequantizeLinear { .. }) && !options.dequantize {
        return None;
    }
    let bytes_in: usize = inputs.iter().flatten().map(|value| value.bytes().len()).sum();
    let limit = (bytes_in.saturating_mul(GROWTH_MAX)).max(SMALL).min(options.folded_bytes_max);
    let known: Vec<Option<InferInput>> = inputs
        .iter()
        .map(|value| {
            value.map(|value| InferInput {
                dtype: value.dtype(),
                shape: Some(value.shape()),
                value: Some(value),
            })
        })
        .collect();
    let types = infer(&node.op, &known, node.outputs.len()).ok()?;
    let mut bytes_out = 0usize;
    for tensor in types {
        bytes_out = bytes_out.saturating_add(match tensor.shape {
            Some(shape) => byte_len(tensor.dtype, &shape)?,
            // Indices of elements: eight bytes each at most for each axis.
            None => bytes_in.saturating_mul(8),
        });
    }
    if bytes_out > limit {
        return None;
    }
    // What fails here fails again, with its place, when the model runs.
    evaluator.evaluate(&node.op, &inputs, node.outputs.len()).ok()
}
