//! Reading elements or slices at indices that are known only at run time.

use super::operands::{around, integers, invalid, strides};
use super::strided::{in_jobs, with_unit};
use crate::{KernelError, View, ViewMut};
use bytemuck::Pod;
use sublet_graph::shape;

/// An index counted from the front; negative ones count from the back.
pub fn index(index: i64, len: usize) -> Result<usize, KernelError> {
    let from_front = if index < 0 { index.wrapping_add(len as i64) } else { index };
    usize::try_from(from_front)
        .ok()
        .filter(|&index| index < len)
        .ok_or_else(|| invalid(format!("index {index} is out of range for an axis of {len}")))
}

/// `y[outer…, indices…, inner…]`.
pub fn gather(
    x: View<'_>,
    indices: View<'_>,
    along: i64,
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let (outer, len, inner) = around(x.shape, shape::axis(along, x.rank())?);
    let run = inner * x.dtype.size();
    let offsets = integers(indices)?
        .iter()
        .map(|&at| Ok(index(at, len)? * run))
        .collect::<Result<Vec<_>, KernelError>>()?;
    if outer * offsets.len() * run != y.bytes.len() {
        return Err(invalid(format!("{:?} at {:?} is not {:?}", x.shape, indices.shape, y.shape)));
    }
    if y.bytes.is_empty() {
        return Ok(());
    }
    pick(x.bytes, run, y.bytes, &|first| {
        let (row, column) = (first / offsets.len(), first % offsets.len());
        row * len * run + offsets[column]
    });
    Ok(())
}

/// `indices` has the rank of `x`; each one replaces the index along an axis.
pub fn gather_elements(
    x: View<'_>,
    indices: View<'_>,
    along: i64,
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let along = shape::axis(along, x.rank())?;
    let fits = indices.rank() == x.rank()
        && indices.shape == y.shape
        && (0..x.rank()).all(|axis| axis == along || indices.shape[axis] <= x.shape[axis]);
    if !fits {
        return Err(invalid(format!("indices {:?} into {:?}", indices.shape, x.shape)));
    }
    let steps = strides(x.shape);
    let mut walk = Walk::new(indices.shape);
    let at = integers(indices)?;
    with_unit!(x.dtype.size(), U => {
        let src: &[U] = bytemuck::cast_slice(x.bytes);
        let dst: &mut [U] = bytemuck::cast_slice_mut(y.bytes);
        for (unit, &at) in dst.iter_mut().zip(at.iter()) {
            let mut from = index(at, x.shape[along])? * steps[along];
            for (axis, &place) in walk.index.iter().enumerate() {
                from += if axis == along { 0 } else { place * steps[axis] };
            }
            *unit = src[from];
            walk.advance();
        }
    });
    Ok(())
}

/// Each tuple along the last axis of `indices` names a slice of `x`, after `batch_dims` common axes.
pub fn gather_nd(
    x: View<'_>,
    indices: View<'_>,
    batch_dims: usize,
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let bad = || invalid(format!("indices {:?} into {:?}", indices.shape, x.shape));
    let (&depth, tuples) = indices.shape.split_last().ok_or_else(bad)?;
    let end = batch_dims + depth;
    if end > x.rank() || batch_dims > tuples.len() || tuples[..batch_dims] != x.shape[..batch_dims]
    {
        return Err(bad());
    }
    let run = x.shape[end..].iter().product::<usize>() * x.dtype.size();
    let count: usize = tuples.iter().product();
    if count * run != y.bytes.len() {
        return Err(bad());
    }
    if y.bytes.is_empty() {
        return Ok(());
    }
    let each: usize = tuples[batch_dims..].iter().product();
    let batch: usize = x.shape[batch_dims..].iter().product::<usize>() * x.dtype.size();
    let at = integers(indices)?;
    let offsets = (0..count)
        .map(|tuple| {
            let at = &at[tuple * depth..(tuple + 1) * depth];
            Ok(tuple / each * batch + tuple_offset(at, &x.shape[batch_dims..end])? * run)
        })
        .collect::<Result<Vec<_>, KernelError>>()?;
    pick(x.bytes, run, y.bytes, &|first| offsets[first]);
    Ok(())
}

/// Row-major number of the slice that an index tuple names.
pub fn tuple_offset(tuple: &[i64], dims: &[usize]) -> Result<usize, KernelError> {
    let mut offset = 0;
    for (&at, &dim) in tuple.iter().zip(dims) {
        offset = offset * dim + index(at, dim)?;
    }
    Ok(offset)
}

/// Fills `dst` with runs of `run` bytes; `source` gives the byte at which each one starts.
fn pick(src: &[u8], run: usize, dst: &mut [u8], source: &(dyn Fn(usize) -> usize + Sync)) {
    let copy = |first: usize, dst: &mut [u8]| match run {
        1 | 2 | 4 | 8 | 16 => with_unit!(run, U => pick_units::<U>(src, first, dst, source)),
        _ => {
            for (index, dst) in dst.chunks_exact_mut(run).enumerate() {
                let from = source(first + index);
                dst.copy_from_slice(&src[from..from + run]);
            }
        }
    };
    in_jobs(dst, run, copy);
}

fn pick_units<U: Pod>(src: &[u8], first: usize, dst: &mut [u8], source: impl Fn(usize) -> usize) {
    let size = std::mem::size_of::<U>();
    for (index, unit) in bytemuck::cast_slice_mut::<u8, U>(dst).iter_mut().enumerate() {
        let from = source(first + index);
        *unit = bytemuck::pod_read_unaligned(&src[from..from + size]);
    }
}

/// All index tuples of a shape, in row-major order.
pub struct Walk<'a> {
    shape: &'a [usize],
    pub index: Vec<usize>,
}

impl<'a> Walk<'a> {
    pub fn new(shape: &'a [usize]) -> Self {
        Walk { shape, index: vec![0; shape.len()] }
    }

    /// One tuple on; after the last, back to the first.
    pub fn advance(&mut self) {
        for (index, &len) in self.index.iter_mut().zip(self.shape).rev() {
            *index += 1;
            if *index < len {
                return;
            }
            *index = 0;
        }
    }
}
