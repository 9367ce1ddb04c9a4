//! Operators that work element by element.

use super::InferError;
use super::context::{Context, Types, one};
use crate::shape::{broadcast, invalid};
use crate::{Binary, DType, Unary};

/// One output like the first input.
pub(super) fn same(context: &Context) -> Types {
    let input = context.need(0)?;
    one(input.dtype, input.shape.map(<[usize]>::to_vec))
}

pub(super) fn unary(unary: Unary, context: &Context) -> Types {
    let input = context.need(0)?;
    let boolean = input.dtype == DType::Bool;
    let dtype = match unary {
        Unary::IsInf { .. } | Unary::IsNaN if input.dtype.is_float() => DType::Bool,
        Unary::Not if boolean => DType::Bool,
        Unary::BitwiseNot if input.dtype.is_int() => input.dtype,
        Unary::IsInf { .. } | Unary::IsNaN | Unary::Not | Unary::BitwiseNot => {
            return invalid(format!("the input is {}", input.dtype));
        }
        _ if boolean => return invalid("the input is bool".to_owned()),
        _ => input.dtype,
    };
    one(dtype, input.shape.map(<[usize]>::to_vec))
}

pub(super) fn binary(binary: Binary, context: &Context) -> Types {
    let dtype = match binary {
        // The exponent may have a type of its own.
        Binary::Pow => context.dtype(0)?,
        _ => context.same_dtype(&[0, 1])?,
    };
    let fits = match binary {
        Binary::And | Binary::Or | Binary::Xor => dtype == DType::Bool,
        Binary::BitwiseAnd | Binary::BitwiseOr | Binary::BitwiseXor | Binary::BitShift { .. } => {
            dtype.is_int()
        }
        Binary::Add
        | Binary::Sub
        | Binary::Mul
        | Binary::Div
        | Binary::Pow
        | Binary::Mod { .. }
        | Binary::Min
        | Binary::Max
        | Binary::PRelu => dtype != DType::Bool,
    };
    if !fits {
        return invalid(format!("the inputs are {dtype}"));
    }
    if context.inputs().len() != 2 {
        return invalid(format!("takes 2 inputs, not {}", context.inputs().len()));
    }
    one(dtype, broadcast_inputs(context, &[0, 1])?)
}

pub(super) fn compare(context: &Context) -> Types {
    context.same_dtype(&[0, 1])?;
    one(DType::Bool, broadcast_inputs(context, &[0, 1])?)
}

pub(super) fn select(context: &Context) -> Types {
    context.need(0)?;
    context.expect_dtype(0, &[DType::Bool])?;
    let dtype = context.same_dtype(&[1, 2])?;
    one(dtype, broadcast_inputs(context, &[0, 1, 2])?)
}

pub(super) fn clip(context: &Context) -> Types {
    context.same_dtype(&[0, 1, 2])?;
    for bound in [1, 2] {
        if let Some(shape) = context.shape(bound).filter(|shape| shape.iter().any(|&dim| dim != 1))
        {
            return invalid(format!("bound {bound} has shape {shape:?}, not one element"));
        }
    }
    same(context)
}

pub(super) fn cast(to: DType, context: &Context) -> Types {
    one(to, context.need(0)?.shape.map(<[usize]>::to_vec))
}

/// The shape that the listed inputs, all of which must be given, broadcast to.
pub(super) fn broadcast_inputs(
    context: &Context,
    indices: &[usize],
) -> Result<Option<Vec<usize>>, InferError> {
    let mut shapes = Vec::with_capacity(indices.len());
    for &index in indices {
        shapes.push(context.need(index)?.shape);
    }
    let Some(shapes) = shapes.into_iter().collect::<Option<Vec<_>>>() else { return Ok(None) };
    broadcast(&shapes).map(Some)
}
