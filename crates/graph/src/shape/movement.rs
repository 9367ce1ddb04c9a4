//! Shapes of operators that move elements about: slices, splits, pads, reshapes.

use super::{axes, axis, invalid};
use crate::InferError;

/// The part of one axis that a slice takes: `start`, `start + step`, …, `len` elements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SliceRange {
    /// Index of the first element; 0 when `len` is 0.
    pub start: usize,
    /// Never 0.
    pub step: i64,
    pub len: usize,
}

/// What a slice takes, for each axis of `shape`. Starts and ends count from the back when negative and are clamped.
///
/// # Errors
/// A step of 0, lists of different lengths, an axis out of range or named twice.
pub fn slice_ranges(
    shape: &[usize],
    starts: &[i64],
    ends: &[i64],
    axis_list: Option<&[i64]>,
    steps: Option<&[i64]>,
) -> Result<Vec<SliceRange>, InferError> {
    let count = starts.len();
    let agree = ends.len() == count
        && axis_list.is_none_or(|list| list.len() == count)
        && steps.is_none_or(|list| list.len() == count);
    if !agree {
        return invalid(format!(
            "starts {starts:?}, ends {ends:?}, axes {axis_list:?} and steps {steps:?} differ in length"
        ));
    }
    let axis_list = match axis_list {
        Some(list) => axes(list, shape.len())?,
        None if count <= shape.len() => (0..count).collect(),
        None => return invalid(format!("starts {starts:?} exceed the rank of {shape:?}")),
    };
    let mut ranges: Vec<SliceRange> =
        shape.iter().map(|&len| SliceRange { start: 0, step: 1, len }).collect();
    for (entry, &at) in axis_list.iter().enumerate() {
        let step = steps.map_or(1, |steps| steps[entry]);
        if step == 0 {
            return invalid("a slice has step 0".to_owned());
        }
        ranges[at] = slice_range(shape[at], starts[entry], ends[entry], step);
    }
    Ok(ranges)
}

fn slice_range(dim: usize, start: i64, end: i64, step: i64) -> SliceRange {
    let dim = i64::try_from(dim).unwrap_or(i64::MAX);
    let from_back = |index: i64| if index < 0 { index.saturating_add(dim) } else { index };
    let (start, end) = (from_back(start), from_back(end));
    let (start, end) = if step > 0 {
        (start.clamp(0, dim), end.clamp(0, dim))
    } else {
        (start.clamp(-1, dim - 1), end.clamp(-1, dim - 1))
    };
    let span = if step > 0 { end - start } else { start - end };
    if span <= 0 {
        return SliceRange { start: 0, step, len: 0 };
    }
    let len = (span as u64).div_ceil(step.unsigned_abs());
    SliceRange { start: start as usize, step, len: len as usize }
}

/// Sizes of the `parts` parts of an axis of `dim` elements: as given, or equal with the last one smaller.
pub fn split_sizes(
    dim: usize,
    parts: usize,
    sizes: Option<&[i64]>,
) -> Result<Vec<usize>, InferError> {
    if let Some(sizes) = sizes {
        if sizes.len() != parts {
            return invalid(format!("{} split sizes for {parts} outputs", sizes.len()));
        }
        let sizes = super::dims(sizes)?;
        let sum = sizes.iter().try_fold(0usize, |sum, &size| sum.checked_add(size));
        if sum != Some(dim) {
            return invalid(format!("split sizes {sizes:?} do not add up to {dim}"));
        }
        return Ok(sizes);
    }
    if parts == 0 {
        return invalid("a split into no parts".to_owned());
    }
    let size = dim.div_ceil(parts);
    let Some(last) = size.checked_mul(parts - 1).and_then(|taken| dim.checked_sub(taken)) else {
        return invalid(format!("{dim} elements do not split into {parts} parts of {size}"));
    };
    let mut result = vec![size; parts - 1];
    result.push(last);
    Ok(result)
}

/// Elements to add before and after each axis; negative amounts crop.
pub fn pad_amounts(
    rank: usize,
    pads: &[i64],
    axis_list: Option<&[i64]>,
) -> Result<Vec<(i64, i64)>, InferError> {
    let axis_list = match axis_list {
        Some(list) => axes(list, rank)?,
        None => (0..rank).collect(),
    };
    let count = axis_list.len();
    if pads.len() != 2 * count {
        return invalid(format!("pads {pads:?} must have {} entries", 2 * count));
    }
    let mut result = vec![(0, 0); rank];
    for (entry, &at) in axis_list.iter().enumerate() {
        result[at] = (pads[entry], pads[count + entry]);
    }
    Ok(result)
}

