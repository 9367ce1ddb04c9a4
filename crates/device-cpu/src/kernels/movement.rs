//! Operators that read their input along other steps: transpose, expand, tile, split, slice, rearrangements of blocks
//! and reversed sequences.

use super::operands::{around, input, integers, invalid, optional, strides};
use super::strided::{self, Dim};
use crate::{KernelError, View, ViewMut};
use sublet_graph::shape;

/// The same bytes under another shape.
pub fn reshape(x: View<'_>, y: &mut ViewMut<'_>) -> Result<(), KernelError> {
    if x.bytes.len() != y.bytes.len() {
        let (from, to) = (x.shape, y.shape);
        return Err(invalid(format!("{from:?} cannot be viewed as {to:?}")));
    }
    strided::copy_bytes(x.bytes, y.bytes);
    Ok(())
}

/// An empty `perm` reverses the axes.
pub fn transpose(x: View<'_>, perm: &[usize], y: &mut ViewMut<'_>) -> Result<(), KernelError> {
    let perm = shape::transpose(x.rank(), perm)?;
    let steps = strides(x.shape);
    rearrange(x, perm.iter().map(|&axis| (x.shape[axis], steps[axis])), y)
}

/// Broadcasts `x` to the shape of `y`.
pub fn expand(x: View<'_>, y: &mut ViewMut<'_>) -> Result<(), KernelError> {
    let Some(added) = y.shape.len().checked_sub(x.rank()) else {
        return Err(invalid(format!("{:?} does not broadcast to {:?}", x.shape, y.shape)));
    };
    let steps = strides(x.shape);
    let mut dims = Vec::with_capacity(y.shape.len());
    for (index, &len) in y.shape.iter().enumerate() {
        let from = index.checked_sub(added).map(|axis| (x.shape[axis], steps[axis]));
        dims.push(match from {
            Some((dim, step)) if dim == len => (len, step),
            None | Some((1, _)) => (len, 0),
            Some(_) => {
                return Err(invalid(format!("{:?} does not broadcast to {:?}", x.shape, y.shape)));
            }
        });
    }
    rearrange(x, dims.into_iter(), y)
}

pub fn tile(x: View<'_>, repeats: View<'_>, y: &mut ViewMut<'_>) -> Result<(), KernelError> {
    let repeats = integers(repeats)?;
    if repeats.len() != x.rank() || repeats.iter().any(|&repeat| repeat < 0) {
        return Err(invalid(format!("repeats {repeats:?} of {:?}", x.shape)));
    }
    let steps = strides(x.shape);
    let dims = repeats.iter().zip(x.shape).zip(steps);
    let dims = dims.flat_map(|((&repeat, &len), step)| [(repeat as usize, 0), (len, step)]);
    rearrange(x, dims, y)
}

/// Parts along an axis: with lengths from `sizes`, or else equal parts with a smaller last one.
pub fn split(
    x: View<'_>,
    sizes: Option<View<'_>>,
    along: i64,
    parts: usize,
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let along = shape::axis(along, x.rank())?;
    let (outer, len, inner) = around(x.shape, along);
    let sizes = sizes.map(integers).transpose()?;
    let sizes = shape::split_sizes(len, parts, sizes.as_deref())?;
    let size = x.dtype.size();
    let step = (len * inner * size) as isize;
    let mut start = 0;
    for (part, output) in sizes.iter().zip(outputs) {
        if let Some(y) = output {
            let dims = [Dim { len: outer, step }, Dim { len: part * inner, step: size as isize }];
            strided::copy(x.bytes, size, start * inner * size, &dims, y.bytes)?;
        }
        start += part;
    }
    Ok(())
}

