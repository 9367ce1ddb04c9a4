//! Operators through the evaluator: small cases with known results, and random ones against naive loops.

mod convolution;
mod elementwise;
mod generation;
mod images;
mod indexing;
mod layers;
mod movement;
mod products;
mod reduction;
mod selection;
mod signals;

use crate::Evaluator;
use sublet_graph::{DType, Evaluate, EvaluateError, Literal, Op};

/// The outputs of `op`; `None` for an input left out.
fn evaluate(
    op: &Op,
    inputs: &[Option<&Literal>],
    outputs: usize,
) -> Result<Vec<Literal>, EvaluateError> {
    Evaluator.evaluate(op, inputs, outputs)
}

/// The only output of `op` when all inputs are given.
fn one(op: &Op, inputs: &[&Literal]) -> Literal {
    let given: Vec<Option<&Literal>> = inputs.iter().copied().map(Some).collect();
    let mut outputs = evaluate(op, &given, 1).unwrap_or_else(|error| panic!("{op}: {error}"));
    outputs.remove(0)
}

/// Types and shapes agree, and so do values: floats to a relative 1e-5 and to 1e-6 of the largest of them (at least
/// of 1), NaN with NaN.
fn assert_close(found: &Literal, expected: &Literal, what: &str) {
    assert_eq!(
        (found.dtype(), found.shape()),
        (expected.dtype(), expected.shape()),
        "{what}: {found:?}, expected {expected:?}"
    );
    let (Some(values), Some(wanted)) = (found.to_f32s(), expected.to_f32s()) else {
        assert_eq!(found, expected, "{what}");
        return;
    };
    let finite = wanted.iter().filter(|wanted| wanted.is_finite());
    let largest = finite.fold(1.0f32, |largest, wanted| largest.max(wanted.abs()));
    for (at, (value, wanted)) in values.iter().zip(&wanted).enumerate() {
        let close = value == wanted
            || (value.is_nan() && wanted.is_nan())
            || (value - wanted).abs() <= 1e-5 * wanted.abs() + 1e-6 * largest;
        assert!(close, "{what}: element {at} is {value}, not {wanted}: {found:?}, {expected:?}");
    }
}

fn check(op: &Op, inputs: &[&Literal], expected: &Literal) {
    assert_close(&one(op, inputs), expected, &format!("{op}"));
}

/// The operator refuses the values, without a panic.
fn check_invalid(op: &Op, inputs: &[&Literal]) {
    let given: Vec<Option<&Literal>> = inputs.iter().copied().map(Some).collect();
    match evaluate(op, &given, 1) {
        Err(EvaluateError::Invalid(_)) => {}
        other => panic!("{op}: {other:?}"),
    }
}

/// All index tuples of a shape, in row-major order.
fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for &dim in shape {
        all = all
            .into_iter()
            .flat_map(|index: Vec<usize>| {
                (0..dim).map(move |at| index.iter().copied().chain([at]).collect())
            })
            .collect();
    }
    all
}

fn linear(shape: &[usize], index: &[usize]) -> usize {
    shape.iter().zip(index).fold(0, |at, (&dim, &index)| at * dim + index)
}

/// Elements of any type whose bytes are all different enough to notice a wrong place.
fn numbered(dtype: DType, shape: &[usize]) -> Literal {
    let count: usize = shape.iter().product();
    let bytes: Vec<u8> = (0..count)
        .flat_map(|at| {
            ((at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 3).to_le_bytes()[..dtype.size()]
                .to_vec()
        })
        .collect();
    Literal::new(dtype, shape.to_vec(), bytes.into()).expect("as many bytes as elements")
}

/// The literal whose element at each index of `shape` is that of `x` at the index that `source` names.
fn picked(
    x: &Literal,
    shape: &[usize],
    source: impl Fn(&[usize]) -> Option<Vec<usize>>,
) -> Literal {
    let size = x.dtype().size();
    let mut bytes = Vec::new();
    for index in indices(shape) {
        match source(&index) {
            Some(from) => {
                let at = linear(x.shape(), &from) * size;
                bytes.extend_from_slice(&x.bytes()[at..at + size]);
            }
            None => bytes.extend(std::iter::repeat_n(0, size)),
        }
    }
    Literal::new(x.dtype(), shape.to_vec(), bytes.into()).expect("as many bytes as elements")
}

fn random_shape(random: &mut fastrand::Rng, rank: usize, most: usize) -> Vec<usize> {
    (0..rank).map(|_| random.usize(1..=most)).collect()
}

fn random_floats(random: &mut fastrand::Rng, shape: &[usize]) -> Literal {
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| random.f32() * 2.0 - 1.0).collect();
    Literal::f32(shape, &values)
}

fn i64s(values: &[i64]) -> Literal {
    Literal::i64(&[values.len()], values)
}
