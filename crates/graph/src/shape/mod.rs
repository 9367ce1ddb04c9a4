//! Shape arithmetic that inference, rewrites and kernels share, so that each rule exists once.
//!
//! Sizes come from requests and files that nobody trusts: every function checks its arguments and overflows into an
//! error that names the numbers.

mod einsum;
mod movement;
mod reduction;
mod resize;
mod window;

pub use einsum::{EinsumLabels, einsum_labels, einsum_shape};
pub use movement::{
    SliceRange, concat, gather_nd, pad_amounts, range_len, reshape, slice_ranges, split_sizes,
    squeeze, transpose, unsqueeze,
};
pub use reduction::{reduce_axes, reduced_shape};
pub use resize::{ResizeAxis, resize_geometry};
pub use window::{Window, conv_geometry, conv_transpose_geometry, pool_geometry};

use crate::InferError;

/// The shape that all `shapes` broadcast to, by numpy's rule: aligned at the last axis, 1 stretches.
pub fn broadcast(shapes: &[&[usize]]) -> Result<Vec<usize>, InferError> {
    let rank = shapes.iter().map(|shape| shape.len()).max().unwrap_or(0);
    let mut result = vec![1; rank];
    for shape in shapes {
        let offset = rank - shape.len();
        for (dim, &size) in result[offset..].iter_mut().zip(*shape) {
            if *dim == 1 {
                *dim = size;
            } else if size != 1 && size != *dim {
                return invalid(format!("shapes {} do not broadcast", show_all(shapes)));
            }
        }
    }
    Ok(result)
}

/// An axis counted from the front; negative ones count from the back.
pub fn axis(axis: i64, rank: usize) -> Result<usize, InferError> {
    let signed = i64::try_from(rank).unwrap_or(i64::MAX);
    if axis < -signed || axis >= signed {
        return invalid(format!("axis {axis} is out of range for rank {rank}"));
    }
    Ok(if axis < 0 { (axis + signed) as usize } else { axis as usize })
}

/// Several axes, each once, in the order given.
pub fn axes(list: &[i64], rank: usize) -> Result<Vec<usize>, InferError> {
    let mut seen = vec![false; rank];
    list.iter()
        .map(|&entry| {
            let index = axis(entry, rank)?;
            if std::mem::replace(&mut seen[index], true) {
                return invalid(format!("axes {list:?} name axis {index} twice (rank {rank})"));
            }
            Ok(index)
        })
        .collect()
}

/// Number of elements.
pub fn len(shape: &[usize]) -> Result<usize, InferError> {
    shape.iter().try_fold(1usize, |len, &dim| len.checked_mul(dim)).ok_or_else(|| {
        InferError::Invalid(format!("a tensor of shape {shape:?} has too many elements"))
    })
}

/// A size given as a number, which must not be negative.
pub fn dim(size: i64) -> Result<usize, InferError> {
    usize::try_from(size).map_err(|_| InferError::Invalid(format!("{size} is not a size")))
}

/// Sizes given as numbers, none of which may be negative.
pub fn dims(sizes: &[i64]) -> Result<Vec<usize>, InferError> {
    if sizes.iter().any(|&size| size < 0) {
        return invalid(format!("{sizes:?} is not a shape"));
    }
    sizes.iter().map(|&size| dim(size)).collect()
}

/// The shape of a matrix product with numpy's rules: vectors are promoted, leading axes broadcast.
pub fn matmul(a: &[usize], b: &[usize]) -> Result<Vec<usize>, InferError> {
    if a.is_empty() || b.is_empty() {
        return invalid(format!("a matrix product needs rank 1 or more: {a:?} and {b:?}"));
    }
    let (a_rows, inner_a) = match a {
        [inner] => (None, *inner),
        [.., rows, inner] => (Some(*rows), *inner),
        [] => unreachable!("checked above"),
    };
    let (inner_b, b_columns) = match b {
        [inner] => (*inner, None),
        [.., inner, columns] => (*inner, Some(*columns)),
        [] => unreachable!("checked above"),
    };
    if inner_a != inner_b {
        return invalid(format!(
            "a matrix product of {a:?} and {b:?} has inner sizes {inner_a} and {inner_b}"
        ));
    }
    let leading = |shape: &[usize]| shape[..shape.len().saturating_sub(2)].to_vec();
    let mut shape = broadcast(&[&leading(a), &leading(b)])?;
    shape.extend(a_rows);
    shape.extend(b_columns);
    Ok(shape)
}

pub(crate) fn invalid<T>(message: String) -> Result<T, InferError> {
    Err(InferError::Invalid(message))
}

fn show_all(shapes: &[&[usize]]) -> String {
    let shown: Vec<String> = shapes.iter().map(|shape| format!("{shape:?}")).collect();
    shown.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasts_as_numpy() {
        let check = |shapes: &[&[usize]], expected: Option<&[usize]>| {
            assert_eq!(broadcast(shapes).ok().as_deref(), expected, "{shapes:?}");
        };
        check(&[&[2, 3], &[3]], Some(&[2, 3]));
        check(&[&[2, 1], &[1, 4], &[]], Some(&[2, 4]));
        check(&[&[0], &[1]], Some(&[0]));
        check(&[&[0], &[2]], None);
        check(&[&[2], &[3]], None);
        check(&[], Some(&[]));
    }

    #[test]
    fn matrix_products_promote_vectors() {
        let check = |a: &[usize], b: &[usize], expected: Option<&[usize]>| {
            assert_eq!(matmul(a, b).ok().as_deref(), expected, "{a:?} {b:?}");
        };
        check(&[3], &[3], Some(&[]));
        check(&[3], &[3, 4], Some(&[4]));
        check(&[5, 2, 3], &[3], Some(&[5, 2]));
        check(&[5, 1, 2, 3], &[7, 3, 4], Some(&[5, 7, 2, 4]));
        check(&[2, 3], &[4, 3], None);
        check(&[], &[3], None);
    }

    #[test]
    fn axes_are_in_range_and_unique() {
        assert_eq!(axis(-1, 3), Ok(2));
        assert!(axis(3, 3).is_err() && axis(-4, 3).is_err() && axis(0, 0).is_err());
        assert!(axis(i64::MIN, 3).is_err() && axis(i64::MAX, 3).is_err());
        assert_eq!(axes(&[-1, 0], 3), Ok(vec![2, 0]));
        assert!(axes(&[-1, 2], 3).is_err());
    }
}
