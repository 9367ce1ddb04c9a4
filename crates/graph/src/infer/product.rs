//! Matrix products and Einstein summation.

use super::InferError;
use super::context::{Context, Types, one};
use crate::DType;
use crate::shape::{self, broadcast, einsum_labels, einsum_shape, invalid};

pub(super) fn matmul(context: &Context) -> Types {
    let dtype = context.same_dtype(&[0, 1])?;
    one(dtype, product_shape(context, 0, 1)?)
}

pub(super) fn linear(context: &Context) -> Types {
    let dtype = context.same_dtype(&[0, 1, 2])?;
    let w = context.ranked(1, 2..=2)?;
    if let (Some(&[_, n]), Some(bias)) = (w, context.shape(2))
        && bias != [n]
    {
        return invalid(format!("bias {bias:?} does not fit weights {w:?}"));
    }
    one(dtype, product_shape(context, 0, 1)?)
}

pub(super) fn gemm(trans_a: bool, trans_b: bool, context: &Context) -> Types {
    let dtype = context.same_dtype(&[0, 1, 2])?;
    let (Some(a), Some(b)) = (context.ranked(0, 2..=2)?, context.ranked(1, 2..=2)?) else {
        return one(dtype, None);
    };
    let (m, inner_a) = if trans_a { (a[1], a[0]) } else { (a[0], a[1]) };
    let (inner_b, n) = if trans_b { (b[1], b[0]) } else { (b[0], b[1]) };
    if inner_a != inner_b {
        return invalid(format!("{a:?} and {b:?} have inner sizes {inner_a} and {inner_b}"));
    }
    let result = vec![m, n];
    if let Some(c) = context.shape(2)
        && broadcast(&[&result, c])? != result
    {
        return invalid(format!("{c:?} does not broadcast to the result {result:?}"));
    }
    one(dtype, Some(result))
}

pub(super) fn matmul_integer(context: &Context) -> Types {
    for index in [0, 1] {
        context.expect_dtype(index, &[DType::I8, DType::U8])?;
    }
    context.same_dtype(&[0, 2])?;
    context.same_dtype(&[1, 3])?;
    one(DType::I32, product_shape(context, 0, 1)?)
}

/// Inputs: a, its scale and zero point, b, its scale and zero point, the result's scale and zero point.
pub(super) fn qlinear_matmul(context: &Context) -> Types {
    context.same_dtype(&[0, 2])?;
    context.same_dtype(&[3, 5])?;
    context.need(6)?;
    one(context.dtype(7)?, product_shape(context, 0, 3)?)
}

pub(super) fn einsum(equation: &str, context: &Context) -> Types {
    let inputs = context.need_all()?;
    let indices: Vec<usize> = (0..inputs.len()).collect();
    if indices.is_empty() {
        return invalid("takes at least one input".to_owned());
    }
    let dtype = context.same_dtype(&indices)?;
    let shapes: Option<Vec<&[usize]>> = inputs.iter().map(|input| input.shape).collect();
    let Some(shapes) = shapes else { return one(dtype, None) };
    let ranks: Vec<usize> = shapes.iter().map(|shape| shape.len()).collect();
    one(dtype, Some(einsum_shape(&einsum_labels(equation, &ranks)?, &shapes)?))
}

fn product_shape(context: &Context, a: usize, b: usize) -> Result<Option<Vec<usize>>, InferError> {
    context.need(b)?;
    match (context.shape(a), context.shape(b)) {
        (Some(a), Some(b)) => shape::matmul(a, b).map(Some),
        _ => Ok(None),
    }
}
