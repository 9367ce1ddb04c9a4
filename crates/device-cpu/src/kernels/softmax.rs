//! Softmax, its logarithm, and the one-hot maximum, along one axis.

use super::element::{Arithmetic, Real, with_real};
use super::operands::{around, input, output};
use super::parallel;
use super::simd::{max_of, sum_of, vectorise_for};
use crate::{KernelError, View, ViewMut};
use sublet_graph::shape::axis;

/// Which function of the axis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Softmax,
    LogSoftmax,
    Hardmax,
}

/// Computes [`sublet_graph::Op::Softmax`], [`sublet_graph::Op::LogSoftmax`] and [`sublet_graph::Op::Hardmax`].
pub fn run(
    kind: Kind,
    along: i64,
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let x = input(inputs, 0)?;
    let out = output(outputs, 0)?;
    if x.rank() == 0 {
        return with_real!("Softmax", x.dtype, T => {
            out.values::<T>()[0] = if kind == Kind::LogSoftmax { T::ZERO } else { T::ONE };
            Ok(())
        });
    }
    let (_, len, inner) = around(x.shape, axis(along, x.rank())?);
    with_real!("Softmax", x.dtype, T => {
        let x = x.values::<T>();
        parallel::rows(out.values::<T>(), len * inner, 8 * len * inner, |row, out| {
            out.copy_from_slice(&x[row * len * inner..][..len * inner]);
            vectorise_for::<T, _>(
                #[inline(always)]
                || match (kind, inner) {
                    (Kind::Hardmax, _) => hardmax(out, inner),
                    (Kind::Softmax, 1) => softmax_row(out),
                    (Kind::LogSoftmax, 1) => log_softmax_row(out),
                    _ => columns(kind, out, inner),
                },
            );
        });
        Ok(())
    })
}

/// Softmax of one row, in place.
#[inline(always)]
pub fn softmax_row<T: Real>(row: &mut [T]) {
    let max = max_of(row);
    for x in row.iter_mut() {
        *x = (*x - max).exp();
    }
    let sum = sum_of(
        row,
        #[inline(always)]
        |x| x,
    );
    for x in row.iter_mut() {
        *x /= sum;
    }
}

#[inline(always)]
fn log_softmax_row<T: Real>(row: &mut [T]) {
    let max = max_of(row);
    let sum = sum_of(
        row,
        #[inline(always)]
        |x| (x - max).exp(),
    );
    let shift = max + sum.ln();
    for x in row.iter_mut() {
        *x -= shift;
    }
}

/// Softmax down the columns of a matrix with rows of `inner` elements, all columns together.
#[inline(always)]
fn columns<T: Real>(kind: Kind, values: &mut [T], inner: usize) {
    let mut max = vec![T::NEG_INFINITY; inner];
    let mut sum = vec![T::ZERO; inner];
    for row in values.chunks(inner) {
        for (max, &x) in max.iter_mut().zip(row) {
            *max = max.larger(x);
        }
    }
    for row in values.chunks_mut(inner) {
        for ((x, sum), &max) in row.iter_mut().zip(&mut sum).zip(&max) {
            let shifted = *x - max;
            let power = shifted.exp();
            *sum += power;
            *x = if kind == Kind::Softmax { power } else { shifted };
        }
    }
    if kind == Kind::LogSoftmax {
        sum.iter_mut().for_each(|sum| *sum = sum.ln());
    }
    for row in values.chunks_mut(inner) {
        for (x, &sum) in row.iter_mut().zip(&sum) {
            *x = if kind == Kind::Softmax { *x / sum } else { *x - sum };
        }
    }
}

/// One at the first maximum of each column, zero elsewhere.
fn hardmax<T: Real>(values: &mut [T], inner: usize) {
    for column in 0..inner {
        let mut best = column;
        for at in (column..values.len()).step_by(inner) {
            if values[at] > values[best] {
                best = at;
            }
        }
        for at in (column..values.len()).step_by(inner) {
            values[at] = if at == best { T::ONE } else { T::ZERO };
        }
    }
}
