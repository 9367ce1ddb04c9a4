//! Tensors made from few numbers.

use super::{assert_close, check, evaluate, i64s, one};
use sublet_graph::{DType, Literal, Op, Scalar};

#[test]
fn shapes_and_sizes() {
    let x = Literal::f32(&[2, 3, 4], &[0.0; 24]);
    check(&Op::Shape { start: 0, end: None }, &[&x], &i64s(&[2, 3, 4]));
    check(&Op::Shape { start: -2, end: Some(-1) }, &[&x], &i64s(&[3]));
    check(&Op::Shape { start: 2, end: Some(1) }, &[&x], &i64s(&[]));
    check(&Op::Size, &[&x], &Literal::i64(&[], &[24]));
}

#[test]
fn constants_and_ranges() {
    let value = Scalar { dtype: DType::I32, bits: 7 };
    let sevens = Literal::from_values::<i32>(DType::I32, &[2, 1], &[7, 7]);
    check(&Op::ConstantOfShape { value }, &[&i64s(&[2, 1])], &sevens);
    let number = |value| Literal::i64(&[], &[value]);
    check(&Op::Range, &[&number(10), &number(4), &number(-2)], &i64s(&[10, 8, 6]));
    let number = |value| Literal::f32(&[], &[value]);
    let range = one(&Op::Range, &[&number(1.0), &number(2.0), &number(0.25)]);
    assert_eq!(range, Literal::f32(&[4], &[1.0, 1.25, 1.5, 1.75]));
}

#[test]
fn rows_with_one_hot_place() {
    let values = Literal::f32(&[2], &[-1.0, 1.0]);
    let depth = Literal::i64(&[], &[3]);
    let expected = Literal::f32(&[3, 3], &[-1.0, 1.0, -1.0, -1.0, -1.0, 1.0, -1.0, -1.0, -1.0]);
    check(&Op::OneHot { axis: -1 }, &[&i64s(&[1, -1, 3]), &depth, &values], &expected);
    let expected = Literal::f32(&[3, 2], &[-1.0, 1.0, 1.0, -1.0, -1.0, -1.0]);
    check(&Op::OneHot { axis: 0 }, &[&i64s(&[1, 0]), &depth, &values], &expected);
}

#[test]
fn diagonals_and_triangles() {
    let x = Literal::i64(&[2, 3], &[1, 2, 3, 4, 5, 6]);
    let eye = |k| Op::EyeLike { dtype: Some(DType::F32), k };
    check(&eye(1), &[&x], &Literal::f32(&[2, 3], &[0.0, 1.0, 0.0, 0.0, 0.0, 1.0]));
    check(&eye(i64::MAX), &[&x], &Literal::f32(&[2, 3], &[0.0; 6]));
    let cases = [
        (true, 0, [1, 2, 3, 0, 5, 6]),
        (true, 2, [0, 0, 3, 0, 0, 0]),
        (true, -5, [1, 2, 3, 4, 5, 6]),
        (false, 0, [1, 0, 0, 4, 5, 0]),
        (false, 1, [1, 2, 0, 4, 5, 6]),
        (false, i64::MIN, [0; 6]),
    ];
    for (upper, k, expected) in cases {
        let k = Literal::i64(&[], &[k]);
        check(&Op::Trilu { upper }, &[&x, &k], &Literal::i64(&[2, 3], &expected));
    }
    let empty = Literal::f32(&[3, 0], &[]);
    assert_eq!(evaluate(&Op::Trilu { upper: true }, &[Some(&empty)], 1).unwrap()[0], empty);
}

#[test]
fn windows_and_filter_banks() {
    let dtype = DType::F32;
    let size = Literal::i64(&[], &[4]);
    let windows = [
        (Op::HannWindow { periodic: true, dtype }, [0.0, 0.5, 1.0, 0.5]),
        (Op::HannWindow { periodic: false, dtype }, [0.0, 0.75, 0.75, 0.0]),
        (Op::HammingWindow { periodic: true, dtype }, [0.0869565, 0.5434783, 1.0, 0.5434783]),
        (Op::BlackmanWindow { periodic: true, dtype }, [0.0, 0.34, 1.0, 0.34]),
    ];
    for (op, expected) in windows {
        check(&op, &[&size], &Literal::f32(&[4], &expected));
    }
    let number = |value| Literal::i64(&[], &[value]);
    let edge = |value| Literal::f32(&[], &[value]);
    let mel = Op::MelWeightMatrix { dtype };
    let inputs = [&number(2), &number(8), &number(8000), &edge(0.0), &edge(4000.0)];
    let bank = one(&mel, &inputs);
    assert_eq!(bank.shape(), [5, 2]);
    let expected = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    assert_close(&bank, &Literal::f32(&[5, 2], &expected), "mel");
}
