//! Operators whose output shape only the values tell: non-zero positions, compression, distinct values.

use super::element::{Arithmetic, with_arithmetic};
use super::operands::{around, floats, invalid, strides};
use super::strided::{self, Dim};
use crate::{KernelError, Tensor, View};
use std::cmp::Ordering;
use sublet_graph::{DType, shape};

/// The indices of non-zero elements, `[rank, count]`, in row-major order.
pub fn non_zero(x: View<'_>) -> Result<Tensor, KernelError> {
    let found: Vec<usize> = differs_from_zero(x)?
        .iter()
        .enumerate()
        .filter(|(_, hit)| **hit)
        .map(|(at, _)| at)
        .collect();
    let mut y = Tensor::zeroed(DType::I64, &[x.rank(), found.len()])?;
    let values: &mut [i64] = bytemuck::cast_slice_mut(&mut y.buffer);
    for (axis, stride) in strides(x.shape).into_iter().enumerate() {
        for (at, &linear) in found.iter().enumerate() {
            values[axis * found.len() + at] = (linear / stride % x.shape[axis]) as i64;
        }
    }
    Ok(y)
}

/// The slices along an axis (of the flattened tensor without one) for which the condition holds.
pub fn compress(
    x: View<'_>,
    condition: View<'_>,
    along: Option<i64>,
) -> Result<Tensor, KernelError> {
    let flat = [x.len()];
    let (shape, along) = match along {
        Some(along) => (x.shape, shape::axis(along, x.rank())?),
        None => (&flat[..], 0),
    };
    let (outer, len, inner) = around(shape, along);
    if condition.dtype != DType::Bool {
        return Err(invalid(format!("a condition of {}", condition.dtype)));
    }
    let kept: Vec<usize> = (0..condition.len()).filter(|&at| condition.bytes[at] != 0).collect();
    if let Some(&at) = kept.last().filter(|&&at| at >= len) {
        return Err(invalid(format!("the condition keeps index {at} of an axis of {len}")));
    }
    let mut y_shape = shape.to_vec();
    y_shape[along] = kept.len();
    let mut y = Tensor::zeroed(x.dtype, &y_shape)?;
    let run = inner * x.dtype.size();
    if !y.buffer.is_empty() {
        let places = (0..outer).flat_map(|row| kept.iter().map(move |at| row * len + at));
        for (dst, at) in y.buffer.chunks_exact_mut(run).zip(places) {
            dst.copy_from_slice(&x.bytes[at * run..(at + 1) * run]);
        }
    }
    Ok(y)
}

/// Distinct elements, or distinct slices along an axis: values, first positions, number of the value of each position,
/// counts. Sorted in increasing order (NaN last, each NaN the same), or by first position.
pub fn unique(x: View<'_>, along: Option<i64>, sorted: bool) -> Result<Vec<Tensor>, KernelError> {
    let flat = [x.len()];
    let (shape, along) = match along {
        Some(along) => (x.shape, shape::axis(along, x.rank())?),
        None => (&flat[..], 0),
    };
    let (outer, len, inner) = around(shape, along);
    let size = x.dtype.size();
    // Slices side by side: [len, outer, inner].
    let mut slices = Tensor::zeroed(x.dtype, &[len, outer, inner])?;
    let dims = [(len, inner), (outer, len * inner), (inner, 1)]
        .map(|(len, step)| Dim { len, step: (step * size) as isize });
    strided::copy(x.bytes, size, 0, &dims, &mut slices.buffer)?;
    let width = outer * inner;
    let slices = slices.view();
    let groups = match x.dtype {
        DType::Bool => group(slices.bytes, len, width, sorted),
        DType::F16 | DType::BF16 => group(&floats(slices)?, len, width, sorted),
        _ => with_arithmetic!("distinct values", x.dtype, T => {
            Ok(group::<T>(slices.values(), len, width, sorted))
        })?,
    };
    let mut y_shape = shape.to_vec();
    y_shape[along] = groups.firsts.len();
    let mut y = Tensor::zeroed(x.dtype, &y_shape)?;
    if !y.buffer.is_empty() {
        let run = inner * size;
        let places =
            (0..outer).flat_map(|row| groups.firsts.iter().map(move |&at| row * len + at as usize));
        for (dst, at) in y.buffer.chunks_exact_mut(run).zip(places) {
            dst.copy_from_slice(&x.bytes[at * run..(at + 1) * run]);
        }
    }
    Ok(vec![y, vector(&groups.firsts)?, vector(&groups.inverse)?, vector(&groups.counts)?])
}

/// Whether each element differs from zero; NaN does.
fn differs_from_zero(x: View<'_>) -> Result<Vec<bool>, KernelError> {
    match x.dtype {
        DType::Bool => Ok(x.bytes.iter().map(|&value| value != 0).collect()),
        DType::F16 | DType::BF16 => Ok(floats(x)?.iter().map(|&value| value != 0.0).collect()),
        _ => with_arithmetic!("non-zero elements", x.dtype, T => {
            Ok(x.values::<T>().iter().map(|&value| value != T::ZERO).collect())
        }),
    }
}

struct Groups {
    /// Position of the first slice of each group.
    firsts: Vec<i64>,
    /// The group of each slice.
    inverse: Vec<i64>,
    counts: Vec<i64>,
}

fn group<T: Arithmetic>(values: &[T], len: usize, width: usize, sorted: bool) -> Groups {
    let slice = |at: usize| &values[at * width..(at + 1) * width];
    let mut order: Vec<usize> = (0..len).collect();
    order.sort_by(|&a, &b| compare(slice(a), slice(b)));
    // The sort is stable: each run of equals starts with the first position.
    let mut runs: Vec<&[usize]> =
        order.chunk_by(|&a, &b| compare(slice(a), slice(b)) == Ordering::Equal).collect();
    if !sorted {
        runs.sort_by_key(|run| run[0]);
    }
    let mut inverse = vec![0; len];
    for (group, run) in runs.iter().enumerate() {
        run.iter().for_each(|&at| inverse[at] = group as i64);
    }
    Groups {
        firsts: runs.iter().map(|run| run[0] as i64).collect(),
        inverse,
        counts: runs.iter().map(|run| run.len() as i64).collect(),
    }
}

/// Lexicographic, with NaN after everything and equal to itself.
fn compare<T: Arithmetic>(a: &[T], b: &[T]) -> Ordering {
    let pairs = a.iter().zip(b);
    pairs.map(|(a, b)| order(*a, *b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// Numeric order with NaN after everything and equal to itself.
pub fn order<T: Arithmetic>(a: T, b: T) -> Ordering {
    let is_nan = |x: T| x.partial_cmp(&x).is_none();
    a.partial_cmp(&b).unwrap_or_else(|| is_nan(a).cmp(&is_nan(b)))
}

fn vector(values: &[i64]) -> Result<Tensor, KernelError> {
    let mut tensor = Tensor::zeroed(DType::I64, &[values.len()])?;
    tensor.buffer.copy_from_slice(bytemuck::cast_slice(values));
    Ok(tensor)
}
