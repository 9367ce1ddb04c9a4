//! Plans of small graphs, and properties of plans of random ones.

use crate::example::{Builder, compile, compile_within};
use crate::{Operand, Place, Plan, PlanError};
use proptest::prelude::*;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use sublet_graph::{
    Binary, Compare, DType, Graph, GraphInput, Literal, Model, Op, ScanOptions, Source, Unary,
    ValueId, WeightId,
};

pub(super) fn weight(model: &mut Builder, shape: &[usize]) -> ValueId {
    let len = shape.iter().product();
    model.weight(Literal::f32(shape, &vec![0.5; len]))
}

/// `relu(x · w0)`, reshaped by its own batch size, `· w1`.
fn perceptron() -> Model {
    let mut model = Builder::new();
    let x = model.input("x", None);
    let w0 = weight(&mut model, &[4, 8]);
    let w1 = weight(&mut model, &[4, 3]);
    let h = model.node(Op::MatMul, &[x, w0]);
    let h = model.node(Op::Unary(Unary::Relu), &[h]);
    let shape = model.node(Op::Shape { start: 0, end: None }, &[h]);
    let zero = model.weight(Literal::i64(&[1], &[0]));
    let batch = model.node(Op::Gather { axis: 0 }, &[shape, zero]);
    let rest = model.weight(Literal::i64(&[2], &[-1, 4]));
    let shape = model.node(Op::Concat { axis: 0 }, &[batch, rest]);
    let h = model.node(Op::Reshape { allow_zero: false }, &[h, shape]);
    let h = model.node(Op::Identity, &[h]);
    let y = model.node(Op::MatMul, &[h, w1]);
    model.output(y);
    model.finish()
}

#[test]
fn a_plan_reads_like_this() {
    let plan = compile(&perceptron(), &[&[5, 4]]).unwrap();
    assert_eq!(
        plan.to_string(),
        "3 steps, arena 512 B, 0 known values of 0 B, 4 segments
  in x %0 f32[5, 4] @0
   0 n0 = MatMul(%0 f32[5, 4] @0, w0) -> %1 f32[5, 8] @128 [1]
   1 n1 = Relu(%1 f32[5, 8] @128) -> %2 f32[5, 8] @320 [1]
   2 n7 = MatMul(%3 f32[5, 2, 4] @320, w1) -> %4 f32[5, 2, 3] @0 [4]
 out n7.0 %4 f32[5, 2, 3] @0
"
    );
}

#[test]
fn shapes_that_do_not_fit_name_the_node() {
    let error = compile(&perceptron(), &[&[5, 7]]).unwrap_err();
    assert!(matches!(&error, PlanError::Infer { node, .. } if node == "n0"), "{error}");
    assert_eq!(
        compile(&perceptron(), &[]).unwrap_err(),
        PlanError::InputCount { given: 0, wanted: 1 }
    );
}

#[test]
fn what_is_too_large_names_the_node() {
    for limit in [300, 400, 511] {
        let error = compile_within(&perceptron(), &[&[5, 4]], limit).unwrap_err();
        let PlanError::TooLarge { node, .. } = &error else { panic!("{error}") };
        assert_eq!(node, if limit == 300 { "n0" } else { "n1" }, "{error}");
    }
    assert!(compile_within(&perceptron(), &[&[5, 4]], 512).is_ok());
    let huge: &[usize] = &[usize::MAX / 2, 4];
    let error = compile(&perceptron(), &[huge]).unwrap_err();
    assert!(matches!(&error, PlanError::TooLarge { node, .. } if node == "x"), "{error}");
}

