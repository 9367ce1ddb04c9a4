//! Normalisation and softmax.

use super::InferError;
use super::context::{Context, Types, one, tensor};
use super::elementwise::same;
use crate::DType;
use crate::shape::{self, broadcast, invalid};

/// x `[n, c, …]`, then `parameters` vectors `[c]`.
pub(super) fn per_channel(parameters: usize, context: &Context) -> Types {
    context.dtype(0)?;
    let x = context.ranked(0, 2..=usize::MAX)?;
    for index in 1..=parameters {
        context.need(index)?;
        check_channels(context, index, x)?;
    }
    same(context)
}

/// x `[n, c, …]`, scale and bias `[c]`.
pub(super) fn group_norm(groups: usize, context: &Context) -> Types {
    context.dtype(0)?;
    let x = context.ranked(0, 2..=usize::MAX)?;
    for index in [1, 2] {
        context.need(index)?;
        check_channels(context, index, x)?;
    }
    if let Some(x) = x
        && (groups == 0 || x[1] % groups != 0)
    {
        return invalid(format!("{groups} groups do not divide the channels of {x:?}"));
    }
    same(context)
}

fn check_channels(context: &Context, index: usize, x: Option<&[usize]>) -> Result<(), InferError> {
    match (x, context.shape(index)) {
        (Some(x), Some(parameter)) if parameter != [x[1]] => {
            invalid(format!("input {} of shape {parameter:?} does not fit {x:?}", index + 1))
        }
        _ => Ok(()),
    }
}

/// Inputs: x, scale, bias. Outputs: y, mean, inverse standard deviation, the latter two in single precision.
pub(super) fn layer_norm(axis: i64, context: &Context) -> Types {
    let dtype = context.dtype(0)?;
    let x = context.shape(0);
    let reduced = normalized(axis, context, &[1, 2])?;
    Ok(vec![
        tensor(dtype, x.map(<[usize]>::to_vec)),
        tensor(DType::F32, reduced.clone()),
        tensor(DType::F32, reduced),
    ])
}

/// Inputs: x, scale. The result has the type of the scale.
pub(super) fn rms_norm(axis: i64, context: &Context) -> Types {
    normalized(axis, context, &[1])?;
    one(context.dtype(1)?, context.shape(0).map(<[usize]>::to_vec))
}

/// The shape of x with the axes from `axis` on reduced to 1; checks that the parameters broadcast to x.
fn normalized(
    axis: i64,
    context: &Context,
    parameters: &[usize],
) -> Result<Option<Vec<usize>>, InferError> {
    context.need(parameters[0])?;
    let Some(x) = context.ranked(0, 1..=usize::MAX)? else { return Ok(None) };
    let axis = shape::axis(axis, x.len())?;
    for &index in parameters {
        if let Some(parameter) = context.shape(index)
            && broadcast(&[parameter, x])? != x
        {
            return invalid(format!(
                "input {} of shape {parameter:?} does not broadcast to {x:?}",
                index + 1
            ));
        }
    }
    let mut reduced = x.to_vec();
    reduced[axis..].fill(1);
    Ok(Some(reduced))
}

pub(super) fn along_axis(axis: i64, context: &Context) -> Types {
    along_axes(&[axis], context)
}

pub(super) fn along_axes(axes: &[i64], context: &Context) -> Types {
    let dtype = context.dtype(0)?;
    if !dtype.is_float() {
        return invalid(format!("the input is {dtype}, not floating-point"));
    }
    if let Some(x) = context.shape(0).filter(|x| !(x.is_empty() && matches!(axes, [0 | -1]))) {
        shape::axes(axes, x.len())?;
    }
    same(context)
}

pub(super) fn lrn(size: usize, context: &Context) -> Types {
    context.dtype(0)?;
    context.ranked(0, 2..=usize::MAX)?;
    if size == 0 {
        return invalid("sums over 0 channels".to_owned());
    }
    same(context)
}