/// The shape that a reshape asks for: one −1 is derived, 0 copies the input's size unless `allow_zero`.
pub fn reshape(
    shape: &[usize],
    target: &[i64],
    allow_zero: bool,
) -> Result<Vec<usize>, InferError> {
    let mut result = Vec::with_capacity(target.len());
    let mut derived = None;
    for (index, &size) in target.iter().enumerate() {
        match size {
            -1 if derived.is_none() => {
                derived = Some(index);
                result.push(1);
            }
            0 if !allow_zero => match shape.get(index) {
                Some(&size) => result.push(size),
                None => return invalid(format!("{target:?} copies axis {index} of {shape:?}")),
            },
            size if size >= 0 => result.push(size as usize),
            _ => return invalid(format!("{target:?} is not a shape to reshape to")),
        }
    }
    let (len, known) = (super::len(shape)?, super::len(&result)?);
    let fits = match derived {
        Some(index) if known > 0 && len.is_multiple_of(known) => {
            result[index] = len / known;
            true
        }
        // Nothing times anything is nothing; the derived size is taken as 0.
        Some(index) if known == 0 && len == 0 && !allow_zero => {
            result[index] = 0;
            true
        }
        Some(_) => false,
        None => known == len,
    };
    if !fits {
        return invalid(format!("{shape:?} cannot be reshaped to {target:?}"));
    }
    Ok(result)
}

/// The shape without the named axes, or without all axes of size 1.
pub fn squeeze(shape: &[usize], axis_list: Option<&[i64]>) -> Result<Vec<usize>, InferError> {
    let removed = match axis_list {
        Some(list) => axes(list, shape.len())?,
        None => (0..shape.len()).filter(|&at| shape[at] == 1).collect(),
    };
    if let Some(&at) = removed.iter().find(|&&at| shape[at] != 1) {
        return invalid(format!("axis {at} of {shape:?} has size {}, not 1", shape[at]));
    }
    let kept = shape.iter().enumerate().filter(|(at, _)| !removed.contains(at));
    Ok(kept.map(|(_, &size)| size).collect())
}

/// The shape with axes of size 1 inserted where `axis_list` says, counted in the result.
pub fn unsqueeze(shape: &[usize], axis_list: &[i64]) -> Result<Vec<usize>, InferError> {
    let rank = shape.len() + axis_list.len();
    let inserted = axes(axis_list, rank)?;
    let mut old = shape.iter();
    let at = |index| if inserted.contains(&index) { Some(1) } else { old.next().copied() };
    Ok((0..rank).map_while(at).collect())
}

/// The permutation to use: the reversed axes when `perm` is empty.
pub fn transpose(rank: usize, perm: &[usize]) -> Result<Vec<usize>, InferError> {
    if perm.is_empty() {
        return Ok((0..rank).rev().collect());
    }
    let mut sorted = perm.to_vec();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..rank) {
        return invalid(format!("{perm:?} does not permute {rank} axes"));
    }
    Ok(perm.to_vec())
}

/// The shape of `shapes` laid one after another along an axis.
pub fn concat(shapes: &[&[usize]], along: i64) -> Result<Vec<usize>, InferError> {
    let Some(first) = shapes.first() else {
        return invalid("nothing to concatenate".to_owned());
    };
    let at = axis(along, first.len())?;
    let mut result = first.to_vec();
    for shape in &shapes[1..] {
        let agree = shape.len() == first.len()
            && shape.iter().zip(*first).enumerate().all(|(index, (a, b))| index == at || a == b);
        if !agree {
            return invalid(format!("{first:?} and {shape:?} do not join along axis {at}"));
        }
        result[at] = result[at].checked_add(shape[at]).ok_or_else(|| {
            InferError::Invalid(format!("the joined axis {at} of {shape:?} overflows"))
        })?;
    }
    Ok(result)
}