#[test]
fn an_input_left_out_takes_its_default() {
    let mut model = Builder::new();
    let x = model.input("x", None);
    let scale = model.input("scale", Some(Literal::f32(&[], &[2.0])));
    let y = model.node(Op::Binary(Binary::Mul), &[x, scale]);
    model.output(y);
    let model = model.finish();
    let compile = |shapes: &[Option<Vec<usize>>]| {
        let layout = crate::Layout::new(&model, crate::LayoutOptions::default());
        let evaluator = crate::example::ShapeMath;
        let options = crate::CompileOptions::default();
        Plan::compile(&model.graph, &model, &layout, shapes, &evaluator, &options)
    };
    let plan = compile(&[Some(vec![3]), None]).unwrap();
    assert_eq!(plan.inputs.len(), 1);
    assert_eq!(plan.steps[0].inputs[1], Some(Operand::Weight(WeightId(0))));
    assert_eq!(compile(&[Some(vec![3]), Some(vec![])]).unwrap().inputs.len(), 2);
    assert_eq!(compile(&[None, None]).unwrap_err(), PlanError::InputMissing("x".into()));
}

#[test]
fn what_only_the_run_tells_is_dynamic() {
    let mut model = Builder::new();
    let x = model.input("x", None);
    let found = model.node(Op::NonZero, &[x]);
    let size = model.node(Op::Size, &[found]);
    let flat = model.node(Op::Flatten { axis: 0 }, &[found]);
    let y = model.node(Op::Unary(Unary::Relu), &[x]);
    for value in [found, size, flat, y] {
        model.output(value);
    }
    let plan = compile(&model.finish(), &[&[2, 2]]).unwrap();
    let places: Vec<_> =
        plan.steps.iter().map(|step| &plan.slot(step.outputs[0].unwrap()).place).collect();
    assert!(matches!(places[..3], [Place::Dynamic, Place::Arena { .. }, Place::Dynamic]));
    assert_eq!(plan.outputs[0].shape, None);
    assert_eq!(plan.outputs[1].shape, Some(vec![]));
    assert_eq!(plan.outputs[3].shape, Some(vec![2, 2]));
}

/// `condition ? relu(x) : -x`.
pub(super) fn branches(model: &mut Builder, condition: ValueId, x: ValueId) -> ValueId {
    let body = |unary| {
        let mut body = Builder::new();
        let x = body.input("x", None);
        let y = body.node(Op::Unary(unary), &[x]);
        body.output(y);
        body.body()
    };
    let op = Op::If { then_branch: body(Unary::Relu), else_branch: body(Unary::Neg) };
    model.node(op, &[condition, x])
}

#[test]
fn a_branch_decided_by_shapes_takes_the_place_of_the_node() {
    let mut model = Builder::new();
    let x = model.input("x", None);
    let size = model.node(Op::Size, &[x]);
    let three = model.weight(Literal::i64(&[], &[3]));
    let condition = model.node(Op::Compare(Compare::Equal), &[size, three]);
    let y = branches(&mut model, condition, x);
    model.output(y);
    let model = model.finish();
    let op = |shape: &[usize]| compile(&model, &[shape]).unwrap().steps[0].op.clone();
    assert_eq!(op(&[3]), Op::Unary(Unary::Relu));
    assert_eq!(op(&[4]), Op::Unary(Unary::Neg));
}

#[test]
fn a_branch_decided_by_values_has_a_static_result_when_both_agree() {
    let mut model = Builder::new();
    let condition = model.typed_input("condition", DType::Bool);
    let x = model.input("x", None);
    let y = branches(&mut model, condition, x);
    model.output(y);
    let plan = compile(&model.finish(), &[&[], &[3]]).unwrap();
    let [step] = &plan.steps[..] else { panic!("{plan}") };
    assert_eq!(step.bodies.len(), 2);
    assert!(step.bodies.iter().flat_map(|body| &body.slots).all(|s| s.place == Place::Dynamic));
    assert_eq!(plan.outputs[0].shape, Some(vec![3]));
}

/// A loop that appends `x` to what it carries (or only adds it), and gives `x` as scan output.
fn looped(grows: bool, trips: i64) -> Model {
    let mut body = Builder::new();
    body.typed_input("iteration", DType::I64);
    let condition = body.typed_input("condition", DType::Bool);
    let carried = body.input("carried", None);
    let x = body.input("x", None);
    let op = if grows { Op::Concat { axis: 0 } } else { Op::Binary(Binary::Add) };
    let next = body.node(op, &[carried, x]);
    body.output(condition);
    body.output(next);
    body.output(x);
    let mut model = Builder::new();
    let x = model.input("x", None);
    let trips = model.weight(Literal::i64(&[], &[trips]));
    let condition = model.weight(Literal::bool(&[], &[true]));
    let op = Op::Loop { body: body.body(), carried: 1 };
    let outputs = model.nodes(op, &[trips, condition, x, x], 2);
    model.output(outputs[0]);
    model.output(outputs[1]);
    model.finish()
}

