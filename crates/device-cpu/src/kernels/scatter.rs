//! Writing elements or slices at indices that are known only at run time, in the order of the updates.

use super::element::{Arithmetic, with_arithmetic};
use super::gather::{Walk, index, tuple_offset};
use super::operands::{around, integers, invalid, strides};
use super::strided::{copy_bytes, with_unit};
use crate::{KernelError, View, ViewMut};
use bytemuck::Pod;
use sublet_graph::{DType, ScatterReduction, shape};

/// `indices` has the rank of `x` and the shape of `updates`; each one replaces the index along an axis.
pub fn scatter_elements(
    [x, indices, updates]: [View<'_>; 3],
    along: i64,
    reduction: ScatterReduction,
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let along = shape::axis(along, x.rank())?;
    let fits = indices.rank() == x.rank()
        && indices.shape == updates.shape
        && (0..x.rank()).all(|axis| axis == along || indices.shape[axis] <= x.shape[axis]);
    if !fits || x.dtype != updates.dtype {
        return Err(invalid(format!(
            "indices {:?} and updates {:?} of {:?}",
            indices.shape, updates.shape, x.shape
        )));
    }
    let steps = strides(x.shape);
    let mut walk = Walk::new(indices.shape);
    let targets = integers(indices)?
        .iter()
        .map(|&at| {
            let mut target = index(at, x.shape[along])? * steps[along];
            for (axis, &place) in walk.index.iter().enumerate() {
                target += if axis == along { 0 } else { place * steps[axis] };
            }
            walk.advance();
            Ok(target)
        })
        .collect::<Result<Vec<_>, KernelError>>()?;
    scatter(x, &targets, 1, updates, reduction, y)
}

/// Each tuple along the last axis of `indices` names the slice of `x` that the next slice of `updates` goes to.
pub fn scatter_nd(
    [x, indices, updates]: [View<'_>; 3],
    reduction: ScatterReduction,
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let bad = || {
        invalid(format!(
            "indices {:?} and updates {:?} of {:?}",
            indices.shape, updates.shape, x.shape
        ))
    };
    let (&depth, tuples) = indices.shape.split_last().ok_or_else(bad)?;
    if depth > x.rank() || x.dtype != updates.dtype {
        return Err(bad());
    }
    let run: usize = x.shape[depth..].iter().product();
    let count: usize = tuples.iter().product();
    if updates.len() != count * run {
        return Err(bad());
    }
    let at = integers(indices)?;
    let targets = (0..count)
        .map(|tuple| tuple_offset(&at[tuple * depth..(tuple + 1) * depth], &x.shape[..depth]))
        .collect::<Result<Vec<_>, _>>()?;
    scatter(x, &targets, run, updates, reduction, y)
}

/// Writes `update` into the cache along an axis, from an index of its own for each batch on.
pub fn tensor_scatter(
    cache: View<'_>,
    update: View<'_>,
    starts: Option<View<'_>>,
    along: i64,
    circular: bool,
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let along = shape::axis(along, cache.rank())?;
    let fits = along > 0
        && update.rank() == cache.rank()
        && cache.dtype == update.dtype
        && (0..cache.rank()).all(|axis| axis == along || update.shape[axis] == cache.shape[axis])
        && update.shape[along] <= cache.shape[along];
    if !fits {
        return Err(invalid(format!("an update of {:?} to {:?}", update.shape, cache.shape)));
    }
    let (outer, len, inner) = around(cache.shape, along);
    let new = update.shape[along];
    let starts = starts.map(integers).transpose()?;
    if starts.as_ref().is_some_and(|starts| starts.len() != cache.shape[0]) {
        return Err(invalid(format!("write indices for {} batches", cache.shape[0])));
    }
    let mut targets = Vec::with_capacity(outer * new);
    for row in 0..outer {
        let batch = row / (outer / cache.shape[0]);
        let start = starts.as_ref().map_or(0, |starts| starts[batch]);
        for step in 0..new as i64 {
            let at = start.wrapping_add(step);
            let at = if circular { at.rem_euclid(len as i64) } else { at };
            if !(0..len as i64).contains(&at) {
                return Err(invalid(format!("write index {at} in an axis of {len}")));
            }
            targets.push(row * len + at as usize);
        }
    }
    scatter(cache, &targets, inner, update, ScatterReduction::None, y)
}

/// Copies `x` to `y` and then puts the runs of `updates` at the targets, which count runs.
fn scatter(
    x: View<'_>,
    targets: &[usize],
    run: usize,
    updates: View<'_>,
    reduction: ScatterReduction,
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    if x.bytes.len() != y.bytes.len() {
        return Err(invalid(format!("{:?} into {:?}", x.shape, y.shape)));
    }
    copy_bytes(x.bytes, y.bytes);
    if run == 0 || targets.is_empty() {
        return Ok(());
    }
    let size = x.dtype.size();
    match reduction {
        ScatterReduction::None if run == 1 => with_unit!(size, U => {
            let src: &[U] = bytemuck::cast_slice(updates.bytes);
            put(bytemuck::cast_slice_mut(y.bytes), targets, src);
        }),
        ScatterReduction::None => {
            let run = run * size;
            for (&target, src) in targets.iter().zip(updates.bytes.chunks_exact(run)) {
                y.bytes[target * run..(target + 1) * run].copy_from_slice(src);
            }
        }
        _ if x.dtype == DType::Bool => {
            let combine = match reduction {
                ScatterReduction::Add | ScatterReduction::Max => |a: u8, b: u8| a | b,
                _ => |a: u8, b: u8| a & b,
            };
            merge(y.values(), targets, run, updates.values(), combine);
        }
        _ => with_arithmetic!("a scatter that combines", x.dtype, T => {
            let combine = match reduction {
                ScatterReduction::Add => T::add,
                ScatterReduction::Mul => T::mul,
                ScatterReduction::Max => <T as Arithmetic>::larger,
                _ => <T as Arithmetic>::smaller,
            };
            merge::<T>(y.values(), targets, run, updates.values(), combine);
            Ok(())
        })?,
    }
    Ok(())
}

fn put<U: Pod>(y: &mut [U], targets: &[usize], updates: &[U]) {
    for (&target, &update) in targets.iter().zip(updates) {
        y[target] = update;
    }
}

fn merge<T: Pod>(
    y: &mut [T],
    targets: &[usize],
    run: usize,
    updates: &[T],
    combine: fn(T, T) -> T,
) {
    for (&target, updates) in targets.iter().zip(updates.chunks_exact(run)) {
        for (y, &update) in y[target * run..].iter_mut().zip(updates) {
            *y = combine(*y, update);
        }
    }
}
