//! Which inputs steer a model: the few numbers that decide which branch is taken.

use sublet_graph::{Dim, Graph, Op, ValueId};

/// Elements that an input may have to count as a switch rather than as data.
const ELEMENTS_MAX: usize = 4;

/// The inputs, by index, that are integers or truth values of a few elements and that a condition of an `If` is
/// computed from. A plan made for their values has no branches left, and so no shapes that only the run tells.
pub fn control_inputs(graph: &Graph) -> Vec<usize> {
    let steering = reaching_conditions(graph);
    let is_switch = |value: ValueId| {
        let info = graph.value(value);
        let elements = info.dims.as_ref().and_then(|dims| {
            dims.iter().try_fold(1usize, |count, dim| match dim {
                Dim::Fixed(size) => count.checked_mul(*size),
                Dim::Named(_) | Dim::Unknown => None,
            })
        });
        info.dtype.is_some_and(|dtype| !dtype.is_float())
            && elements.is_some_and(|elements| elements <= ELEMENTS_MAX)
    };
    let inputs = graph.inputs.iter().enumerate();
    let found =
        inputs.filter(|(_, input)| steering[input.value.0 as usize] && is_switch(input.value));
    found.map(|(index, _)| index).collect()
}

/// Which values of a graph, or of what its bodies are given, a condition is computed from.
fn reaching_conditions(graph: &Graph) -> Vec<bool> {
    let mut reaching = vec![false; graph.values.len()];
    for node in graph.nodes.iter().rev() {
        let feeds = node.outputs.iter().flatten().any(|output| reaching[output.0 as usize]);
        let is_branch = matches!(node.op, Op::If { .. });
        let bodies = if is_branch { node.op.bodies() } else { Vec::new() };
        let inside: Vec<_> = bodies.iter().map(|body| reaching_conditions(body)).collect();
        for (index, input) in node.inputs.iter().enumerate() {
            let Some(input) = input else { continue };
            // A branch's inputs after the condition are those of its bodies.
            let passed_on = bodies.iter().zip(&inside).any(|(body, inside)| {
                let given = index.checked_sub(1).and_then(|index| body.inputs.get(index));
                given.is_some_and(|given| inside[given.value.0 as usize])
            });
            reaching[input.0 as usize] |= feeds || passed_on || (is_branch && index == 0);
        }
    }
    reaching
}
