//! Branches: those that the shapes rule out, and those that the values of switches decide.

use super::tests::{branches, weight};
use crate::example::{Builder, ShapeMath, compile};
use crate::{CompileOptions, Layout, LayoutOptions, Plan, PlanError, control_inputs};
use sublet_graph::{Binary, Compare, DType, Dim, Literal, Model, Op, Unary, ValueId};

/// `condition ? −x : x · w`, or the other way round, where the product needs rows of 4.
fn product_or_not(model: &mut Builder, condition: ValueId, x: ValueId, swapped: bool) -> ValueId {
    let w = weight(model, &[4, 4]);
    let body = |op: Op, reads_weight: bool| {
        let mut body = Builder::new();
        let (x, w) = (body.input("x", None), body.input("w", None));
        let y = body.node(op, &[x, w][..1 + usize::from(reads_weight)]);
        body.output(y);
        body.body()
    };
    let (product, other) = (body(Op::MatMul, true), body(Op::Unary(Unary::Neg), false));
    let (then_branch, else_branch) = if swapped { (product, other) } else { (other, product) };
    model.node(Op::If { then_branch, else_branch }, &[condition, x, w])
}

#[test]
fn a_branch_that_the_shapes_rule_out_fails_only_when_it_is_taken() {
    for swapped in [false, true] {
        let mut model = Builder::new();
        let condition = model.typed_input("condition", DType::Bool);
        let x = model.input("x", None);
        let y = product_or_not(&mut model, condition, x, swapped);
        let z = model.node(Op::Unary(Unary::Relu), &[y]);
        model.output(z);
        let model = model.finish();
        let bad = usize::from(!swapped);
        let plan = compile(&model, &[&[], &[2, 4]]).unwrap();
        assert!(plan.steps[0].bodies.iter().all(|body| body.unusable.is_none()), "{plan}");
        // The branch that is left tells the shape, so that what follows has a place.
        let plan = compile(&model, &[&[], &[2, 3]]).unwrap();
        let bodies = &plan.steps[0].bodies;
        let why = bodies[bad].unusable.as_deref().expect("the product does not fit");
        assert!(why.contains("n0"), "{why}");
        assert_eq!(bodies[1 - bad].unusable, None);
        assert_eq!((bodies[bad].inputs.len(), bodies[bad].steps.len()), (2, 0));
        assert_eq!(plan.outputs[0].shape, Some(vec![2, 3]));
    }
}

#[test]
fn an_error_is_told_when_no_branch_suits_the_shapes() {
    let mut model = Builder::new();
    let condition = model.typed_input("condition", DType::Bool);
    let x = model.input("x", None);
    let w = weight(&mut model, &[4, 4]);
    let body = || {
        let mut body = Builder::new();
        let (x, w) = (body.input("x", None), body.input("w", None));
        let y = body.node(Op::MatMul, &[x, w]);
        body.output(y);
        body.body()
    };
    let op = Op::If { then_branch: body(), else_branch: body() };
    let y = model.node(op, &[condition, x, w]);
    model.output(y);
    let error = compile(&model.finish(), &[&[], &[2, 3]]).unwrap_err();
    assert!(matches!(&error, PlanError::Infer { node, .. } if node == "n0"), "{error}");
}

#[test]
fn a_plan_for_the_values_of_switches_takes_their_branches() {
    let mut model = Builder::new();
    let rate = model.typed_input("rate", DType::I64);
    let x = model.input("x", None);
    let limit = model.weight(Literal::i64(&[], &[16000]));
    let condition = model.node(Op::Compare(Compare::Equal), &[rate, limit]);
    let y = product_or_not(&mut model, condition, x, false);
    model.output(y);
    let mut model = model.finish();
    model.graph.values[rate.0 as usize].dims = Some(vec![]);
    assert_eq!(control_inputs(&model.graph), [0]);
    let layout = Layout::new(&model, LayoutOptions::default());
    let plan = |columns: usize, rate: Option<Literal>| {
        let options = CompileOptions::default();
        let shapes = [Some(vec![]), Some(vec![2, columns])];
        let evaluator = ShapeMath;
        let known = [rate, None];
        Plan::compile_knowing(&model.graph, &model, &layout, &shapes, &known, &evaluator, &options)
    };
    let rate = |rate: i64| Some(Literal::i64(&[], &[rate]));
    let op = |plan: Plan| {
        assert_eq!(plan.inputs.len(), 2, "a switch is still given");
        plan.steps.iter().map(|step| step.op.clone()).collect::<Vec<_>>()
    };
    assert_eq!(op(plan(3, rate(16000)).unwrap()), [Op::Unary(Unary::Neg)]);
    assert_eq!(op(plan(4, rate(8000)).unwrap()), [Op::MatMul]);
    let error = plan(3, rate(8000)).unwrap_err();
    assert!(matches!(&error, PlanError::Infer { node, .. } if node == "n0"), "{error}");
    // What is not of the input's type or shape is not known.
    for odd in [Literal::f32(&[], &[16000.0]), Literal::i64(&[1], &[16000])] {
        assert!(plan(3, Some(odd)).unwrap().steps.iter().any(|step| !step.bodies.is_empty()));
    }
}

#[test]
fn control_inputs_are_small_integers_that_reach_a_condition() {
    let mut model = Builder::new();
    let small = |model: &mut Builder, name, dtype| model.typed_input(name, dtype);
    let switch = small(&mut model, "switch", DType::I64);
    let idle = small(&mut model, "idle", DType::I64);
    let real = small(&mut model, "real", DType::F32);
    let many = small(&mut model, "many", DType::I64);
    let nested = small(&mut model, "nested", DType::Bool);
    let unsized_ = small(&mut model, "unsized", DType::I64);
    let x = model.input("x", None);
    // An outer condition from several inputs; an inner one that is only passed on to a body.
    let mut sum = switch;
    for input in [real, many, unsized_] {
        sum = model.node(Op::Binary(Binary::Add), &[sum, input]);
    }
    let condition = model.node(Op::Compare(Compare::Equal), &[sum, sum]);
    let inner = |passes_on: bool| {
        let mut body = Builder::new();
        let (x, flag) = (body.input("x", None), body.typed_input("flag", DType::Bool));
        let y = if passes_on {
            branches(&mut body, flag, x)
        } else {
            body.node(Op::Unary(Unary::Relu), &[x])
        };
        body.output(y);
        body.body()
    };
    let op = Op::If { then_branch: inner(true), else_branch: inner(false) };
    let y = model.node(op, &[condition, x, nested]);
    let z = model.node(Op::Binary(Binary::Add), &[y, idle]);
    model.output(z);
    let mut model = model.finish();
    let dims = |value: ValueId, dims: &[usize], model: &mut Model| {
        let dims = dims.iter().map(|&size| Dim::Fixed(size)).collect();
        model.graph.values[value.0 as usize].dims = Some(dims);
    };
    for value in [switch, idle, real, nested] {
        dims(value, &[1], &mut model);
    }
    dims(many, &[8], &mut model);
    let found = control_inputs(&model.graph);
    let names: Vec<_> = found
        .iter()
        .map(|&index| &*model.graph.value(model.graph.inputs[index].value).name)
        .collect();
    assert_eq!(names, ["switch", "nested"]);
}
