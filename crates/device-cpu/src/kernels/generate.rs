//! Tensors made from few numbers: shapes, constants, ranges, one-hot rows, diagonals and triangles.

use super::element::{Arithmetic, with_arithmetic};
use super::operands::{around, input, integer, invalid, optional};
use super::strided::{copy_bytes, with_unit};
use crate::{KernelError, View, ViewMut};
use half::{bf16, f16};
use sublet_graph::{DType, Scalar, shape};

/// The sizes of `x` from axis `start` to before `end`, which count from the back when negative and are clamped.
pub fn shape_of(
    x: View<'_>,
    start: i64,
    end: Option<i64>,
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let rank = x.rank() as i64;
    let clamp = |axis: i64| (if axis < 0 { axis + rank } else { axis }).clamp(0, rank) as usize;
    let (start, end) = (clamp(start), end.map_or(x.rank(), clamp));
    let sizes = &x.shape[start.min(end)..end];
    if sizes.len() != y.len() {
        return Err(invalid(format!("{} sizes into {:?}", sizes.len(), y.shape)));
    }
    y.values::<i64>().iter_mut().zip(sizes).for_each(|(y, &size)| *y = size as i64);
    Ok(())
}

/// The number of elements.
pub fn size_of(x: View<'_>, y: &mut ViewMut<'_>) -> Result<(), KernelError> {
    y.values::<i64>().fill(x.len() as i64);
    Ok(())
}

pub fn constant_of_shape(value: Scalar, y: &mut ViewMut<'_>) -> Result<(), KernelError> {
    let bytes = value.bits.to_le_bytes();
    with_unit!(y.dtype.size(), U => {
        let value: U = bytemuck::pod_read_unaligned(&bytes[..std::mem::size_of::<U>()]);
        bytemuck::cast_slice_mut::<u8, U>(y.bytes).fill(value);
    });
    Ok(())
}

/// `start + i · delta`, computed in double precision for floats.
pub fn range(start: View<'_>, delta: View<'_>, y: &mut ViewMut<'_>) -> Result<(), KernelError> {
    if start.dtype != y.dtype || delta.dtype != y.dtype || start.len() != 1 || delta.len() != 1 {
        return Err(invalid("start and step of a range are one number each, of one type"));
    }
    let float = y.dtype.is_float();
    with_arithmetic!("a range", y.dtype, T => {
        let (start, delta) = (start.values::<T>()[0], delta.values::<T>()[0]);
        let mut next = start;
        for (index, y) in y.values::<T>().iter_mut().enumerate() {
            if float {
                *y = T::from_f64(start.to_f64() + index as f64 * delta.to_f64());
            } else {
                *y = next;
                next = next.add(delta);
            }
        }
        Ok(())
    })
}

/// `y[…, k, …]` is on where `k` is the index, else off; an index outside `[-depth, depth)` leaves all off.
pub fn one_hot(
    indices: View<'_>,
    values: View<'_>,
    along: i64,
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let (outer, depth, inner) = around(y.shape, shape::axis(along, y.shape.len())?);
    if values.dtype != y.dtype || values.len() != 2 || indices.len() != outer * inner {
        return Err(invalid("one-hot needs an off and an on value, of the type of the result"));
    }
    let hot: Vec<f64> = with_arithmetic!("one-hot", indices.dtype, T => {
        Ok(indices.values::<T>().iter().map(|&index| index.to_f64().trunc()).collect())
    })?;
    with_unit!(y.dtype.size(), U => {
        let values: &[U] = bytemuck::cast_slice(values.bytes);
        let y: &mut [U] = bytemuck::cast_slice_mut(y.bytes);
        y.fill(values[0]);
        for (at, &hot) in hot.iter().enumerate() {
            let hot = if hot < 0.0 { hot + depth as f64 } else { hot };
            if (0.0..depth as f64).contains(&hot) {
                y[(at / inner * depth + hot as usize) * inner + at % inner] = values[1];
            }
        }
    });
    Ok(())
}

/// Ones on the `k`-th diagonal of a matrix.
pub fn eye_like(k: i64, y: &mut ViewMut<'_>) -> Result<(), KernelError> {
    let &[rows, columns] = y.shape else {
        return Err(invalid(format!("{:?} is not a matrix", y.shape)));
    };
    y.bytes.fill(0);
    let one = match y.dtype {
        DType::F64 => 1f64.to_bits(),
        DType::F32 => u64::from(1f32.to_bits()),
        DType::F16 => u64::from(f16::ONE.to_bits()),
        DType::BF16 => u64::from(bf16::ONE.to_bits()),
        _ => 1,
    };
    let size = y.dtype.size();
    for row in 0..rows {
        let column = (row as i64).saturating_add(k);
        if (0..columns as i64).contains(&column) {
            let at = (row * columns + column as usize) * size;
            y.bytes[at..at + size].copy_from_slice(&one.to_le_bytes()[..size]);
        }
    }
    Ok(())
}

/// Matrices with the part below (`upper`) or above the `k`-th diagonal set to zero.
pub fn trilu(
    inputs: &[Option<View<'_>>],
    upper: bool,
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let x = input(inputs, 0)?;
    let k = optional(inputs, 1).map_or(Ok(0), integer)?;
    let &[.., rows, columns] = x.shape else {
        return Err(invalid(format!("{:?} holds no matrices", x.shape)));
    };
    copy_bytes(x.bytes, y.bytes);
    if y.bytes.is_empty() {
        return Ok(());
    }
    let size = x.dtype.size();
    for (at, row) in y.bytes.chunks_exact_mut(columns * size).enumerate() {
        // The first column on or above the diagonal, and the first strictly above it.
        let on = ((at % rows) as i64).saturating_add(k);
        let column = |first: i64| first.clamp(0, columns as i64) as usize * size;
        match upper {
            true => row[..column(on)].fill(0),
            false => row[column(on.saturating_add(1))..].fill(0),
        }
    }
    Ok(())
}
