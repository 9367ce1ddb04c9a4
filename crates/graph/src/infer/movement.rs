//! Operators that report, change or permute shapes and move elements.

use super::context::{Context, Types, one, tensor};
use super::elementwise::same;
use crate::DType;
use crate::shape::{self, broadcast, invalid};

pub(super) fn shape(start: i64, end: Option<i64>, context: &Context) -> Types {
    context.dtype(0)?;
    let Some(x) = context.shape(0) else { return one(DType::I64, None) };
    let ends = [end.unwrap_or(i64::MAX)];
    let range = shape::slice_ranges(&[x.len()], &[start], &ends, None, None)?[0];
    one(DType::I64, Some(vec![range.len]))
}

pub(super) fn size(context: &Context) -> Types {
    context.dtype(0)?;
    one(DType::I64, Some(vec![]))
}

pub(super) fn reshape(allow_zero: bool, context: &Context) -> Types {
    let dtype = context.dtype(0)?;
    context.need(1)?;
    let (x, Some(target)) = (context.shape(0), context.i64s(1)?) else { return one(dtype, None) };
    match x {
        Some(x) => one(dtype, Some(shape::reshape(x, &target, allow_zero)?)),
        // A target without placeholders says it all.
        None if target.iter().all(|&size| size > 0) => one(dtype, Some(shape::dims(&target)?)),
        None => one(dtype, None),
    }
}

pub(super) fn flatten(axis: i64, context: &Context) -> Types {
    let dtype = context.dtype(0)?;
    let Some(x) = context.shape(0) else { return one(dtype, None) };
    let at = match axis {
        axis if axis == x.len() as i64 => x.len(),
        axis => shape::axis(axis, x.len())?,
    };
    one(dtype, Some(vec![shape::len(&x[..at])?, shape::len(&x[at..])?]))
}

/// Inputs: data, axes (optional).
pub(super) fn squeeze(context: &Context) -> Types {
    let dtype = context.dtype(0)?;
    let axes = context.i64s(1)?;
    let (Some(x), true) = (context.shape(0), context.known(&[1])) else { return one(dtype, None) };
    one(dtype, Some(shape::squeeze(x, axes.as_deref())?))
}

pub(super) fn unsqueeze(context: &Context) -> Types {
    let dtype = context.dtype(0)?;
    context.need(1)?;
    let (Some(x), Some(axes)) = (context.shape(0), context.i64s(1)?) else {
        return one(dtype, None);
    };
    one(dtype, Some(shape::unsqueeze(x, &axes)?))
}

pub(super) fn transpose(perm: &[usize], context: &Context) -> Types {
    let dtype = context.dtype(0)?;
    let Some(x) = context.shape(0) else { return one(dtype, None) };
    let perm = shape::transpose(x.len(), perm)?;
    one(dtype, Some(perm.into_iter().map(|axis| x[axis]).collect()))
}

/// Inputs: data, the shape to broadcast with.
pub(super) fn expand(context: &Context) -> Types {
    let dtype = context.dtype(0)?;
    context.need(1)?;
    let (Some(x), Some(target)) = (context.shape(0), context.i64s(1)?) else {
        return one(dtype, None);
    };
    one(dtype, Some(broadcast(&[x, &shape::dims(&target)?])?))
}

pub(super) fn tile(context: &Context) -> Types {
    let dtype = context.dtype(0)?;
    context.need(1)?;
    let (Some(x), Some(repeats)) = (context.shape(0), context.i64s(1)?) else {
        return one(dtype, None);
    };
    let repeats = shape::dims(&repeats)?;
    if repeats.len() != x.len() {
        return invalid(format!("{repeats:?} does not say how often to repeat {x:?}"));
    }
    let tiled: Option<Vec<usize>> =
        x.iter().zip(&repeats).map(|(size, &count)| size.checked_mul(count)).collect();
    match tiled {
        Some(tiled) => one(dtype, Some(tiled)),
        None => invalid(format!("{x:?} repeated {repeats:?} overflows")),
    }
}

pub(super) fn concat(axis: i64, context: &Context) -> Types {
    let inputs = context.need_all()?;
    let indices: Vec<usize> = (0..inputs.len().max(1)).collect();
    let dtype = context.same_dtype(&indices)?;
    let shapes: Option<Vec<&[usize]>> = inputs.iter().map(|input| input.shape).collect();
    let Some(shapes) = shapes else { return one(dtype, None) };
    one(dtype, Some(shape::concat(&shapes, axis)?))
}

/// Inputs: data, sizes (optional).
pub(super) fn split(axis: i64, parts: usize, context: &Context) -> Types {
    let dtype = context.dtype(0)?;
    let sizes = context.i64s(1)?;
    if parts < context.outputs {
        return invalid(format!("{parts} parts for {} outputs", context.outputs));
    }
    let (Some(x), true) = (context.shape(0), context.known(&[1])) else {
        return Ok(vec![tensor(dtype, None); context.outputs]);
    };
    let axis = shape::axis(axis, x.len())?;
    let sizes = shape::split_sizes(x[axis], parts, sizes.as_deref())?;
    let part = |size: usize| {
        let mut part = x.to_vec();
        part[axis] = size;
        tensor(dtype, Some(part))
    };
    Ok(sizes.into_iter().map(part).collect())
}

