//! Operators whose output shape only the values tell: non-zero positions, compression, distinct values.

use super::operands::{around, invalid, strides};
use super::order::keys;
use super::strided::{self, Dim};
use crate::{KernelError, Tensor, View};
use sublet_graph::{DType, shape};

/// The indices of non-zero elements, `[rank, count]`, in row-major order.
pub fn non_zero(x: View<'_>) -> Result<Tensor, KernelError> {
    let keys = keys(x)?;
    let zero = key_of_zero(x.dtype);
    let found: Vec<usize> = (0..keys.len()).filter(|&at| keys[at] != zero).collect();
    let mut y = Tensor::zeroed(DType::I64, &[x.rank(), found.len()])?;
    let values: &mut [i64] = bytemuck::cast_slice_mut(&mut y.buffer);
    for (axis, stride) in strides(x.shape).into_iter().enumerate() {
        for (at, &linear) in found.iter().enumerate() {
            values[axis * found.len() + at] = (linear / stride % x.shape[axis]) as i64;
        }
    }
    Ok(y)
}

/// The key of zero: see [`keys`].
fn key_of_zero(dtype: DType) -> i64 {
    if dtype == DType::U64 { i64::MIN } else { 0 }
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
    let groups = group(&keys(slices.view())?, len, width, sorted);
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

struct Groups {
    /// Position of the first slice of each group.
    firsts: Vec<i64>,
    /// The group of each slice.
    inverse: Vec<i64>,
    counts: Vec<i64>,
}

fn group(keys: &[i64], len: usize, width: usize, sorted: bool) -> Groups {
    let slice = |at: usize| &keys[at * width..(at + 1) * width];
    let mut order: Vec<usize> = (0..len).collect();
    order.sort_by(|&a, &b| slice(a).cmp(slice(b)));
    // The sort is stable: each run of equals starts with the first position.
    let mut runs: Vec<&[usize]> = order.chunk_by(|&a, &b| slice(a) == slice(b)).collect();
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

fn vector(values: &[i64]) -> Result<Tensor, KernelError> {
    let mut tensor = Tensor::zeroed(DType::I64, &[values.len()])?;
    tensor.buffer.copy_from_slice(bytemuck::cast_slice(values));
    Ok(tensor)
}
