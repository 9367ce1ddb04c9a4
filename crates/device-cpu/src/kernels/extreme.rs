//! Positions of extreme values: arg max, arg min, and the k largest or smallest.

use super::element::{Arithmetic, with_arithmetic};
use super::operands::{around, invalid};
use super::select::order;
use super::strided::PARALLEL_BYTES;
use crate::{KernelError, View, ViewMut};
use rayon::prelude::*;
use std::cmp::Ordering;
use sublet_graph::shape;

/// Which of several values an operator looks for.
#[derive(Clone, Copy, PartialEq)]
pub enum Extreme {
    Largest,
    Smallest,
}

/// The index of the extreme value along an axis: the first of equals, or the last. NaN is extreme both ways.
pub fn arg_extreme(
    x: View<'_>,
    along: i64,
    extreme: Extreme,
    last: bool,
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let (outer, len, inner) = around(x.shape, shape::axis(along, x.rank())?);
    if y.len() != outer * inner {
        return Err(invalid(format!("{:?} into {:?}", x.shape, y.shape)));
    }
    if y.is_empty() {
        return Ok(());
    }
    if len == 0 {
        return Err(invalid("no values to choose the extreme one from"));
    }
    let y = y.values::<i64>();
    with_arithmetic!("the extreme", x.dtype, T => {
        match (extreme, last) {
        (Extreme::Largest, false) => arg::<T>(x.values(), len, inner, |a, b| a > b, y),
        (Extreme::Largest, true) => arg::<T>(x.values(), len, inner, |a, b| a >= b, y),
        (Extreme::Smallest, false) => arg::<T>(x.values(), len, inner, |a, b| a < b, y),
        (Extreme::Smallest, true) => arg::<T>(x.values(), len, inner, |a, b| a <= b, y),
        }
        Ok(())
    })
}

/// `wins(a, b)`: a later `a` replaces `b`.
fn arg<T: Arithmetic>(
    x: &[T],
    len: usize,
    inner: usize,
    wins: impl Fn(T, T) -> bool + Sync,
    y: &mut [i64],
) {
    let last_of_equals = wins(T::ZERO, T::ZERO);
    let replaces =
        |new: T, old: T| wins(new, old) || (is_nan(new) && (last_of_equals || !is_nan(old)));
    let each = (PARALLEL_BYTES / std::mem::size_of::<T>()).div_ceil(len * inner);
    let rows = y.par_chunks_mut(inner).zip(x.par_chunks(len * inner)).with_min_len(each);
    rows.for_each(|(y, x)| {
        if inner == 1 {
            y[0] = arg_row(x, &replaces, last_of_equals) as i64;
            return;
        }
        let mut best = x[..inner].to_vec();
        y.fill(0);
        for (index, row) in x.chunks_exact(inner).enumerate().skip(1) {
            for ((y, best), &value) in y.iter_mut().zip(&mut best).zip(row) {
                if replaces(value, *best) {
                    *best = value;
                    *y = index as i64;
                }
            }
        }
    });
}

/// Finds the value first, in lanes that vectorise, and then where it is.
fn arg_row<T: Arithmetic>(x: &[T], replaces: impl Fn(T, T) -> bool, last_of_equals: bool) -> usize {
    const LANES: usize = 16;
    let mut lanes = [x[0]; LANES];
    for chunk in x.chunks(LANES) {
        for (best, &value) in lanes.iter_mut().zip(chunk) {
            *best = if replaces(value, *best) { value } else { *best };
        }
    }
    let fold = |best: T, value: T| if replaces(value, best) { value } else { best };
    let best = lanes[1..].iter().copied().fold(lanes[0], fold);
    let is_best = |value: &T| *value == best || (is_nan(best) && is_nan(*value));
    let found =
        if last_of_equals { x.iter().rposition(is_best) } else { x.iter().position(is_best) };
    found.expect("the extreme value is one of the values")
}

fn is_nan<T: PartialOrd>(x: T) -> bool {
    x.partial_cmp(&x).is_none()
}

/// Outputs: values and indices of the `k` first in order along an axis; of equals the smaller index first. NaN counts as the
/// largest number.
pub fn top_k(
    x: View<'_>,
    along: i64,
    extreme: Extreme,
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let mut outputs = outputs.iter_mut().map(Option::as_mut);
    let (values, indices) = (outputs.next().flatten(), outputs.next().flatten());
    let along = shape::axis(along, x.rank())?;
    let (outer, len, inner) = around(x.shape, along);
    let k = match (&values, &indices) {
        (Some(y), _) => y.shape[along],
        (None, Some(y)) => y.shape[along],
        (None, None) => return Ok(()),
    };
    if k > len {
        return Err(invalid(format!("the top {k} of {len}")));
    }
    if outer * k * inner == 0 {
        return Ok(());
    }
    let mut no_indices = Vec::new();
    let indices = match indices {
        Some(indices) => indices.values::<i64>(),
        None => {
            no_indices.resize(outer * k * inner, 0);
            &mut no_indices
        }
    };
    with_arithmetic!("the top", x.dtype, T => {
        let x = x.values::<T>();
        choose(x, [len, inner, k], extreme, indices);
        if let Some(values) = values {
            let pairs = values.values::<T>().iter_mut().zip(&*indices).enumerate();
            for (at, (value, &index)) in pairs {
                *value = x[(at / (k * inner) * len + index as usize) * inner + at % inner];
            }
        }
        Ok(())
    })
}

fn choose<T: Arithmetic>(
    x: &[T],
    [len, inner, k]: [usize; 3],
    extreme: Extreme,
    indices: &mut [i64],
) {
    let each = (PARALLEL_BYTES / 4 / std::mem::size_of::<T>()).div_ceil(len * inner);
    let rows = indices.par_chunks_mut(k * inner).zip(x.par_chunks(len * inner)).with_min_len(each);
    rows.for_each_init(Vec::new, |places: &mut Vec<usize>, (indices, x)| {
        for column in 0..inner {
            let compare = |&a: &usize, &b: &usize| -> Ordering {
                let (a_value, b_value) = (x[a * inner + column], x[b * inner + column]);
                let by_value = match extreme {
                    Extreme::Largest => order(b_value, a_value),
                    Extreme::Smallest => order(a_value, b_value),
                };
                by_value.then(a.cmp(&b))
            };
            places.clear();
            places.extend(0..len);
            if k < len {
                places.select_nth_unstable_by(k - 1, compare);
            }
            places[..k].sort_unstable_by(compare);
            for (rank, &place) in places[..k].iter().enumerate() {
                indices[rank * inner + column] = place as i64;
            }
        }
    });
}
