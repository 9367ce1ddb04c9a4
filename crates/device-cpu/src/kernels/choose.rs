//! Copying, choosing and bounding elements: Identity, Where, Clip.

use super::activation::clip;
use super::broadcast::{Walk, map1, select};
use super::element::{Arithmetic, with_arithmetic};
use super::operands::{input, invalid, optional, output};
use super::parallel;
use crate::{KernelError, View, ViewMut};
use sublet_graph::DType;

/// Computes [`sublet_graph::Op::Identity`].
pub fn identity(
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let x = input(inputs, 0)?;
    let out = output(outputs, 0)?;
    parallel::chunks(&mut *out.bytes, |start, part| {
        part.copy_from_slice(&x.bytes[start..start + part.len()]);
    });
    Ok(())
}

/// Computes [`sublet_graph::Op::Where`].
pub fn choose(
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let (condition, a, b) = (input(inputs, 0)?, input(inputs, 1)?, input(inputs, 2)?);
    let out = output(outputs, 0)?;
    if condition.dtype != DType::Bool || a.dtype != b.dtype {
        let types = [condition.dtype, a.dtype, b.dtype];
        return Err(invalid(format!("Where of {}, {} and {}", types[0], types[1], types[2])));
    }
    let walk = Walk::new(out.shape, [condition.shape, a.shape, b.shape])?;
    macro_rules! select {
        ($T:ty) => {
            select(&walk, condition.bytes, a.values::<$T>(), b.values(), out.values())
        };
    }
    match a.dtype.size() {
        1 => select!(u8),
        2 => select!(u16),
        4 => select!(u32),
        _ => select!(u64),
    }
    Ok(())
}

/// Computes [`sublet_graph::Op::Clip`]: where the bounds cross, the upper one wins.
pub fn bound(
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let x = input(inputs, 0)?;
    let out = output(outputs, 0)?;
    with_arithmetic!("Clip", x.dtype, T => {
        let low = scalar::<T>(optional(inputs, 1), x.dtype)?;
        let high = scalar::<T>(optional(inputs, 2), x.dtype)?;
        let (x, out) = (x.values::<T>(), out.values::<T>());
        match (low, high) {
            (Some(low), Some(high)) => map1(x, out, #[inline(always)] |x| clip(x, low, high)),
            (Some(low), None) => map1(x, out, #[inline(always)] |x| if x < low { low } else { x }),
            (None, Some(high)) => {
                map1(x, out, #[inline(always)] |x| if x > high { high } else { x });
            }
            (None, None) => out.copy_from_slice(x),
        }
        Ok(())
    })
}

fn scalar<T: Arithmetic>(view: Option<View<'_>>, dtype: DType) -> Result<Option<T>, KernelError> {
    let Some(view) = view else { return Ok(None) };
    if view.dtype != dtype || view.len() != 1 {
        return Err(invalid(format!(
            "Clip of {dtype} by a bound of {}{:?}",
            view.dtype, view.shape
        )));
    }
    Ok(Some(view.values::<T>()[0]))
}