/// Inputs as ONNX: data, starts, ends, axes, steps.
pub fn slice(inputs: &[Option<View<'_>>], y: &mut ViewMut<'_>) -> Result<(), KernelError> {
    let x = input(inputs, 0)?;
    let (starts, ends) = (integers(input(inputs, 1)?)?, integers(input(inputs, 2)?)?);
    let axes = optional(inputs, 3).map(integers).transpose()?;
    let steps = optional(inputs, 4).map(integers).transpose()?;
    let ranges = shape::slice_ranges(x.shape, &starts, &ends, axes.as_deref(), steps.as_deref())?;
    let size = x.dtype.size();
    let mut offset = 0;
    let mut dims = Vec::with_capacity(ranges.len());
    for (range, stride) in ranges.iter().zip(strides(x.shape)) {
        offset += range.start * stride * size;
        // The step of a single element is never taken, and may be too large to multiply.
        let step = if range.len > 1 { range.step as isize } else { 1 };
        dims.push(Dim { len: range.len, step: step * (stride * size) as isize });
    }
    fill(x, offset, &dims, y)
}

/// `[n, c, h, w]` to `[n, c/b², h·b, w·b]`.
pub fn depth_to_space(
    x: View<'_>,
    block: usize,
    column_row_depth: bool,
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let &[n, c, h, w] = x.shape else {
        return Err(invalid(format!("{:?} is not [n, c, h, w]", x.shape)));
    };
    let area = block.checked_mul(block).filter(|&area| area > 0 && c % area == 0);
    let Some(area) = area else {
        return Err(invalid(format!("{c} channels in blocks of {block}")));
    };
    let depth = c / area;
    let plane = h * w;
    let (depth_step, block_step) =
        if column_row_depth { (area * plane, plane) } else { (plane, depth * plane) };
    let dims = [
        (n, c * plane),
        (depth, depth_step),
        (h, w),
        (block, block * block_step),
        (w, 1),
        (block, block_step),
    ];
    rearrange(x, dims.into_iter(), y)
}

/// `[n, c, h, w]` to `[n, c·b², h/b, w/b]`.
pub fn space_to_depth(x: View<'_>, block: usize, y: &mut ViewMut<'_>) -> Result<(), KernelError> {
    let &[n, c, h, w] = x.shape else {
        return Err(invalid(format!("{:?} is not [n, c, h, w]", x.shape)));
    };
    if block == 0 || h % block != 0 || w % block != 0 {
        return Err(invalid(format!("{h} × {w} in blocks of {block}")));
    }
    let dims = [
        (n, c * h * w),
        (block, w),
        (block, 1),
        (c, h * w),
        (h / block, block * w),
        (w / block, block),
    ];
    rearrange(x, dims.into_iter(), y)
}

/// Reverses the first `lengths[b]` time steps of each batch entry `b`.
pub fn reverse_sequence(
    x: View<'_>,
    lengths: View<'_>,
    batch_axis: i64,
    time_axis: i64,
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let batch_axis = shape::axis(batch_axis, x.rank())?;
    let time_axis = shape::axis(time_axis, x.rank())?;
    if batch_axis.max(time_axis) != 1 || batch_axis == time_axis {
        return Err(invalid("the batch and time axes are the first two"));
    }
    let (batches, steps) = (x.shape[batch_axis], x.shape[time_axis]);
    let lengths = integers(lengths)?;
    if lengths.len() != batches {
        return Err(invalid(format!("{} sequence lengths for {batches}", lengths.len())));
    }
    if let Some(length) = lengths.iter().find(|&&length| length < 0 || length > steps as i64) {
        return Err(invalid(format!("a sequence length of {length} in {steps} steps")));
    }
    let run = x.shape[2..].iter().product::<usize>() * x.dtype.size();
    if run == 0 {
        return Ok(());
    }
    let (batch_stride, time_stride) = if batch_axis == 0 { (steps, 1) } else { (1, batches) };
    for (batch, &length) in lengths.iter().enumerate() {
        for step in 0..steps {
            let from = if step < length as usize { length as usize - 1 - step } else { step };
            let place = |step: usize| (batch * batch_stride + step * time_stride) * run;
            y.bytes[place(step)..place(step) + run]
                .copy_from_slice(&x.bytes[place(from)..place(from) + run]);
        }
    }
    Ok(())
}

/// Reads `x` along `dims` (length, step in elements) into `y`.
fn rearrange(
    x: View<'_>,
    dims: impl Iterator<Item = (usize, usize)>,
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let size = x.dtype.size();
    let dims: Vec<Dim> =
        dims.map(|(len, step)| Dim { len, step: (step * size) as isize }).collect();
    fill(x, 0, &dims, y)
}

fn fill(x: View<'_>, offset: usize, dims: &[Dim], y: &mut ViewMut<'_>) -> Result<(), KernelError> {
    if dims.iter().map(|dim| dim.len).product::<usize>() != y.len() {
        return Err(invalid(format!("{:?} does not fill {:?}", x.shape, y.shape)));
    }
    strided::copy(x.bytes, x.dtype.size(), offset, dims, y.bytes)
}
