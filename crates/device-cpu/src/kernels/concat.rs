//! Joining tensors along an axis.

use super::operands::{around, invalid};
use super::strided::{copy_bytes, in_jobs, with_unit};
use crate::{KernelError, View, ViewMut};
use sublet_graph::shape;

pub fn concat(
    inputs: &[Option<View<'_>>],
    along: i64,
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let along = shape::axis(along, y.shape.len())?;
    let (outer, len, inner) = around(y.shape, along);
    let size = y.dtype.size();
    let mut parts: Vec<(&[u8], usize)> = Vec::with_capacity(inputs.len());
    let mut total = 0;
    for x in inputs.iter().flatten() {
        let fits = x.rank() == y.shape.len()
            && (0..x.rank()).all(|axis| axis == along || x.shape[axis] == y.shape[axis]);
        if !fits || x.dtype != y.dtype {
            return Err(invalid(format!("{:?} is not a part of {:?}", x.shape, y.shape)));
        }
        total += x.shape[along];
        parts.push((x.bytes, x.shape[along] * inner * size));
    }
    if total != len {
        return Err(invalid(format!("parts of {total} along an axis of {len}")));
    }
    parts.retain(|(_, len)| *len > 0);
    if y.bytes.is_empty() {
        return Ok(());
    }
    if outer == 1 {
        let mut rest = &mut *y.bytes;
        for (src, len) in parts {
            let (dst, tail) = rest.split_at_mut(len);
            copy_bytes(src, dst);
            rest = tail;
        }
        return Ok(());
    }
    let row = len * inner * size;
    let copy = |first: usize, dst: &mut [u8]| match parts.iter().all(|(_, len)| *len == size) {
        true => interleave(&parts, size, first, dst),
        false => join(&parts, row, first, dst),
    };
    in_jobs(y.bytes, row, copy);
    Ok(())
}

/// Rows of `row` bytes from number `first` on, each of one piece per part.
fn join(parts: &[(&[u8], usize)], row: usize, first: usize, dst: &mut [u8]) {
    let mut start = 0;
    for &(src, len) in parts {
        let pieces = src[first * len..].chunks_exact(len);
        for (row, piece) in dst.chunks_exact_mut(row).zip(pieces) {
            row[start..start + len].copy_from_slice(piece);
        }
        start += len;
    }
}

/// Parts of one element per row, such as coordinates joined into points.
fn interleave(parts: &[(&[u8], usize)], size: usize, first: usize, dst: &mut [u8]) {
    with_unit!(size, U => {
        let dst: &mut [U] = bytemuck::cast_slice_mut(dst);
        for (index, (src, _)) in parts.iter().enumerate() {
            let src: &[U] = &bytemuck::cast_slice(src)[first..];
            for (row, value) in dst.chunks_exact_mut(parts.len()).zip(src) {
                row[index] = *value;
            }
        }
    })
}
