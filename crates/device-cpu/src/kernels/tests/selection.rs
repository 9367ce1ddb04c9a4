//! Extremes, the top k, distinct values, non-zero places, compression, suppression of boxes.

use super::{assert_close, check, check_invalid, evaluate, i64s, one, random_floats};
use sublet_graph::{DType, Literal, Op};

#[test]
fn extremes_choose_the_first_or_the_last() {
    let x = Literal::f32(&[2, 3], &[2.0, 5.0, 5.0, 1.0, 1.0, 0.0]);
    let max = |axis, last| Op::ArgMax { axis, keep_dims: false, last };
    let min = |axis, last| Op::ArgMin { axis, keep_dims: false, last };
    check(&max(1, false), &[&x], &i64s(&[1, 0]));
    check(&max(-1, true), &[&x], &i64s(&[2, 1]));
    check(&min(0, false), &[&x], &i64s(&[1, 1, 1]));
    let ties = Literal::f32(&[2, 2], &[1.0, 1.0, 1.0, 1.0]);
    check(&min(0, true), &[&ties], &i64s(&[1, 1]));
    let nan = Literal::f32(&[4], &[1.0, f32::NAN, 9.0, f32::NAN]);
    check(&max(0, false), &[&nan], &Literal::i64(&[], &[1]));
    check(&min(0, true), &[&nan], &Literal::i64(&[], &[3]));
    let kept = Op::ArgMax { axis: 0, keep_dims: true, last: false };
    check(&kept, &[&i64s(&[3, 7, 7])], &i64s(&[1]));
    check_invalid(&max(1, false), &[&Literal::f32(&[2, 0], &[])]);
    let mut random = fastrand::Rng::with_seed(9);
    let long = random_floats(&mut random, &[1003]);
    let values: Vec<f32> = long.to_vec();
    let best = (0..1003).max_by(|&a, &b| values[a].total_cmp(&values[b])).unwrap();
    check(&max(0, false), &[&long], &Literal::i64(&[], &[best as i64]));
}

fn top(x: &Literal, k: i64, axis: i64, largest: bool) -> (Literal, Literal) {
    let op = Op::TopK { axis, largest, sorted: true };
    let mut outputs = evaluate(&op, &[Some(x), Some(&i64s(&[k]))], 2).unwrap();
    let indices = outputs.pop().unwrap();
    (outputs.pop().unwrap(), indices)
}

#[test]
fn the_top_is_stable() {
    let x = Literal::f32(&[2, 4], &[1.0, 3.0, 3.0, 2.0, 5.0, f32::NAN, 5.0, 5.0]);
    let (values, indices) = top(&x, 3, 1, true);
    let expected = [3.0, 3.0, 2.0, f32::NAN, 5.0, 5.0];
    assert_close(&values, &Literal::f32(&[2, 3], &expected), "largest");
    assert_eq!(indices, Literal::i64(&[2, 3], &[1, 2, 3, 1, 0, 2]));
    let (_, indices) = top(&x, 4, 1, false);
    assert_eq!(indices, Literal::i64(&[2, 4], &[0, 3, 1, 2, 0, 2, 3, 1]));
    let (values, indices) = top(&i64s(&[4, 4, 1]), 2, 0, false);
    assert_eq!((values, indices), (i64s(&[1, 4]), i64s(&[2, 0])));
    let (values, indices) = top(&x, 1, 0, true);
    assert_close(&values, &Literal::f32(&[1, 4], &[5.0, f32::NAN, 5.0, 5.0]), "first axis");
    assert_eq!(indices, Literal::i64(&[1, 4], &[1, 1, 1, 1]));
    let (values, _) = top(&x, 0, 0, true);
    assert_eq!(values.shape(), [0, 4]);
}

