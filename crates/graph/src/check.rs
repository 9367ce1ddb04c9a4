//! Whether a model is well formed: every index in range, every value assigned once and before it is read, every body
//! closed. Run after import, after rewriting and whenever a graph comes from disk, so that later code may index freely.

use crate::{Graph, Model, Node, Op, Source, ValueId, Weight};
use std::collections::HashSet;

/// How deep bodies may nest.
pub const NESTING_MAX: usize = 16;

/// What is wrong with a model, and where: `place` names the graph, as the path of the nodes that hold it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} in {place}")]
pub struct CheckError {
    pub place: String,
    pub kind: CheckErrorKind,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckErrorKind {
    #[error("node `{node}` uses value %{value}, but there are only {count}")]
    NoSuchValue { node: String, value: u32, count: usize },
    #[error("value `{value}` is weight {weight}, but there are only {count}")]
    NoSuchWeight { value: String, weight: u32, count: usize },
    #[error("node `{node}` reads `{value}` before anything computes it")]
    ReadTooEarly { node: String, value: String },
    #[error("`{value}` is assigned twice, or is an input or a weight and assigned by a node")]
    AssignedTwice { value: String },
    #[error("input {index} (`{value}`) is listed twice or is no input")]
    NotAnInput { index: usize, value: String },
    #[error("`{value}` is an input that the graph does not list")]
    UnlistedInput { value: String },
    #[error("node `{node}`: {what}")]
    Arity { node: String, what: String },
    #[error("two weights are called `{name}`")]
    WeightName { name: String },
    #[error("bodies nest more than {NESTING_MAX} deep")]
    TooDeep,
}

/// Checks a whole model, nested graphs included.
pub fn check(model: &Model) -> Result<(), CheckError> {
    let mut names = HashSet::new();
    if let Some(weight) = model.weights.iter().find(|weight| !names.insert(weight.name.as_str())) {
        let kind = CheckErrorKind::WeightName { name: weight.name.clone() };
        return Err(CheckError { place: "the model".into(), kind });
    }
    check_graph(&model.graph, &model.weights, "the graph", 0)
}

fn check_graph(
    graph: &Graph,
    weights: &[Weight],
    place: &str,
    depth: usize,
) -> Result<(), CheckError> {
    let fail = |kind| Err(CheckError { place: place.to_owned(), kind });
    if depth > NESTING_MAX {
        return fail(CheckErrorKind::TooDeep);
    }
    let mut defined = match check_sources(graph, weights) {
        Ok(defined) => defined,
        Err(kind) => return fail(kind),
    };
    for node in &graph.nodes {
        if let Err(kind) = check_node(graph, node, &mut defined).and_then(|()| check_arity(node)) {
            return fail(kind);
        }
        for body in node.op.bodies() {
            let place = match depth {
                0 => format!("the body of `{}`", node.name),
                _ => format!("{place}, the body of `{}`", node.name),
            };
            check_graph(body, weights, &place, depth + 1)?;
        }
    }
    match graph.outputs.iter().try_for_each(|&id| check_read(graph, "outputs", id, &defined)) {
        Ok(()) => Ok(()),
        Err(kind) => fail(kind),
    }
}

/// Which values are there before the first node: inputs and weights.
fn check_sources(graph: &Graph, weights: &[Weight]) -> Result<Vec<bool>, CheckErrorKind> {
    let mut defined = vec![false; graph.values.len()];
    for (index, input) in graph.inputs.iter().enumerate() {
        let slot = in_range(graph, "inputs", input.value)?;
        let info = graph.value(input.value);
        if info.source != Source::Input || std::mem::replace(&mut defined[slot], true) {
            return Err(CheckErrorKind::NotAnInput { index, value: info.name.clone() });
        }
        if let Some(default) = input.default.filter(|default| default.0 as usize >= weights.len()) {
            return Err(no_such_weight(&info.name, default.0, weights));
        }
    }
    for (info, defined) in graph.values.iter().zip(&mut defined) {
        match info.source {
            Source::Weight(id) if id.0 as usize >= weights.len() => {
                return Err(no_such_weight(&info.name, id.0, weights));
            }
            Source::Weight(_) => *defined = true,
            Source::Input if !*defined => {
                return Err(CheckErrorKind::UnlistedInput { value: info.name.clone() });
            }
            Source::Input | Source::Node => {}
        }
    }
    Ok(defined)
}

fn no_such_weight(value: &str, weight: u32, weights: &[Weight]) -> CheckErrorKind {
    CheckErrorKind::NoSuchWeight { value: value.to_owned(), weight, count: weights.len() }
}

fn in_range(graph: &Graph, node: &str, id: ValueId) -> Result<usize, CheckErrorKind> {
    let (slot, count) = (id.0 as usize, graph.values.len());
    if slot < count {
        return Ok(slot);
    }
    Err(CheckErrorKind::NoSuchValue { node: node.to_owned(), value: id.0, count })
}

fn check_read(
    graph: &Graph,
    node: &str,
    id: ValueId,
    defined: &[bool],
) -> Result<(), CheckErrorKind> {
    if defined[in_range(graph, node, id)?] {
        return Ok(());
    }
    let value = graph.value(id).name.clone();
    Err(CheckErrorKind::ReadTooEarly { node: node.to_owned(), value })
}

fn check_node(graph: &Graph, node: &Node, defined: &mut [bool]) -> Result<(), CheckErrorKind> {
    for &input in node.inputs.iter().flatten() {
        check_read(graph, &node.name, input, defined)?;
    }
    for &output in node.outputs.iter().flatten() {
        let slot = in_range(graph, &node.name, output)?;
        let info = graph.value(output);
        if info.source != Source::Node || std::mem::replace(&mut defined[slot], true) {
            return Err(CheckErrorKind::AssignedTwice { value: info.name.clone() });
        }
    }
    Ok(())
}

/// Whether a control-flow node gives its bodies as many values as they take, and takes as many as they give.
fn check_arity(node: &Node) -> Result<(), CheckErrorKind> {
    let (given, taken) = (node.inputs.len(), node.outputs.len());
    let fail = |what: String| Err(CheckErrorKind::Arity { node: node.name.clone(), what });
    let inputs = match &node.op {
        Op::If { .. } => given.checked_sub(1),
        _ => Some(given),
    };
    for body in node.op.bodies() {
        let (wants, gives) = (body.inputs.len(), body.outputs.len());
        if inputs != Some(wants) {
            return fail(format!("its body takes {wants} inputs, the node has {given}"));
        }
        let outputs = match &node.op {
            Op::If { .. } => Some(gives),
            Op::Loop { carried, .. } => {
                gives.checked_sub(1).filter(|_| carried + 2 <= given && *carried < gives)
            }
            Op::Scan(scan) => Some(gives).filter(|_| {
                let first = scan.states.checked_add(scan.scan_inputs);
                scan.states <= gives && first.is_some_and(|first| first <= given)
            }),
            _ => None,
        };
        if outputs.is_none_or(|outputs| taken > outputs) {
            return fail(format!("its body gives {gives} outputs, the node has {taken}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, GraphInput, Literal, ValueInfo, WeightId};

    fn value(graph: &mut Graph, name: &str, source: Source) -> ValueId {
        let info = ValueInfo { name: name.into(), source, dtype: Some(DType::F32), dims: None };
        graph.add_value(info)
    }

    /// `y = x + w`.
    fn model() -> Model {
        let mut graph = Graph::default();
        let x = value(&mut graph, "x", Source::Input);
        let w = value(&mut graph, "w", Source::Weight(WeightId(0)));
        let y = value(&mut graph, "y", Source::Node);
        graph.inputs.push(GraphInput { value: x, default: None });
        graph.nodes.push(Node {
            name: "add".into(),
            op: Op::Binary(crate::Binary::Add),
            inputs: vec![Some(x), Some(w)],
            outputs: vec![Some(y)],
        });
        graph.outputs.push(y);
        let weight = Weight { name: "w".into(), value: Literal::f32(&[1], &[1.0]) };
        Model { name: "m".into(), graph, weights: vec![weight], metadata: vec![] }
    }

    #[test]
    fn tells_what_is_wrong() {
        let broken = |change: fn(&mut Model), text: &str| {
            let mut model = model();
            change(&mut model);
            let error = check(&model).expect_err(text).to_string();
            assert!(error.contains(text), "`{error}` does not say `{text}`");
        };
        assert_eq!(check(&model()), Ok(()));
        broken(|m| m.graph.nodes[0].inputs[0] = Some(ValueId(9)), "uses value %9");
        broken(|m| m.graph.nodes[0].inputs[0] = Some(ValueId(2)), "reads `y` before");
        broken(|m| m.graph.outputs[0] = ValueId(7), "uses value %7");
        broken(|m| m.graph.nodes[0].outputs[0] = Some(ValueId(0)), "`x` is assigned twice");
        broken(|m| m.graph.nodes.push(m.graph.nodes[0].clone()), "`y` is assigned twice");
        broken(|m| m.graph.inputs.clear(), "`x` is an input that the graph does not list");
        broken(|m| m.graph.inputs.push(m.graph.inputs[0].clone()), "listed twice");
        broken(|m| m.weights.clear(), "there are only 0");
        broken(|m| m.graph.inputs[0].default = Some(WeightId(4)), "weight 4");
        broken(|m| m.weights.push(m.weights[0].clone()), "two weights are called `w`");
        broken(|m| m.graph.nodes.clear(), "reads `y` before");
    }

    #[test]
    fn bodies_are_closed_and_shallow() {
        let branch = |graph: &Graph| Op::If {
            then_branch: Box::new(graph.clone()),
            else_branch: Box::new(graph.clone()),
        };
        let nested = |depth: usize| {
            let mut model = model();
            for _ in 0..depth {
                let inner = model.graph.clone();
                model.graph.nodes[0].op = branch(&inner);
                model.graph.nodes[0].inputs = vec![Some(ValueId(1)), Some(ValueId(0))];
            }
            model
        };
        assert_eq!(check(&nested(2)), Ok(()));
        let mut wrong = nested(2);
        wrong.graph.nodes[0].inputs.pop();
        assert!(check(&wrong).unwrap_err().to_string().contains("takes 1 inputs"));
    }
}
