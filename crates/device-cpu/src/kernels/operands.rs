//! Reading a kernel's inputs and outputs: which are there, small integer inputs, half-precision values as `f32`.

use crate::{KernelError, View, ViewMut};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use std::borrow::Cow;
use sublet_graph::{DType, InferError};

/// An input that the operator must have.
pub fn input<'a>(inputs: &[Option<View<'a>>], index: usize) -> Result<View<'a>, KernelError> {
    optional(inputs, index).ok_or_else(|| invalid(format!("input {index} is missing")))
}

/// An input that may be left out.
pub fn optional<'a>(inputs: &[Option<View<'a>>], index: usize) -> Option<View<'a>> {
    inputs.get(index).copied().flatten()
}

/// An output that the operator always has.
pub fn output<'a, 'b>(
    outputs: &'a mut [Option<ViewMut<'b>>],
    index: usize,
) -> Result<&'a mut ViewMut<'b>, KernelError> {
    let output = outputs.get_mut(index).and_then(Option::as_mut);
    output.ok_or_else(|| invalid(format!("output {index} is missing")))
}

/// Shapes, axes, indices and the like, which come as `i64` or `i32`.
pub fn integers(view: View<'_>) -> Result<Cow<'_, [i64]>, KernelError> {
    match view.dtype {
        DType::I64 => Ok(Cow::Borrowed(view.values::<i64>())),
        DType::I32 => Ok(view.values::<i32>().iter().map(|&value| i64::from(value)).collect()),
        other => Err(invalid(format!("{other} where integers are needed"))),
    }
}

/// The one element of an integer tensor.
pub fn integer(view: View<'_>) -> Result<i64, KernelError> {
    match integers(view)?.as_ref() {
        [value] => Ok(*value),
        values => Err(invalid(format!("{} values where one is needed", values.len()))),
    }
}

/// The elements of any floating-point tensor in single precision.
pub fn floats(view: View<'_>) -> Result<Cow<'_, [f32]>, KernelError> {
    match view.dtype {
        DType::F32 => Ok(Cow::Borrowed(view.values::<f32>())),
        DType::F64 => Ok(view.values::<f64>().iter().map(|&value| value as f32).collect()),
        DType::F16 => {
            let mut values = vec![0.0; view.len()];
            view.values::<f16>().convert_to_f32_slice(&mut values);
            Ok(Cow::Owned(values))
        }
        DType::BF16 => {
            let mut values = vec![0.0; view.len()];
            view.values::<bf16>().convert_to_f32_slice(&mut values);
            Ok(Cow::Owned(values))
        }
        other => Err(unsupported(format!("{other} where floating-point numbers are needed"))),
    }
}

/// Rounds single-precision results into a floating-point tensor of as many elements.
pub fn store_floats(output: &mut ViewMut<'_>, values: &[f32]) -> Result<(), KernelError> {
    match output.dtype {
        DType::F32 => output.values::<f32>().copy_from_slice(values),
        DType::F16 => output.values::<f16>().convert_from_f32_slice(values),
        DType::BF16 => output.values::<bf16>().convert_from_f32_slice(values),
        DType::F64 => {
            let pairs = output.values::<f64>().iter_mut().zip(values);
            pairs.for_each(|(output, &value)| *output = f64::from(value));
        }
        other => return Err(unsupported(format!("{other} as a floating-point result"))),
    }
    Ok(())
}

/// `shape` around one axis: how many elements before it, along it, and after it.
pub fn around(shape: &[usize], axis: usize) -> (usize, usize, usize) {
    (shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product())
}

/// Steps, in elements, of a dense row-major tensor.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

impl From<InferError> for KernelError {
    fn from(error: InferError) -> Self {
        match error {
            InferError::Invalid(message) => KernelError::Invalid(message),
            InferError::Unsupported(message) => KernelError::Unsupported(message),
        }
    }
}

pub fn invalid(message: impl Into<String>) -> KernelError {
    KernelError::Invalid(message.into())
}

pub fn unsupported(message: impl Into<String>) -> KernelError {
    KernelError::Unsupported(message.into())
}
