//! Operators that pick or replace elements by index.

use super::InferError;
use super::context::{Context, Types, one};
use super::elementwise::same;
use crate::DType;
use crate::shape::{self, invalid};

const INDEX: [DType; 2] = [DType::I64, DType::I32];

pub(super) fn gather(axis: i64, context: &Context) -> Types {
    let dtype = context.dtype(0)?;
    context.need(1)?;
    context.expect_dtype(1, &INDEX)?;
    let x = context.ranked(0, 1..=usize::MAX)?;
    let (Some(x), indices) = (x, context.shape(1)) else { return one(dtype, None) };
    let axis = shape::axis(axis, x.len())?;
    one(dtype, indices.map(|indices| [&x[..axis], indices, &x[axis + 1..]].concat()))
}

pub(super) fn gather_elements(axis: i64, context: &Context) -> Types {
    let dtype = context.dtype(0)?;
    context.need(1)?;
    context.expect_dtype(1, &INDEX)?;
    if let (Some(x), Some(indices)) = (context.shape(0), context.shape(1)) {
        check_within(x, indices, shape::axis(axis, x.len())?)?;
    }
    one(dtype, context.shape(1).map(<[usize]>::to_vec))
}

pub(super) fn gather_nd(batch_dims: usize, context: &Context) -> Types {
    let dtype = context.dtype(0)?;
    context.need(1)?;
    context.expect_dtype(1, &[DType::I64])?;
    let (Some(x), Some(indices)) = (context.shape(0), context.shape(1)) else {
        return one(dtype, None);
    };
    one(dtype, Some(shape::gather_nd(x, indices, batch_dims)?))
}

/// Inputs: data, indices, updates.
pub(super) fn scatter_elements(axis: i64, context: &Context) -> Types {
    context.same_dtype(&[0, 2])?;
    context.need(1)?;
    context.need(2)?;
    context.expect_dtype(1, &INDEX)?;
    if let (Some(x), Some(indices)) = (context.shape(0), context.shape(1)) {
        check_within(x, indices, shape::axis(axis, x.len())?)?;
    }
    if let (Some(indices), Some(updates)) = (context.shape(1), context.shape(2))
        && indices != updates
    {
        return invalid(format!("indices {indices:?} and updates {updates:?} differ in shape"));
    }
    same(context)
}

pub(super) fn scatter_nd(context: &Context) -> Types {
    context.same_dtype(&[0, 2])?;
    context.need(1)?;
    context.need(2)?;
    context.expect_dtype(1, &[DType::I64])?;
    if let (Some(x), Some(indices)) = (context.shape(0), context.shape(1)) {
        let wanted = shape::gather_nd(x, indices, 0)?;
        if let Some(updates) = context.shape(2).filter(|&updates| updates != wanted) {
            return invalid(format!(
                "updates {updates:?} for indices {indices:?} into {x:?} must be {wanted:?}"
            ));
        }
    }
    same(context)
}

/// Inputs: past cache, update, write indices `[batch]` (optional).
pub(super) fn tensor_scatter(axis: i64, context: &Context) -> Types {
    context.same_dtype(&[0, 1])?;
    context.need(1)?;
    context.expect_dtype(2, &[DType::I64])?;
    if let (Some(cache), Some(update)) = (context.shape(0), context.shape(1)) {
        let axis = shape::axis(axis, cache.len())?;
        let fits = axis > 0
            && cache.len() == update.len()
            && (0..cache.len()).all(|at| {
                if at == axis { update[at] <= cache[at] } else { update[at] == cache[at] }
            });
        let indices = context.shape(2);
        if !fits || indices.is_some_and(|indices| indices != [cache[0]]) {
            return invalid(format!(
                "update {update:?} at {indices:?} does not fit {cache:?} along axis {axis}"
            ));
        }
    }
    same(context)
}

/// Inputs: data, condition.
pub(super) fn compress(axis: Option<i64>, context: &Context) -> Types {
    let dtype = context.dtype(0)?;
    context.need(1)?;
    context.expect_dtype(1, &[DType::Bool])?;
    context.ranked(1, 1..=1)?;
    if let (Some(x), Some(axis)) = (context.shape(0), axis) {
        shape::axis(axis, x.len())?;
    }
    one(dtype, None)
}

/// Inputs: indices, depth, values (off, on).
pub(super) fn one_hot(axis: i64, context: &Context) -> Types {
    let dtype = context.dtype(2)?;
    if let Some(values) = context.shape(2).filter(|&values| values != [2]) {
        return invalid(format!("values of shape {values:?} are not off and on"));
    }
    let depth = context.need(1)?;
    let Some(indices) = context.shape(0) else { return one(dtype, None) };
    let axis = shape::axis(axis, indices.len() + 1)?;
    let Some(value) = depth.value else { return one(dtype, None) };
    let depth = match (value.to_i64s().as_deref(), value.to_f32s().as_deref()) {
        (Some(&[depth]), _) => shape::dim(depth)?,
        (_, Some(&[depth])) if depth >= 0.0 && depth < isize::MAX as f32 => depth as usize,
        _ if value.len() == 1 && value.dtype().is_int() => {
            let mut bits = [0; 8];
            bits[..value.bytes().len()].copy_from_slice(value.bytes());
            usize::try_from(u64::from_le_bytes(bits)).unwrap_or(usize::MAX)
        }
        _ => return invalid(format!("depth {value:?} is not one size")),
    };
    let mut result = indices.to_vec();
    result.insert(axis, depth);
    one(dtype, Some(result))
}

/// Indices along one axis lie within the data on all others.
fn check_within(x: &[usize], indices: &[usize], axis: usize) -> Result<(), InferError> {
    let fits = x.len() == indices.len()
        && x.iter().zip(indices).enumerate().all(|(at, (x, index))| at == axis || index <= x);
    if fits {
        return Ok(());
    }
    invalid(format!("indices {indices:?} do not fit {x:?} along axis {axis}"))
}
