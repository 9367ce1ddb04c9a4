//! Undoing window operations: columns back to an image, pooled maxima back to where they came from.

use super::element::{Arithmetic, with_real};
use super::gather::Walk;
use super::operands::{input, integers, invalid};
use super::parallel;
use crate::{KernelError, View, ViewMut};
use sublet_graph::shape;

/// Attributes of Col2Im; empty vectors mean ones (dilations, strides) or zeros (pads).
#[derive(Clone, Copy)]
pub struct Blocks<'a> {
    pub dilations: &'a [usize],
    pub pads: &'a [usize],
    pub strides: &'a [usize],
}

/// Inputs: columns `[n, c · block, count]`, image shape, block shape. Overlapping columns add up in `y` `[n, c, image…]`.
pub fn col2im(
    inputs: &[Option<View<'_>>],
    blocks: Blocks<'_>,
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let x = input(inputs, 0)?;
    let image = shape::dims(&integers(input(inputs, 1)?)?)?;
    let block = shape::dims(&integers(input(inputs, 2)?)?)?;
    let rank = image.len();
    let or = |list: &[usize], len: usize, value: usize| match list.is_empty() {
        true => vec![value; len],
        false => list.to_vec(),
    };
    let dilations = or(blocks.dilations, rank, 1);
    let strides = or(blocks.strides, rank, 1);
    let pads = or(blocks.pads, 2 * rank, 0);
    let bad =
        || invalid(format!("columns {:?} to an image {image:?} by blocks {block:?}", x.shape));
    let lengths_fit = block.len() == rank
        && dilations.len() == rank
        && strides.len() == rank
        && pads.len() == 2 * rank
        && rank > 0;
    if !lengths_fit || strides.contains(&0) || block.contains(&0) {
        return Err(bad());
    }
    let mut counts = Vec::with_capacity(rank);
    for axis in 0..rank {
        let reach = dilations[axis].checked_mul(block[axis] - 1);
        let padded = image[axis].checked_add(pads[axis] + pads[rank + axis]);
        let free =
            padded.zip(reach).and_then(|(padded, reach)| padded.checked_sub(reach)?.checked_sub(1));
        let free = free.ok_or_else(bad)?;
        counts.push(free / strides[axis] + 1);
    }
    let (taps, columns) = (shape::len(&block)?, shape::len(&counts)?);
    let pixels = shape::len(&image)?;
    let fits = match *x.shape {
        [n, rows, count] => {
            count == columns && rows % taps == 0 && y.len() == n * rows / taps * pixels
        }
        _ => false,
    };
    if !fits {
        return Err(bad());
    }
    with_real!("Col2Im", x.dtype, T => {
        let x = x.values::<T>();
        parallel::rows(y.values::<T>(), pixels, taps * columns, |plane, y| {
            y.fill(T::ZERO);
            let mut tap = Walk::new(&block);
            for index in 0..taps {
                let x = &x[(plane * taps + index) * columns..][..columns];
                let mut column = Walk::new(&counts);
                for &value in x {
                    let mut at = Some(0);
                    for axis in 0..rank {
                        let place = column.index[axis] * strides[axis] + tap.index[axis] * dilations[axis];
                        let place = place.checked_sub(pads[axis]).filter(|&place| place < image[axis]);
                        at = at.zip(place).map(|(at, place)| at * image[axis] + place);
                    }
                    if let Some(at) = at {
                        y[at] += value;
                    }
                    column.advance();
                }
                tap.advance();
            }
        });
        Ok(())
    })
}

/// Inputs: pooled values, and for each its element number in the (unpadded, flattened) input of the pooling. That
/// input may be smaller than `y`: then it fills the start of each axis.
pub fn max_unpool(
    x: View<'_>,
    indices: View<'_>,
    kernel: &[usize],
    strides: &[usize],
    pads: &[usize],
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let rank = kernel.len();
    let bad = || invalid(format!("{:?} unpooled into {:?}", x.shape, y.shape));
    let lengths_fit = x.rank() == rank + 2
        && y.shape.len() == x.rank()
        && (strides.is_empty() || strides.len() == rank)
        && (pads.is_empty() || pads.len() == 2 * rank);
    if !lengths_fit || indices.shape != x.shape {
        return Err(bad());
    }
    let mut pooled = x.shape[..2].to_vec();
    for (axis, &kernel) in kernel.iter().enumerate() {
        let stride = strides.get(axis).copied().unwrap_or(1);
        let padding = pads.get(axis).unwrap_or(&0) + pads.get(rank + axis).unwrap_or(&0);
        let len = x.shape[axis + 2].saturating_sub(1).checked_mul(stride);
        let len = len.and_then(|len| len.checked_add(kernel)?.checked_sub(padding));
        pooled.push(len.ok_or_else(bad)?);
    }
    if pooled.iter().zip(y.shape).any(|(pooled, len)| pooled > len) {
        return Err(bad());
    }
    let elements: usize = pooled.iter().product();
    y.bytes.fill(0);
    let size = x.dtype.size();
    let indices = integers(indices)?;
    for (&index, value) in indices.iter().zip(x.bytes.chunks_exact(size)) {
        let mut rest = usize::try_from(index)
            .ok()
            .filter(|&index| index < elements)
            .ok_or_else(|| invalid(format!("index {index} into {elements} unpooled elements")))?;
        let (mut at, mut stride) = (0, 1);
        for (&from, &to) in pooled.iter().zip(y.shape).rev() {
            at += rest % from * stride;
            rest /= from;
            stride *= to;
        }
        y.bytes[at * size..(at + 1) * size].copy_from_slice(value);
    }
    Ok(())
}
