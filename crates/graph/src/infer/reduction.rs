//! Reductions, cumulative operators, selection of extremes.

use super::context::{Context, Types, one, tensor};
use super::elementwise::same;
use crate::DType;
use crate::shape::{self, invalid, reduce_axes, reduced_shape};

/// Inputs: data, axes (optional).
pub(super) fn reduce(keep_dims: bool, noop_with_empty_axes: bool, context: &Context) -> Types {
    let dtype = context.dtype(0)?;
    let axes = context.i64s(1)?;
    let (Some(x), true) = (context.shape(0), context.known(&[1])) else { return one(dtype, None) };
    let axes = reduce_axes(x.len(), axes.as_deref(), noop_with_empty_axes)?;
    one(dtype, Some(reduced_shape(x, &axes, keep_dims)))
}

pub(super) fn arg_reduce(axis: i64, keep_dims: bool, context: &Context) -> Types {
    context.dtype(0)?;
    let Some(x) = context.shape(0) else { return one(DType::I64, None) };
    let axis = shape::axis(axis, x.len())?;
    if x[axis] == 0 {
        return invalid(format!("axis {axis} of {x:?} is empty and has no extreme"));
    }
    one(DType::I64, Some(reduced_shape(x, &[axis], keep_dims)))
}

/// Inputs: data, axis.
pub(super) fn cumulative(context: &Context) -> Types {
    context.need(1)?;
    if let (Some(x), Some(axis)) = (context.shape(0), context.i64(1)?) {
        shape::axis(axis, x.len())?;
    }
    same(context)
}

/// Inputs: data, k. Outputs: values, indices.
pub(super) fn top_k(axis: i64, context: &Context) -> Types {
    let dtype = context.dtype(0)?;
    context.need(1)?;
    let (Some(x), k) = (context.shape(0), context.i64(1)?) else {
        return Ok(vec![tensor(dtype, None), tensor(DType::I64, None)]);
    };
    let axis = shape::axis(axis, x.len())?;
    let result = match k {
        None => None,
        Some(k) => {
            let k = shape::dim(k)?;
            if k > x[axis] {
                return invalid(format!("k is {k} but axis {axis} of {x:?} has {}", x[axis]));
            }
            let mut result = x.to_vec();
            result[axis] = k;
            Some(result)
        }
    };
    Ok(vec![tensor(dtype, result.clone()), tensor(DType::I64, result)])
}

/// Outputs: values, indices, inverse indices, counts. How many there are depends on the data.
pub(super) fn unique(axis: Option<i64>, context: &Context) -> Types {
    let dtype = context.dtype(0)?;
    if let (Some(x), Some(axis)) = (context.shape(0), axis) {
        shape::axis(axis, x.len())?;
    }
    let index = tensor(DType::I64, None);
    Ok(vec![tensor(dtype, None), index.clone(), index.clone(), index])
}

pub(super) fn non_zero(context: &Context) -> Types {
    context.dtype(0)?;
    one(DType::I64, None)
}

pub(super) fn det(context: &Context) -> Types {
    let dtype = context.dtype(0)?;
    match context.ranked(0, 2..=usize::MAX)? {
        None => one(dtype, None),
        Some([batch @ .., rows, columns]) if rows == columns => one(dtype, Some(batch.to_vec())),
        Some(shape) => invalid(format!("{shape:?} is not square")),
    }
}
