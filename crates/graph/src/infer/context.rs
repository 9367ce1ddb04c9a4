//! The inputs of the operator whose outputs are being inferred, with checks that say which input is wrong.

use super::{InferError, InferInput, TensorType};
use crate::shape::invalid;
use crate::{DType, Weight};

pub(super) type Types = Result<Vec<TensorType>, InferError>;

pub(super) struct Context<'a> {
    inputs: &'a [Option<InferInput<'a>>],
    /// How many outputs are wanted.
    pub outputs: usize,
    /// The weights that bodies may read; empty when the caller has none at hand.
    pub weights: &'a [Weight],
}

impl<'a> Context<'a> {
    pub fn new(
        inputs: &'a [Option<InferInput<'a>>],
        outputs: usize,
        weights: &'a [Weight],
    ) -> Self {
        Context { inputs, outputs, weights }
    }

    pub fn inputs(&self) -> &'a [Option<InferInput<'a>>] {
        self.inputs
    }

    pub fn get(&self, index: usize) -> Option<&'a InferInput<'a>> {
        self.inputs.get(index)?.as_ref()
    }

    pub fn need(&self, index: usize) -> Result<&'a InferInput<'a>, InferError> {
        self.get(index)
            .ok_or_else(|| InferError::Invalid(format!("input {} is missing", index + 1)))
    }

    /// The inputs, all of which must be there.
    pub fn need_all(&self) -> Result<Vec<&'a InferInput<'a>>, InferError> {
        (0..self.inputs.len()).map(|index| self.need(index)).collect()
    }

    pub fn dtype(&self, index: usize) -> Result<DType, InferError> {
        Ok(self.need(index)?.dtype)
    }

    /// The one element type of the listed inputs, as far as they are given; the first must be.
    pub fn same_dtype(&self, indices: &[usize]) -> Result<DType, InferError> {
        let dtype = self.dtype(indices[0])?;
        for &index in &indices[1..] {
            if let Some(input) = self.get(index).filter(|input| input.dtype != dtype) {
                return invalid(format!(
                    "inputs {} and {} have element types {dtype} and {}",
                    indices[0] + 1,
                    index + 1,
                    input.dtype
                ));
            }
        }
        Ok(dtype)
    }

    /// Checks an input, if it is given, for an element type out of `allowed`.
    pub fn expect_dtype(&self, index: usize, allowed: &[DType]) -> Result<(), InferError> {
        match self.get(index) {
            Some(input) if !allowed.contains(&input.dtype) => {
                let allowed: Vec<String> = allowed.iter().map(DType::to_string).collect();
                invalid(format!(
                    "input {} has element type {}, not {}",
                    index + 1,
                    input.dtype,
                    allowed.join(" or ")
                ))
            }
            _ => Ok(()),
        }
    }

    /// The shape of an input that is given and whose shape is known.
    pub fn shape(&self, index: usize) -> Option<&'a [usize]> {
        self.get(index)?.shape
    }

    /// As [`Context::shape`], and the rank must be one of `ranks`.
    pub fn ranked(
        &self,
        index: usize,
        ranks: std::ops::RangeInclusive<usize>,
    ) -> Result<Option<&'a [usize]>, InferError> {
        match self.shape(index) {
            Some(shape) if !ranks.contains(&shape.len()) => invalid(format!(
                "input {} has shape {shape:?}; its rank must be {}",
                index + 1,
                match (*ranks.start(), *ranks.end()) {
                    (low, high) if low == high => low.to_string(),
                    (low, usize::MAX) => format!("{low} or more"),
                    (low, high) => format!("{low} to {high}"),
                }
            )),
            shape => Ok(shape),
        }
    }

    /// Whether each of these inputs is left out or has a known value.
    pub fn known(&self, indices: &[usize]) -> bool {
        indices.iter().all(|&index| self.get(index).is_none_or(|input| input.value.is_some()))
    }

    /// The integers of an input, `None` when it is left out or its value is unknown.
    pub fn i64s(&self, index: usize) -> Result<Option<Vec<i64>>, InferError> {
        let Some(input) = self.get(index) else { return Ok(None) };
        let wrong = || {
            let text = format!("input {} has element type {}, not i64", index + 1, input.dtype);
            InferError::Invalid(text)
        };
        if !matches!(input.dtype, DType::I64 | DType::I32) {
            return Err(wrong());
        }
        input.value.map(|value| value.to_i64s().ok_or_else(wrong)).transpose()
    }

    /// The one integer of an input, `None` when it is left out or its value is unknown.
    pub fn i64(&self, index: usize) -> Result<Option<i64>, InferError> {
        match self.i64s(index)?.as_deref() {
            None => Ok(None),
            Some([value]) => Ok(Some(*value)),
            Some(values) => {
                invalid(format!("input {} has {} elements, not one", index + 1, values.len()))
            }
        }
    }

    /// The numbers of a floating-point input, `None` when it is left out or its value is unknown.
    pub fn f32s(&self, index: usize) -> Result<Option<Vec<f32>>, InferError> {
        let Some(input) = self.get(index) else { return Ok(None) };
        if !input.dtype.is_float() {
            return invalid(format!("input {} is {}, not floating-point", index + 1, input.dtype));
        }
        Ok(input.value.and_then(|value| value.to_f32s()))
    }
}

/// The one output of most operators.
pub(super) fn one(dtype: DType, shape: Option<Vec<usize>>) -> Types {
    Ok(vec![TensorType { dtype, shape }])
}

pub(super) fn tensor(dtype: DType, shape: Option<Vec<usize>>) -> TensorType {
    TensorType { dtype, shape }
}
