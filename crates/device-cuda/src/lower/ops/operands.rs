//! Reading a step's inputs and outputs: which are there, what is known of them.

use crate::lower::{LowerError, Order, Value};
use sublet_graph::InferError;

/// An input that the operator must have.
pub fn input(inputs: &[Option<Value>], index: usize) -> Result<&Value, LowerError> {
    optional(inputs, index).ok_or_else(|| LowerError::Invalid(format!("input {index} is missing")))
}

/// An input that may be left out.
pub fn optional(inputs: &[Option<Value>], index: usize) -> Option<&Value> {
    inputs.get(index).and_then(Option::as_ref)
}

/// An output that the operator always has.
pub fn output(outputs: &[Option<Value>], index: usize) -> Result<&Value, LowerError> {
    optional(outputs, index)
        .ok_or_else(|| LowerError::Invalid(format!("output {index} is missing")))
}

/// The integers of a parameter: shapes, axes and the like.
///
/// # Errors
/// [`LowerError::Unsupported`] when only the run tells them.
pub fn known_integers(value: &Value, what: &str) -> Result<Vec<i64>, LowerError> {
    let known = value.known.as_ref().ok_or_else(|| computed(what))?;
    known.to_i64s().ok_or_else(|| LowerError::Invalid(format!("{what} of {}", value.dtype)))
}

/// As [`known_integers`] for a parameter that may be left out.
pub fn optional_integers(
    inputs: &[Option<Value>],
    index: usize,
    what: &str,
) -> Result<Option<Vec<i64>>, LowerError> {
    optional(inputs, index).map(|value| known_integers(value, what)).transpose()
}

/// The numbers of a floating-point parameter.
pub fn known_floats(value: &Value, what: &str) -> Result<Vec<f32>, LowerError> {
    let known = value.known.as_ref().ok_or_else(|| computed(what))?;
    known.to_f32s().ok_or_else(|| LowerError::Invalid(format!("{what} of {}", value.dtype)))
}

fn computed(what: &str) -> LowerError {
    LowerError::unsupported(format!("{what} that only the run tells"))
}

/// A value whose elements lie in row-major order.
pub fn row_major<'a>(value: &'a Value, what: &str) -> Result<&'a Value, LowerError> {
    if value.order == Order::RowMajor || is_row_major(value) {
        return Ok(value);
    }
    Err(LowerError::unsupported(format!("{what} of elements that lie channels last")))
}

/// Whether the last axis lies innermost, whatever the order is called.
pub fn is_row_major(value: &Value) -> bool {
    let strides = value.strides();
    let dense = strides_of(&value.shape);
    value.shape.iter().zip(strides.iter().zip(&dense)).all(|(&dim, (a, b))| dim <= 1 || a == b)
}

/// Elements from one index of each axis to the next, in row-major order.
pub fn strides_of(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// `shape` around one axis: how many elements before it, along it, and after it.
pub fn around(shape: &[usize], axis: usize) -> (usize, usize, usize) {
    (shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product())
}

impl From<InferError> for LowerError {
    fn from(error: InferError) -> Self {
        match error {
            InferError::Invalid(what) => LowerError::Invalid(what),
            InferError::Unsupported(what) => LowerError::Unsupported(what),
        }
    }
}
