//! Positions of extreme values: arg max, arg min, and the k largest or smallest.

use super::operands::{around, invalid};
use super::order::{keys, narrow_keys};
use super::parallel;
use super::simd::vectorise;
use super::strided::with_unit;
use crate::{KernelError, View, ViewMut};
use sublet_graph::{DType, shape};

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
    let axes = [len, inner];
    if x.dtype == DType::F32 {
        let mut keys = narrow_keys(x.values());
        if extreme == Extreme::Smallest {
            keys.iter_mut().for_each(|key| *key = if *key == i32::MAX { *key } else { !*key });
        }
        arg_max(&keys, axes, last, y.values());
    } else {
        let mut keys = keys(x)?;
        // NaN, which has the largest key, stays where it is.
        if extreme == Extreme::Smallest {
            keys.iter_mut().for_each(|key| *key = if *key == i64::MAX { *key } else { !*key });
        }
        arg_max(&keys, axes, last, y.values());
    }
    Ok(())
}

fn arg_max<K: Ord + Copy + Sync>(keys: &[K], [len, inner]: [usize; 2], last: bool, y: &mut [i64]) {
    parallel::rows(y, inner, len * inner, |row, y| {
        let keys = &keys[row * len * inner..][..len * inner];
        if inner == 1 {
            // A maximum without positions vectorises; finding it again is quick.
            let best = vectorise(
                #[inline(always)]
                || keys.iter().copied().fold(keys[0], K::max),
            );
            let is_best = |key: &K| *key == best;
            let found =
                if last { keys.iter().rposition(is_best) } else { keys.iter().position(is_best) };
            y[0] = found.unwrap_or(0) as i64;
            return;
        }
        let mut best = keys[..inner].to_vec();
        y.fill(0);
        for (index, row) in keys.chunks_exact(inner).enumerate().skip(1) {
            for ((y, best), &key) in y.iter_mut().zip(&mut best).zip(row) {
                if key > *best || (last && key == *best) {
                    (*best, *y) = (key, index as i64);
                }
            }
        }
    });
}

/// Outputs: values and indices of the `k` first in order along an axis; of equals the smaller index first. NaN counts
/// as the largest number.
pub fn top_k(
    x: View<'_>,
    along: i64,
    extreme: Extreme,
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let along = shape::axis(along, x.rank())?;
    let (outer, len, inner) = around(x.shape, along);
    let Some(k) = outputs.iter().flatten().next().map(|output| output.shape[along]) else {
        return Ok(());
    };
    if k > len {
        return Err(invalid(format!("the top {k} of {len}")));
    }
    let mut chosen = vec![0; outer * k * inner];
    let mut keys = keys(x)?;
    if extreme == Extreme::Largest {
        keys.iter_mut().for_each(|key| *key = !*key);
    }
    parallel::rows(&mut chosen, k * inner, len * inner * 8, |row, chosen| {
        choose(&keys[row * len * inner..][..len * inner], inner, chosen);
    });
    if let Some(Some(values)) = outputs.first_mut() {
        let from = |(at, &index): (usize, &i64)| {
            (at / (k * inner) * len + index as usize) * inner + at % inner
        };
        with_unit!(x.dtype.size(), U => {
            let x: &[U] = bytemuck::cast_slice(x.bytes);
            let places = chosen.iter().enumerate().map(from);
            let values: &mut [U] = bytemuck::cast_slice_mut(values.bytes);
            values.iter_mut().zip(places).for_each(|(value, at)| *value = x[at]);
        });
    }
    if let Some(Some(indices)) = outputs.get_mut(1) {
        indices.values::<i64>().copy_from_slice(&chosen);
    }
    Ok(())
}

/// For each of `inner` columns the positions of the smallest keys, as many as there are rows in `chosen`.
fn choose(keys: &[i64], inner: usize, chosen: &mut [i64]) {
    let k = chosen.len() / inner;
    let mut places: Vec<(i64, usize)> = Vec::with_capacity(keys.len() / inner);
    for column in 0..inner {
        places.clear();
        places.extend(keys[column..].iter().copied().step_by(inner).zip(0..));
        if k < places.len() {
            places.select_nth_unstable(k - 1);
        }
        places[..k].sort_unstable();
        for (rank, (_, place)) in places[..k].iter().enumerate() {
            chosen[rank * inner + column] = *place as i64;
        }
    }
}
