//! Plans run alone: views, folding, shapes that only the run tells, errors that name the step.

use super::rig::{Builder, Packed, indices, random, three_segments};
use sublet_device::DeviceError;
use sublet_graph::{Binary, DType, Literal, Op, Unary};

#[test]
fn a_step_reads_views_and_its_own_operand_twice() {
    let mut model = Builder::new();
    let x = model.input("x", DType::F32);
    let shape = model.weight(Literal::i64(&[2], &[2, -1]));
    let flat = model.node(Op::Reshape { allow_zero: false }, &[x, shape]);
    let sum = model.node(Op::Binary(Binary::Add), &[flat, flat]);
    let product = model.node(Op::Binary(Binary::Mul), &[sum, flat]);
    model.outputs(&[product, x, shape]);
    let model = Packed::new(model.finish());
    let x = Literal::f32(&[4], &[1.0, 2.0, 3.0, 4.0]);
    let outputs = model.solo(std::slice::from_ref(&x)).unwrap();
    assert_eq!(outputs[0], Literal::f32(&[2, 2], &[2.0, 8.0, 18.0, 32.0]));
    assert_eq!(outputs[1..], [x, Literal::i64(&[2], &[2, -1])]);
}

#[test]
fn shapes_that_only_the_run_tells() {
    let mut model = Builder::new();
    let x = model.input("x", DType::F32);
    let found = model.node(Op::NonZero, &[x]);
    let moved = model.node(Op::Transpose { perm: vec![] }, &[found]);
    let shape = model.node(Op::Shape { start: 0, end: None }, &[moved]);
    let twice = model.node(Op::Binary(Binary::Add), &[moved, moved]);
    model.outputs(&[twice, shape]);
    let model = Packed::new(model.finish());
    let outputs = model.solo(&[Literal::f32(&[2, 2], &[0.0, 5.0, 0.0, 7.0])]).unwrap();
    assert_eq!(outputs[0], Literal::i64(&[2, 2], &[0, 2, 2, 2]));
    assert_eq!(outputs[1], Literal::i64(&[2], &[2, 2]));
    let outputs = model.solo(&[Literal::f32(&[1, 1], &[0.0])]).unwrap();
    assert_eq!(outputs[0].shape(), [0, 2]);
}

#[test]
fn a_shape_computed_from_values_is_followed() {
    let mut model = Builder::new();
    let x = model.input("x", DType::F32);
    let shape = model.input("shape", DType::I64);
    let reshaped = model.node(Op::Reshape { allow_zero: false }, &[x, shape]);
    let y = model.node(Op::Unary(Unary::Neg), &[reshaped]);
    model.outputs(&[y]);
    let model = Packed::new(model.finish());
    let x = Literal::f32(&[4], &[1.0, 2.0, 3.0, 4.0]);
    let outputs = model.solo(&[x.clone(), indices(&[2, 2])]).unwrap();
    assert_eq!(outputs[0], Literal::f32(&[2, 2], &[-1.0, -2.0, -3.0, -4.0]));
    let error = model.solo(&[x, indices(&[3, 2])]).unwrap_err();
    assert!(matches!(&error, DeviceError::Invalid { place, .. } if place == "n0"), "{error}");
}

#[test]
fn errors_name_the_step() {
    let error = three_segments(1).solo(&[indices(&[8])]).unwrap_err();
    assert!(matches!(&error, DeviceError::Invalid { place, .. } if place == "n0"), "{error}");
}

#[test]
fn empty_tensors_run() {
    let mut model = Builder::new();
    let x = model.input("x", DType::F32);
    let w = model.weight(random(1, &[4]));
    let y = model.node(Op::Binary(Binary::Add), &[x, w]);
    let z = model.node(Op::Concat { axis: 0 }, &[y, x, y]);
    model.outputs(&[y, z]);
    let model = Packed::new(model.finish());
    for output in model.solo(&[random(1, &[0, 4])]).unwrap() {
        assert_eq!(output.shape(), [0, 4]);
    }
}

#[test]
fn a_step_may_have_several_empty_outputs() {
    let mut model = Builder::new();
    let x = model.input("x", DType::F32);
    let parts = model.nodes(Op::Split { axis: 1, parts: 2 }, vec![Some(x)], 2);
    model.outputs(&parts);
    let model = Packed::new(model.finish());
    for output in model.solo(&[random(1, &[0, 4])]).unwrap() {
        assert_eq!(output.shape(), [0, 2]);
    }
    let halves = model.solo(&[Literal::f32(&[1, 4], &[1.0, 2.0, 3.0, 4.0])]).unwrap();
    assert_eq!(halves[1], Literal::f32(&[1, 2], &[3.0, 4.0]));
}