/// Inputs: data, starts, ends, axes (optional), steps (optional).
pub(super) fn slice(context: &Context) -> Types {
    let dtype = context.dtype(0)?;
    context.need(1)?;
    context.need(2)?;
    let lists = [1, 2, 3, 4].map(|index| context.i64s(index));
    let [starts, ends, axes, steps] = lists;
    let (starts, ends, axes, steps) = (starts?, ends?, axes?, steps?);
    let (Some(x), true) = (context.shape(0), context.known(&[1, 2, 3, 4])) else {
        return one(dtype, None);
    };
    let (starts, ends) = (starts.unwrap_or_default(), ends.unwrap_or_default());
    let ranges = shape::slice_ranges(x, &starts, &ends, axes.as_deref(), steps.as_deref())?;
    one(dtype, Some(ranges.iter().map(|range| range.len).collect()))
}

/// Inputs: data, pads, constant value (optional), axes (optional).
pub(super) fn pad(context: &Context) -> Types {
    let dtype = context.same_dtype(&[0, 2])?;
    context.need(1)?;
    let (pads, axes) = (context.i64s(1)?, context.i64s(3)?);
    let (Some(x), Some(pads), true) = (context.shape(0), pads, context.known(&[3])) else {
        return one(dtype, None);
    };
    let amounts = shape::pad_amounts(x.len(), &pads, axes.as_deref())?;
    let padded: Option<Vec<usize>> = x
        .iter()
        .zip(&amounts)
        .map(|(&size, &(begin, end))| {
            let size = i128::try_from(size).ok()? + i128::from(begin) + i128::from(end);
            usize::try_from(size).ok()
        })
        .collect();
    match padded {
        Some(padded) => one(dtype, Some(padded)),
        None => invalid(format!("{x:?} cannot be padded by {pads:?}")),
    }
}

pub(super) fn depth_to_space(block: usize, context: &Context) -> Types {
    let dtype = context.dtype(0)?;
    let Some(x) = context.ranked(0, 4..=4)? else { return one(dtype, None) };
    let area = block.checked_mul(block).filter(|&area| area > 0 && x[1].is_multiple_of(area));
    let sides = (x[2].checked_mul(block), x[3].checked_mul(block));
    let (Some(area), (Some(height), Some(width))) = (area, sides) else {
        return invalid(format!("the channels of {x:?} do not make blocks of {block}"));
    };
    one(dtype, Some(vec![x[0], x[1] / area, height, width]))
}

pub(super) fn space_to_depth(block: usize, context: &Context) -> Types {
    let dtype = context.dtype(0)?;
    let Some(x) = context.ranked(0, 4..=4)? else { return one(dtype, None) };
    let divides = block > 0 && x[2].is_multiple_of(block) && x[3].is_multiple_of(block);
    let channels = block.checked_mul(block).and_then(|area| x[1].checked_mul(area));
    match channels.filter(|_| divides) {
        Some(channels) => one(dtype, Some(vec![x[0], channels, x[2] / block, x[3] / block])),
        None => invalid(format!("{x:?} does not split into blocks of {block}")),
    }
}

/// Inputs: data, sequence lengths `[batch]`.
pub(super) fn reverse_sequence(batch_axis: i64, time_axis: i64, context: &Context) -> Types {
    context.need(1)?;
    context.expect_dtype(1, &[DType::I64])?;
    let lengths = context.ranked(1, 1..=1)?;
    if let Some(x) = context.ranked(0, 2..=usize::MAX)? {
        let [batch, _] = shape::axes(&[batch_axis, time_axis], x.len())?[..] else {
            unreachable!("two axes were given")
        };
        if let Some(lengths) = lengths.filter(|lengths| lengths[0] != x[batch]) {
            return invalid(format!("lengths {lengths:?} do not fit axis {batch} of {x:?}"));
        }
    }
    same(context)
}

/// Inputs: data, sizes of the listed axes.
pub(super) fn center_crop_pad(axes: Option<&[i64]>, context: &Context) -> Types {
    let dtype = context.dtype(0)?;
    context.need(1)?;
    let (Some(x), Some(sizes)) = (context.shape(0), context.i64s(1)?) else {
        return one(dtype, None);
    };
    let axes = match axes {
        Some(axes) => shape::axes(axes, x.len())?,
        None => (0..x.len()).collect(),
    };
    if axes.len() != sizes.len() {
        return invalid(format!("{} sizes for {} axes", sizes.len(), axes.len()));
    }
    let mut result = x.to_vec();
    for (axis, size) in axes.into_iter().zip(shape::dims(&sizes)?) {
        result[axis] = size;
    }
    one(dtype, Some(result))
}
