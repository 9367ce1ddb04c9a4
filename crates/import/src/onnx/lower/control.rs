//! Control flow: nested graphs become closed graphs.

use super::lowering::Lowering;
use crate::onnx::graph::close;
use crate::onnx::problem::{Problem, invalid, unsupported};
use crate::onnx::scope::Body;
use sublet_graph::{Graph, GraphInput, Node, Op, ScanOptions, Source, ValueId, ValueInfo};

pub fn lower(cx: &mut Lowering<'_, '_>, op: &str) -> Result<bool, Problem> {
    match op {
        "If" => branch(cx)?,
        "Loop" => repeat(cx)?,
        "Scan" if cx.opset < 9 => scan_batches(cx)?,
        "Scan" => scan(cx)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn body(cx: &mut Lowering<'_, '_>, attribute: &str) -> Result<Body, Problem> {
    let graph = cx.required_graph(attribute)?;
    let name = format!("{}.{attribute}", cx.name);
    Ok(cx.importer.body(graph, &name)?)
}

fn branch(cx: &mut Lowering<'_, '_>) -> Result<(), Problem> {
    let count = cx.output_count();
    cx.arity(1, 1, count)?;
    let bodies = [body(cx, "then_branch")?, body(cx, "else_branch")?];
    for body in &bodies {
        if !body.graph.inputs.is_empty() {
            return invalid("a branch has inputs of its own");
        }
        if body.graph.outputs.len() != count {
            let found = body.graph.outputs.len();
            return invalid(format!("a branch has {found} outputs, the node {count}"));
        }
    }
    let ([then_branch, else_branch], outer) = close(bodies);
    let op = Op::If { then_branch: Box::new(then_branch), else_branch: Box::new(else_branch) };
    let mut inputs = vec![cx.optional(0)];
    inputs.extend(outer.into_iter().map(Some));
    cx.finish_with(op, inputs, count)
}

fn repeat(cx: &mut Lowering<'_, '_>) -> Result<(), Problem> {
    let mut inputs = cx.inputs.clone();
    inputs.resize(inputs.len().max(2), None);
    let carried = inputs.len() - 2;
    if inputs[2..].iter().any(Option::is_none) {
        return invalid("the initial value of a loop variable is missing");
    }
    let body = body(cx, "body")?;
    if body.graph.inputs.len() != 2 + carried {
        let found = body.graph.inputs.len();
        return invalid(format!("the body has {found} inputs where it needs {}", 2 + carried));
    }
    // The condition is no output of the node.
    let Some(count) = body.graph.outputs.len().checked_sub(1).filter(|&count| count >= carried)
    else {
        return invalid("the body has too few outputs");
    };
    cx.arity(0, usize::MAX, count)?;
    let ([graph], outer) = close([body]);
    inputs.extend(outer.into_iter().map(Some));
    cx.finish_with(Op::Loop { body: Box::new(graph), carried }, inputs, count)
}

/// A body of `Scan` that has been read, and how its values divide.
struct ScanBody {
    body: Body,
    states: usize,
    scan_inputs: usize,
    scan_outputs: usize,
}

/// `values` counts the initial states and scanned inputs together.
fn scan_body(cx: &mut Lowering<'_, '_>, values: usize) -> Result<ScanBody, Problem> {
    let scan_inputs = cx.required_size("num_scan_inputs")?;
    let Some(states) = values.checked_sub(scan_inputs).filter(|_| scan_inputs > 0) else {
        return invalid(format!("{values} inputs with `num_scan_inputs` {scan_inputs}"));
    };
    let body = body(cx, "body")?;
    if body.graph.inputs.len() != values {
        return invalid(format!("the body has {} inputs, not {values}", body.graph.inputs.len()));
    }
    let Some(scan_outputs) = body.graph.outputs.len().checked_sub(states) else {
        return invalid("the body has too few outputs");
    };
    Ok(ScanBody { body, states, scan_inputs, scan_outputs })
}

fn scan(cx: &mut Lowering<'_, '_>) -> Result<(), Problem> {
    let values = cx.inputs.len();
    cx.arity(values, values, usize::MAX)?;
    let ScanBody { body, states, scan_inputs, scan_outputs } = scan_body(cx, values)?;
    let ([graph], outer) = close([body]);
    let options = ScanOptions {
        body: Box::new(graph),
        states,
        scan_inputs,
        input_axes: axes(cx, "scan_input_axes", scan_inputs)?,
        input_reverse: directions(cx, "scan_input_directions", scan_inputs)?,
        output_axes: axes(cx, "scan_output_axes", scan_outputs)?,
        output_reverse: directions(cx, "scan_output_directions", scan_outputs)?,
    };
    let mut inputs = cx.inputs.clone();
    inputs.extend(outer.into_iter().map(Some));
    cx.finish_with(Op::Scan(options), inputs, states + scan_outputs)
}

fn axes(cx: &Lowering<'_, '_>, name: &str, count: usize) -> Result<Vec<i64>, Problem> {
    match cx.ints(name)? {
        None => Ok(vec![0; count]),
        Some(axes) if axes.len() == count => Ok(axes.to_vec()),
        Some(axes) => invalid(format!("`{name}` has {} entries, not {count}", axes.len())),
    }
}

fn directions(cx: &Lowering<'_, '_>, name: &str, count: usize) -> Result<Vec<bool>, Problem> {
    Ok(axes(cx, name, count)?.into_iter().map(|direction| direction != 0).collect())
}

/// The first version scanned each element of a batch by itself: a scan over the batch whose body is the scan.
fn scan_batches(cx: &mut Lowering<'_, '_>) -> Result<(), Problem> {
    if cx.optional(0).is_some() {
        return unsupported("a scan with sequence lengths");
    }
    let given: Vec<_> = cx.inputs.iter().skip(1).copied().collect();
    if given.iter().any(Option::is_none) {
        return invalid("an input is missing");
    }
    let ScanBody { body, states, scan_inputs, scan_outputs } = scan_body(cx, given.len())?;
    let input_reverse = directions(cx, "directions", scan_inputs)?;
    let ([graph], outer) = close([body]);
    let outputs = states + scan_outputs;
    let element = ScanOptions {
        body: Box::new(graph),
        states,
        scan_inputs,
        input_axes: vec![0; scan_inputs],
        input_reverse,
        output_axes: vec![0; scan_outputs],
        output_reverse: vec![false; scan_outputs],
    };
    let infos: Vec<ValueInfo> = given
        .iter()
        .flatten()
        .chain(&outer)
        .map(|&value| ValueInfo { source: Source::Input, dims: None, ..info(cx, value) })
        .collect();
    let batch = ScanOptions {
        body: Box::new(one_node(cx.name.clone(), Op::Scan(element), infos, outputs)),
        states: 0,
        scan_inputs: given.len(),
        input_axes: vec![0; given.len()],
        input_reverse: vec![false; given.len()],
        output_axes: vec![0; outputs],
        output_reverse: vec![false; outputs],
    };
    let mut inputs = given;
    inputs.extend(outer.into_iter().map(Some));
    cx.finish_with(Op::Scan(batch), inputs, outputs)
}

fn info(cx: &Lowering<'_, '_>, value: ValueId) -> ValueInfo {
    cx.importer.graph().value(value).clone()
}

/// A graph of one node that reads all inputs, in order.
fn one_node(name: String, op: Op, infos: Vec<ValueInfo>, outputs: usize) -> Graph {
    let mut graph = Graph::default();
    let inputs: Vec<ValueId> = infos.into_iter().map(|info| graph.add_value(info)).collect();
    graph.inputs = inputs.iter().map(|&value| GraphInput { value, default: None }).collect();
    let result = |index: usize| ValueInfo {
        name: format!("{name}/{index}"),
        source: Source::Node,
        dtype: None,
        dims: None,
    };
    let results: Vec<ValueInfo> = (0..outputs).map(result).collect();
    graph.outputs = results.into_iter().map(|info| graph.add_value(info)).collect();
    graph.nodes.push(Node {
        name,
        op,
        inputs: inputs.into_iter().map(Some).collect(),
        outputs: graph.outputs.iter().copied().map(Some).collect(),
    });
    graph
}
