//! Gather and scatter.

use super::{check, check_invalid, i64s, numbered, picked, random_shape};
use sublet_graph::{DType, Literal, Op, ScatterReduction};

#[test]
fn gathers_along_every_axis() {
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..100 {
        let rank = random.usize(1..=4);
        let shape = random_shape(&mut random, rank, 6);
        let axis = random.usize(0..rank);
        let index_rank = random.usize(0..=2);
        let index_shape = random_shape(&mut random, index_rank, 4);
        let dim = shape[axis] as i64;
        let count: usize = index_shape.iter().product();
        let at: Vec<i64> = (0..count).map(|_| random.i64(-dim..dim)).collect();
        let x = numbered(DType::F32, &shape);
        let indices = Literal::i64(&index_shape, &at);
        let y_shape = [&shape[..axis], &index_shape, &shape[axis + 1..]].concat();
        let expected = picked(&x, &y_shape, |index| {
            let place = super::linear(&index_shape, &index[axis..axis + index_rank]);
            let mut from = index[..axis].to_vec();
            from.push(at[place].rem_euclid(dim) as usize);
            from.extend(&index[axis + index_rank..]);
            Some(from)
        });
        check(&Op::Gather { axis: axis as i64 }, &[&x, &indices], &expected);
    }
}

#[test]
fn gathers_elements_and_tuples() {
    let x = Literal::i64(&[2, 2], &[1, 2, 3, 4]);
    let at = Literal::i64(&[2, 2], &[0, 0, -1, 0]);
    check(&Op::GatherElements { axis: 1 }, &[&x, &at], &Literal::i64(&[2, 2], &[1, 1, 4, 3]));
    check(&Op::GatherElements { axis: 0 }, &[&x, &at], &Literal::i64(&[2, 2], &[1, 2, 3, 2]));
    let tuples = Literal::i64(&[2, 2], &[0, 0, 1, -1]);
    check(&Op::GatherND { batch_dims: 0 }, &[&x, &tuples], &i64s(&[1, 4]));
    check(
        &Op::GatherND { batch_dims: 0 },
        &[&x, &Literal::i64(&[1, 1], &[1])],
        &Literal::i64(&[1, 2], &[3, 4]),
    );
    check(&Op::GatherND { batch_dims: 1 }, &[&x, &Literal::i64(&[2, 1], &[1, 0])], &i64s(&[2, 3]));
}

#[test]
fn an_index_out_of_range_is_refused() {
    let x = Literal::i64(&[2, 2], &[1, 2, 3, 4]);
    let far = Literal::i64(&[1, 1], &[2]);
    check_invalid(&Op::Gather { axis: 0 }, &[&x, &far]);
    check_invalid(&Op::Gather { axis: 0 }, &[&x, &i64s(&[-3])]);
    check_invalid(&Op::Gather { axis: 0 }, &[&x, &i64s(&[i64::MIN])]);
    check_invalid(&Op::GatherElements { axis: 0 }, &[&x, &far]);
    check_invalid(&Op::GatherND { batch_dims: 0 }, &[&x, &far]);
    let scatter = Op::ScatterElements { axis: 0, reduction: ScatterReduction::None };
    check_invalid(&scatter, &[&x, &far, &Literal::i64(&[1, 1], &[9])]);
    let none = Literal::f32(&[0, 3], &[]);
    check_invalid(&Op::Gather { axis: 0 }, &[&none, &i64s(&[0])]);
    check(&Op::Gather { axis: 0 }, &[&none, &i64s(&[])], &none);
}

#[test]
fn scatters_with_every_reduction() {
    let x = Literal::i64(&[5], &[1, 2, 3, 4, 5]);
    let at = i64s(&[1, 3, 1]);
    let updates = i64s(&[10, -4, 7]);
    let cases = [
        (ScatterReduction::None, [1, 7, 3, -4, 5]),
        (ScatterReduction::Add, [1, 19, 3, 0, 5]),
        (ScatterReduction::Mul, [1, 140, 3, -16, 5]),
        (ScatterReduction::Max, [1, 10, 3, 4, 5]),
        (ScatterReduction::Min, [1, 2, 3, -4, 5]),
    ];
    for (reduction, expected) in cases {
        let expected = i64s(&expected);
        check(&Op::ScatterElements { axis: 0, reduction }, &[&x, &at, &updates], &expected);
        let tuples = at.reshaped(vec![3, 1]).unwrap();
        check(&Op::ScatterND { reduction }, &[&x, &tuples, &updates], &expected);
    }
}

#[test]
fn scatters_slices_and_rows() {
    let x = Literal::i64(&[2, 3], &[0; 6]);
    let rows = Literal::i64(&[1, 3], &[1, 2, 3]);
    let reduction = ScatterReduction::None;
    let expected = Literal::i64(&[2, 3], &[0, 0, 0, 1, 2, 3]);
    check(&Op::ScatterND { reduction }, &[&x, &Literal::i64(&[1, 1], &[1]), &rows], &expected);
    let at = Literal::i64(&[1, 3], &[1, 0, -1]);
    let expected = Literal::i64(&[2, 3], &[0, 2, 0, 1, 0, 3]);
    check(&Op::ScatterElements { axis: 0, reduction }, &[&x, &at, &rows], &expected);
}

#[test]
fn caches_take_updates_and_wrap() {
    let cache = Literal::i64(&[2, 3, 1], &[1, 2, 3, 4, 5, 6]);
    let update = Literal::i64(&[2, 2, 1], &[10, 20, 30, 40]);
    let scatter = |circular| Op::TensorScatter { axis: -2, circular };
    let expected = Literal::i64(&[2, 3, 1], &[1, 10, 20, 30, 40, 6]);
    check(&scatter(false), &[&cache, &update, &i64s(&[1, 0])], &expected);
    let expected = Literal::i64(&[2, 3, 1], &[20, 2, 10, 4, 30, 40]);
    check(&scatter(true), &[&cache, &update, &i64s(&[2, 1])], &expected);
    check_invalid(&scatter(false), &[&cache, &update, &i64s(&[2, 1])]);
}