#[test]
fn distinct_values_in_both_orders() {
    let x = Literal::f32(&[6], &[2.0, 1.0, 1.0, 3.0, 4.0, 3.0]);
    let unique =
        |x: &Literal, axis, sorted| evaluate(&Op::Unique { axis, sorted }, &[Some(x)], 4).unwrap();
    let sorted = unique(&x, None, true);
    assert_eq!(sorted[0], Literal::f32(&[4], &[1.0, 2.0, 3.0, 4.0]));
    assert_eq!(sorted[1], i64s(&[1, 0, 3, 4]));
    assert_eq!(sorted[2], i64s(&[1, 0, 0, 2, 3, 2]));
    assert_eq!(sorted[3], i64s(&[2, 1, 2, 1]));
    let unsorted = unique(&x, None, false);
    assert_eq!(unsorted[0], Literal::f32(&[4], &[2.0, 1.0, 3.0, 4.0]));
    assert_eq!(unsorted[2], i64s(&[0, 1, 1, 2, 3, 2]));
    let x = Literal::i64(&[2, 3], &[5, 0, 5, 6, 1, 6]);
    let columns = unique(&x, Some(1), true);
    assert_eq!(columns[0], Literal::i64(&[2, 2], &[0, 5, 1, 6]));
    assert_eq!(columns[2], i64s(&[1, 0, 1]));
    assert_eq!(unique(&Literal::f32(&[0], &[]), None, true)[0].shape(), [0]);
}

#[test]
fn places_and_conditions() {
    let x = Literal::f32(&[2, 2], &[1.0, -0.0, f32::NAN, 2.0]);
    check(&Op::NonZero, &[&x], &Literal::i64(&[2, 3], &[0, 1, 1, 0, 0, 1]));
    check(&Op::NonZero, &[&Literal::i64(&[], &[4])], &Literal::i64(&[0, 1], &[]));
    let x = Literal::i64(&[3, 2], &[1, 2, 3, 4, 5, 6]);
    let keep = Literal::bool(&[3], &[false, true, true]);
    check(&Op::Compress { axis: Some(0) }, &[&x, &keep], &Literal::i64(&[2, 2], &[3, 4, 5, 6]));
    check(&Op::Compress { axis: None }, &[&x, &keep], &i64s(&[2, 3]));
    let short = Literal::bool(&[1], &[true]);
    check(&Op::Compress { axis: Some(-1) }, &[&x, &short], &Literal::i64(&[3, 1], &[1, 3, 5]));
    check_invalid(&Op::Compress { axis: Some(1) }, &[&x, &keep]);
}

#[test]
fn boxes_suppress_worse_ones() {
    let boxes = [
        [0.0, 0.0, 1.0, 1.0],
        [0.0, 0.1, 1.0, 1.1],
        [0.0, -0.1, 1.0, 0.9],
        [0.0, 10.0, 1.0, 11.0],
        [0.0, 10.1, 1.0, 11.1],
        [0.0, 100.0, 1.0, 101.0],
    ];
    let boxes = Literal::f32(&[1, 6, 4], boxes.as_flattened());
    let scores = Literal::f32(&[1, 1, 6], &[0.9, 0.75, 0.6, 0.95, 0.5, 0.3]);
    let number = |value: f32| Literal::f32(&[1], &[value]);
    let op = Op::NonMaxSuppression { center_point_box: false };
    let found =
        |most, score| one(&op, &[&boxes, &scores, &i64s(&[most]), &number(0.5), &number(score)]);
    assert_eq!(found(3, 0.0), Literal::i64(&[3, 3], &[0, 0, 3, 0, 0, 0, 0, 0, 5]));
    assert_eq!(found(2, 0.0), Literal::i64(&[2, 3], &[0, 0, 3, 0, 0, 0]));
    assert_eq!(found(3, 0.92), Literal::i64(&[1, 3], &[0, 0, 3]));
    assert_eq!(found(0, 0.0), Literal::from_values::<i64>(DType::I64, &[0, 3], &[]));
}
