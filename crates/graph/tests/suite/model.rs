//! Small models built by hand, and an interpreter for them on top of the CPU device's kernels.

use sublet_device_cpu::Evaluator;
use sublet_graph::{
    DType, Dim, Evaluate, Graph, GraphInput, Literal, Model, Node, Op, Report, RewriteOptions,
    Source, ValueId, ValueInfo, Weight, check, infer_dtypes, rewrite,
};

/// Builds a model node by node.
pub struct Builder {
    pub model: Model,
}

impl Builder {
    pub fn new() -> Self {
        let (name, graph, weights) = ("test".to_owned(), Graph::default(), Vec::new());
        Builder { model: Model { name, graph, weights, metadata: Vec::new() } }
    }

    pub fn value(&mut self, name: &str, source: Source, dtype: Option<DType>) -> ValueId {
        let info = ValueInfo { name: name.to_owned(), source, dtype, dims: None };
        self.model.graph.add_value(info)
    }

    /// An `f32` input; a dimension of 0 is dynamic.
    pub fn input(&mut self, name: &str, dims: &[usize]) -> ValueId {
        let value = self.value(name, Source::Input, Some(DType::F32));
        let dim = |(at, &size): (usize, &usize)| match size {
            0 => Dim::Named(format!("{name}{at}")),
            size => Dim::Fixed(size),
        };
        self.model.graph.values[value.0 as usize].dims =
            Some(dims.iter().enumerate().map(dim).collect());
        self.model.graph.inputs.push(GraphInput { value, default: None });
        value
    }

    pub fn weight(&mut self, value: Literal) -> ValueId {
        let name = format!("w{}", self.model.weights.len());
        let dtype = value.dtype();
        let id = self.model.add_weight(name.clone(), value);
        self.value(&name, Source::Weight(id), Some(dtype))
    }

    /// A weight of numbers that look random and are always the same.
    pub fn random(&mut self, shape: &[usize]) -> ValueId {
        let seed = self.model.weights.len() as u64;
        self.weight(random(shape, seed))
    }

    pub fn scalar(&mut self, value: f32) -> ValueId {
        self.weight(Literal::f32(&[], &[value]))
    }

    pub fn ints(&mut self, values: &[i64]) -> ValueId {
        self.weight(Literal::i64(&[values.len()], values))
    }

    pub fn node(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        self.node_with(op, inputs.iter().copied().map(Some).collect())
    }

    pub fn node_with(&mut self, op: impl Into<Op>, inputs: Vec<Option<ValueId>>) -> ValueId {
        let name = format!("n{}", self.model.graph.nodes.len());
        let output = self.value(&format!("{name}.out"), Source::Node, None);
        let outputs = vec![Some(output)];
        self.model.graph.nodes.push(Node { name, op: op.into(), inputs, outputs });
        output
    }

    pub fn output(&mut self, value: ValueId) {
        self.model.graph.outputs.push(value);
    }
}

pub fn random(shape: &[usize], seed: u64) -> Literal {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let len = shape.iter().product();
    Literal::f32(shape, &(0..len).map(|_| next()).collect::<Vec<f32>>())
}

/// Builds a model, rewrites it, and checks what is left (names of operators, in order) and that the outputs for
/// inputs of the given shapes are the same. Returns the rewritten model and what was done.
pub fn check_rewrite(
    build: impl Fn(&mut Builder),
    shapes: &[&[usize]],
    expected: &str,
) -> (Model, Report) {
    let mut builder = Builder::new();
    build(&mut builder);
    let mut model = builder.model;
    check(&model).expect("well formed");
    infer_dtypes(&mut model).expect("types work out");
    let mut rewritten = model.clone();
    let report = rewrite(&mut rewritten, &Evaluator, &RewriteOptions::default());
    let names: Vec<String> = rewritten.graph.nodes.iter().map(|node| node.op.name()).collect();
    assert_eq!(names.join(" "), expected, "{report}\n{}", rewritten.graph);
    let inputs: Vec<Literal> =
        shapes.iter().enumerate().map(|(at, shape)| random(shape, 100 + at as u64)).collect();
    let (before, after) = (run(&model, &inputs), run(&rewritten, &inputs));
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        assert_close(before, after);
    }
    check_in_half(&model, &inputs, expected);
    (rewritten, report)
}

