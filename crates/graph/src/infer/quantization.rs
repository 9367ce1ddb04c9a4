//! Quantisation.

use super::InferError;
use super::context::{Context, Types, one, tensor};
use crate::DType;
use crate::shape::{self, invalid};

/// Inputs: x, scale, zero point (optional).
pub(super) fn quantize(axis: i64, block: usize, to: Option<DType>, context: &Context) -> Types {
    let dtype = match (context.get(2), to) {
        (Some(zero), Some(to)) if zero.dtype != to => {
            return invalid(format!("the zero point is {}, the result {to}", zero.dtype));
        }
        (Some(zero), _) => zero.dtype,
        (None, to) => to.unwrap_or(DType::U8),
    };
    check_scale(axis, block, context)?;
    one(dtype, context.shape(0).map(<[usize]>::to_vec))
}

/// Inputs: x, scale, zero point (optional). The result has the type of the scale.
pub(super) fn dequantize(axis: i64, block: usize, context: &Context) -> Types {
    context.same_dtype(&[0, 2])?;
    check_scale(axis, block, context)?;
    one(context.dtype(1)?, context.shape(0).map(<[usize]>::to_vec))
}

/// Scale and zero point are one value, one per index of `axis`, or one per block along it.
fn check_scale(axis: i64, block: usize, context: &Context) -> Result<(), InferError> {
    context.dtype(0)?;
    context.need(1)?;
    let (Some(x), Some(scale)) = (context.shape(0), context.shape(1)) else { return Ok(()) };
    // One value may be written with and without axes.
    let one = |shape: &[usize]| shape.iter().all(|&size| size == 1);
    if let Some(zero) = context.shape(2)
        && zero != scale
        && !(one(zero) && one(scale))
    {
        return invalid(format!("zero point {zero:?} and scale {scale:?} differ in shape"));
    }
    let fits = if block > 0 {
        let axis = shape::axis(axis, x.len())?;
        scale.len() == x.len()
            && scale.iter().zip(x).enumerate().all(|(at, (&scale, &x))| match at == axis {
                true => scale == x.div_ceil(block),
                false => scale == x,
            })
    } else {
        match scale {
            [] | [1] => true,
            &[count] => x[shape::axis(axis, x.len())?] == count,
            _ => false,
        }
    };
    if !fits {
        return invalid(format!("scale {scale:?} does not fit {x:?} (axis {axis}, block {block})"));
    }
    Ok(())
}

/// Outputs: y, scale, zero point.
pub(super) fn dynamic_quantize(context: &Context) -> Types {
    context.need(0)?;
    context.expect_dtype(0, &[DType::F32])?;
    Ok(vec![
        tensor(DType::U8, context.shape(0).map(<[usize]>::to_vec)),
        tensor(DType::F32, Some(vec![])),
        tensor(DType::U8, Some(vec![])),
    ])
}
