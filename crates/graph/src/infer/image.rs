//! Images and signals.

use super::context::{Context, Types, one};
use crate::shape::{self, invalid, resize_geometry};
use crate::{DType, Resize};

/// Inputs: x, region of interest, scales, sizes; of the latter two, one is given (the other may be empty).
pub(super) fn resize(resize: &Resize, context: &Context) -> Types {
    let dtype = context.dtype(0)?;
    let (roi, scales, sizes) = (context.f32s(1)?, context.f32s(2)?, context.i64s(3)?);
    let (Some(x), true) = (context.shape(0), context.known(&[1, 2, 3])) else {
        return one(dtype, None);
    };
    let scales = scales.filter(|scales| !scales.is_empty());
    let sizes = sizes.filter(|sizes| !sizes.is_empty());
    let axes = resize_geometry(resize, x, roi.as_deref(), scales.as_deref(), sizes.as_deref())?;
    one(dtype, Some(axes.iter().map(|axis| axis.output).collect()))
}

/// Inputs: x `[n, c, spatial…]`, grid `[n, output spatial…, number of spatial axes]`.
pub(super) fn grid_sample(context: &Context) -> Types {
    let dtype = context.dtype(0)?;
    context.need(1)?;
    let x = context.ranked(0, 3..=usize::MAX)?;
    let grid = context.ranked(1, 3..=usize::MAX)?;
    let (Some(x), Some(grid)) = (x, grid) else { return one(dtype, None) };
    let fits = x.len() == grid.len() && x[0] == grid[0] && grid.last() == Some(&(x.len() - 2));
    if !fits {
        return invalid(format!("grid {grid:?} does not fit {x:?}"));
    }
    one(dtype, Some([&x[..2], &grid[1..grid.len() - 1]].concat()))
}

/// Inputs: theta `[n, d, d + 1]`, size `[n, c, spatial…]`.
pub(super) fn affine_grid(context: &Context) -> Types {
    let dtype = context.dtype(0)?;
    context.need(1)?;
    let theta = context.ranked(0, 3..=3)?;
    let Some(size) = context.i64s(1)? else { return one(dtype, None) };
    let size = shape::dims(&size)?;
    let (4 | 5, spatial) = (size.len(), size.len().saturating_sub(2)) else {
        return invalid(format!("size {size:?} is neither of an image nor of a volume"));
    };
    if let Some(theta) = theta.filter(|&theta| theta != [size[0], spatial, spatial + 1]) {
        return invalid(format!("theta {theta:?} does not fit size {size:?}"));
    }
    one(dtype, Some([&size[..1], &size[2..], &[spatial]].concat()))
}

/// Inputs: boxes `[n, b, 4]`, scores `[n, c, b]`, most per class, overlap threshold, score threshold.
pub(super) fn non_max_suppression(context: &Context) -> Types {
    context.need(1)?;
    context.same_dtype(&[0, 1, 3, 4])?;
    let (boxes, scores) = (context.ranked(0, 3..=3)?, context.ranked(1, 3..=3)?);
    if let (Some(boxes), Some(scores)) = (boxes, scores)
        && (boxes[2] != 4 || boxes[0] != scores[0] || boxes[1] != scores[2])
    {
        return invalid(format!("boxes {boxes:?} and scores {scores:?} do not fit"));
    }
    one(DType::I64, None)
}

/// Inputs: signal `[…, 1 or 2]`, length (optional), axis (optional, −2).
pub(super) fn dft(inverse: bool, onesided: bool, context: &Context) -> Types {
    let dtype = context.dtype(0)?;
    let (length, axis) = (context.i64(1)?, context.i64(2)?);
    let x = context.ranked(0, 2..=usize::MAX)?;
    let (Some(x), true) = (x, context.known(&[1, 2])) else { return one(dtype, None) };
    let last = x.len() - 1;
    let axis = shape::axis(axis.unwrap_or(-2), x.len())?;
    let parts = x[last];
    if axis == last || !matches!(parts, 1 | 2) {
        return invalid(format!("axis {axis} of a signal {x:?}"));
    }
    let real_inverse = onesided && inverse;
    if onesided && (parts == 2) != inverse {
        return invalid(format!(
            "a one-sided transform of {x:?}: forward is real, inverse complex"
        ));
    }
    let length = match length {
        Some(length) => shape::dim(length)?,
        None if real_inverse => x[axis].saturating_sub(1).saturating_mul(2),
        None => x[axis],
    };
    if length == 0 {
        return invalid(format!("a transform of length 0 of {x:?}"));
    }
    let mut result = x.to_vec();
    result[axis] = if onesided && !inverse { length / 2 + 1 } else { length };
    result[last] = if real_inverse { 1 } else { 2 };
    one(dtype, Some(result))
}

/// Inputs: signal `[batch, samples, 1 or 2]`, frame step, window (optional), frame length (optional).
pub(super) fn stft(onesided: bool, context: &Context) -> Types {
    let dtype = context.same_dtype(&[0, 2])?;
    context.need(1)?;
    let (step, length) = (context.i64(1)?, context.i64(3)?);
    let signal = context.ranked(0, 2..=3)?;
    let window = context.ranked(2, 1..=1)?;
    let window_known = context.get(2).is_none() || window.is_some();
    let (Some(signal), Some(step), true) = (signal, step, context.known(&[3]) && window_known)
    else {
        return one(dtype, None);
    };
    let length = match (length, window) {
        (Some(length), _) => shape::dim(length)?,
        (None, Some(window)) => window[0],
        (None, None) => signal[1],
    };
    let step = shape::dim(step)?;
    let parts = signal.get(2).copied().unwrap_or(1);
    let fits = step > 0
        && length > 0
        && length <= signal[1]
        && matches!(parts, 1 | 2)
        && !(onesided && parts == 2)
        && window.is_none_or(|window| window[0] == length);
    if !fits {
        return invalid(format!(
            "frames of {length} every {step}, window {window:?}, of a signal {signal:?}"
        ));
    }
    let bins = if onesided { length / 2 + 1 } else { length };
    one(dtype, Some(vec![signal[0], (signal[1] - length) / step + 1, bins, 2]))
}