/// The shape of ONNX GatherND: each index tuple along the last axis of `indices` picks a part of `data`.
pub fn gather_nd(
    data: &[usize],
    indices: &[usize],
    batch_dims: usize,
) -> Result<Vec<usize>, InferError> {
    let tuple = indices.last().copied();
    let fits = tuple.is_some_and(|tuple| {
        batch_dims < indices.len()
            && batch_dims < data.len()
            && tuple >= 1
            && tuple <= data.len() - batch_dims
            && data[..batch_dims] == indices[..batch_dims]
    });
    match tuple {
        Some(tuple) if fits => {
            let mut shape = indices[..indices.len() - 1].to_vec();
            shape.extend_from_slice(&data[batch_dims + tuple..]);
            Ok(shape)
        }
        _ => invalid(format!(
            "indices {indices:?} do not index {data:?} with {batch_dims} batch dimensions"
        )),
    }
}

/// How many numbers `start`, `start + delta`, … lie before `limit`.
pub fn range_len(start: f64, limit: f64, delta: f64) -> Result<usize, InferError> {
    let count = ((limit - start) / delta).ceil();
    if delta == 0.0 || !count.is_finite() || count >= isize::MAX as f64 {
        return invalid(format!("no range goes from {start} to {limit} by {delta}"));
    }
    Ok(count.max(0.0) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_clamp_and_reverse() {
        let check = |dim: usize, start: i64, end: i64, step: i64, expected: (usize, usize)| {
            let ranges = slice_ranges(&[dim], &[start], &[end], None, Some(&[step])).unwrap();
            assert_eq!((ranges[0].start, ranges[0].len), expected, "{dim}[{start}:{end}:{step}]");
        };
        check(10, 2, 7, 2, (2, 3));
        check(10, -3, i64::MAX, 1, (7, 3));
        check(10, 0, -1, 1, (0, 9));
        check(10, 5, 2, 1, (0, 0));
        check(10, -1, i64::MIN, -1, (9, 10));
        check(10, i64::MAX, i64::MIN, -3, (9, 4));
        check(10, 20, 0, -4, (9, 3));
        check(0, -1, i64::MIN, -1, (0, 0));
        check(10, 1, 5, i64::MAX, (1, 1));
        check(10, 9, 0, i64::MIN, (9, 1));
        assert!(slice_ranges(&[4], &[0], &[2], None, Some(&[0])).is_err());
        assert!(slice_ranges(&[4], &[0, 0], &[2, 2], None, None).is_err());
        assert!(slice_ranges(&[4, 4], &[0, 0], &[2, 2], Some(&[0, -2]), None).is_err());
    }

    #[test]
    fn splits() {
        assert_eq!(split_sizes(7, 4, None), Ok(vec![2, 2, 2, 1]));
        assert_eq!(split_sizes(6, 2, Some(&[2, 4])), Ok(vec![2, 4]));
        assert_eq!(split_sizes(0, 2, None), Ok(vec![0, 0]));
        assert!(split_sizes(5, 4, None).is_err());
        assert!(split_sizes(6, 2, Some(&[2, 3])).is_err());
        assert!(split_sizes(6, 2, Some(&[-2, 8])).is_err());
    }

    #[test]
    fn reshapes() {
        let check = |shape: &[usize], target: &[i64], zero: bool, expected: Option<&[usize]>| {
            assert_eq!(reshape(shape, target, zero).ok().as_deref(), expected, "{target:?}");
        };
        check(&[2, 3, 4], &[0, -1], false, Some(&[2, 12]));
        check(&[2, 3, 4], &[4, 6], false, Some(&[4, 6]));
        check(&[2, 3, 4], &[5, -1], false, None);
        check(&[2, 3, 4], &[-1, -1], false, None);
        check(&[0, 3], &[3, 0], true, Some(&[3, 0]));
        check(&[0, 3], &[0, -1], false, Some(&[0, 0]));
        check(&[2], &[1, 1, 0], false, None);
        check(&[2], &[i64::MAX, i64::MAX, 4], false, None);
        check(&[1], &[], false, Some(&[]));
    }

    #[test]
    fn squeezes_and_back() {
        assert_eq!(squeeze(&[1, 3, 1], None), Ok(vec![3]));
        assert_eq!(squeeze(&[1, 3, 1], Some(&[-1])), Ok(vec![1, 3]));
        assert!(squeeze(&[1, 3], Some(&[1])).is_err());
        assert_eq!(unsqueeze(&[3], &[0, -1]), Ok(vec![1, 3, 1]));
        assert!(unsqueeze(&[3], &[0, 0]).is_err() && unsqueeze(&[3], &[2]).is_err());
    }
}
