//! Operators that make tensors out of sizes.

use super::context::{Context, Types, one};
use crate::shape::{self, invalid};
use crate::{DType, Literal};

pub(super) fn constant_of_shape(dtype: DType, context: &Context) -> Types {
    context.need(0)?;
    let Some(sizes) = context.i64s(0)? else { return one(dtype, None) };
    one(dtype, Some(shape::dims(&sizes)?))
}

/// Inputs: start, limit, delta.
pub(super) fn range(context: &Context) -> Types {
    let dtype = context.same_dtype(&[0, 1, 2])?;
    let values = [context.need(0)?.value, context.need(1)?.value, context.need(2)?.value];
    let [Some(start), Some(limit), Some(delta)] = values else { return one(dtype, None) };
    let wrong = || format!("{start:?}, {limit:?} and {delta:?} do not make a range");
    let integers = [start, limit, delta].map(integer);
    if let [Some(start), Some(limit), Some(delta)] = integers {
        let span = if delta > 0 { limit - start } else { start - limit };
        if delta == 0 {
            return invalid(wrong());
        }
        let step = delta.unsigned_abs();
        let len = if span > 0 { span.unsigned_abs().div_ceil(step) } else { 0 };
        return match usize::try_from(len) {
            Ok(len) => one(dtype, Some(vec![len])),
            Err(_) => invalid(wrong()),
        };
    }
    let [Some(start), Some(limit), Some(delta)] = [start, limit, delta].map(float) else {
        return invalid(wrong());
    };
    // The difference is rounded to the element type, as the running sum of the elements is.
    let limit = match dtype {
        DType::F32 => f64::from((limit - start) as f32) + start,
        _ => limit,
    };
    one(dtype, Some(vec![shape::range_len(start, limit, delta)?]))
}

fn integer(value: &Literal) -> Option<i128> {
    if value.len() != 1 {
        return None;
    }
    match value.dtype() {
        DType::I64 | DType::I32 => value.to_i64s().map(|values| i128::from(values[0])),
        DType::I16 => Some(i128::from(value.to_vec::<i16>()[0])),
        DType::I8 => Some(i128::from(value.to_vec::<i8>()[0])),
        DType::U8 => Some(i128::from(value.to_vec::<u8>()[0])),
        DType::U16 => Some(i128::from(value.to_vec::<u16>()[0])),
        DType::U32 => Some(i128::from(value.to_vec::<u32>()[0])),
        DType::U64 => Some(i128::from(value.to_vec::<u64>()[0])),
        DType::F32 | DType::F16 | DType::BF16 | DType::F64 | DType::Bool => None,
    }
}

fn float(value: &Literal) -> Option<f64> {
    match value.dtype() {
        DType::F64 if value.len() == 1 => Some(value.to_vec::<f64>()[0]),
        _ if value.len() == 1 => value.to_f32s().map(|values| f64::from(values[0])),
        _ => None,
    }
}

pub(super) fn eye_like(dtype: Option<DType>, context: &Context) -> Types {
    let shape = context.ranked(0, 2..=2)?;
    one(dtype.unwrap_or(context.dtype(0)?), shape.map(<[usize]>::to_vec))
}

/// Input: the window's size.
pub(super) fn window(dtype: DType, context: &Context) -> Types {
    context.need(0)?;
    let Some(size) = context.i64(0)? else { return one(dtype, None) };
    one(dtype, Some(vec![shape::dim(size)?]))
}

/// Inputs: number of mel bins, DFT length, sample rate, lowest and highest frequency.
pub(super) fn mel_weight_matrix(dtype: DType, context: &Context) -> Types {
    context.need(4)?;
    let (Some(bins), Some(len)) = (context.i64(0)?, context.i64(1)?) else {
        return one(dtype, None);
    };
    one(dtype, Some(vec![shape::dim(len)? / 2 + 1, shape::dim(bins)?]))
}