#[test]
fn a_loop_keeps_shapes_that_its_body_keeps() {
    let shape = |grows| compile(&looped(grows, 4), &[&[3]]).unwrap().outputs[0].shape.clone();
    assert_eq!(shape(false), Some(vec![3]));
    assert_eq!(shape(true), None);
}

#[test]
fn a_scan_knows_its_length() {
    let mut body = Builder::new();
    let state = body.input("state", None);
    let slice = body.input("slice", None);
    let next = body.node(Op::Binary(Binary::Add), &[state, slice]);
    body.output(next);
    body.output(next);
    let op = Op::Scan(ScanOptions {
        body: body.body(),
        states: 1,
        scan_inputs: 1,
        input_axes: vec![1],
        input_reverse: vec![false],
        output_axes: vec![-1],
        output_reverse: vec![false],
    });
    let mut model = Builder::new();
    let state = model.input("state", None);
    let x = model.input("x", None);
    for output in model.nodes(op, &[state, x], 2) {
        model.output(output);
    }
    let plan = compile(&model.finish(), &[&[2], &[2, 7]]).unwrap();
    let shapes: Vec<_> = plan.outputs.iter().map(|output| output.shape.clone()).collect();
    assert_eq!(shapes, [Some(vec![2]), Some(vec![2, 7])]);
}

#[test]
fn segments_count_what_bodies_and_outputs_read() {
    let mut model = Builder::new();
    let x = model.input("x", None);
    let condition = model.typed_input("condition", DType::Bool);
    let weights: Vec<_> = (0..3).map(|_| weight(&mut model, &[16])).collect();
    let mut body = Graph::default();
    for name in ["a", "b"] {
        let source = if name == "a" { Source::Input } else { Source::Weight(WeightId(1)) };
        let value = sublet_graph::ValueInfo {
            name: name.into(),
            source,
            dtype: Some(DType::F32),
            dims: None,
        };
        body.add_value(value);
    }
    body.inputs.push(GraphInput { value: ValueId(0), default: None });
    body.outputs.push(ValueId(1));
    let y = model.node(Op::Binary(Binary::Add), &[x, weights[0]]);
    let op = Op::If { then_branch: Box::new(body.clone()), else_branch: Box::new(body) };
    let z = model.node(op, &[condition, y]);
    let out = model.node(Op::Unary(Unary::Relu), &[z]);
    model.output(out);
    model.output(weights[2]);
    let plan = compile(&model.finish(), &[&[16], &[]]).unwrap();
    let segments: Vec<_> = plan.steps.iter().map(|step| step.segments).collect();
    assert_eq!(segments, [1, 2, 2]);
    assert_eq!(plan.segments, 3);
}

#[test]
fn a_chain_reuses_dead_slots() {
    let mut model = Builder::new();
    let mut value = model.input("x", None);
    for _ in 0..50 {
        value = model.node(Op::Unary(Unary::Relu), &[value]);
    }
    model.output(value);
    let plan = compile(&model.finish(), &[&[16]]).unwrap();
    assert_eq!((plan.steps.len(), plan.arena_bytes), (50, 128));
}

/// One node of a random graph: what it does, and which earlier values it reads.
type RandomNode = (u8, prop::sample::Index, prop::sample::Index);

