//! Axes and shapes of reductions.

use super::axes;
use crate::InferError;

/// The axes that a reduction folds, in increasing order. No axes given, or an empty list, means all, or none when
/// `noop_with_empty_axes`.
pub fn reduce_axes(
    rank: usize,
    list: Option<&[i64]>,
    noop_with_empty_axes: bool,
) -> Result<Vec<usize>, InferError> {
    match list {
        Some(list) if !list.is_empty() => {
            let mut result = axes(list, rank)?;
            result.sort_unstable();
            Ok(result)
        }
        _ if noop_with_empty_axes => Ok(Vec::new()),
        _ => Ok((0..rank).collect()),
    }
}

/// `shape` after folding `reduced` (from [`reduce_axes`]): the axes become 1 or disappear.
pub fn reduced_shape(shape: &[usize], reduced: &[usize], keep_dims: bool) -> Vec<usize> {
    shape
        .iter()
        .enumerate()
        .filter_map(|(at, &size)| match reduced.contains(&at) {
            false => Some(size),
            true => keep_dims.then_some(1),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_default_to_all_or_none() {
        assert_eq!(reduce_axes(3, None, false), Ok(vec![0, 1, 2]));
        assert_eq!(reduce_axes(3, Some(&[]), true), Ok(vec![]));
        assert_eq!(reduce_axes(3, Some(&[-1, 0]), true), Ok(vec![0, 2]));
        assert!(reduce_axes(3, Some(&[3]), true).is_err());
        assert_eq!(reduced_shape(&[2, 3, 4], &[0, 2], true), [1, 3, 1]);
        assert_eq!(reduced_shape(&[2, 3, 4], &[0, 2], false), [3]);
    }
}
