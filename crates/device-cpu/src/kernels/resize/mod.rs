//! Resizing along any axes: nearest, linear and cubic (<https://onnx.ai/onnx/operators/onnx__Resize.html>).
//!
//! Interpolation is separable: one pass per axis, each blending a few input slices into every output slice.

mod blend;
mod nearest;
mod taps;

use super::element::{Arithmetic, Real, with_arithmetic};
use super::operands::{floats, input, integers, invalid, optional};
use crate::{KernelError, View, ViewMut};
use sublet_graph::shape::{ResizeAxis, resize_geometry};
use sublet_graph::{CoordinateTransform, DType, Interpolation, Resize};
use taps::Taps;

/// Inputs as ONNX: x, roi, scales, sizes; an empty tensor is as good as none.
pub fn resize(
    inputs: &[Option<View<'_>>],
    options: &Resize,
    y: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let x = input(inputs, 0)?;
    let given = |index| optional(inputs, index).filter(|input| !input.is_empty());
    let roi = given(1).map(floats).transpose()?;
    let scales = given(2).map(floats).transpose()?;
    let sizes = given(3).map(integers).transpose()?;
    let axes =
        resize_geometry(options, x.shape, roi.as_deref(), scales.as_deref(), sizes.as_deref())?;
    if axes.len() != y.shape.len()
        || axes.iter().zip(y.shape).any(|(axis, &len)| axis.output != len)
    {
        return Err(invalid(format!("{:?} resized into {:?}", x.shape, y.shape)));
    }
    if y.is_empty() {
        return Ok(());
    }
    if x.is_empty() {
        return Err(invalid(format!("{:?} resized into {:?}", x.shape, y.shape)));
    }
    if options.mode == Interpolation::Nearest {
        return nearest::nearest(x, options, &axes, y);
    }
    match x.dtype {
        DType::F32 => interpolate::<f32>(x.values(), options, &axes, y.values()),
        DType::F64 => interpolate::<f64>(x.values(), options, &axes, y.values()),
        dtype => {
            return with_arithmetic!("Resize", dtype, T => {
                let values: Vec<f64> = x.values::<T>().iter().map(|x| x.to_f64()).collect();
                let mut result = vec![0.0; y.len()];
                interpolate(&values, options, &axes, &mut result);
                let rounded = result.iter().map(|value| value.round_ties_even());
                y.values::<T>().iter_mut().zip(rounded).for_each(|(y, value)| *y = T::from_f64(value));
                Ok(())
            });
        }
    }
    Ok(())
}

/// Whether the axis comes out as it went in.
fn is_unchanged(options: &Resize, axis: &ResizeAxis) -> bool {
    let whole =
        options.coordinates != CoordinateTransform::TfCropAndResize || axis.roi == (0.0, 1.0);
    axis.input == axis.output && (axis.scale - 1.0).abs() < 1e-9 && whole
}

fn interpolate<T: Real>(x: &[T], options: &Resize, axes: &[ResizeAxis], y: &mut [T]) {
    let changed = |axis: &usize| !is_unchanged(options, &axes[*axis]);
    let shrinks = |axis: &usize| axes[*axis].output < axes[*axis].input;
    // Passes along inner axes are dearer per element: they run where the tensor is smallest.
    let shrinking = (0..axes.len()).filter(changed).filter(shrinks);
    let growing = (0..axes.len()).rev().filter(changed).filter(|axis| !shrinks(axis));
    let order: Vec<usize> = shrinking.chain(growing).collect();
    let mut shape: Vec<usize> = axes.iter().map(|axis| axis.input).collect();
    let Some((&last, others)) = order.split_last() else {
        y.copy_from_slice(x);
        return;
    };
    let mut between: Vec<T> = Vec::new();
    for (pass, &axis) in others.iter().enumerate() {
        let taps = Taps::new(options, &axes[axis]);
        let from = if pass == 0 { x } else { &between };
        let len = from.len() / axes[axis].input * axes[axis].output;
        let mut to = vec![T::ZERO; len];
        blend::blend(from, &shape, axis, &taps, &mut to);
        shape[axis] = axes[axis].output;
        between = to;
    }
    let from = if others.is_empty() { x } else { &between };
    blend::blend(from, &shape, last, &Taps::new(options, &axes[last]), y);
}