fn random_model(nodes: &[RandomNode], outputs: &[prop::sample::Index]) -> Model {
    let mut model = Builder::new();
    let mut values = vec![model.input("x", None), model.input("unused", None)];
    let flat = model.weight(Literal::i64(&[1], &[-1]));
    for (kind, first, second) in nodes {
        let (first, second) =
            (values[first.index(values.len())], values[second.index(values.len())]);
        match kind % 5 {
            0 => values.push(model.node(Op::Unary(Unary::Relu), &[first])),
            1 => values.push(model.node(Op::Reshape { allow_zero: false }, &[first, flat])),
            2 => values.push(model.node(Op::Concat { axis: 0 }, &[first, second])),
            3 => values.extend(model.nodes(Op::Split { axis: 0, parts: 2 }, &[first], 2)),
            _ => values.push(model.node(Op::Identity, &[first])),
        }
    }
    for output in outputs {
        model.output(values[output.index(values.len())]);
    }
    model.finish()
}

fn mix(op: &str, output: usize, inputs: &[u64]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (op, output, inputs).hash(&mut hasher);
    hasher.finish()
}

/// A number for each output that depends on every operator on the way to it, from the graph alone.
fn traced_graph(graph: &Graph) -> Vec<u64> {
    let mut traces = vec![0; graph.values.len()];
    for (index, input) in graph.inputs.iter().enumerate() {
        traces[input.value.0 as usize] = mix("input", index, &[]);
    }
    for node in &graph.nodes {
        let inputs: Vec<_> =
            node.inputs.iter().flatten().map(|value| traces[value.0 as usize]).collect();
        for (index, output) in node.outputs.iter().flatten().enumerate() {
            traces[output.0 as usize] = match node.op {
                Op::Identity | Op::Reshape { .. } => inputs[0],
                _ => mix(&node.op.to_string(), index, &inputs),
            };
        }
    }
    graph.outputs.iter().map(|value| traces[value.0 as usize]).collect()
}

/// The same numbers from running the plan on an arena in which every byte remembers which value it is of.
fn traced_plan(plan: &Plan) -> Vec<u64> {
    let mut arena = vec![0u64; plan.arena_bytes];
    let range = |slot| {
        let Place::Arena { offset, shape } = &plan.slot(slot).place else { panic!("dynamic") };
        *offset..*offset + 4 * shape.iter().product::<usize>()
    };
    let read = |arena: &[u64], operand: Option<Operand>| match operand {
        Some(Operand::Slot(slot)) => {
            let bytes = &arena[range(slot)];
            assert!(bytes.iter().all(|byte| *byte == bytes[0]), "{slot:?} was overwritten\n{plan}");
            bytes[0]
        }
        _ => 0,
    };
    for (index, input) in plan.inputs.iter().enumerate() {
        arena[range(input.slot)].fill(mix("input", index, &[]));
    }
    for step in &plan.steps {
        let inputs: Vec<_> = step.inputs.iter().map(|input| read(&arena, *input)).collect();
        for (index, output) in step.outputs.iter().enumerate() {
            if let Some(output) = output {
                arena[range(*output)].fill(mix(&step.op.to_string(), index, &inputs));
            }
        }
    }
    plan.outputs.iter().map(|output| read(&arena, Some(output.from))).collect()
}

proptest! {
    /// Running a plan in its arena gives what the graph says: nothing alive is overwritten.
    #[test]
    fn slots_alive_together_never_overlap(
        nodes in prop::collection::vec(any::<RandomNode>(), 1..40),
        outputs in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
    ) {
        let model = random_model(&nodes, &outputs);
        // Splitting halves at most 40 times; long enough inputs keep every value non-empty only sometimes.
        let Ok(plan) = compile(&model, &[&[96], &[40]]) else { return Ok(()) };
        let empty = plan.slots.iter().any(|slot| match &slot.place {
            Place::Arena { shape, .. } => shape.contains(&0),
            Place::Dynamic => false,
        });
        if empty {
            return Ok(());
        }
        prop_assert_eq!(traced_plan(&plan), traced_graph(&model.graph));
        let sum: usize = plan.slots.iter().map(|slot| match &slot.place {
            Place::Arena { shape, .. } => (4 * shape.iter().product::<usize>()).next_multiple_of(64),
            Place::Dynamic => 0,
        }).sum();
        prop_assert!(plan.arena_bytes <= sum);
    }
}