/// Rules are for half precision too, but for those of quantised models.
fn check_in_half(model: &Model, inputs: &[Literal], expected: &str) {
    let quantised = |node: &Node| {
        let name = node.op.name();
        name.contains("Quantize") || name.contains("Integer")
    };
    if model.graph.nodes.iter().any(quantised) {
        return;
    }
    let mut half = model.clone();
    let narrow = |literal: &Literal| match literal.dtype() {
        DType::F32 => Literal::rounded(DType::F16, literal.shape(), &literal.to_vec::<f32>()),
        _ => literal.clone(),
    };
    half.weights.iter_mut().for_each(|weight| weight.value = narrow(&weight.value));
    narrow_graph(&mut half.graph);
    infer_dtypes(&mut half).expect("types work out in half precision");
    let mut rewritten = half.clone();
    let report = rewrite(&mut rewritten, &Evaluator, &RewriteOptions::default());
    let names: Vec<String> = rewritten.graph.nodes.iter().map(|node| node.op.name()).collect();
    assert_eq!(names.join(" "), expected, "in half precision: {report}\n{}", rewritten.graph);
    let inputs: Vec<Literal> = inputs.iter().map(narrow).collect();
    let (before, after) = (run(&half, &inputs), run(&rewritten, &inputs));
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((before.dtype(), before.shape()), (after.dtype(), after.shape()));
        let (Some(before), Some(after)) = (before.to_f32s(), after.to_f32s()) else { continue };
        let largest = before.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        for (before, after) in before.iter().zip(&after) {
            let close = before == after || (before - after).abs() <= 1e-2 * largest;
            assert!(close, "in half precision: {before} became {after}");
        }
    }
}

fn narrow_graph(graph: &mut Graph) {
    for value in &mut graph.values {
        if value.dtype == Some(DType::F32) {
            value.dtype = Some(DType::F16);
        }
    }
    for node in &mut graph.nodes {
        if let Op::Cast { to } = &mut node.op
            && *to == DType::F32
        {
            *to = DType::F16;
        }
        node.op.bodies_mut().into_iter().for_each(narrow_graph);
    }
}

fn assert_close(before: &Literal, after: &Literal) {
    assert_eq!((before.dtype(), before.shape()), (after.dtype(), after.shape()));
    let (Some(left), Some(right)) = (before.to_f32s(), after.to_f32s()) else {
        assert_eq!(before, after);
        return;
    };
    assert!(left.iter().any(|&value| value != 0.0), "an all-zero output tells nothing");
    for (at, (left, right)) in left.iter().zip(&right).enumerate() {
        let error = (left - right).abs();
        let close = left == right || error <= 2e-5 + 1e-4 * left.abs();
        assert!(close, "element {at}: {left} became {right}");
    }
}

pub fn run(model: &Model, inputs: &[Literal]) -> Vec<Literal> {
    run_graph(&model.graph, &model.weights, inputs)
}

fn run_graph(graph: &Graph, weights: &[Weight], inputs: &[Literal]) -> Vec<Literal> {
    let mut values: Vec<Option<Literal>> = graph
        .values
        .iter()
        .map(|value| match value.source {
            Source::Weight(id) => Some(weights[id.0 as usize].value.clone()),
            Source::Input | Source::Node => None,
        })
        .collect();
    for (slot, input) in graph.inputs.iter().zip(inputs) {
        values[slot.value.0 as usize] = Some(input.clone());
    }
    for node in &graph.nodes {
        let get = |id: &Option<ValueId>| id.map(|id| values[id.0 as usize].as_ref().expect("set"));
        let inputs: Vec<Option<&Literal>> = node.inputs.iter().map(get).collect();
        let outputs = match &node.op {
            Op::If { then_branch, else_branch } => {
                let taken = inputs[0].expect("a condition").bytes()[0] != 0;
                let given: Vec<Literal> = inputs[1..].iter().flatten().copied().cloned().collect();
                run_graph(if taken { then_branch } else { else_branch }, weights, &given)
            }
            op => Evaluator
                .evaluate(op, &inputs, node.outputs.len())
                .unwrap_or_else(|error| panic!("{}: {error}", node.name)),
        };
        for (output, value) in node.outputs.iter().zip(outputs) {
            if let Some(output) = output {
                values[output.0 as usize] = Some(value);
            }
        }
    }
    graph.outputs.iter().map(|id| values[id.0 as usize].clone().expect("computed")).collect()
}
