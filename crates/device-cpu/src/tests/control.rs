//! Control flow.

use super::rig::{Builder, Packed, indices};
use sublet_device::DeviceError;
use sublet_graph::{Binary, Compare, DType, Graph, Literal, Op, ScanOptions, Unary};

fn scalar(value: i64) -> Literal {
    Literal::i64(&[], &[value])
}

/// `condition ? gather(x, index) : -x`: only the taken branch runs, so a bad index matters only there.
fn conditional() -> Packed {
    let mut then_branch = Builder::new();
    let x = then_branch.input("x", DType::F32);
    let index = then_branch.input("index", DType::I64);
    let y = then_branch.node(Op::Gather { axis: 0 }, &[x, index]);
    then_branch.outputs(&[y]);
    let mut else_branch = Builder::new();
    let x = else_branch.input("x", DType::F32);
    else_branch.input("index", DType::I64);
    let y = else_branch.node(Op::Unary(Unary::Neg), &[x]);
    else_branch.outputs(&[y]);
    let op = Op::If { then_branch: then_branch.body(), else_branch: else_branch.body() };
    let mut model = Builder::new();
    let condition = model.input("condition", DType::Bool);
    let x = model.input("x", DType::F32);
    let index = model.input("index", DType::I64);
    let y = model.node(op, &[condition, x, index]);
    let z = model.node(Op::Unary(Unary::Neg), &[y]);
    model.outputs(&[y, z]);
    Packed::new(model.finish())
}

#[test]
fn only_the_taken_branch_runs() {
    let model = conditional();
    let x = Literal::f32(&[2], &[1.0, 2.0]);
    let run = |condition, index| {
        model.solo(&[Literal::bool(&[], &[condition]), x.clone(), indices(&[index])])
    };
    let outputs = run(true, 1).unwrap();
    assert_eq!(outputs[..], [Literal::f32(&[1], &[2.0]), Literal::f32(&[1], &[-2.0])]);
    let outputs = run(false, 99).unwrap();
    assert_eq!(outputs[..], [Literal::f32(&[2], &[-1.0, -2.0]), x.clone()]);
    let error = run(true, 99).unwrap_err();
    assert!(matches!(&error, DeviceError::Invalid { place, .. } if place == "n0/n0"), "{error}");
}

/// Carries `sum = sum + step` while `sum < limit`; scan output: `sum`.
fn summing_body() -> Box<Graph> {
    let mut body = Builder::new();
    body.input("iteration", DType::I64);
    body.input("condition", DType::Bool);
    let sum = body.input("sum", DType::I64);
    let step = body.input("step", DType::I64);
    let limit = body.input("limit", DType::I64);
    let next = body.node(Op::Binary(Binary::Add), &[sum, step]);
    let condition = body.node(Op::Compare(Compare::Less), &[next, limit]);
    body.outputs(&[condition, next, next]);
    body.body()
}

fn summing() -> Packed {
    let mut model = Builder::new();
    let mut inputs = vec![Some(model.input("trips", DType::I64))];
    inputs.push(Some(model.input("condition", DType::Bool)));
    for name in ["sum", "step", "limit"] {
        inputs.push(Some(model.input(name, DType::I64)));
    }
    let outputs = model.nodes(Op::Loop { body: summing_body(), carried: 1 }, inputs, 2);
    model.outputs(&outputs);
    Packed::new(model.finish())
}

#[test]
fn a_loop_ends_by_count_or_by_condition() {
    let model = summing();
    let run = |trips, condition, limit| {
        let condition = Literal::bool(&[], &[condition]);
        model.solo(&[scalar(trips), condition, scalar(1), scalar(2), scalar(limit)]).unwrap()
    };
    assert_eq!(run(3, true, 100)[..], [scalar(7), indices(&[3, 5, 7])]);
    assert_eq!(run(100, true, 8)[..], [scalar(9), indices(&[3, 5, 7, 9])]);
    assert_eq!(run(100, false, 8)[..], [scalar(1), indices(&[])]);
    assert_eq!(run(-1, true, 8)[..], [scalar(1), indices(&[])]);
}

#[test]
fn an_endless_loop_is_an_error() {
    let mut body = Builder::new();
    body.input("iteration", DType::I64);
    let condition = body.input("condition", DType::Bool);
    let carried = body.input("carried", DType::F32);
    body.outputs(&[condition, carried]);
    let mut model = Builder::new();
    let x = model.input("x", DType::F32);
    let trips = model.weight(scalar(i64::MAX));
    let op = Op::Loop { body: body.body(), carried: 1 };
    let outputs = model.nodes(op, vec![Some(trips), None, Some(x)], 1);
    model.outputs(&outputs);
    let error = Packed::new(model.finish()).solo(&[Literal::f32(&[], &[0.0])]).unwrap_err();
    assert!(error.to_string().contains("has not ended"), "{error}");
}

#[test]
fn a_scan_goes_along_any_axis_in_both_directions() {
    let mut body = Builder::new();
    let sum = body.input("sum", DType::F32);
    let slice = body.input("slice", DType::F32);
    let next = body.node(Op::Binary(Binary::Add), &[sum, slice]);
    body.outputs(&[next, next]);
    let op = Op::Scan(ScanOptions {
        body: body.body(),
        states: 1,
        scan_inputs: 1,
        input_axes: vec![1],
        input_reverse: vec![true],
        output_axes: vec![-1],
        output_reverse: vec![false],
    });
    let mut model = Builder::new();
    let sum = model.input("sum", DType::F32);
    let x = model.input("x", DType::F32);
    let outputs = model.nodes(op, vec![Some(sum), Some(x)], 2);
    model.outputs(&outputs);
    let model = Packed::new(model.finish());
    let x = Literal::f32(&[2, 3], &[1.0, 2.0, 3.0, 10.0, 20.0, 30.0]);
    let outputs = model.solo(&[Literal::f32(&[2], &[0.0, 0.5]), x]).unwrap();
    assert_eq!(outputs[0], Literal::f32(&[2], &[6.0, 60.5]));
    assert_eq!(outputs[1], Literal::f32(&[2, 3], &[3.0, 5.0, 6.0, 30.5, 50.5, 60.5]));
}
